/**
 * Contract of sending at most once with answer recovery: messages with an idempotency key and
 * without.
 */
import { beforeEach, describe, expect, test, vi } from "vitest";

import type { UpstreamReply } from "../../src/upstream/transport.ts";
import { createTestApp, readProblem, type TestApp, type TestSend } from "../support/app-fixture.ts";
import {
  createScriptedChats,
  LOST,
  NOT_SENT,
  replyWith,
  type ScriptedChat,
  type ScriptedChats,
  taken,
  TIMEOUT,
} from "../support/scripted-chats.ts";

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** Claims of sessions that do not expire during a test. */
const LASTING = { exp: 4_000_000_000 };

let upstream: ScriptedChats;
let app: TestApp;

beforeEach(async () => {
  await restart();
});

async function restart(environment: Record<string, string> = {}): Promise<void> {
  upstream = createScriptedChats("chat-1", "chat-2");
  app = await createTestApp({ environment, upstream: upstream.answer });
}

/** Sends a message with a key. */
function send(
  key: string,
  content = "hi",
  { headers, claims, ...rest }: Omit<TestSend, "body"> = {},
): Promise<Response> {
  return app.send({
    ...rest,
    claims: { ...LASTING, ...claims },
    body: JSON.stringify({ content }),
    headers: { "Idempotency-Key": key, ...headers },
  });
}

/** Sends a message without a key. */
function sendKeyless(content = "hi"): Promise<Response> {
  return app.send({ claims: LASTING, body: JSON.stringify({ content }) });
}

function chat(chatId = "chat-1"): ScriptedChat {
  const found = upstream.chats.get(chatId);
  if (found === undefined) throw new Error(`no ${chatId}`);
  return found;
}

/** The parts of an answer that a client acts on. */
async function tell(answer: Response) {
  const body = (await answer.json()) as { code?: string; messages?: { content: string }[] };
  return {
    status: answer.status,
    code: body.code,
    said: body.messages?.map(({ content }) => content),
    replayed: answer.headers.get("idempotency-replayed"),
    recovered: answer.headers.get("message-recovered"),
  };
}

const answered = (...said: string[]) => ({
  status: 201,
  code: undefined,
  said,
  replayed: null,
  recovered: null,
});
const recovered = (...said: string[]) => ({ ...answered(...said), recovered: "true" });
const replayed = (...said: string[]) => ({ ...answered(...said), replayed: "true" });
const problem = (status: number, code: string) => ({
  status,
  code,
  said: undefined,
  replayed: null,
  recovered: null,
});
const UNKNOWN = problem(504, "outcome_unknown");

/** Makes the next message hang until it is released. */
function hold(): { readonly letGo: () => void; readonly begun: () => Promise<void> } {
  const held = Promise.withResolvers<undefined>();
  const before = upstream.count("complete");
  upstream.next("complete", async (usual) => {
    await held.promise;
    return usual();
  });
  return {
    letGo: () => held.resolve(undefined),
    begun: async () => {
      await expect.poll(() => upstream.count("complete")).toBe(before + 1);
    },
  };
}

describe("the same message again", () => {
  test("is given the stored answer: same status and body, said to be replayed, nothing sent", async () => {
    const first = await send("key-1");
    const body = await first.clone().text();
    expect(await tell(first)).toEqual(answered("answer 1"));
    const calls = upstream.calls.length;
    for (let count = 0; count < 3; count += 1) {
      const again = await send("key-1");
      expect(again.status).toBe(201);
      expect(again.headers.get("content-type")).toBe("application/json");
      expect(await again.clone().text()).toBe(body);
      expect(await tell(again)).toEqual(replayed("answer 1"));
    }
    expect(upstream.calls).toHaveLength(calls);
  });

  test("spends no limit, and is answered though all are spent", async () => {
    await restart({ LIMIT_SESSION: "2/1h" });
    await send("key-1");
    const again = await send("key-1");
    expect(again.headers.get("ratelimit")).toContain('"session";r=1;');
    expect(again.headers.get("ratelimit-policy")).toContain('"session";q=2;w=3600');
    await send("key-2");
    expect((await send("key-3")).status).toBe(429);
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
  });

  test("has another code than a different message in the same busy chat", async () => {
    await send("key-1");
    const { letGo, begun } = hold();
    const second = send("key-2", "more");
    await begun();
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    letGo();
    expect((await second).status).toBe(201);
  });

  test("is the same for all JSON spellings of the content", async () => {
    await send("key-1", "ü");
    const again = await app.send({
      body: ' { "content" : "\\u00fc" } ',
      headers: { "Idempotency-Key": "key-1" },
    });
    expect(await tell(again)).toEqual(replayed("answer 1"));
  });

  test("of another instance is the same too", async () => {
    await send("key-1");
    app = await createTestApp({ upstream: upstream.answer, beside: app });
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
  });

  test("is given again for 24 hours, and after that is another message", async () => {
    await send("key-1");
    app.clock.advanceMs(DAY_MS - 1);
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    app.clock.advanceMs(1);
    expect(await tell(await send("key-1"))).toEqual(answered("answer 2"));
  });

  test.each([
    [400, 422, "message_rejected"],
    [422, 422, "message_rejected"],
    [409, 409, "chat_ended"],
    [410, 409, "chat_ended"],
  ])("is told UponAI's %i again, under its own request id", async (status, told, code) => {
    upstream.next("complete", replyWith(status));
    expect(await tell(await send("key-1"))).toEqual(problem(told, code));
    const again = await send("key-1", "hi", { headers: { "X-Request-Id": "again-1" } });
    expect(again.headers.get("x-request-id")).toBe("again-1");
    expect(again.headers.get("content-type")).toBe("application/problem+json");
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await readProblem(again)).toMatchObject({ status: told, code, instance: "again-1" });
    expect(upstream.count("complete")).toBe(1);
  });
});

describe("another message under the same key", () => {
  test("is 422, reaches nothing and spends nothing", async () => {
    await send("key-1", "hi");
    const calls = upstream.calls.length;
    for (const content of ["ho", "hi ", "Hi", "h\u0131"]) {
      const answer = await send("key-1", content);
      expect(answer.headers.get("ratelimit")).toContain('"session";r=19;');
      expect(await tell(answer)).toEqual(problem(422, "idempotency_key_reused"));
    }
    expect(upstream.calls).toHaveLength(calls);
  });

  test("is another one if it differs only in lone surrogates, which are equal in UTF-8", async () => {
    await send("key-1", "\ud800");
    expect(await tell(await send("key-1", "\udfff"))).toEqual(
      problem(422, "idempotency_key_reused"),
    );
    expect(await tell(await send("key-1", "\ud800"))).toEqual(replayed("answer 1"));
  });

  test("is 422 as well while the first is in progress and while its outcome is unknown", async () => {
    const { letGo, begun } = hold();
    const first = send("key-1", "hi");
    await begun();
    expect(await tell(await send("key-1", "ho"))).toEqual(problem(422, "idempotency_key_reused"));
    letGo();
    await first;
    upstream.next("complete", LOST);
    expect(await tell(await send("key-2", "one"))).toEqual(UNKNOWN);
    expect(await tell(await send("key-2", "two"))).toEqual(problem(422, "idempotency_key_reused"));
    expect(upstream.count("complete")).toBe(2);
  });
});

describe("while the first request is in progress", () => {
  test("the same key is 409 with a wait, and spends nothing; afterwards it is replayed", async () => {
    const { letGo, begun } = hold();
    const first = send("key-1");
    await begun();
    for (let count = 0; count < 3; count += 1) {
      const second = await send("key-1");
      expect(second.headers.get("retry-after")).toBe("1");
      expect(second.headers.get("ratelimit")).toContain('"session";r=19;');
      expect(await tell(second)).toEqual(problem(409, "request_in_progress"));
    }
    letGo();
    expect(await tell(await first)).toEqual(answered("answer 1"));
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("another key or none is chat_busy, and is not remembered", async () => {
    const { letGo, begun } = hold();
    const first = send("key-1");
    await begun();
    const second = await send("key-2", "more");
    expect(second.headers.get("retry-after")).toBe("1");
    expect(await tell(second)).toEqual(problem(409, "chat_busy"));
    expect(await tell(await sendKeyless("more"))).toEqual(problem(409, "chat_busy"));
    letGo();
    await first;
    expect(await tell(await send("key-2", "more"))).toEqual(answered("answer 2"));
  });

  test("fifty at once send once", async () => {
    await restart({ LIMIT_SESSION: "off", LIMIT_IP: "off" });
    const { letGo, begun } = hold();
    const sending = Promise.all(Array.from({ length: 50 }, () => send("key-1")));
    await begun();
    await expect.poll(() => app.lines.length).toBe(49);
    letGo();
    const answers = await sending;
    const statuses = answers.map(({ status }) => status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(1);
    expect(statuses.filter((status) => status === 409)).toHaveLength(49);
    expect(upstream.count("complete")).toBe(1);
  });
});

describe("an attempt that certainly was not taken is not remembered", () => {
  test.each<[string, UpstreamReply, number, string]>([
    ["429", replyWith(429), 503, "upstream_busy"],
    ["503 with Retry-After", replyWith(503, "", "5"), 503, "upstream_busy"],
    ["401", replyWith(401), 502, "upstream_auth_failed"],
    ["403", replyWith(403), 502, "upstream_auth_failed"],
    ["404", replyWith(404), 404, "chat_not_found"],
    ["no connection", { kind: "not_sent", reason: "connect_timeout" }, 502, "upstream_unreachable"],
    ["a time-out before it", { kind: "timeout", sent: false }, 504, "upstream_timeout"],
  ])("%s: the key may try again", async (_what, reply, status, code) => {
    upstream.next("complete", reply);
    expect(await tell(await send("key-1"))).toEqual(problem(status, code));
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(2);
  });

  test("a refused connection is tried twice, and the key may try again", async () => {
    upstream.next("complete", NOT_SENT, NOT_SENT);
    expect(await tell(await send("key-1"))).toEqual(problem(502, "upstream_unreachable"));
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
  });

  test("nor is one that a limit refused", async () => {
    await restart({ LIMIT_SESSION: "1/1m" });
    await send("key-1");
    expect(await tell(await send("key-2", "more"))).toEqual(problem(429, "rate_limited"));
    app.clock.advanceMs(60_000);
    expect(await tell(await send("key-2", "other"))).toEqual(answered("answer 2"));
  });

  test("nor one that the state could not admit", async () => {
    const { state } = app;
    let out = true;
    app = await createTestApp({
      upstream: upstream.answer,
      services: {
        state: {
          ...state,
          admit: (request) =>
            out ? Promise.resolve({ kind: "unavailable" }) : state.admit(request),
        },
      },
    });
    expect(await tell(await send("key-1"))).toEqual(problem(503, "state_unavailable"));
    expect(upstream.calls).toEqual([]);
    out = false;
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
  });

  test("nor one that was no message: its body and its type come first", async () => {
    const headers = { "Idempotency-Key": "key-1" };
    expect((await app.send({ headers, body: '{"content":""}' })).status).toBe(400);
    expect((await app.send({ headers: { ...headers, "Content-Type": "text/plain" } })).status).toBe(
      415,
    );
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
    // A stored answer is not given for a body that is not valid.
    expect((await app.send({ headers, body: '{"content":"hi","x":1}' })).status).toBe(400);
    expect((await app.send({ headers: { ...headers, "Content-Type": "text/plain" } })).status).toBe(
      415,
    );
  });
});

const UNKNOWN_OUTCOMES: [string, UpstreamReply, ReturnType<typeof problem>][] = [
  ["500", replyWith(500), problem(502, "upstream_error")],
  ["502", replyWith(502), problem(502, "upstream_error")],
  ["503 without Retry-After", replyWith(503), problem(502, "upstream_error")],
  ["504", replyWith(504), problem(502, "upstream_error")],
  ["418", replyWith(418), problem(502, "upstream_error")],
  ["a time-out", TIMEOUT, problem(504, "upstream_timeout")],
  ["a lost connection", LOST, UNKNOWN],
  ["no JSON", replyWith(201, "<html>"), problem(502, "upstream_malformed")],
  ["a wrong shape", replyWith(201, '{"messages":[1]}'), problem(502, "upstream_malformed")],
  ["a broken or too large body", { kind: "unusable" }, problem(502, "upstream_malformed")],
  ["a redirect", replyWith(307), problem(502, "upstream_malformed")],
  ["204", replyWith(204), problem(502, "upstream_malformed")],
  ["202", replyWith(202), problem(502, "upstream_malformed")],
  ["100", replyWith(100), problem(502, "upstream_malformed")],
];

describe.each(UNKNOWN_OUTCOMES)("after %s", (_what, reply, told) => {
  test("the answer is recovered from the transcript, and the message is never sent again", async () => {
    upstream.next("complete", taken(reply));
    const first = await send("key-1");
    expect(await tell(first)).toEqual(recovered("answer 1"));
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("a message that is not in the transcript is unknown, and never sent again", async () => {
    upstream.next("complete", reply);
    for (let count = 0; count < 3; count += 1) {
      expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    }
    expect(upstream.count("complete")).toBe(1);
  });

  test("the call's own failure is told when the transcript cannot be read", async () => {
    // A first message, so that the state of the transcript is known.
    await send("key-0", "before");
    upstream.next("complete", taken(reply));
    upstream.always("get", replyWith(500));
    expect(await tell(await send("key-1"))).toEqual(told);
    expect(upstream.count("get")).toBeGreaterThan(1);
    upstream.always("get", undefined);
    expect(await tell(await send("key-1"))).toEqual(recovered("answer 2"));
    expect(upstream.count("complete")).toBe(2);
  });

  test("without a key the failure is answered at once without recovery, and the next send is another message", async () => {
    upstream.next("complete", taken(reply));
    const startedMs = app.clock.monotonicMs();
    expect(await tell(await sendKeyless())).toEqual(told);
    expect(app.clock.monotonicMs()).toBe(startedMs);
    expect(upstream.count("get")).toBe(0);
    expect(await tell(await sendKeyless())).toEqual(answered("answer 2"));
  });
});

/** The message arrives at once, and its answer `afterMs` milliseconds later. */
function answerLate(afterMs: number): void {
  let fromMs = Infinity;
  upstream.next("complete", () => {
    fromMs = app.clock.monotonicMs();
    chat().messages.push({ role: "user", content: "hi" });
    return LOST;
  });
  let late = false;
  upstream.always("get", (usual) => {
    if (!late && app.clock.monotonicMs() - fromMs >= afterMs) {
      late = true;
      chat().messages.push({ role: "assistant", content: "late answer" });
    }
    return usual();
  });
}

describe("the recovery", () => {
  test.each([0, 1_000, 10_000, 19_000])("finds an answer that comes after %i ms", async (ms) => {
    // Leases are renewed as the clock moves, as in real time.
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      app = await createTestApp({
        upstream: upstream.answer,
        beside: app,
        services: {
          pause: async (pauseMs) => {
            app.clock.advanceMs(pauseMs);
            await vi.advanceTimersByTimeAsync(pauseMs);
          },
        },
      });
      answerLate(ms);
      expect(await tell(await send("key-1"))).toEqual(recovered("late answer"));
      expect(app.clock.monotonicMs()).toBeLessThanOrEqual(20_000);
      expect(await tell(await send("key-1"))).toEqual(replayed("late answer"));
    } finally {
      vi.useRealTimers();
    }
  });

  test("that arrived after its leases had expired counts, if no other message was admitted meanwhile", async () => {
    // The leases are not renewed here: the clock moves, the timers do not run.
    answerLate(19_000);
    expect(await tell(await send("key-1"))).toEqual(recovered("late answer"));
    expect(await tell(await send("key-1"))).toEqual(replayed("late answer"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("that outlived its leases gives no answer that is another's", async () => {
    upstream.next("complete", LOST);
    // After the lock has expired, another message with the same content is sent. It takes the
    // position in the transcript where the first one is expected.
    upstream.always("get", async (usual) => {
      if (app.clock.monotonicMs() < 15_000 || upstream.count("complete") > 1) return usual();
      expect(await tell(await send("key-2"))).toEqual(answered("answer 1"));
      return usual();
    });
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(await tell(await send("key-2"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(2);
  });

  test("gives nothing that the state could not confirm: it may be another's by then", async () => {
    const { state } = app;
    let deaf = false;
    const other = app;
    const unless = <Answer>(ask: () => Promise<Answer>) =>
      deaf ? Promise.resolve("unavailable" as const) : ask();
    app = await createTestApp({
      upstream: upstream.answer,
      beside: app,
      services: {
        state: {
          ...state,
          renew: (ticket, markBefore) => unless(() => state.renew(ticket, markBefore)),
          settle: (ticket, settlement) => unless(() => state.settle(ticket, settlement)),
        },
      },
    });
    upstream.next("complete", () => {
      deaf = true;
      return LOST;
    });
    let spoken = false;
    upstream.always("get", async (usual) => {
      if (deaf && !spoken && app.clock.monotonicMs() >= 15_000) {
        spoken = true;
        expect((await other.send({ claims: LASTING })).status).toBe(201);
      }
      return usual();
    });
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(spoken).toBe(true);
    deaf = false;
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(upstream.count("complete")).toBe(2);
  });

  test("waits for the whole of an answer that comes in parts", async () => {
    await send("key-0", "before");
    upstream.next("complete", () => {
      chat().messages.push({ role: "user", content: "hi" }, { content: "Let me see." });
      return LOST;
    });
    const looks = upstream.count("get");
    upstream.always("get", (usual) => {
      if (upstream.count("get") === looks + 2) chat().messages.push({ content: "It is 5." });
      return usual();
    });
    expect(await tell(await send("key-1"))).toEqual(recovered("Let me see.", "It is 5."));
  });

  test("lasts for RECOVERY_WINDOW, with pauses that grow, and then leaves it", async () => {
    answerLate(DAY_MS);
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(app.clock.monotonicMs()).toBeGreaterThan(15_000);
    expect(app.clock.monotonicMs()).toBeLessThanOrEqual(20_000);
    expect(upstream.count("get")).toBeLessThan(15);

    await restart({ RECOVERY_WINDOW: "2s" });
    answerLate(DAY_MS);
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(app.clock.monotonicMs()).toBeLessThanOrEqual(2_000);
  });

  test("is repeated by a later call, which finds an answer that has arrived since", async () => {
    answerLate(60_000);
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    app.clock.advanceMs(60_000);
    expect(await tell(await send("key-1"))).toEqual(recovered("late answer"));
    expect(await tell(await send("key-1"))).toEqual(replayed("late answer"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("of a later call spends the limits, and keeps others with the key waiting", async () => {
    await restart({ LIMIT_SESSION: "3/1h", RECOVERY_WINDOW: "1s" });
    upstream.next("complete", LOST);
    const first = await send("key-1");
    expect(first.headers.get("ratelimit")).toContain('"session";r=2;');
    const looked = Promise.withResolvers<undefined>();
    upstream.always("get", async (usual) => {
      await looked.promise;
      return usual();
    });
    const looks = upstream.count("get");
    const second = send("key-1");
    await expect.poll(() => upstream.count("get")).toBe(looks + 1);
    expect(await tell(await send("key-1"))).toEqual(problem(409, "request_in_progress"));
    looked.resolve(undefined);
    expect((await second).headers.get("ratelimit")).toContain('"session";r=1;');
  });

  test("takes all that the agent said, and nothing said before or after", async () => {
    await send("key-0", "before");
    upstream.next("complete", () => {
      chat().messages.push(
        { role: "user", content: "hi" },
        { role: "assistant", tool_calls: [{ id: "call-1" }] },
        { role: "tool", content: "internal" },
        { content: "one" },
        { role: "assistant", content: "two", name: "helper" },
        { role: "user", content: "of the widget" },
        { role: "assistant", content: "to the widget" },
      );
      return LOST;
    });
    const answer = await send("key-1");
    expect(await answer.json()).toEqual({
      messages: [
        { role: "assistant", content: "one" },
        { role: "assistant", content: "two", name: "helper" },
      ],
    });
  });

  test.each<[string, (transcript: ScriptedChat["messages"]) => void]>([
    ["other words are at its place", (all) => all.splice(2, 1, { role: "user", content: "ho" })],
    ["something was put before it", (all) => all.unshift({ role: "user", content: "hi" })],
    ["something before it was changed", (all) => all.splice(1, 1, { content: "other" })],
    ["something before it was taken away", (all) => all.splice(0, 1)],
    ["it is not a user's", (all) => all.splice(2, 1, { role: "assistant", content: "hi" })],
    ["no answer follows it", (all) => all.splice(3, 1)],
    ["an empty answer follows it", (all) => all.splice(3, 1, { role: "assistant", content: "" })],
    ["another message follows it", (all) => all.splice(3, 0, { role: "user", content: "ho" })],
    ["a tool call follows it", (all) => all.splice(3, 1, { tool_calls: [{ id: "call-1" }] })],
  ])("takes no answer where %s", async (_what, change) => {
    await send("key-0", "before");
    upstream.next("complete", (usual) => {
      usual();
      change(chat().messages);
      return LOST;
    });
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(upstream.count("complete")).toBe(2);
  });

  test("ends when the client hangs up, and the key's next call recovers again", async () => {
    const client = new AbortController();
    answerLate(60_000);
    upstream.always("get", (usual) => {
      if (upstream.count("get") === 3) client.abort();
      return usual();
    });
    await send("key-1", "hi", { signal: client.signal });
    expect(upstream.count("get")).toBe(3);
    chat().messages.push({ role: "assistant", content: "late answer" });
    expect(await tell(await send("key-1"))).toEqual(recovered("late answer"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("ends when the instance drains, and another instance recovers again", async () => {
    upstream.next("complete", taken(LOST));
    upstream.always("get", (usual) => {
      if (upstream.count("get") === 2) void app.gate.drain();
      return upstream.count("get") === 1 ? usual() : replyWith(500);
    });
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    expect(upstream.count("get")).toBe(2);
    upstream.always("get", undefined);
    app = await createTestApp({ upstream: upstream.answer, beside: app });
    expect(await tell(await send("key-1"))).toEqual(recovered("answer 1"));
  });

  test("is not attempted for answered messages", async () => {
    await send("key-1");
    await send("key-2", "more");
    upstream.next("complete", replyWith(422));
    await send("key-3", "rejected");
    // Read once, before the first message, since the state of the transcript was unknown.
    expect(upstream.count("get")).toBe(1);
  });
});

describe("the state of the transcript", () => {
  test("is read before the first message with a key, and known from then on", async () => {
    chat().messages.push({ role: "assistant", content: "Welcome" });
    await send("key-1");
    expect(upstream.calls.map(({ operation }) => operation)).toEqual(["get", "complete"]);
    upstream.next("complete", taken(LOST));
    expect(await tell(await send("key-2", "more"))).toEqual(recovered("answer 2"));
    expect(upstream.calls.map(({ operation }) => operation)).toEqual([
      "get",
      "complete",
      "complete",
      "get",
      "get",
    ]);
  });

  test("is learnt from starting and from reading the chat", async () => {
    await restart({ UPONAI_AGENT_ID: "agent-1" });
    await app.ask("POST /chat");
    upstream.next("complete", taken(LOST));
    expect(await tell(await send("key-1", "hi", { chatId: "started-1" }))).toEqual(
      recovered("answer 1"),
    );
    await app.ask("GET /chat/chat-1");
    const looks = upstream.count("get");
    await send("key-2");
    expect(upstream.count("get")).toBe(looks);
  });

  test("is mended by reading the chat, where the agent has spoken by itself", async () => {
    await send("key-1");
    chat().messages.push({ role: "assistant", content: "Are you still there?" });
    expect((await app.ask("GET /chat/chat-1", { claims: LASTING })).status).toBe(200);
    upstream.next("complete", taken(LOST));
    expect(await tell(await send("key-2", "more"))).toEqual(recovered("answer 2"));
  });

  test("unknown: the message is sent all the same, without recovery", async () => {
    upstream.always("get", replyWith(500));
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));

    upstream.next("complete", taken(LOST));
    const looks = upstream.count("get");
    expect(await tell(await send("key-2", "more"))).toEqual(UNKNOWN);
    expect(upstream.count("get")).toBe(looks + 1);
    // The state of the transcript before the message cannot be learnt afterwards.
    upstream.always("get", undefined);
    expect(await tell(await send("key-2", "more"))).toEqual(UNKNOWN);
    expect(upstream.count("complete")).toBe(2);
  });

  test("is unreliable while an earlier message may still arrive: nothing is recovered then", async () => {
    upstream.next("complete", LOST);
    expect(await tell(await send("key-1", "slow"))).toEqual(UNKNOWN);
    upstream.next("complete", () => {
      chat().messages.push({ role: "user", content: "slow" }, { content: "to slow" });
      chat().messages.push({ role: "user", content: "hi" }, { content: "to hi" });
      return LOST;
    });
    const second = await tell(await send("key-2"));
    // The answer, if any, is not that of another message.
    expect([UNKNOWN, recovered("to hi")]).toContainEqual(second);
    expect(await tell(await send("key-1", "slow"))).toEqual(recovered("to slow"));
    expect(upstream.count("complete")).toBe(2);
  });

  test("is counted right when the answer repeats the message", async () => {
    await send("key-0", "before");
    upstream.next("complete", (usual) => {
      usual();
      return replyWith(201, { messages: chat().messages.slice(-2) });
    });
    await send("key-1", "hi");
    upstream.next("complete", taken(LOST));
    expect(await tell(await send("key-2", "more"))).toEqual(recovered("answer 3"));
  });
});

test("many failed recoveries of one lost answer do not open the circuit for other messages", async () => {
  await send("key-0", "before");
  upstream.always("get", replyWith(500));
  upstream.next("complete", taken(LOST));
  const looks = upstream.count("get");
  expect((await send("key-1", "lost")).status).toBe(504);
  expect(upstream.count("get") - looks).toBeGreaterThan(5);
  for (const key of ["key-2", "key-3", "key-4"]) {
    upstream.next("complete", LOST);
    expect(await tell(await sendKeyless(key))).toEqual(UNKNOWN);
  }
  expect((await sendKeyless("and on")).status).toBe(201);
});

describe("a second message with the same content", () => {
  test("after an answer is a new message with its own answer", async () => {
    await send("key-1", "yes");
    upstream.next("complete", taken(LOST));
    expect(await tell(await send("key-2", "yes"))).toEqual(recovered("answer 2"));
    expect(await tell(await send("key-1", "yes"))).toEqual(replayed("answer 1"));
  });

  test.each([true, false])(
    "makes both answers uncertain while the first one's outcome is unknown (arrived: %s)",
    async (arrived) => {
      await send("key-0", "before");
      upstream.always("get", replyWith(500));
      upstream.next("complete", arrived ? taken(LOST) : LOST);
      expect((await send("key-1", "yes")).status).toBe(504);
      upstream.next("complete", taken(LOST));
      expect((await send("key-2", "yes")).status).toBe(504);
      upstream.always("get", undefined);
      const looks = upstream.count("get");
      expect(await tell(await send("key-1", "yes"))).toEqual(UNKNOWN);
      expect(await tell(await send("key-2", "yes"))).toEqual(UNKNOWN);
      // The transcript shows no difference between them.
      expect(upstream.count("get")).toBe(looks);
      expect(upstream.count("complete")).toBe(3);
    },
  );

  test("without a key make the first's answer uncertain too", async () => {
    upstream.next("complete", LOST);
    expect(await tell(await send("key-1", "yes"))).toEqual(UNKNOWN);
    expect(await tell(await sendKeyless("yes"))).toEqual(answered("answer 1"));
    expect(await tell(await send("key-1", "yes"))).toEqual(UNKNOWN);
    expect(upstream.count("complete")).toBe(2);
  });

  test.each([true, false])(
    "is contested for 25 hours, even if it is repeated meanwhile (first with a key: %s)",
    async (first) => {
      upstream.next("complete", LOST);
      expect(await tell(await (first ? send("key-1", "yes") : sendKeyless("yes")))).toEqual(
        UNKNOWN,
      );
      for (let hours = 0; hours < 24; hours += 6) {
        app.clock.advanceMs(6 * HOUR_MS);
        expect((await sendKeyless("yes")).status).toBe(201);
      }
      upstream.next("complete", taken(LOST));
      expect(await tell(await send("key-2", "yes"))).toEqual(UNKNOWN);
      // A message that is unknown since then is unresolved for as long again. Answered ones are
      // not.
      app.clock.advanceMs(25 * HOUR_MS);
      expect((await sendKeyless("yes")).status).toBe(201);
      upstream.next("complete", taken(LOST));
      expect((await tell(await send("key-3", "yes"))).recovered).toBe("true");
    },
  );

  test("are answered as ever when UponAI does answer", async () => {
    upstream.next("complete", LOST);
    await send("key-1", "yes");
    expect(await tell(await send("key-2", "yes"))).toEqual(answered("answer 1"));
    expect(await tell(await send("key-2", "yes"))).toEqual(replayed("answer 1"));
  });

  test("in another chat are no matter", async () => {
    upstream.next("complete", LOST);
    await send("key-1", "yes");
    upstream.next("complete", taken(LOST));
    expect(await tell(await send("key-2", "yes", { chatId: "chat-2" }))).toEqual(
      recovered("answer 1"),
    );
  });
});

describe("a key belongs to", () => {
  test("its subject", async () => {
    await restart({ CHAT_ACCESS: "workspace" });
    await send("key-1");
    expect(await tell(await send("key-1", "hi", { sub: "bob" }))).toEqual(answered("answer 2"));
    expect(await tell(await send("key-1", "ho", { sub: "carol" }))).toEqual(answered("answer 3"));
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
  });

  test("its chat", async () => {
    await send("key-1");
    const other = await send("key-1", "ho", { chatId: "chat-2" });
    expect(await tell(other)).toEqual(answered("answer 2"));
  });

  test("its workspace", async () => {
    await restart({ WORKSPACES: '{"acme":42,"globex":43}' });
    await send("key-1", "hi", { claims: { workspace: "acme" } });
    const other = await send("key-1", "ho", { claims: { workspace: "globex" } });
    expect(await tell(other)).toEqual(answered("answer 2"));
  });

  test("its subject, not its session", async () => {
    await send("key-1", "hi", { claims: { sid: "one" } });
    expect(await tell(await send("key-1", "hi", { claims: { sid: "two" } }))).toEqual(
      replayed("answer 1"),
    );
  });

  test("exactly one spelling", async () => {
    await send("key-1");
    for (const key of ["KEY-1", '"key-1"', "key-1,key-1", "key-10"]) {
      expect((await tell(await send(key, key))).replayed).toBeNull();
    }
  });
});

describe("the header", () => {
  test.each(["a", "~", "!", '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a".repeat(255), "a,b"])(
    "%j is a key",
    async (key) => {
      expect((await send(key)).status).toBe(201);
      expect((await send(key)).headers.get("idempotency-replayed")).toBe("true");
    },
  );

  test.each(["", " ", "a b", "a\tb", "a".repeat(256), "\u00e9", "a\u0080", "a\u007f", "a, b"])(
    "%j is 400 and reaches nothing",
    async (key) => {
      const answer = await send(key);
      expect(answer.headers.get("ratelimit")).toBeNull();
      expect(await tell(answer)).toEqual(problem(400, "invalid_request"));
      expect(upstream.calls).toEqual([]);
    },
  );

  test("that comes twice is 400", async () => {
    const headers = new Headers();
    headers.append("Idempotency-Key", "key-1");
    headers.append("Idempotency-Key", "key-2");
    const both = headers.get("Idempotency-Key") ?? "";
    expect(await tell(await send(both))).toEqual(problem(400, "invalid_request"));
  });

  test("goes nowhere: neither upstream nor into the log", async () => {
    await send("key-canary");
    await send("key-canary");
    expect(JSON.stringify([app.sent, app.lines])).not.toContain("key-canary");
  });
});

describe("the access line", () => {
  test("says which answers were replayed and which recovered", async () => {
    upstream.next("complete", taken(LOST));
    await send("key-1");
    await send("key-1");
    await send("key-2", "more");
    const told = app.lines
      .filter(({ message }) => message === "request")
      .map((line) => ({
        recovered: line["recovered"],
        replayed: line["replayed"],
        upstreamStatus: line["upstreamStatus"],
      }));
    expect(told).toEqual([
      { recovered: true, replayed: undefined, upstreamStatus: undefined },
      { recovered: undefined, replayed: true, upstreamStatus: undefined },
      { recovered: undefined, replayed: undefined, upstreamStatus: 201 },
    ]);
  });
});

describe("the order of checks", () => {
  test("an ended session gets no stored answer", async () => {
    const claims = { sid: "login-1" };
    await send("key-1", "hi", { claims });
    expect((await app.ask("DELETE /session", { claims })).status).toBe(204);
    expect(await tell(await send("key-1", "hi", { claims }))).toEqual(
      problem(401, "session_revoked"),
    );
  });

  test("a stored answer comes before the limits, these before a key in progress and a busy chat", async () => {
    await restart({ LIMIT_SESSION: "2/1h" });
    await send("key-1");
    const { letGo, begun } = hold();
    const second = send("key-2", "more");
    await begun();
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    expect(await tell(await send("key-1", "ho"))).toEqual(problem(422, "idempotency_key_reused"));
    expect(await tell(await send("key-2", "more"))).toEqual(problem(429, "rate_limited"));
    expect(await tell(await send("key-3"))).toEqual(problem(429, "rate_limited"));
    letGo();
    await second;
  });

  test("a key in progress comes before a busy chat", async () => {
    const { letGo, begun } = hold();
    const first = send("key-1");
    await begun();
    expect(await tell(await send("key-1"))).toEqual(problem(409, "request_in_progress"));
    letGo();
    await first;
  });
});

describe("when the state fails after UponAI answered", () => {
  test("the answer is given, logged as not stored, and found again by the transcript", async () => {
    const { state } = app;
    let out = true;
    app = await createTestApp({
      upstream: upstream.answer,
      beside: app,
      services: {
        state: {
          ...state,
          settle: (ticket, settlement) =>
            out ? Promise.resolve("unavailable") : state.settle(ticket, settlement),
        },
      },
    });
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
    expect(app.lines).toContainEqual(
      expect.objectContaining({
        level: "warn",
        message: "message was not settled",
        settled: "unavailable",
        fate: "taken",
      }),
    );
    out = false;
    // Leases expire by themselves.
    expect(await tell(await send("key-1"))).toEqual(problem(409, "request_in_progress"));
    expect(await tell(await send("key-2", "more"))).toEqual(problem(409, "chat_busy"));
    app.clock.advanceMs(15_000);
    expect(await tell(await send("key-1"))).toEqual(recovered("answer 1"));
    expect(upstream.count("complete")).toBe(1);
  });
});

/** Makes the read of the chat before the message take `ms` milliseconds. */
function stall(ms: number): void {
  upstream.next("get", (usual) => {
    app.clock.advanceMs(ms);
    return usual();
  });
}

describe("between admission and sending", () => {
  test("a lease may nearly pass", async () => {
    stall(14_999);
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
  });

  test("takes longer than a lease: nothing is sent, and the key may be used again", async () => {
    stall(15_000);
    expect(await tell(await send("key-1"))).toEqual(problem(503, "state_unavailable"));
    expect(upstream.count("complete")).toBe(0);
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
  });

  test("others may go on once it has passed, and are sent alone", async () => {
    upstream.next("get", async (usual) => {
      app.clock.advanceMs(15_000);
      expect(await tell(await send("key-2"))).toEqual(answered("answer 1"));
      return usual();
    });
    expect(await tell(await send("key-1"))).toEqual(problem(503, "state_unavailable"));
    expect(await tell(await send("key-2"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(1);
  });
});

describe("a renewal that is slower than UponAI's answer", () => {
  test("is completed before the settlement: it would otherwise lease again what the settlement frees", async () => {
    const { state } = app;
    const heard = Promise.withResolvers<undefined>();
    let renewing = false;
    app = await createTestApp({
      upstream: upstream.answer,
      beside: app,
      services: {
        state: {
          ...state,
          renew: async (ticket, markBefore) => {
            renewing = true;
            await heard.promise;
            return state.renew(ticket, markBefore);
          },
        },
      },
    });
    upstream.next("complete", replyWith(429));
    const first = send("key-1");
    await expect.poll(() => renewing && upstream.count("complete") === 1).toBe(true);
    heard.resolve(undefined);
    expect(await tell(await first)).toEqual(problem(503, "upstream_busy"));
    expect(await tell(await sendKeyless("more"))).toEqual(answered("answer 1"));
    expect(await tell(await send("key-1"))).toEqual(answered("answer 2"));
  });

  test("that fails is no matter", async () => {
    const { state } = app;
    app = await createTestApp({
      upstream: upstream.answer,
      beside: app,
      services: { state: { ...state, renew: () => Promise.reject(new Error("no state")) } },
    });
    expect(await tell(await send("key-1"))).toEqual(answered("answer 1"));
  });
});

describe("a sender that has crashed", () => {
  test("frees its key and chat after 15 s, and its key is answered by the transcript", async () => {
    const gone = hold();
    void send("key-1");
    await gone.begun();
    app.clock.advanceMs(14_999);
    expect(await tell(await send("key-1"))).toEqual(problem(409, "request_in_progress"));
    app.clock.advanceMs(1);
    chat().messages.push({ role: "user", content: "hi" }, { role: "assistant", content: "found" });
    expect(await tell(await send("key-1"))).toEqual(recovered("found"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("that resumes late still settles its own message first", async () => {
    const late = hold();
    const first = send("key-1");
    await late.begun();
    app.clock.advanceMs(15_000);
    expect(await tell(await send("key-1"))).toEqual(UNKNOWN);
    late.letGo();
    expect(await tell(await first)).toEqual(answered("answer 1"));
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(1);
  });

  test("is no client that hung up: its message is answered and kept", async () => {
    const client = new AbortController();
    const { letGo, begun } = hold();
    const first = send("key-1", "hi", { signal: client.signal });
    await begun();
    client.abort();
    letGo();
    await first;
    expect(await tell(await send("key-1"))).toEqual(replayed("answer 1"));
    expect(upstream.count("complete")).toBe(1);
  });
});

test("a defect leaves the outcome unknown, never another message", async () => {
  upstream.next("complete", (usual) => {
    usual();
    throw new TypeError("a defect");
  });
  expect(await tell(await send("key-1"))).toEqual(problem(500, "internal_error"));
  expect(await tell(await send("key-1"))).toEqual(recovered("answer 1"));
  expect(upstream.count("complete")).toBe(1);
});
