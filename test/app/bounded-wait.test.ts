/** Contract of the bounded wait: `Prefer: respond-async, wait=N` on messages with a key. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { AdmissionState } from "../../src/admission/admission.ts";
import { createTestApp, type TestApp, type TestSend } from "../support/app-fixture.ts";
import {
  createScriptedChats,
  LOST,
  replyWith,
  type ScriptedChats,
  taken,
} from "../support/scripted-chats.ts";

/** Claims of sessions that do not expire during a test. */
const LASTING = { exp: 4_000_000_000 };

let upstream: ScriptedChats;
let app: TestApp;
/** The variables of all instances of a test. */
let variables: Record<string, string>;

/** Leases are renewed by the clock that the tests move. */
const elapsed = (ms: number) => void vi.advanceTimersByTime(ms);

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  await restart();
});
afterEach(() => void vi.useRealTimers());

async function restart(
  environment: Record<string, string> = {},
  more: { readonly joins?: boolean } = {},
): Promise<void> {
  variables = environment;
  upstream = createScriptedChats("chat-1", "chat-2");
  app = await createTestApp({ environment, upstream: upstream.answer, elapsed, ...more });
}

interface Sending extends Omit<TestSend, "body"> {
  readonly key?: string | undefined;
  readonly prefer?: string | undefined;
  readonly content?: string;
  readonly on?: TestApp;
}

/** Sends a message with a bounded wait of 25 s. */
function send({ key = "key-1", content = "hi", on = app, ...rest }: Sending = {}) {
  const { headers, prefer = "respond-async, wait=25", claims, ...others } = rest;
  return on.send({
    ...others,
    claims: { ...LASTING, ...claims },
    body: JSON.stringify({ content }),
    headers: { "Idempotency-Key": key, Prefer: prefer, ...headers },
  });
}

async function tell(answer: Response) {
  const body = (await answer.json()) as {
    code?: string;
    status?: unknown;
    messages?: { content: string }[];
  };
  return {
    status: answer.status,
    code: body.code,
    said: body.messages?.map(({ content }) => content).join(),
    applied: answer.headers.get("preference-applied"),
    retryAfter: answer.headers.get("retry-after"),
    replayed: answer.headers.get("idempotency-replayed"),
  };
}

const RUNNING = {
  status: 202,
  code: undefined,
  said: undefined,
  applied: "respond-async, wait=25",
  retryAfter: "0",
  replayed: null,
};
const ANSWERED = {
  status: 201,
  code: undefined,
  said: "answer 1",
  applied: "wait=25",
  retryAfter: null,
  replayed: null,
};
const REPLAYED = { ...ANSWERED, replayed: "true" };

/** Makes the next message hang until it is released. */
function hold() {
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

/** Resolves when so many requests wait. */
async function waiting(count: number, on = app): Promise<void> {
  await expect.poll(() => on.waiting()).toBe(count);
}

/** A state that counts its admissions. */
function countAdmissions(state: AdmissionState): AdmissionState & { readonly admissions: number } {
  let admissions = 0;
  return {
    ...state,
    get admissions() {
      return admissions;
    },
    admit(request) {
      admissions += 1;
      return state.admit(request);
    },
  };
}

/** Another instance on the state of the first. */
function startBeside(state?: AdmissionState): Promise<TestApp> {
  return createTestApp({
    environment: variables,
    upstream: upstream.answer,
    beside: app,
    elapsed,
    services: state === undefined ? {} : { state },
  });
}

describe("an answer that is there in time", () => {
  test("is the usual answer, and says which wait was applied", async () => {
    const answer = await send();
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(await tell(answer)).toEqual(ANSWERED);
    expect(await tell(await send())).toEqual(REPLAYED);
    expect(app.waiting()).toBe(0);
    expect(app.gate.inFlight).toBe(0);
  });

  test("ends the wait when it comes, not when the time is over", async () => {
    const { letGo, begun } = hold();
    const sending = send();
    await begun();
    await app.elapse(24_000);
    letGo();
    expect(await tell(await sending)).toEqual(ANSWERED);
    expect(app.lines.find(({ message }) => message === "request")).toMatchObject({
      status: 201,
      waitedMs: 24_000,
    });
  });

  test.each([
    [429, 503, "upstream_busy"],
    [404, 404, "chat_not_found"],
    [409, 409, "chat_ended"],
    [422, 422, "message_rejected"],
  ])("may be a problem: UponAI's %i is %i %s to all that wait", async (from, status, code) => {
    const held = Promise.withResolvers<undefined>();
    upstream.next("complete", async () => {
      await held.promise;
      return replyWith(from);
    });
    const first = send();
    await waiting(1);
    const second = send();
    await waiting(2);
    held.resolve(undefined);
    for (const answer of [first, second]) {
      expect(await tell(await answer)).toMatchObject({ status, code, applied: "wait=25" });
    }
    expect(upstream.count("complete")).toBe(1);
  });
});

describe("an answer that is not there in time", () => {
  test("is 202 to the request, and the message goes on", async () => {
    const { letGo, begun } = hold();
    const sending = send();
    await begun();
    await app.elapse(24_999);
    expect(app.waiting()).toBe(1);
    await app.elapse(1);
    const answer = await sending;
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.headers.get("cache-control")).toBe("no-store");
    expect(answer.headers.get("ratelimit")).toContain('"session"');
    expect(await answer.clone().text()).toBe('{"status":"running"}');
    expect(await tell(answer)).toEqual(RUNNING);
    // The message keeps the place of its request.
    expect(app.gate.inFlight).toBe(1);
    letGo();
    await expect.poll(() => app.gate.inFlight).toBe(0);
    expect(await tell(await send())).toEqual(REPLAYED);
    expect(upstream.count("complete")).toBe(1);
  });

  test("is logged: the 202 at info with its wait, and how the message ended", async () => {
    const { letGo, begun } = hold();
    const sending = send({ headers: { "X-Request-Id": "first" } });
    await begun();
    await app.elapse(25_000);
    await sending;
    const lines = () => app.lines.filter(({ reqId }) => reqId === "first");
    expect(lines()).toEqual([
      expect.objectContaining({ level: "info", message: "request", status: 202, waitedMs: 25_000 }),
    ]);
    expect(lines()[0]).toMatchObject({ upstreamMs: undefined });
    letGo();
    await expect.poll(() => lines().length).toBe(2);
    expect(lines()[1]).toMatchObject({
      level: "info",
      message: "message ended after its request was answered",
      upstreamStatus: 201,
      upstreamMs: 25_000,
      code: undefined,
    });
  });

  test.each([
    [replyWith(500), "warn", "outcome_unknown"],
    [replyWith(403), "error", "upstream_auth_failed"],
    [replyWith(409), "info", "chat_ended"],
  ])("has a log line at the level of its failure", async (reply, level, code) => {
    const held = Promise.withResolvers<undefined>();
    upstream.next("complete", async () => {
      await held.promise;
      return reply;
    });
    expect((await send({ prefer: "respond-async" })).status).toBe(202);
    held.resolve(undefined);
    const late = "message ended after its request was answered";
    await expect
      .poll(() => app.lines.find(({ message }) => message === late))
      .toMatchObject({ level, code });
  });

  test("is not waited for with respond-async alone", async () => {
    const { letGo, begun } = hold();
    const prefer = "respond-async";
    const first = await tell(await send({ prefer }));
    expect(first).toEqual({ ...RUNNING, applied: "respond-async" });
    await begun();
    expect(await tell(await send({ prefer }))).toEqual(first);
    expect(app.waiting()).toBe(0);
    letGo();
    await expect.poll(() => app.gate.inFlight).toBe(0);
    expect(await tell(await send({ prefer }))).toEqual({ ...REPLAYED, applied: null });
    expect(upstream.count("complete")).toBe(1);
  });

  test("is waited for 1 to 55 s, whatever the client asks for", async () => {
    for (const [asked, applied] of [
      [0, 1],
      [56, 55],
      [3_600, 55],
    ]) {
      await restart();
      const { letGo } = hold();
      const sending = send({ prefer: `respond-async, wait=${asked}` });
      await waiting(1);
      await app.elapse((applied ?? 0) * 1_000 - 1);
      expect(app.waiting()).toBe(1);
      await app.elapse(1);
      const answer = await tell(await sending);
      expect(answer).toEqual({ ...RUNNING, applied: `respond-async, wait=${applied}` });
      letGo();
    }
  });
});

describe("Prefer is ignored", () => {
  test.each(["wait=1", "respond-async, wait=soon", "respond-async wait=1", "return=minimal", ""])(
    "where it is %j",
    async (prefer) => {
      const { letGo, begun } = hold();
      const sending = send({ prefer });
      await begun();
      await app.elapse(60_000);
      letGo();
      expect(await tell(await sending)).toEqual({ ...ANSWERED, applied: null });
      expect(app.lines.at(-1)).toMatchObject({ message: "request", waitedMs: undefined });
    },
  );

  test("without an Idempotency-Key", async () => {
    const { letGo, begun } = hold();
    const sending = send({ headers: { "Idempotency-Key": undefined } });
    await begun();
    await app.elapse(60_000);
    letGo();
    expect(await tell(await sending)).toEqual({ ...ANSWERED, applied: null });
  });
});

describe("the same request again, while the message runs", () => {
  test("waits for the running message, and asks the state once", async () => {
    const { letGo, begun } = hold();
    const counting = countAdmissions(app.state);
    app = await startBeside(counting);
    const first = send();
    await begun();
    await app.elapse(25_000);
    expect(await tell(await first)).toEqual(RUNNING);
    const second = send();
    await waiting(1);
    await app.elapse(10_000);
    letGo();
    expect(await tell(await second)).toEqual(ANSWERED);
    expect(counting.admissions).toBe(2);
    expect(upstream.count("complete")).toBe(1);
  });

  test("is 202 again when its own time is over", async () => {
    const { letGo, begun } = hold();
    const first = send();
    await begun();
    await app.elapse(25_000);
    await first;
    const second = send({ prefer: "respond-async, wait=5" });
    await waiting(1);
    await app.elapse(5_000);
    expect(await tell(await second)).toEqual({ ...RUNNING, applied: "respond-async, wait=5" });
    letGo();
  });

  test("without Prefer is 409 at once, and a message without Prefer can be waited for", async () => {
    const { letGo, begun } = hold();
    const plain = send({ prefer: "" });
    await begun();
    expect(await tell(await send({ prefer: "" }))).toEqual({
      status: 409,
      code: "request_in_progress",
      said: undefined,
      applied: null,
      retryAfter: "1",
      replayed: null,
    });
    const repeat = send();
    await waiting(1);
    letGo();
    expect(await tell(await plain)).toEqual({ ...ANSWERED, applied: null });
    await app.elapse(500);
    expect(await tell(await repeat)).toEqual(REPLAYED);
  });

  test("with other content is 422 at once", async () => {
    const { letGo, begun } = hold();
    const first = send();
    await begun();
    expect(await tell(await send({ content: "other" }))).toMatchObject({
      status: 422,
      code: "idempotency_key_reused",
    });
    letGo();
    await first;
  });

  test("from another user is refused like any foreign chat", async () => {
    const { letGo, begun } = hold();
    const first = send();
    await begun();
    // The wait is not over when the refusal comes; its delay is not part of this test.
    const foreign = await tell(await send({ sub: "mallory" }));
    expect(foreign).toMatchObject({ status: 404, code: "chat_not_found" });
    letGo();
    expect(await tell(await first)).toEqual(ANSWERED);
  });

  test("of an ended session is 401 at once", async () => {
    const { letGo, begun } = hold();
    const claims = { sid: "session-1" };
    const first = send({ claims });
    await begun();
    const out = await app.ask("DELETE /session", { claims: { ...LASTING, ...claims } });
    expect(out.status).toBe(204);
    expect(await tell(await send({ claims }))).toMatchObject({ code: "session_revoked" });
    letGo();
    await first;
  });

  test("spends no limit", async () => {
    await restart({ LIMIT_SESSION: "2/1h" });
    const { letGo, begun } = hold();
    await send({ prefer: "respond-async" });
    await begun();
    const beside = await startBeside();
    const repeats = [send(), send({ on: beside })];
    await waiting(1);
    await waiting(1, beside);
    await beside.elapse(10_000);
    letGo();
    await beside.elapse(1_000);
    for (const repeat of repeats) {
      const answer = await repeat;
      expect(answer.status).toBe(201);
      expect(answer.headers.get("ratelimit")).toContain('"session";r=1;');
    }
  });

  test("waits on the same instance also where a limit is spent", async () => {
    await restart({ LIMIT_SESSION: "1/1h" });
    const { letGo, begun } = hold();
    await send({ prefer: "respond-async" });
    await begun();
    const repeat = send();
    await waiting(1);
    expect(await tell(await send({ key: "key-2" }))).toMatchObject({ code: "rate_limited" });
    expect(await tell(await send({ content: "other" }))).toMatchObject({
      code: "idempotency_key_reused",
    });
    letGo();
    expect(await tell(await repeat)).toEqual(ANSWERED);
    expect(await tell(await send())).toEqual(REPLAYED);
  });
});

describe("on another instance", () => {
  test("the state is asked every 0.5 s for 5 s, then every second, and once more at the end", async () => {
    const { letGo, begun } = hold();
    const first = send({ prefer: "respond-async" });
    await begun();
    await first;
    const counting = countAdmissions(app.state);
    const beside = await startBeside(counting);
    const repeat = send({ on: beside });
    await waiting(1, beside);
    expect(counting.admissions).toBe(1);
    await beside.elapse(499);
    expect(counting.admissions).toBe(1);
    await beside.elapse(1);
    expect(counting.admissions).toBe(2);
    await beside.elapse(4_500);
    expect(counting.admissions).toBe(11);
    await beside.elapse(999);
    expect(counting.admissions).toBe(11);
    await beside.elapse(1);
    expect(counting.admissions).toBe(12);
    await beside.elapse(19_000);
    expect(await tell(await repeat)).toEqual(RUNNING);
    expect(counting.admissions).toBe(31);
    letGo();
  });

  test("an answer is given within a second after it is there", async () => {
    const { letGo, begun } = hold();
    await send({ prefer: "respond-async" });
    await begun();
    const beside = await startBeside();
    const repeat = send({ on: beside });
    await waiting(1, beside);
    await beside.elapse(10_100);
    letGo();
    await expect.poll(() => app.gate.inFlight).toBe(0);
    await beside.elapse(900);
    expect(await tell(await repeat)).toEqual(REPLAYED);
    expect(upstream.count("complete")).toBe(1);
  });

  test("a message that was certainly not taken is sent by the repeat", async () => {
    const held = Promise.withResolvers<undefined>();
    upstream.next("complete", async () => {
      await held.promise;
      return replyWith(429);
    });
    await send({ prefer: "respond-async" });
    const beside = await startBeside();
    const repeat = send({ on: beside });
    await waiting(1, beside);
    held.resolve(undefined);
    await expect.poll(() => app.gate.inFlight).toBe(0);
    await beside.elapse(500);
    expect(await tell(await repeat)).toEqual(ANSWERED);
    expect(upstream.count("complete")).toBe(2);
  });

  test("a message whose instance has died is found in the transcript, within the wait", async () => {
    // The count of the chat is known before the message.
    expect((await send({ key: "key-0" })).status).toBe(201);
    upstream.next("complete", taken(LOST));
    const silent = { ...app.state, settle: () => Promise.resolve("unavailable" as const) };
    const dying = await startBeside(silent);
    // Its search is over, and its settlement is lost.
    await send({ on: dying });
    const reads = upstream.count("get");
    const repeat = send({ prefer: "respond-async, wait=55" });
    await waiting(1);
    await app.elapse(15_000);
    const answer = await repeat;
    expect(answer.headers.get("message-recovered")).toBe("true");
    expect(await tell(answer)).toEqual({ ...ANSWERED, said: "answer 2", applied: "wait=55" });
    expect(upstream.count("get")).toBeGreaterThan(reads);
    expect(upstream.count("complete")).toBe(2);
  });
});

describe("where a request may not wait for another one's promise", () => {
  beforeEach(() => restart({}, { joins: false }));

  test("the sender is woken by its message, and a repeat asks the state", async () => {
    const { letGo, begun } = hold();
    const first = send();
    await begun();
    const repeat = send();
    await waiting(2);
    letGo();
    expect(await tell(await first)).toEqual(ANSWERED);
    expect(app.waiting()).toBe(1);
    await app.elapse(500);
    expect(await tell(await repeat)).toEqual(REPLAYED);
  });

  test("the oldest of five waits notices within a second that it has ended", async () => {
    const { letGo, begun } = hold();
    const all = [send()];
    await begun();
    for (let count = 2; count <= 5; count += 1) {
      all.push(send());
      await waiting(count);
    }
    await app.elapse(1_000);
    expect(await tell(await (all[0] ?? send()))).toEqual({ ...RUNNING, retryAfter: "1" });
    expect(app.waiting()).toBe(4);
    letGo();
  });
});

describe("waits", () => {
  test("are four for a key: a fifth ends the oldest, and the message goes on", async () => {
    const { letGo, begun } = hold();
    const all = [send()];
    await begun();
    for (let count = 2; count <= 4; count += 1) {
      all.push(send());
      await waiting(count);
    }
    all.push(send());
    const [oldest, ...others] = all;
    expect(await tell(await (oldest ?? send()))).toEqual({ ...RUNNING, retryAfter: "1" });
    await waiting(4);
    letGo();
    for (const answer of others) expect(await tell(await answer)).toEqual(ANSWERED);
    expect(upstream.count("complete")).toBe(1);
    expect(app.waiting()).toBe(0);
  });

  test("of other keys are not counted", async () => {
    const held = [hold(), hold()];
    const all: Promise<Response>[] = [];
    for (const chatId of ["chat-1", "chat-2"]) {
      for (let count = 0; count < 4; count += 1) {
        all.push(send({ chatId }));
        await waiting(all.length);
      }
    }
    for (const { letGo } of held) letGo();
    for (const answer of all) expect((await answer).status).toBe(201);
  });

  test("count for MAX_IN_FLIGHT, and so does a message that goes on", async () => {
    await restart({ MAX_IN_FLIGHT: "2" });
    const { letGo, begun } = hold();
    const first = send();
    await begun();
    const repeat = send();
    await waiting(2);
    expect(await tell(await send({ chatId: "chat-2" }))).toMatchObject({ code: "overloaded" });
    await app.elapse(25_000);
    expect((await first).status).toBe(202);
    expect((await repeat).status).toBe(202);
    expect(app.gate.inFlight).toBe(1);
    const again = send();
    await waiting(1);
    expect(await tell(await send({ chatId: "chat-2" }))).toMatchObject({ code: "overloaded" });
    letGo();
    expect((await again).status).toBe(201);
    expect(app.gate.inFlight).toBe(0);
  });

  test("of clients that leave end at once, and their messages go on", async () => {
    const { letGo, begun } = hold();
    const leaving = new AbortController();
    const first = send({ signal: leaving.signal });
    await begun();
    const repeat = send({ signal: leaving.signal });
    await waiting(2);
    leaving.abort();
    await Promise.all([first, repeat]);
    expect(app.waiting()).toBe(0);
    expect(app.gate.inFlight).toBe(1);
    letGo();
    await expect.poll(() => app.gate.inFlight).toBe(0);
    expect(await tell(await send())).toEqual(REPLAYED);
  });

  test("end when the instance stops: 202 with Retry-After 1, and the message is waited for", async () => {
    const { letGo, begun } = hold();
    const first = send();
    await begun();
    const repeat = send();
    await waiting(2);
    let drained = false;
    const draining = app.gate.drain().then(() => {
      drained = true;
    });
    for (const answer of [first, repeat]) {
      expect(await tell(await answer)).toEqual({ ...RUNNING, retryAfter: "1" });
    }
    expect(drained).toBe(false);
    letGo();
    await draining;
    const beside = await startBeside();
    expect(await tell(await send({ on: beside }))).toEqual(REPLAYED);
  });
});

describe("a message that goes on", () => {
  test("whose answer is lost is searched for although its client has left", async () => {
    expect((await send({ key: "key-0" })).status).toBe(201);
    const held = Promise.withResolvers<undefined>();
    upstream.next("complete", async (usual) => {
      await held.promise;
      usual();
      return LOST;
    });
    // The first look does not show the answer yet.
    upstream.next("get", replyWith(500));
    const leaving = new AbortController();
    const left = send({ signal: leaving.signal });
    await waiting(1);
    leaving.abort();
    await left;
    held.resolve(undefined);
    await expect.poll(() => app.gate.inFlight).toBe(0);
    expect(await tell(await send())).toEqual({ ...REPLAYED, said: "answer 2" });
  });

  test("keeps its place also where another request has found its answer before", async () => {
    const held = Promise.withResolvers<undefined>();
    upstream.next("complete", async (usual) => {
      const reply = usual();
      await held.promise;
      return reply;
    });
    const first = send();
    await waiting(1);
    // The instance was suspended: its lease is over, and the repeat searches the transcript.
    app.clock.advanceMs(16_000);
    const repeat = await send();
    expect(repeat.headers.get("message-recovered")).toBe("true");
    expect(await tell(repeat)).toEqual(ANSWERED);
    expect(await tell(await first)).toEqual(ANSWERED);
    expect(app.waiting()).toBe(0);
    expect(app.gate.inFlight).toBe(1);
    held.resolve(undefined);
    await expect.poll(() => app.gate.inFlight).toBe(0);
    expect(upstream.count("complete")).toBe(1);
  });

  test("with a defect is 500 to all that wait, logged once, and its outcome is unknown", async () => {
    const held = Promise.withResolvers<undefined>();
    upstream.next("complete", async () => {
      await held.promise;
      throw new Error("defect of the test");
    });
    const first = send();
    await waiting(1);
    const repeat = send();
    await waiting(2);
    held.resolve(undefined);
    for (const answer of [first, repeat]) {
      expect(await tell(await answer)).toMatchObject({ status: 500, code: "internal_error" });
    }
    expect(app.lines.filter(({ message }) => message === "defect")).toHaveLength(1);
    expect(await tell(await send())).toMatchObject({ status: 504, code: "outcome_unknown" });
  });
});

describe("a chat of another user", () => {
  test.each(["respond-async", "respond-async, wait=1"])(
    "looks with Prefer: %s like a chat that does not exist",
    async (prefer) => {
      expect((await send({ sub: "owner" })).status).toBe(201);
      const pauses: (() => void)[] = [];
      const slow = await createTestApp({
        beside: app,
        upstream: async (request) => {
          await new Promise<void>((resolve) => void pauses.push(resolve));
          return upstream.answer(request);
        },
        services: { pause: () => new Promise<void>((resolve) => void pauses.push(resolve)) },
      });
      const told: unknown[] = [];
      for (const [chatId, key] of [
        ["chat-1", "k1"],
        ["chat-none", "k2"],
      ]) {
        if (chatId === undefined) continue;
        const sending = send({ on: slow, sub: `prober-${key}`, chatId, key, prefer });
        if (prefer !== "respond-async") await waiting(1, slow);
        await slow.elapse(1_000);
        const answer = await sending;
        told.push([await tell(answer), [...answer.headers.keys()].toSorted()]);
      }
      expect(told[0]).toEqual(told[1]);
      expect(told[0]).toMatchObject([{ status: 202 }, expect.anything()]);
      expect(slow.gate.inFlight).toBe(2);
    },
  );
});
