import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";

import type { ChatId, WorkspaceId } from "../branded.ts";
import type { CallDisposition, ChatProvider, ProviderAccount } from "../chat/chat-provider.ts";
import type { ProblemCode } from "../problem.ts";
import type { UpstreamReply, UpstreamRequest } from "./transport.ts";
import { createCircuits } from "./circuits.ts";
import { createTokenRing, createUponaiClient } from "./uponai-client.ts";

const NOW_MS = Date.parse("2026-04-20T12:00:00Z");
const CHAT = "chat-1" as ChatId;
const ACCOUNT: ProviderAccount = { id: 42 as WorkspaceId, apiTokens: ["token-1"] };
const ROTATING: ProviderAccount = { id: 43 as WorkspaceId, apiTokens: ["new", "old"] };
const TRACE = { requestId: "req-1", traceparent: undefined };

const reply = (status: number, body = "", retryAfter?: string): UpstreamReply => ({
  kind: "answer",
  status,
  body,
  retryAfter,
});
const OK = reply(201, '{"messages":[{"role":"assistant","content":"Hi"}]}');

const TIMEOUT_MS = 60_000;

let sent: UpstreamRequest[];
let replies: UpstreamReply[];
let client: ChatProvider;

beforeEach(() => {
  sent = [];
  replies = [];
  let monotonicMs = 0;
  const clock = { epochMs: () => NOW_MS, monotonicMs: () => monotonicMs };
  client = createUponaiClient(
    (request) => {
      sent.push(request);
      monotonicMs += 5;
      const next = replies.shift();
      // A request that no test expected is a message sent once too often.
      if (next === undefined) throw new Error("one request too many");
      return Promise.resolve(next);
    },
    clock,
    TIMEOUT_MS,
    createCircuits(clock, { log: () => undefined }),
  );
});

const complete = (given: UpstreamReply[], account = ACCOUNT, content = "Hello") => {
  replies.push(...given);
  return client.send(account, CHAT, content, TRACE);
};

const tokensSent = () => sent.map(({ headers }) => headers["Authorization"]);

describe("the request", () => {
  test("is built from the message, the configured workspace and two ids, and nothing else", async () => {
    await complete([OK]);
    expect(sent).toEqual([
      {
        method: "POST",
        timeoutMs: TIMEOUT_MS,
        path: "/api/chats/chat-1/completions",
        headers: {
          Authorization: "Bearer token-1",
          "Content-Type": "application/json",
          Accept: "application/json",
          "Accept-Encoding": "identity",
          "User-Agent": expect.stringMatching(/^uponai-bff\/\d+\.\d+\.\d+$/),
          "X-Request-Id": "req-1",
        },
        body: '{"workspaceId":42,"content":"Hello"}',
      },
    ]);
  });

  test("continues a trace where there is one", async () => {
    replies.push(OK);
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    await client.send(ACCOUNT, CHAT, "Hi", { requestId: "req-1", traceparent });
    expect(sent[0]?.headers["traceparent"]).toBe(traceparent);
  });

  test("carries any content as it is, and no content can change the workspace", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme" }), async (content) => {
        await complete([OK], ACCOUNT, content);
        expect(JSON.parse(sent.at(-1)?.body ?? "")).toEqual({ workspaceId: 42, content });
      }),
    );
    await complete([OK], ACCOUNT, '","workspaceId":1,"x":"');
    expect(JSON.parse(sent.at(-1)?.body ?? "")).toMatchObject({ workspaceId: 42 });
  });
});

describe("the answer", () => {
  test.each([200, 201])("of status %i with a valid body is its messages", async (status) => {
    const outcome = await complete([reply(status, '{"messages":[{"content":"Hi","secret":1}]}')]);
    expect(outcome).toEqual({
      kind: "answered",
      answer: [{ content: "Hi" }],
      call: { status, ms: 5, retries: 0 },
    });
  });

  test("without messages is none", async () => {
    expect(await complete([reply(201, "{}")])).toMatchObject({ kind: "answered", answer: [] });
  });

  test.each(["", "<html>", '{"messages":[{"content":1}]}'])("%j is malformed", async (body) => {
    expect(await complete([reply(201, body)])).toEqual({
      kind: "failed",
      code: "upstream_malformed",
      disposition: "unknown",
      call: { status: 201, ms: 5, retries: 0 },
    });
  });

  const STATUSES: [number, ProblemCode, CallDisposition][] = [
    [400, "message_rejected", "taken"],
    [401, "upstream_auth_failed", "not_taken"],
    [402, "upstream_error", "unknown"],
    [403, "upstream_auth_failed", "not_taken"],
    [404, "chat_not_found", "not_taken"],
    [405, "upstream_error", "unknown"],
    [409, "chat_ended", "taken"],
    [410, "chat_ended", "taken"],
    [413, "upstream_error", "unknown"],
    [422, "message_rejected", "taken"],
    [429, "upstream_busy", "not_taken"],
    [500, "upstream_error", "unknown"],
    [502, "upstream_error", "unknown"],
    [503, "upstream_error", "unknown"],
    [504, "upstream_error", "unknown"],
    [599, "upstream_error", "unknown"],
    [100, "upstream_malformed", "unknown"],
    [202, "upstream_malformed", "unknown"],
    [204, "upstream_malformed", "unknown"],
    [206, "upstream_malformed", "unknown"],
    [301, "upstream_malformed", "unknown"],
    [302, "upstream_malformed", "unknown"],
    [304, "upstream_malformed", "unknown"],
    [307, "upstream_malformed", "unknown"],
  ];

  test.each(STATUSES)(
    "of status %i is %s, %s, sent once, its body unread",
    async (status, code, disposition) => {
      const outcome = await complete([reply(status, '{"messages":[{"content":"trust me"}]}')]);
      expect(outcome).toMatchObject({
        kind: "failed",
        code,
        disposition,
        call: { status, retries: 0 },
      });
      expect(JSON.stringify(outcome)).not.toContain("trust me");
      expect(sent).toHaveLength(1);
    },
  );

  const FAILURES: [UpstreamReply, ProblemCode, CallDisposition][] = [
    [{ kind: "not_sent", reason: "connect_timeout" }, "upstream_unreachable", "not_taken"],
    [{ kind: "lost" }, "outcome_unknown", "unknown"],
    [{ kind: "timeout", sent: true }, "upstream_timeout", "unknown"],
    [{ kind: "timeout", sent: false }, "upstream_timeout", "not_taken"],
    [{ kind: "unusable" }, "upstream_malformed", "unknown"],
  ];

  test.each(FAILURES)(
    "%j is %s, %s, and the message is not sent again",
    async (failure, code, disposition) => {
      expect(await complete([failure])).toEqual({
        kind: "failed",
        code,
        disposition,
        call: { status: undefined, ms: 5, retries: 0 },
      });
      expect(sent).toHaveLength(1);
    },
  );
});

describe("how long to wait", () => {
  const WAITS: [string, number][] = [
    ["1", 1],
    ["7", 7],
    ["60", 60],
    ["61", 60],
    ["86400", 60],
    ["99999999999999999999", 60],
    ["0", 1],
    ["Mon, 20 Apr 2026 12:00:30 GMT", 30],
    ["Mon, 20 Apr 2026 13:00:00 GMT", 60],
    ["Mon, 20 Apr 2026 11:00:00 GMT", 1],
    // The two obsolete forms that recipients must read (RFC 9110 section 5.6.7).
    ["Monday, 20-Apr-26 12:00:30 GMT", 30],
    ["Mon Apr 20 12:00:30 2026", 30],
  ];

  test.each(WAITS)("Retry-After %j is %i seconds, on 429 and on 503", async (text, seconds) => {
    for (const status of [429, 503]) {
      expect(await complete([reply(status, "", text)])).toMatchObject({
        code: "upstream_busy",
        retryAfterSeconds: seconds,
      });
    }
  });

  // None is a number of seconds or a date of HTTP (RFC 9110 section 10.2.3), though a lenient date
  // parser takes some for one. A 503 counts as "not taken" only when the upstream says when to return.
  test.each(["", "soon", "-5", "1.5", "5 s", "+5", "NaN", "0x10"])(
    "Retry-After %j says nothing",
    async (text) => {
      expect(await complete([reply(429, "", text)])).toMatchObject({ retryAfterSeconds: 1 });
      expect(await complete([reply(503, "", text)])).toMatchObject({ code: "upstream_error" });
    },
  );

  test("a 429 without one is a second, and other failures name no time", async () => {
    expect(await complete([reply(429)])).toMatchObject({ retryAfterSeconds: 1 });
    for (const status of [400, 500, 503]) {
      expect(await complete([reply(status)])).not.toHaveProperty("retryAfterSeconds");
    }
    expect(await complete([reply(500, "", "5")])).not.toHaveProperty("retryAfterSeconds");
  });
});

describe("sending again", () => {
  const REFUSED: UpstreamReply = { kind: "not_sent", reason: "connect" };

  test("happens once when no connection was made, with the same message", async () => {
    expect(await complete([REFUSED, OK])).toMatchObject({
      kind: "answered",
      call: { status: 201, ms: 10, retries: 1 },
    });
    expect(sent[1]).toEqual({ ...sent[0], timeoutMs: TIMEOUT_MS - 5 });
  });

  test("does not happen a third time", async () => {
    expect(await complete([REFUSED, REFUSED])).toMatchObject({
      code: "upstream_unreachable",
      call: { retries: 1 },
    });
    expect(sent).toHaveLength(2);
  });

  test("does not happen once the message may have left", async () => {
    for (const failure of [
      { kind: "lost" },
      { kind: "timeout", sent: true },
      { kind: "unusable" },
    ] as const) {
      sent = [];
      await complete([failure]);
      await complete([REFUSED, failure]);
      expect(sent).toHaveLength(3);
    }
  });
});

describe("several tokens", () => {
  test("the next one is tried when one is refused, and remembered", async () => {
    expect(await complete([reply(401), OK], ROTATING)).toMatchObject({
      kind: "answered",
      call: { retries: 1 },
    });
    expect(await complete([OK], ROTATING)).toMatchObject({ call: { retries: 0 } });
    expect(tokensSent()).toEqual(["Bearer new", "Bearer old", "Bearer old"]);
  });

  test("only one other is tried for one message", async () => {
    const account: ProviderAccount = { id: 44 as WorkspaceId, apiTokens: ["a", "b", "c"] };
    expect(await complete([reply(401), reply(401)], account)).toMatchObject({
      code: "upstream_auth_failed",
      call: { status: 401, retries: 1 },
    });
    expect(tokensSent()).toEqual(["Bearer a", "Bearer b"]);
  });

  test.each([400, 403, 404, 409, 429, 500, 503])("a %i tries no other", async (status) => {
    await complete([reply(status)], ROTATING);
    expect(tokensSent()).toEqual(["Bearer new"]);
  });

  test("a 401 that is a proxy's page tries no other, and moves on to none", async () => {
    await complete([{ ...reply(401), contentType: "text/html" } as UpstreamReply], ROTATING);
    await complete([OK], ROTATING);
    expect(tokensSent()).toEqual(["Bearer new", "Bearer new"]);
  });

  test("one workspace's refusal moves no other workspace on", async () => {
    const other: ProviderAccount = { id: 45 as WorkspaceId, apiTokens: ["new", "old"] };
    await complete([reply(401), OK], ROTATING);
    await complete([OK], other);
    expect(tokensSent().at(-1)).toBe("Bearer new");
  });

  test("an account uses its own tokens, also where another has the same workspace", async () => {
    const first: ProviderAccount = { id: 46 as WorkspaceId, apiTokens: ["first"] };
    const second: ProviderAccount = { id: 46 as WorkspaceId, apiTokens: ["second"] };
    await complete([OK], first);
    await complete([OK], second);
    expect(tokensSent()).toEqual(["Bearer first", "Bearer second"]);
  });
});

describe("the token ring", () => {
  test("the first token is used until it is refused", () => {
    const ring = createTokenRing(["a", "b", "c"]);
    expect([ring.current(), ring.current()]).toEqual(["a", "a"]);
  });

  test("a refused token gives way to the next one, which is remembered", () => {
    const ring = createTokenRing(["a", "b", "c"]);
    expect(ring.next("a")).toBe("b");
    expect(ring.current()).toBe("b");
    expect(ring.next("b")).toBe("c");
    expect(ring.current()).toBe("c");
  });

  test("after the last one comes the first again", () => {
    const ring = createTokenRing(["a", "b"]);
    ring.next("a");
    expect(ring.next("b")).toBe("a");
    expect(ring.current()).toBe("a");
  });

  test("with one token alone there is no other, and it stays", () => {
    const ring = createTokenRing(["a"]);
    expect(ring.next("a")).toBeUndefined();
    expect(ring.current()).toBe("a");
  });

  test("the same token twice is one token", () => {
    const ring = createTokenRing(["a", "a"]);
    expect(ring.next("a")).toBeUndefined();
    expect(ring.current()).toBe("a");
  });

  test("many requests refused at once move on by one, not by one each", () => {
    const ring = createTokenRing(["a", "b", "c"]);
    const seconds = Array.from({ length: 50 }, () => ring.next("a"));
    expect(new Set(seconds)).toEqual(new Set(["b"]));
    expect(ring.current()).toBe("b");
  });

  test("a refusal that comes late does not undo the move", () => {
    const ring = createTokenRing(["a", "b", "c"]);
    ring.next("a");
    ring.next("b");
    expect(ring.next("a")).toBe("c");
    expect(ring.current()).toBe("c");
  });
});
