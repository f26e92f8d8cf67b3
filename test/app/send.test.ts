/** Contract of `POST /chat/:chatId/send`, on the application in this process. */
import { beforeEach, describe, expect, test, vi } from "vitest";

import { SLOW_AFTER_MS } from "../../src/http/read-stream.ts";
import bodies from "../data/bodies.json" with { type: "json" };
import chatIds from "../data/chat-ids.json" with { type: "json" };
import mediaTypes from "../data/media-types.json" with { type: "json" };
import {
  answerWith,
  createTestApp,
  readProblem,
  type TestApp,
  type TestSend,
} from "../support/app-fixture.ts";
import { mintToken } from "../support/session-tokens.ts";

let app: TestApp;

beforeEach(async () => {
  app = await createTestApp();
});

/** A body that never ends. `reading` resolves when the service starts to read it. */
const createEndless = () => {
  const { promise: reading, resolve } = Promise.withResolvers<void>();
  // Without a buffer the stream is pulled only when it is read.
  const body = new ReadableStream<Uint8Array>({ pull: () => resolve() }, { highWaterMark: 0 });
  return { body, reading };
};

describe("the body", () => {
  test.each(bodies)("$name is 400 and reaches nothing", async ({ body, pointer }) => {
    const answer = await app.send({ body });
    expect(answer.status).toBe(400);
    expect(await readProblem(answer)).toMatchObject({
      code: "invalid_request",
      errors: [{ pointer, detail: expect.any(String) }],
    });
    expect(app.sent).toHaveLength(0);
  });

  test("that is not UTF-8 is 400", async () => {
    const bytes = new TextEncoder().encode('{"content":"hi"}');
    bytes[12] = 0xff;
    const answer = await app.send({ body: bytes });
    expect(answer.status).toBe(400);
    expect(app.sent).toHaveLength(0);
  });

  test("of many unknown members is not echoed in full", async () => {
    const members = Array.from({ length: 3_000 }, (_, index) => [`m${index}`, 1]);
    const answer = await app.send({ body: JSON.stringify(Object.fromEntries(members)) });
    expect(answer.status).toBe(400);
    expect((await answer.text()).length).toBeLessThan(2_000);
  });

  test("is passed on verbatim: spaces, line breaks, emoji and control characters", async () => {
    const content = '  a\n\t\u0000 \ud83d\ude00 \u202e"\\ <script>  ';
    expect((await app.send({ body: JSON.stringify({ content }) })).status).toBe(201);
    expect(JSON.parse(app.sent[0]?.body ?? "")).toEqual({ workspaceId: 42, content });
  });

  test("is counted in code points: 8,000 emoji pass, one more does not", async () => {
    const large = await createTestApp({ environment: { MAX_BODY_BYTES: "64KiB" } });
    const content = "\ud83d\ude00".repeat(8_000);
    expect((await large.send({ body: JSON.stringify({ content }) })).status).toBe(201);
    expect((await large.send({ body: JSON.stringify({ content: `${content}a` }) })).status).toBe(
      400,
    );
    expect(large.sent).toHaveLength(1);
  });

  test("over MAX_BODY_BYTES is 413, at the limit it is not", async () => {
    const frame = '{"content":"hi"}';
    const exactly = frame + " ".repeat(32_768 - frame.length);
    expect((await app.send({ body: exactly })).status).toBe(201);
    const answer = await app.send({ body: `${exactly} ` });
    expect(answer.status).toBe(413);
    expect(await readProblem(answer)).toMatchObject({ code: "content_too_large" });
    expect(app.sent).toHaveLength(1);
  });

  test("that takes over ten seconds is 408, and holds no place meanwhile", async () => {
    vi.useFakeTimers();
    try {
      const { body, reading } = createEndless();
      const sending = app.send({ body });
      await reading;
      await vi.advanceTimersByTimeAsync(9_999);
      expect(app.gate.inFlight).toBe(0);
      await vi.advanceTimersByTimeAsync(2);
      expect((await sending).status).toBe(408);
      expect(app.sent).toHaveLength(0);
    } finally {
      vi.useRealTimers();
    }
  });

  test("is not waited for where the headers decide", async () => {
    const refusals: [string, TestSend][] = [
      ["session_missing", { headers: { Authorization: undefined } }],
      ["session_invalid", { headers: { Authorization: "Bearer a.b.c" } }],
      ["unsupported_media_type", { headers: { "Content-Type": "text/plain" } }],
      ["invalid_request", { chatId: "a.b" }],
      ["invalid_request", { headers: { "Idempotency-Key": "a b" } }],
      ["content_too_large", { headers: { "Content-Length": "32769" } }],
    ];
    for (const [code, options] of refusals) {
      const answer = await app.send({ body: createEndless().body, ...options });
      expect(await readProblem(answer)).toMatchObject({ code });
    }
    expect(app.sent).toHaveLength(0);
  });

  test("that is sent slowly is bounded for each subject and each address, and others are served", async () => {
    vi.useFakeTimers();
    try {
      const waiting: Promise<Response>[] = [];
      const sendSlowly = async (sub: string, peer: string) => {
        const { body, reading } = createEndless();
        waiting.push(app.send({ sub, peer, body }));
        await reading;
      };
      const refuse = async (sub: string, peer: string) => {
        await sendSlowly(sub, peer);
        await vi.advanceTimersByTimeAsync(SLOW_AFTER_MS);
        const answer = await (waiting.pop() ?? expect.unreachable("nothing was sent"));
        expect(answer.headers.get("retry-after")).toBe("1");
        expect(await readProblem(answer)).toMatchObject({ status: 503, code: "overloaded" });
      };
      for (let index = 0; index < 20; index += 1) await sendSlowly("mallory", "192.0.2.66");
      await vi.advanceTimersByTimeAsync(SLOW_AFTER_MS);
      await refuse("mallory", "192.0.2.67");
      for (let index = 0; index < 80; index += 1) await sendSlowly(`m-${index}`, "192.0.2.66");
      await vi.advanceTimersByTimeAsync(SLOW_AFTER_MS);
      await refuse("m-new", "192.0.2.66");
      expect((await app.send({ sub: "alice", peer: "192.0.2.1" })).status).toBe(201);

      await vi.advanceTimersByTimeAsync(10_001);
      const statuses = (await Promise.all(waiting)).map(({ status }) => status);
      expect(new Set(statuses)).toEqual(new Set([408]));
      expect((await app.send({ sub: "alice", peer: "192.0.2.66" })).status).toBe(201);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("the content type", () => {
  test.each(mediaTypes.good)("%s is read", async (type) => {
    expect((await app.send({ headers: { "Content-Type": type } })).status).toBe(201);
  });

  test.each([...mediaTypes.bad, undefined])("%s is 415 and reaches nothing", async (type) => {
    const body = new TextEncoder().encode('{"content":"hi"}');
    const answer = await app.send({ body, headers: { "Content-Type": type } });
    expect(answer.status).toBe(415);
    expect(await readProblem(answer)).toMatchObject({ code: "unsupported_media_type" });
    expect(app.sent).toHaveLength(0);
  });

  test.each(["gzip", "br", "identity", "x"])(
    "with Content-Encoding %s is 415",
    async (encoding) => {
      const answer = await app.send({ headers: { "Content-Encoding": encoding } });
      expect(answer.status).toBe(415);
      expect(app.sent).toHaveLength(0);
    },
  );
});

describe("the chat id", () => {
  test.each([...chatIds.good, "a".repeat(128)])("%s goes upstream as it is", async (chatId) => {
    expect((await app.send({ chatId })).status).toBe(201);
    expect(app.sent[0]?.path).toBe(`/api/chats/${chatId}/completions`);
  });

  test.each([...chatIds.bad, "a".repeat(129)])("%s is 400 and reaches nothing", async (chatId) => {
    const answer = await app.send({ chatId });
    expect(answer.status).toBe(400);
    expect(await readProblem(answer)).toMatchObject({ code: "invalid_request" });
    expect(app.sent).toHaveLength(0);
  });

  test.each(["../chat-1", "%2e%2e", "a/b", ""])(
    "that is the path %j reaches nothing",
    async (chatId) => {
      const answer = await app.send({ chatId });
      expect([400, 404]).toContain(answer.status);
      expect(app.sent).toHaveLength(0);
    },
  );
});

function claim(value: unknown): Record<string, unknown> {
  return { "https://acme.test/claims.workspace": value };
}

describe("the workspace", () => {
  const environment = {
    WORKSPACES: JSON.stringify({
      acme: 42,
      "7": { id: 7, apiToken: "seven-canary", limits: { session: "1/1m", workspace: "off" } },
    }),
    SESSION_WORKSPACE_CLAIM: "https://acme.test/claims.workspace",
  };
  beforeEach(async () => {
    app = await createTestApp({ environment });
  });

  test("is the one of the session's claim, with its own token and limits", async () => {
    expect((await app.send({ claims: claim("acme") })).status).toBe(201);
    expect(app.sent[0]?.headers["Authorization"]).toBe("Bearer upstream-canary-token");
    const seven = await app.send({ claims: claim(7) });
    expect(seven.status).toBe(201);
    expect(app.sent[1]?.headers["Authorization"]).toBe("Bearer seven-canary");
    expect(JSON.parse(app.sent[1]?.body ?? "")).toMatchObject({ workspaceId: 7 });
    expect(seven.headers.get("ratelimit-policy")).toBe('"session";q=1;w=60, "ip";q=120;w=60');
    expect((await app.send({ claims: claim("7") })).status).toBe(429);
    // The same subject in another workspace has its own limits.
    expect((await app.send({ claims: claim("acme") })).status).toBe(201);
  });

  test.each([
    "other",
    "",
    "__proto__",
    "constructor",
    "ACME",
    42,
    7.5,
    null,
    ["acme"],
    { acme: 1 },
    true,
  ])("is refused for the claim %j, and no quota is spent", async (value) => {
    const answer = await app.send({ claims: claim(value) });
    expect(answer.status).toBe(403);
    expect(await readProblem(answer)).toMatchObject({ code: "workspace_unmapped" });
    expect(answer.headers.get("ratelimit")).toBeNull();
    expect(app.sent).toHaveLength(0);
    const next = await app.send({ claims: claim("acme") });
    expect(next.headers.get("ratelimit")).toContain('"ip";r=119');
  });

  test("is refused for a session without the claim", async () => {
    expect((await app.send()).status).toBe(403);
  });
});

describe("limits", () => {
  test("are spent one by one, come back smoothly, and tell so", async () => {
    app = await createTestApp({
      environment: { LIMIT_SESSION: "3/1m", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" },
    });
    const remaining: (string | null)[] = [];
    for (let count = 0; count < 3; count += 1)
      remaining.push((await app.send()).headers.get("ratelimit"));
    expect(remaining).toEqual(['"session";r=2;t=20', '"session";r=1;t=20', '"session";r=0;t=20']);
    const refused = await app.send();
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toBe("20");
    expect(refused.headers.get("ratelimit")).toBe('"session";r=0;t=20');
    expect(await readProblem(refused)).toMatchObject({
      code: "rate_limited",
      "violated-policies": ["session"],
    });
    app.clock.advanceMs(19_999);
    expect((await app.send()).status).toBe(429);
    app.clock.advanceMs(1);
    expect((await app.send()).status).toBe(201);
    expect((await app.send()).status).toBe(429);
    app.clock.advanceMs(60_000);
    expect((await app.send()).headers.get("ratelimit")).toBe('"session";r=2;t=20');
    expect(app.sent).toHaveLength(5);
  });

  test("are all or nothing: a request that one refuses spends nothing on the others", async () => {
    app = await createTestApp({
      environment: { LIMIT_SESSION: "1/1m", LIMIT_WORKSPACE: "5/1m", LIMIT_IP: "off" },
    });
    const send = (sub: string) => app.send({ sub, chatId: `chat-of-${sub}` });
    await send("one");
    for (let count = 0; count < 10; count += 1) expect((await send("one")).status).toBe(429);
    const others = ["two", "three", "four", "five"];
    for (const sub of others) expect((await send(sub)).status).toBe(201);
    const refused = await send("six");
    expect(refused.status).toBe(429);
    expect(await readProblem(refused)).toMatchObject({ "violated-policies": ["workspace"] });
  });

  test("have the burst that the operator sets", async () => {
    app = await createTestApp({
      environment: { LIMIT_SESSION: "60/1m;burst=2", LIMIT_IP: "off", LIMIT_WORKSPACE: "off" },
    });
    expect((await app.send()).status).toBe(201);
    expect((await app.send()).status).toBe(201);
    expect((await app.send()).status).toBe(429);
    app.clock.advanceMs(1_000);
    expect((await app.send()).status).toBe(201);
  });

  test("that are all off leave no header", async () => {
    app = await createTestApp({
      environment: { LIMIT_SESSION: "off", LIMIT_WORKSPACE: "off", LIMIT_IP: "off" },
    });
    const answer = await app.send();
    expect(answer.status).toBe(201);
    expect(answer.headers.get("ratelimit")).toBeNull();
    expect(answer.headers.get("ratelimit-policy")).toBeNull();
  });

  test("of a daily kind refuse when the short one would not", async () => {
    app = await createTestApp({ environment: { LIMIT_SESSION_DAILY: "2/1d" } });
    await app.send();
    await app.send();
    const refused = await app.send();
    expect(refused.status).toBe(429);
    expect(refused.headers.get("ratelimit")).toMatch(
      /^"session-daily";r=0;t=43200, "session";r=18/,
    );
    expect(refused.headers.get("retry-after")).toBe("43200");
  });

  test("count addresses as trusted proxies tell them: IPv6 by /64, mapped IPv4 as IPv4", async () => {
    app = await createTestApp({ environment: { LIMIT_IP: "1/1h", TRUST_PROXY: "2" } });
    let subjects = 0;
    const from = async (forwarded: string, peer = "10.0.0.1") => {
      subjects += 1;
      const headers = { "X-Forwarded-For": forwarded };
      return (await app.send({ sub: `s${subjects}`, chatId: `c${subjects}`, headers, peer }))
        .status;
    };
    expect(await from("203.0.113.1, 10.9.9.9")).toBe(201);
    expect(await from("198.51.100.7, 203.0.113.1, 10.9.9.9")).toBe(429);
    expect(await from("::ffff:203.0.113.1, 10.9.9.9")).toBe(429);
    expect(await from("2001:db8::1, 10.9.9.9")).toBe(201);
    expect(await from("2001:db8::ffff:2, 10.9.9.9")).toBe(429);
    expect(await from("2001:db8:0:1::1, 10.9.9.9")).toBe(201);
    // With too few entries, or an entry that is no address, the address of the connection counts.
    expect(await from("203.0.113.250", "10.0.0.2")).toBe(201);
    expect(await from("203.0.113.251", "::ffff:10.0.0.2")).toBe(429);
    expect(await from("unknown, 10.9.9.9", "10.0.0.2")).toBe(429);
  });

  test("ignore X-Forwarded-For where no proxy is trusted", async () => {
    app = await createTestApp({ environment: { LIMIT_IP: "1/1h" } });
    expect((await app.send({ headers: { "X-Forwarded-For": "203.0.113.1" } })).status).toBe(201);
    expect(
      (await app.send({ sub: "b", chatId: "b", headers: { "X-Forwarded-For": "203.0.113.2" } }))
        .status,
    ).toBe(429);
  });
});

describe("wrong credentials", () => {
  const wrong = { headers: { Authorization: "Bearer a.b.c" } };

  test("are 401 up to the limit and 429 past it; a right one is always served", async () => {
    app = await createTestApp({ environment: { LIMIT_AUTH_FAILURES: "3/1m" } });
    for (let count = 0; count < 3; count += 1) {
      const answer = await app.send(wrong);
      expect(answer.status).toBe(401);
      expect(answer.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
      expect(answer.headers.get("ratelimit")).toBeNull();
    }
    const limited = await app.send(wrong);
    expect(limited.status).toBe(429);
    expect(limited.headers.get("retry-after")).toBe("20");
    expect(await readProblem(limited)).toMatchObject({
      code: "rate_limited",
      "violated-policies": ["auth-failures"],
    });
    expect((await app.send()).status).toBe(201);
    expect((await app.send({ ...wrong, peer: "192.0.2.99" })).status).toBe(401);
    expect((await app.send({ headers: { Authorization: undefined } })).status).toBe(401);
    app.clock.advanceMs(20_000);
    expect((await app.send(wrong)).status).toBe(401);
    expect(app.sent).toHaveLength(1);
  });

  test("that are missing are never counted", async () => {
    app = await createTestApp({ environment: { LIMIT_AUTH_FAILURES: "1/1h" } });
    for (let count = 0; count < 5; count += 1) {
      const answer = await app.send({ headers: { Authorization: undefined } });
      expect(answer.status).toBe(401);
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
      expect(await readProblem(answer)).toMatchObject({ code: "session_missing" });
    }
    expect((await app.send(wrong)).status).toBe(401);
  });

  test("that have expired get their own code: session_expired", async () => {
    const token = await mintToken({ exp: Math.floor(app.clock.epochMs() / 1_000) + 60 });
    const headers = { Authorization: `Bearer ${token}` };
    expect((await app.send({ headers })).status).toBe(201);
    app.clock.advanceMs(89_000);
    expect((await app.send({ headers })).status).toBe(201);
    app.clock.advanceMs(2_000);
    const answer = await app.send({ headers });
    expect(answer.status).toBe(401);
    expect(await readProblem(answer)).toMatchObject({ code: "session_expired" });
    expect(app.sent).toHaveLength(2);
  });
});

describe("the answer", () => {
  const messages = [
    { content: "no role" },
    { role: "user", content: "from the user", name: "Ann", extra: "dropped" },
    { role: "assistant", content: "named nobody", name: null, tool_calls: [] },
    { role: "assistant", content: null, tool_calls: [{ id: "call_1", secret: true }] },
    { role: "assistant", content: "" },
    { role: "tool", content: "internal" },
    { role: "system", content: "internal" },
  ];

  test("contains the messages and nothing else", async () => {
    app = await createTestApp({ upstream: () => answerWith({ messages, chatCost: 1 }) });
    expect(await (await app.send()).json()).toEqual({
      messages: [
        { role: "assistant", content: "no role" },
        { role: "user", content: "from the user", name: "Ann" },
        { role: "assistant", content: "named nobody" },
      ],
    });
  });

  test("carries tool calls only where the operator exposes them", async () => {
    app = await createTestApp({
      environment: { EXPOSE_TOOL_CALLS: "true" },
      upstream: () => answerWith({ messages }, 200),
    });
    const answer = (await (await app.send()).json()) as { messages: unknown[] };
    expect(answer.messages).toHaveLength(messages.length);
    expect(answer.messages[3]).toEqual({
      role: "assistant",
      content: "",
      tool_calls: [{ id: "call_1", secret: true }],
    });
  });

  test("to a completion without messages is an empty list", async () => {
    app = await createTestApp({ upstream: () => answerWith({}) });
    expect(await (await app.send()).json()).toEqual({ messages: [] });
  });
});

describe("a defect", () => {
  test("is 500 without a word of it, is logged with its stack, and leaves the chat free", async () => {
    let broken = true;
    app = await createTestApp({
      upstream: () => {
        if (broken) throw new TypeError("canary in a message");
        return answerWith({});
      },
    });
    const answer = await app.send({ headers: { "X-Request-Id": "defect-1" } });
    expect(answer.status).toBe(500);
    expect(await readProblem(answer)).toMatchObject({
      code: "internal_error",
      instance: "defect-1",
    });
    expect(app.lines).toContainEqual(
      expect.objectContaining({
        level: "error",
        message: "defect",
        reqId: "defect-1",
        defect: "TypeError",
        stack: expect.stringContaining("at "),
      }),
    );
    expect(JSON.stringify(app.lines)).not.toContain("canary");
    broken = false;
    expect((await app.send()).status).toBe(201);
  });
});

test("the chat lock is renewed while a long answer is awaited, and freed after it", async () => {
  vi.useFakeTimers();
  try {
    const slow = Promise.withResolvers<undefined>();
    app = await createTestApp({
      upstream: async () => {
        await slow.promise;
        return answerWith({});
      },
    });
    const first = app.send();
    await vi.waitFor(() => expect(app.sent).toHaveLength(1));
    for (let passed = 0; passed < 60; passed += 5) {
      app.clock.advanceMs(5_000);
      await vi.advanceTimersByTimeAsync(5_000);
      const second = await app.send();
      expect(second.status).toBe(409);
      expect(await readProblem(second)).toMatchObject({ code: "chat_busy" });
    }
    slow.resolve(undefined);
    expect((await first).status).toBe(201);
    expect((await app.send()).status).toBe(201);
    expect(app.sent).toHaveLength(2);
  } finally {
    vi.useRealTimers();
  }
});
