/** The client of the browser package: when it repeats, for how long, and what it reports. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { type Problem } from "../../src/problem.ts";
import type { PresentedMessage } from "../../src/chat/present-messages.ts";
import type { chatSchema, startedChatSchema } from "../../src/chat/present-chat.ts";
import {
  type ApiMessage,
  ChatError,
  type ClientOptions,
  createClient,
  type ProblemCode,
  type Retry,
  type StartedChat,
  type Transcript,
} from "../../src/browser/index.ts";
import type { z } from "zod";

interface Sent {
  readonly path: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: unknown;
}

/** A client whose requests `answer` answers; undefined: the connection fails. */
function scriptClient(answer: (count: number) => Response | undefined, more: ClientOptions = {}) {
  const sent: Sent[] = [];
  const client = createClient({
    ...more,
    fetch: (path, init) => {
      const { body } = init ?? {};
      sent.push({
        path: typeof path === "string" ? path : "",
        method: init?.method ?? "",
        headers: new Headers(init?.headers),
        body: typeof body === "string" ? JSON.parse(body) : undefined,
      });
      const given = answer(sent.length);
      return given === undefined
        ? Promise.reject(new TypeError("Failed to fetch"))
        : Promise.resolve(given);
    },
  });
  return { client, sent };
}

const answerJson = (status: number, body: string, headers: Record<string, string> = {}) =>
  new Response(body, { status, headers: { "Content-Type": "application/json", ...headers } });
const answerPage = (status: number) =>
  new Response("<!doctype html><h1>504</h1>", {
    status,
    headers: { "Content-Type": "text/html" },
  });
const answerProblem = (status: number, code: ProblemCode, headers: Record<string, string> = {}) =>
  answerJson(
    status,
    JSON.stringify({
      code,
      status,
      title: `title of ${code}`,
      detail: `detail of ${code}`,
      instance: "request-1",
      "violated-policies": ["session"],
    }),
    { "Content-Type": "application/problem+json", ...headers },
  );
const ANSWER = { messages: [{ role: "assistant", content: "Hi" }] };
const answerMessages = () => answerJson(201, JSON.stringify(ANSWER));

/** Moves the clock until the promise is settled; returns what it became. */
async function run<Value>(working: Promise<Value>): Promise<Value | Error> {
  const settled: (Value | Error)[] = [];
  working.then(
    (value) => settled.push(value),
    (error: unknown) => settled.push(error instanceof Error ? error : new Error(String(error))),
  );
  for (;;) {
    const [value] = settled;
    if (value !== undefined) return value;
    await vi.advanceTimersByTimeAsync(500);
  }
}

/** Sends a message that a limit with this `Retry-After` refuses first; returns the wait in ms. */
const waitAfter = async (value: string) => {
  const { client, sent } = scriptClient((count) =>
    count === 1 ? answerProblem(429, "rate_limited", { "Retry-After": value }) : answerMessages(),
  );
  const retries: Retry[] = [];
  const beganMs = Date.now();
  const sending = client.sendMessage("chat-1", {
    text: "hi",
    onRetry: (retry) => retries.push(retry),
  });
  await vi.advanceTimersByTimeAsync(0);
  const [retry] = retries;
  expect(retry?.reason).toMatchObject({ code: "rate_limited", violatedPolicies: ["session"] });
  const waitMs = (retry?.atMs ?? 0) - beganMs;
  await vi.advanceTimersByTimeAsync(waitMs - 1);
  expect(sent).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(await sending).toMatchObject(ANSWER);
  return waitMs;
};

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("the types of the answers are those of the service's schemas", () => {
  type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
  type Mutable<T> = T extends readonly (infer Item)[]
    ? Mutable<Item>[]
    : T extends object
      ? { -readonly [Key in keyof T]: Mutable<T[Key]> }
      : T;
  const same: [
    Same<ProblemCode, Problem["code"]>,
    Same<Mutable<ApiMessage>, Mutable<PresentedMessage>>,
    Same<Mutable<StartedChat>, Mutable<z.output<typeof startedChatSchema>>>,
    Same<Mutable<Transcript>, Mutable<z.output<typeof chatSchema>>>,
  ] = [true, true, true, true];
  expect(same).not.toContain(false);
});

describe("a message is repeated", () => {
  test.each<[string, () => Response | undefined]>([
    ["an HTML page of a proxy", () => answerPage(504)],
    ["an HTML page with 200", () => answerPage(200)],
    ["an HTML page with 500", () => answerPage(500)],
    ["a proxy's own JSON", () => answerJson(504, '{"message":"Endpoint request timed out"}')],
    ["JSON that is cut off", () => answerJson(201, '{"messages":[')],
    ["JSON that is no object", () => answerJson(201, "null")],
    ["202", () => answerJson(202, '{"status":"running"}', { "Retry-After": "0" })],
    [
      "request_in_progress",
      () => answerProblem(409, "request_in_progress", { "Retry-After": "1" }),
    ],
    ["chat_busy", () => answerProblem(409, "chat_busy", { "Retry-After": "1" })],
    ["request_timeout", () => answerProblem(408, "request_timeout")],
    ["rate_limited", () => answerProblem(429, "rate_limited", { "Retry-After": "3" })],
    ["shutting_down", () => answerProblem(503, "shutting_down", { "Retry-After": "1" })],
    ["upstream_error", () => answerProblem(502, "upstream_error")],
    ["outcome_unknown", () => answerProblem(504, "outcome_unknown")],
    ["no connection", () => undefined],
  ])("after %s, with the same key and text", async (_name, first) => {
    const { client, sent } = scriptClient((count) => (count === 1 ? first() : answerMessages()));
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject(ANSWER);
    expect(sent).toHaveLength(2);
    const [one, two] = sent;
    expect(one).toMatchObject({
      path: "/chat/chat-1/send",
      method: "POST",
      body: { content: "hi" },
    });
    expect(two?.body).toEqual(one?.body);
    expect(one?.headers.get("prefer")).toBe("respond-async, wait=25");
    expect(one?.headers.get("idempotency-key")).toMatch(/^\d+(?:-\d+){3}$/);
    expect(two?.headers.get("idempotency-key")).toBe(one?.headers.get("idempotency-key"));
  });

  test("when the body breaks off", async () => {
    const broken = new Response(
      new ReadableStream({ start: (body) => body.error(new TypeError("terminated")) }),
      { status: 201, headers: { "Content-Type": "application/json" } },
    );
    const { client, sent } = scriptClient((count) => (count === 1 ? broken : answerMessages()));
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject(ANSWER);
    expect(sent).toHaveLength(2);
  });

  test("for five minutes, and not for a number of times", async () => {
    const { client, sent } = scriptClient(() => undefined);
    const beganMs = Date.now();
    const error = await run(client.sendMessage("chat-1", { text: "hi" }));
    expect(error).toBeInstanceOf(ChatError);
    expect(error).toMatchObject({
      code: "gave_up",
      sent: "unknown",
      cause: { code: "unreachable", cause: { message: "Failed to fetch" } },
    });
    expect(Date.now() - beganMs).toBeGreaterThan(280_000);
    expect(Date.now() - beganMs).toBeLessThanOrEqual(300_500);
    // Full jitter of at most 8 s: 4 s on average.
    expect(sent.length).toBeGreaterThan(40);
    expect(sent.length).toBeLessThan(200);
  });

  test("not in a loop when the service answers 202 at once", async () => {
    const { client, sent } = scriptClient(() =>
      answerJson(202, '{"status":"running"}', { "Retry-After": "0" }),
    );
    const sending = client.sendMessage("chat-1", { text: "hi" }).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(sent.length).toBeLessThanOrEqual(51);
    await vi.advanceTimersByTimeAsync(300_000);
    expect(await sending).toBeUndefined();
  });

  test("after the time that the service names, in seconds or as a date, of 60 s at most", async () => {
    expect(await waitAfter("30")).toBe(30_000);
    expect(await waitAfter("120")).toBe(60_000);
    const dated = await waitAfter(new Date(Date.now() + 20_000).toUTCString());
    expect(dated).toBeGreaterThan(18_900);
    expect(dated).toBeLessThanOrEqual(20_000);
  });

  test("at once when the browser is online or the page is shown, but not before a stated time", async () => {
    const page = new EventTarget();
    vi.stubGlobal("document", page);
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    const { client, sent } = scriptClient((count) =>
      count <= 7
        ? undefined
        : count === 8
          ? answerProblem(429, "rate_limited", { "Retry-After": "30" })
          : answerMessages(),
    );
    const sending = client.sendMessage("chat-1", { text: "hi" });
    await vi.advanceTimersByTimeAsync(8_000);
    for (const event of ["online", "pageshow", "visibilitychange"]) {
      const before = sent.length;
      page.dispatchEvent(new Event(event));
      await vi.advanceTimersByTimeAsync(0);
      expect(sent).toHaveLength(before + 1);
    }
    expect(sent).toHaveLength(8);
    page.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(29_999);
    expect(sent).toHaveLength(8);
    expect(await run(sending)).toMatchObject(ANSWER);
  });
});

describe("a message is not repeated", () => {
  test.each<[number, ProblemCode, string]>([
    [400, "invalid_request", "no"],
    [403, "cross_site_request", "no"],
    [404, "chat_not_found", "no"],
    [409, "chat_ended", "refused"],
    [413, "content_too_large", "no"],
    [422, "message_rejected", "refused"],
    [502, "upstream_auth_failed", "no"],
    [500, "internal_error", "unknown"],
  ])("after %i %s (sent: %s)", async (status, code, sentState) => {
    const { client, sent } = scriptClient(() => answerProblem(status, code));
    const error = await run(client.sendMessage("chat-1", { text: "hi" }));
    expect(error).toBeInstanceOf(ChatError);
    expect(error).toMatchObject({
      code,
      status,
      sent: sentState,
      message: `title of ${code}`,
      title: `title of ${code}`,
      detail: `detail of ${code}`,
      requestId: "request-1",
    });
    expect(sent).toHaveLength(1);
  });

  test("after a page with which a proxy refuses it, which says nothing of requests before", async () => {
    const first = scriptClient(() => answerPage(413));
    expect(await run(first.client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
      code: "not_a_problem",
      status: 413,
      sent: "no",
      title: "",
    });
    expect(first.sent).toHaveLength(1);
    const second = scriptClient((count) => (count === 1 ? undefined : answerPage(403)));
    expect(await run(second.client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
      status: 403,
      sent: "unknown",
    });
    const again = scriptClient(() => answerPage(403));
    expect(
      await run(again.client.sendMessage("chat-1", { text: "hi", key: "k", isRepeat: true })),
    ).toMatchObject({ sent: "unknown" });
  });

  test("and not taken for unsent, after a proxy's 503 or 403: it may come after the message", async () => {
    for (const first of [() => answerPage(503), () => answerPage(403)]) {
      const { client } = scriptClient((count) =>
        count === 1 ? first() : answerProblem(429, "rate_limited", { "Retry-After": "3600" }),
      );
      expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
        sent: "unknown",
      });
    }
  });

  test("after a limit that lasts longer than the client waits", async () => {
    const { client, sent } = scriptClient(() =>
      answerProblem(429, "rate_limited", { "Retry-After": "3600" }),
    );
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
      code: "rate_limited",
      sent: "no",
      retryAfterSeconds: 3600,
    });
    expect(sent).toHaveLength(1);
  });

  test("after five unknown outcomes", async () => {
    const { client, sent } = scriptClient(() => answerProblem(504, "outcome_unknown"));
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
      code: "outcome_unknown",
      sent: "unknown",
    });
    expect(sent).toHaveLength(5);
  });

  test("after a sleep of the device that is longer than the service keeps the key", async () => {
    const { client, sent } = scriptClient(() => undefined);
    const sending = client.sendMessage("chat-1", { text: "hi" });
    await vi.advanceTimersByTimeAsync(1);
    const before = sent.length;
    // The clock goes on while the device sleeps; its timers do not.
    vi.setSystemTime(Date.now() + 13 * 3_600_000);
    expect(await run(sending)).toMatchObject({ code: "gave_up", sent: "unknown" });
    expect(sent).toHaveLength(before);
  });

  test("after an abort, which does not say that it was cancelled", async () => {
    const { client, sent } = scriptClient(() => undefined);
    const aborter = new AbortController();
    const sending = client.sendMessage("chat-1", { text: "hi", signal: aborter.signal });
    await vi.advanceTimersByTimeAsync(0);
    expect(sent).toHaveLength(1);
    aborter.abort(new Error("the user left"));
    await expect(sending).rejects.toThrow("the user left");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sent).toHaveLength(1);
  });
});

describe("the session", () => {
  test("is a token that is asked again once after a 401", async () => {
    const tokens = ["old", "new"];
    const { client, sent } = scriptClient(
      (count) => (count === 1 ? answerProblem(401, "session_expired") : answerMessages()),
      { token: () => tokens.shift() },
    );
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject(ANSWER);
    expect(sent.map(({ headers }) => headers.get("authorization"))).toEqual([
      "Bearer old",
      "Bearer new",
    ]);
  });

  test("is required after a second 401, or the first without a token to ask for", async () => {
    for (const token of [() => "same", "fixed", undefined]) {
      const { client, sent } = scriptClient(() => answerProblem(401, "session_expired"), { token });
      expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
        code: "session_required",
        status: 401,
        sent: "no",
      });
      expect(sent).toHaveLength(typeof token === "function" ? 2 : 1);
    }
  });

  test("that ends after a lost answer leaves it open whether the message was sent", async () => {
    const { client } = scriptClient((count) =>
      count === 1 ? undefined : answerProblem(401, "session_expired"),
    );
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject({
      code: "session_required",
      sent: "unknown",
    });
  });

  test("whose token never comes is no answer, and is asked for again", async () => {
    vi.useRealTimers();
    vi.spyOn(AbortSignal, "timeout").mockImplementation(() => AbortSignal.abort(new Error("late")));
    const aborter = new AbortController();
    const reasons: Retry["reason"][] = [];
    const { client } = scriptClient(() => answerMessages(), {
      token: () => new Promise(() => undefined),
    });
    const sending = client.sendMessage("chat-1", {
      text: "hi",
      signal: aborter.signal,
      onRetry: ({ reason }) => {
        reasons.push(reason);
        aborter.abort(new Error("seen"));
      },
    });
    await expect(sending).rejects.toThrow("seen");
    expect(reasons).toMatchObject([{ code: "unreachable" }]);
  });

  test("whose token cannot be had at the moment is asked for again", async () => {
    let asked = 0;
    const { client, sent } = scriptClient(() => answerMessages(), {
      token: () => {
        asked += 1;
        return asked === 1 ? Promise.reject(new Error("login is down")) : Promise.resolve("token");
      },
    });
    expect(await run(client.sendMessage("chat-1", { text: "hi" }))).toMatchObject(ANSWER);
    expect(sent).toHaveLength(1);
  });
});

describe("the other calls", () => {
  test("ask the routes of the service", async () => {
    const chat = { chatId: "a/b", status: "active", startedAt: null, endedAt: null, messages: [] };
    const session = { subject: "alice", expiresAt: "2030-01-01T00:00:00Z" };
    const answers = [
      answerJson(201, JSON.stringify(chat)),
      answerJson(200, JSON.stringify(chat)),
      new Response(null, { status: 204 }),
      answerJson(200, JSON.stringify(session)),
      answerJson(201, JSON.stringify(session)),
      new Response(null, { status: 204 }),
    ];
    const { client, sent } = scriptClient(() => answers.shift(), {
      baseUrl: "https://bff.example",
    });
    expect(await client.startChat({ metadata: { page: "home" } })).toEqual(chat);
    expect(await client.getChat("a/b")).toEqual(chat);
    await client.endChat("a/b");
    expect(await client.getSession()).toEqual(session);
    expect(await client.createSession()).toEqual(session);
    await client.deleteSession();
    expect(sent.map(({ method, path }) => `${method} ${path}`)).toEqual([
      "POST https://bff.example/chat",
      "GET https://bff.example/chat/a%2Fb",
      "POST https://bff.example/chat/a%2Fb/end",
      "GET https://bff.example/session",
      "POST https://bff.example/session",
      "DELETE https://bff.example/session",
    ]);
    expect(sent[0]?.body).toEqual({ metadata: { page: "home" } });
  });

  test("take a page of a proxy for no answer", async () => {
    const { client, sent } = scriptClient((count) =>
      count === 1 ? answerPage(200) : new Response(null, { status: 204 }),
    );
    expect(await run(client.endChat("chat-1").then(() => "ended"))).toBe("ended");
    expect(sent).toHaveLength(2);
  });
});
