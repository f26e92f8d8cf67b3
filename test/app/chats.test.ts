/** Contract of starting, reading and ending a chat, and of the rules that all chat routes share. */
import { beforeEach, describe, expect, test } from "vitest";

import chatIds from "../data/chat-ids.json" with { type: "json" };
import { createTestApp, readProblem, type TestApp } from "../support/app-fixture.ts";
import {
  createScriptedChats,
  LOST,
  NOT_SENT,
  type Operation,
  replyWith,
  type ScriptedChats,
  STARTED_AT,
  TIMEOUT,
} from "../support/scripted-chats.ts";

const AGENT = { UPONAI_AGENT_ID: "agent-1" };
/** Settings: names that clients may send in these tests. */
const NAMES = { CHAT_METADATA: "page,a", CHAT_VARIABLES: "name,a,c" };
const JSON_TYPE = { "Content-Type": "application/json" };

let app: TestApp;
let upstream: ScriptedChats;

beforeEach(async () => {
  await restart();
});

async function restart(environment: Record<string, string> = {}): Promise<void> {
  upstream = createScriptedChats("chat-1");
  app = await createTestApp({
    environment: { ...AGENT, ...NAMES, ...environment },
    upstream: upstream.answer,
  });
}

function start(body?: unknown, headers: Record<string, string> = JSON_TYPE): Promise<Response> {
  if (body === undefined) return app.ask("POST /chat");
  return app.ask("POST /chat", {
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers,
  });
}

const startBodySent = () =>
  JSON.parse(
    upstream.calls.findLast(({ operation }) => operation === "create")?.request.body ?? "{}",
  ) as { metadata: Record<string, unknown> } & Record<string, unknown>;

async function code(answer: Response): Promise<unknown> {
  return (await readProblem(answer))["code"];
}

/** Each route with its UponAI operation and its answer in case of success. */
const ROUTES = {
  start: { target: "POST /chat", path: "/chat", operation: "create", status: 201 },
  read: { target: "GET /chat/chat-1", path: "/chat/{chatId}", operation: "get", status: 200 },
  end: {
    target: "POST /chat/chat-1/end",
    path: "/chat/{chatId}/end",
    operation: "end",
    status: 204,
  },
  send: {
    target: "POST /chat/chat-1/send",
    path: "/chat/{chatId}/send",
    operation: "complete",
    status: 201,
  },
} as const satisfies Record<
  string,
  { target: string; path: string; operation: Operation; status: number }
>;
type RouteName = keyof typeof ROUTES;
const ROUTE_NAMES = Object.keys(ROUTES) as RouteName[];

function use(name: RouteName, headers: Record<string, string | undefined> = {}): Promise<Response> {
  const { target } = ROUTES[name];
  return name === "send"
    ? app.ask(target, { body: '{"content":"hi"}', headers: { ...JSON_TYPE, ...headers } })
    : app.ask(target, { headers });
}

describe("POST /chat", () => {
  test("starts a chat with the operator's agent, and returns only members that a browser may see", async () => {
    const answer = await start({ metadata: { page: "/prices" }, variables: { name: "Ann" } });
    expect(answer.status).toBe(201);
    expect(answer.headers.get("location")).toBe("/chat/started-1");
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(await answer.json()).toEqual({
      chatId: "started-1",
      status: "ongoing",
      startedAt: STARTED_AT,
      messages: [{ role: "assistant", content: "Welcome" }],
    });
    expect(startBodySent()).toEqual({
      workspaceId: 42,
      agent_id: "agent-1",
      metadata: { page: "/prices", uponai_bff_owner: expect.any(String) },
      uponai_dynamic_variables: { name: "Ann" },
    });
  });

  test("leads to a chat that its Location reads and its session may use", async () => {
    const location = (await start()).headers.get("location") ?? "";
    expect((await app.ask(`GET ${location}`)).status).toBe(200);
    expect((await app.send({ chatId: "started-1" })).status).toBe(201);
    expect((await app.ask(`GET ${location}`, { sub: "bob" })).status).toBe(404);
  });

  test.each([
    ["no body", undefined, {}],
    ["an empty body of any type", "", { "Content-Type": "text/plain" }],
    ["an empty object", {}, JSON_TYPE],
  ])("takes %s", async (_what, body, headers) => {
    expect((await start(body, headers)).status).toBe(201);
    expect(startBodySent()).toEqual({
      workspaceId: 42,
      agent_id: "agent-1",
      metadata: { uponai_bff_owner: expect.any(String) },
    });
  });

  test.each([
    ["metadata", { metadata: {} }],
    ["variables", { variables: {} }],
    ["nested values", { metadata: { a: [1, { b: null }] }, variables: { c: true } }],
  ])("takes %s", async (_what, body) => {
    expect((await start(body)).status).toBe(201);
  });

  test.each(["workspaceId", "agent_id", "agentId", "agent", "chatId", "content", "__proto__"])(
    "refuses the member %s: nothing but metadata and variables is the client's to choose",
    async (member) => {
      const answer = await start(`{"metadata":{},${JSON.stringify(member)}:1}`);
      expect(answer.status).toBe(400);
      expect(await readProblem(answer)).toMatchObject({
        code: "invalid_request",
        errors: [{ pointer: `/${member}` }],
      });
      expect(upstream.calls).toEqual([]);
    },
  );

  test.each([
    ['{"metadata":[]}', "/metadata"],
    ['{"metadata":"a"}', "/metadata"],
    ['{"metadata":null}', "/metadata"],
    ['{"variables":[1]}', "/variables"],
    ['{"variables":null}', "/variables"],
    ['{"variables":7}', "/variables"],
    ['{"metadata":{"uponai_bff_owner":"mine"}}', "/metadata/uponai_bff_owner"],
    ['{"metadata":{"uponai_bff_owner":null}}', "/metadata/uponai_bff_owner"],
    ["null", ""],
    ["[]", ""],
    ['"metadata"', ""],
    ["{", ""],
    [" ", ""],
  ])("refuses %s and says where", async (body, pointer) => {
    const answer = await start(body);
    expect(answer.status).toBe(400);
    expect(await readProblem(answer)).toMatchObject({
      code: "invalid_request",
      errors: [{ pointer, detail: expect.any(String) }],
    });
    expect(upstream.calls).toEqual([]);
  });

  test.each(["metadata", "variables"])(
    "takes %s of 4,096 bytes of JSON and not of one more, whatever the letters",
    async (member) => {
      for (const letter of ["x", "é", "🙂"]) {
        const size = new TextEncoder().encode(letter).byteLength;
        const room = 4_096 - '{"a":""}'.length;
        const text = letter.repeat(Math.floor(room / size)) + "x".repeat(room % size);
        expect((await start({ [member]: { a: text } })).status).toBe(201);
        const answer = await start({ [member]: { a: `${text}x` } });
        expect(answer.status).toBe(400);
        expect(await readProblem(answer)).toMatchObject({ errors: [{ pointer: `/${member}` }] });
      }
      expect(upstream.count("create")).toBe(3);
    },
  );

  test.each(["metadata", "variables"])(
    "takes %s of 32 levels and not of one more: writing them again would overflow",
    async (member) => {
      const nest = (levels: number) =>
        `{"${member}":{"a":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}}`;
      expect((await start(nest(32))).status).toBe(201);
      for (const levels of [33, 500, 2_000, 6_000]) {
        const answer = await start(nest(levels));
        expect(answer.status).toBe(400);
        expect(await readProblem(answer)).toMatchObject({
          code: "invalid_request",
          errors: [{ pointer: `/${member}` }],
        });
      }
      expect(upstream.count("create")).toBe(1);
    },
  );

  test("refuses a body whose content type is not JSON", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
      const answer = await start({}, { "Content-Type": type });
      expect(answer.status).toBe(415);
    }
    expect((await start({}, { ...JSON_TYPE, "Content-Encoding": "gzip" })).status).toBe(415);
    expect(upstream.calls).toEqual([]);
  });

  test("is not there for a workspace without an agent, and spends nothing", async () => {
    app = await createTestApp({ upstream: upstream.answer });
    const answer = await start({});
    expect(answer.status).toBe(404);
    expect(await code(answer)).toBe("not_found");
    expect(answer.headers.get("ratelimit")).toBeNull();
    expect(upstream.calls).toEqual([]);
  });

  test("takes each workspace's own agent", async () => {
    await restart({
      WORKSPACES: JSON.stringify({ acme: { id: 42, agentId: "agent-acme" }, globex: 43 }),
    });
    await app.ask("POST /chat", { claims: { workspace: "acme" } });
    expect(startBodySent()).toMatchObject({ workspaceId: 42, agent_id: "agent-acme" });
    await app.ask("POST /chat", { claims: { workspace: "globex" } });
    expect(startBodySent()).toMatchObject({ workspaceId: 43, agent_id: "agent-1" });
  });

  test.each(["", "a/b", "../x", "a b", "é", "a".repeat(129), "a%2fb", "x\n"])(
    "does not pass on the chat id %j of UponAI's",
    async (chatId) => {
      upstream.next("create", replyWith(201, { chatId, messages: [] }));
      const answer = await start();
      expect(answer.status).toBe(502);
      expect(await code(answer)).toBe("upstream_malformed");
      expect(answer.headers.get("location")).toBeNull();
    },
  );

  test("does not change the owner of an existing chat", async () => {
    await app.send({ sub: "bob" });
    upstream.next("create", replyWith(201, { chatId: "chat-1" }));
    const answer = await start();
    expect(answer.status).toBe(502);
    expect(await code(answer)).toBe("upstream_malformed");
    expect((await app.ask("GET /chat/chat-1")).status).toBe(404);
  });

  test("does not return a chat whose owner could not be stored", async () => {
    const { state } = app;
    app = await createTestApp({
      environment: AGENT,
      upstream: upstream.answer,
      services: { state: { ...state, own: () => Promise.resolve("unavailable") } },
    });
    const answer = await start();
    expect(answer.status).toBe(503);
    expect(answer.headers.get("retry-after")).toBe("1");
    const text = await answer.text();
    expect(text).toContain("state_unavailable");
    expect(text).not.toContain("started-1");
  });
});

/**
 * Starts a chat with a token of these claims, or with the cookie that the token was exchanged for.
 */
async function startAs(via: "bearer" | "cookie", claims: object, body: unknown = {}) {
  const options = { claims: { ...claims }, headers: JSON_TYPE, body: JSON.stringify(body) };
  if (via === "bearer") return app.ask("POST /chat", options);
  const setCookie =
    (await app.ask("POST /session", { claims: { ...claims } })).headers.get("set-cookie") ?? "";
  const Cookie = setCookie.slice(0, setCookie.indexOf(";"));
  const own = { Authorization: undefined, Cookie, "Sec-Fetch-Site": "same-origin" };
  return app.ask("POST /chat", { ...options, headers: { ...JSON_TYPE, ...own } });
}

describe("the variables and metadata of POST /chat", () => {
  const COOKIE_KEYS = Buffer.alloc(32, 7).toString("base64url");

  test.each([
    ["variables", "CHAT_VARIABLES"],
    ["metadata", "CHAT_METADATA"],
  ])("%s may have only the names in %s: by default none", async (member, variable) => {
    app = await createTestApp({ environment: AGENT, upstream: upstream.answer });
    const refused = await start({ [member]: { discount: "canary-value" } });
    expect(refused.status).toBe(400);
    const text = await refused.text();
    expect(JSON.parse(text)).toMatchObject({
      code: "invalid_request",
      errors: [
        {
          pointer: `/${member}/discount`,
          detail: `is not allowed: the operator lists the allowed names in ${variable}`,
        },
      ],
    });
    expect(text).not.toContain("canary-value");
    expect(refused.headers.get("ratelimit")).toBeNull();
    expect((await start({ [member]: {} })).status).toBe(201);

    await restart({ [variable]: "page,language" });
    expect((await start({ [member]: { page: "/", language: "de" } })).status).toBe(201);
    expect((await start({ [member]: { page: "/", Language: "de" } })).status).toBe(400);
    expect(upstream.count("create")).toBe(1);
    expect(JSON.stringify(app.lines)).not.toContain("language");
  });

  test("are described by /openapi.json as this deployment takes them", async () => {
    await restart({ CHAT_VARIABLES: "language", SESSION_VARIABLES: "plan=internal-claim" });
    const text = await (await app.app.request("/openapi.json")).text();
    const { paths } = JSON.parse(text) as {
      paths: Record<string, { post: { requestBody: { content: Record<string, unknown> } } }>;
    };
    expect(paths["/chat"]?.post.requestBody.content["application/json"]).toMatchObject({
      schema: {
        properties: {
          variables: { properties: { language: {} }, additionalProperties: false },
          metadata: { properties: { page: {}, a: {} }, additionalProperties: false },
        },
      },
    });
    expect(text).not.toMatch(/plan|internal-claim/);
  });

  const MAPPED = {
    COOKIE_KEYS,
    CHAT_VARIABLES: "language,plan",
    SESSION_VARIABLES: "plan=tier,customer=profile.name,seats=https://a.example/seats,vip=vip",
  };

  test.each(["bearer", "cookie"] as const)(
    "come from the session's claims, which win over the client's (%s)",
    async (via) => {
      await restart(MAPPED);
      const claims = {
        tier: "free",
        profile: { name: "Ann" },
        "https://a.example/seats": 7,
        vip: false,
        other: "canary-claim",
      };
      const body = { variables: { language: "de", plan: "gold" } };
      expect((await startAs(via, claims, body)).status).toBe(201);
      expect(startBodySent()["uponai_dynamic_variables"]).toEqual({
        language: "de",
        plan: "free",
        customer: "Ann",
        seats: 7,
        vip: false,
      });
      // Not in CHAT_VARIABLES: a client may not send it, even if the session's value would replace
      // it.
      const refused = await startAs(via, claims, { variables: { customer: "Bob" } });
      expect(await readProblem(refused)).toMatchObject({
        errors: [{ pointer: "/variables/customer" }],
      });
      expect(JSON.stringify([app.lines, upstream.calls])).not.toContain("canary-claim");
      expect(JSON.stringify(app.lines)).not.toContain("Ann");
    },
  );

  test.each(["bearer", "cookie"] as const)(
    "are never the client's where they are the session's, also without the claim (%s)",
    async (via) => {
      await restart(MAPPED);
      const unusable = { tier: { name: "gold" }, profile: "Ann", vip: null };
      for (const claims of [{}, unusable]) {
        const body = { variables: { plan: "gold", language: "de" } };
        expect((await startAs(via, claims, body)).status).toBe(201);
        expect(startBodySent()["uponai_dynamic_variables"]).toEqual({ language: "de" });
        expect((await startAs(via, claims)).status).toBe(201);
        expect(startBodySent()).not.toHaveProperty("uponai_dynamic_variables");
      }
    },
  );

  test("are sent to UponAI and returned by no route", async () => {
    await restart(MAPPED);
    const claims = { tier: "canary-tier" };
    for (const target of ["POST /session", "GET /session", "POST /chat"]) {
      const answer = await app.ask(target, { claims });
      expect(answer.ok).toBe(true);
      expect(await answer.text()).not.toContain("canary-tier");
      expect(JSON.stringify([...answer.headers])).not.toContain("canary-tier");
    }
    expect(JSON.stringify(app.lines)).not.toContain("canary-tier");
  });

  test("a cookie follows the mapping of today, and gives no claim that it was not sealed for", async () => {
    await restart(MAPPED);
    const setCookie =
      (await app.ask("POST /session", { claims: { tier: "gold", role: "admin" } })).headers.get(
        "set-cookie",
      ) ?? "";
    const Cookie = setCookie.slice(0, setCookie.indexOf(";"));
    const headers = { Authorization: undefined, Cookie, "Sec-Fetch-Site": "same-origin" };
    await restart({ COOKIE_KEYS, SESSION_VARIABLES: "level=tier,role=role" });
    expect((await app.ask("POST /chat", { headers })).status).toBe(201);
    expect(startBodySent()["uponai_dynamic_variables"]).toEqual({ level: "gold" });
  });

  test("of the session take 4,096 bytes at most: more is 413, for a token and for POST /session", async () => {
    await restart({ COOKIE_KEYS, SESSION_VARIABLES: "a=a" });
    const room = 4_096 - '{"a":""}'.length;
    expect((await startAs("bearer", { a: "x".repeat(room) })).status).toBe(201);
    const calls = upstream.calls.length;
    for (const target of ["POST /chat", "POST /session"]) {
      const answer = await app.ask(target, { claims: { a: "x".repeat(room + 1) } });
      expect(answer.status).toBe(413);
      expect(await readProblem(answer)).toMatchObject({
        code: "content_too_large",
        detail: expect.stringMatching(/^Issue the session with fewer or shorter claims/),
      });
    }
    expect(upstream.calls).toHaveLength(calls);
  });

  test.each(["metadata", "variables"])(
    "refuses numbers in %s that would become others on the way",
    async (member) => {
      for (const number of ["10000000000000001", "1e400", "-1e-400", "0.12345678901234567890"]) {
        const answer = await start(`{"${member}":{"a":[0,{"b":${number}}]}}`);
        expect(answer.status).toBe(400);
        expect(await readProblem(answer)).toMatchObject({
          code: "invalid_request",
          errors: [{ pointer: `/${member}/a/1/b` }],
        });
      }
      expect(upstream.calls).toEqual([]);
      const kept = '[0.1,-0.5,1e21,9007199254740991,"10000000000000001"]';
      expect((await start(`{"${member}":{"a":${kept}}}`)).status).toBe(201);
      expect(upstream.calls.at(-1)?.request.body).toContain(kept.replace("1e21", "1e+21"));
    },
  );
});

/** A message with a tool call that nests `levels` levels deep. */
function messagesNesting(levels: number): string {
  const list = `${"[".repeat(levels)}${"]".repeat(levels)}`;
  return `"messages":[{"role":"assistant","content":"x","tool_calls":[{"a":${list}}]}]`;
}

describe("GET /chat/:chatId", () => {
  test("returns the transcript, without members that a browser must not see", async () => {
    upstream.add("chat-1", {
      messages: [
        { role: "user", content: "Hi", name: "Ann" },
        { content: "Hello" },
        { role: "assistant", content: "", tool_calls: [{ id: "internal-call" }] },
        { role: "tool", content: "internal-result" },
      ],
      metadata: { note: "internal-metadata" },
    });
    const answer = await app.ask("GET /chat/chat-1");
    expect(answer.status).toBe(200);
    const text = await answer.text();
    expect(JSON.parse(text)).toEqual({
      chatId: "chat-1",
      status: "ongoing",
      startedAt: STARTED_AT,
      endedAt: null,
      messages: [
        { role: "user", content: "Hi", name: "Ann" },
        { role: "assistant", content: "Hello" },
      ],
    });
    expect(text).not.toContain("internal");
    expect(upstream.calls.map(({ request }) => request.path)).toEqual([
      "/api/chats/chat-1?workspaceId=42",
    ]);
  });

  test("shows tool calls only where the operator exposes them", async () => {
    await restart({ EXPOSE_TOOL_CALLS: "true" });
    upstream.add("chat-1", { messages: [{ role: "assistant", tool_calls: [{ id: "call-1" }] }] });
    expect(await (await app.ask("GET /chat/chat-1")).json()).toMatchObject({
      messages: [{ role: "assistant", content: "", tool_calls: [{ id: "call-1" }] }],
    });
  });

  test.each(["true", "false"])(
    "takes tool calls beyond all depth for malformed, wherever they come (exposed: %s)",
    async (exposed) => {
      for (const levels of [31, 500, 9_000]) {
        await restart({ EXPOSE_TOOL_CALLS: exposed });
        upstream.next("get", replyWith(200, `{"chatId":"chat-1",${messagesNesting(levels)}}`));
        upstream.next("create", replyWith(201, `{"chatId":"chat-1",${messagesNesting(levels)}}`));
        upstream.next("complete", replyWith(201, `{${messagesNesting(levels)}}`));
        for (const name of ["read", "start", "send"] as const) {
          const answer = await use(name);
          expect(answer.status).toBe(502);
          expect(await code(answer)).toBe("upstream_malformed");
        }
      }
    },
  );

  test("has every member even where UponAI leaves it out", async () => {
    for (const rest of [{}, { status: null, startedAt: null, endedAt: null, messages: null }]) {
      upstream.next("get", replyWith(200, { chatId: "chat-1", ...rest }));
      expect(await (await app.ask("GET /chat/chat-1")).json()).toEqual({
        chatId: "chat-1",
        status: null,
        startedAt: null,
        endedAt: null,
        messages: [],
      });
    }
  });

  test.each([
    ["2026-04-20T12:00:00Z", "2026-04-20T12:00:00Z"],
    ["2026-04-20T12:00:00.123Z", "2026-04-20T12:00:00.123Z"],
    ["2026-04-20T14:30:00+02:30", "2026-04-20T12:00:00.000Z"],
    ["2026-04-19T23:00:00-13:00", "2026-04-20T12:00:00.000Z"],
  ])("tells the time %s as %s, in UTC", async (given, told) => {
    upstream.add("chat-1", { startedAt: given, endedAt: given });
    const answer = await app.ask("GET /chat/chat-1");
    expect(await answer.json()).toMatchObject({ startedAt: told, endedAt: told });
  });

  test.each([
    ["the time", { startedAt: "yesterday" }],
    ["the time", { endedAt: 1_776_686_400 }],
    ["the time", { startedAt: "2026-02-30T12:00:00Z" }],
    ["the status", { status: 1 }],
    ["the messages", { messages: {} }],
    ["the metadata", { metadata: [] }],
    ["the chat id", { chatId: "chat-2" }],
    ["the chat id", { chatId: "CHAT-1" }],
    ["the chat id", { chatId: 1 }],
    ["the chat id", { chatId: undefined }],
  ])("takes an answer for malformed by %s: %j", async (_what, members) => {
    upstream.next("get", replyWith(200, { chatId: "chat-1", ...members }));
    const answer = await app.ask("GET /chat/chat-1");
    expect(answer.status).toBe(502);
    expect(await code(answer)).toBe("upstream_malformed");
    expect(await answer.text().catch(() => "")).not.toContain("chat-2");
  });

  test("answers HEAD like GET, without the body", async () => {
    const answer = await app.ask("HEAD /chat/chat-1");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("ratelimit")).toContain('"session";r=19');
    expect(await answer.text()).toBe("");
  });
});

function end(body: string, headers = JSON_TYPE): Promise<Response> {
  return app.ask("POST /chat/chat-1/end", { body, headers });
}

describe("POST /chat/:chatId/end", () => {
  test("ends the chat, and again is no failure", async () => {
    for (let count = 0; count < 2; count += 1) {
      const answer = await app.ask("POST /chat/chat-1/end");
      expect(answer.status).toBe(204);
      expect(await answer.text()).toBe("");
      expect(answer.headers.get("content-type")).toBeNull();
    }
    const call = upstream.calls.find(({ operation }) => operation === "end");
    expect(call?.request.body).toBe('{"workspaceId":42}');
    expect(upstream.chats.get("chat-1")?.status).toBe("ended");
    const late = await app.send();
    expect(late.status).toBe(409);
    expect(await code(late)).toBe("chat_ended");
  });

  test("takes no body but an empty object", async () => {
    expect((await end("{}")).status).toBe(204);
    const before = upstream.calls.length;
    expect(await readProblem(await end('{"workspaceId":43}'))).toMatchObject({
      status: 400,
      errors: [{ pointer: "/workspaceId" }],
    });
    expect((await end("[]")).status).toBe(400);
    expect((await end("{}", { "Content-Type": "text/plain" })).status).toBe(415);
    expect(upstream.calls).toHaveLength(before);
  });

  test.each([200, 204, 409, 410])("takes UponAI's %i for done", async (status) => {
    upstream.next("end", replyWith(status));
    expect((await app.ask("POST /chat/chat-1/end")).status).toBe(204);
  });
});

describe("the chat id", () => {
  const targets = ["GET /chat/:", "POST /chat/:/end"];

  test.each([...chatIds.bad, "a".repeat(129)])("%s is 400 and reaches nothing", async (chatId) => {
    for (const target of targets) {
      const answer = await app.ask(target.replace(":", () => chatId));
      expect(answer.status).toBe(400);
      expect(await code(answer)).toBe("invalid_request");
      expect(answer.headers.get("ratelimit")).toBeNull();
    }
    expect(upstream.calls).toEqual([]);
  });

  test.each([...chatIds.good, "a".repeat(128)])("%s goes upstream as it is", async (chatId) => {
    upstream.add(chatId);
    for (const target of targets) {
      expect((await app.ask(target.replace(":", () => chatId))).ok).toBe(true);
    }
  });
});

type Told = readonly [status: number, code: string, retryAfter?: string];

function busy(retryAfter: string): Told {
  return [503, "upstream_busy", retryAfter];
}

const detailOf = async (answer: Response) => {
  expect(answer.status).toBeGreaterThanOrEqual(500);
  return String((await readProblem(answer))["detail"]);
};

describe("upstream failures", () => {
  const rejected: Told = [422, "message_rejected"];
  const authFailed: Told = [502, "upstream_auth_failed"];
  const failed: Told = [502, "upstream_error"];
  const malformed: Told = [502, "upstream_malformed"];
  const unknown: Told = [504, "outcome_unknown"];
  const ended: Told = [409, "chat_ended"];
  const absent: Told = [404, "chat_not_found"];
  const same = (told: Told) => ({ start: told, read: told, end: told, send: told });
  const valid = { chatId: "chat-1", messages: [] };

  const table: [string, ReturnType<typeof replyWith>, Partial<Record<RouteName, Told>>][] = [
    ["400", replyWith(400), { ...same(failed), send: rejected }],
    ["422", replyWith(422), { ...same(failed), send: rejected }],
    ["401", replyWith(401), same(authFailed)],
    ["403", replyWith(403), same(authFailed)],
    ["404", replyWith(404), { ...same(absent), start: failed }],
    ["409", replyWith(409), { start: failed, read: ended, send: ended }],
    ["410", replyWith(410), { start: failed, read: ended, send: ended }],
    ["418", replyWith(418), same(failed)],
    ["429", replyWith(429), same(busy("1"))],
    ["429 with a wait", replyWith(429, "", "7"), same(busy("7"))],
    ["503 with a wait", replyWith(503, "", "30"), same(busy("30"))],
    ["503 with a long wait", replyWith(503, "", "86400"), same(busy("60"))],
    ["503 with a wait of nothing", replyWith(503, "", "0"), same(busy("1"))],
    ["503", replyWith(503), same(failed)],
    ["500", replyWith(500), same(failed)],
    ["502", replyWith(502), same(failed)],
    ["302", replyWith(302), same(malformed)],
    ["307", replyWith(307), same(malformed)],
    ["202", replyWith(202, valid), same(malformed)],
    ["204", replyWith(204), { start: malformed, read: malformed, send: malformed }],
    ["no JSON", replyWith(200, "<html>"), { start: malformed, read: malformed, send: malformed }],
    ["no object", replyWith(201, "[]"), same(malformed)],
    ["too large an answer", { kind: "unusable" }, same(malformed)],
    ["no connection", NOT_SENT, same([502, "upstream_unreachable"])],
    ["a lost connection", LOST, { ...same(unknown), read: failed }],
    ["a time-out", TIMEOUT, same([504, "upstream_timeout"])],
    ["a time-out before", { kind: "timeout", sent: false }, same([504, "upstream_timeout"])],
  ];
  const cases = table.flatMap(([what, reply, byRoute]) =>
    ROUTE_NAMES.flatMap((name) => {
      const told = byRoute[name];
      return told === undefined ? [] : [{ what, reply, name, told }];
    }),
  );

  test.each(cases)(
    "$name with $what has the documented status and code",
    async ({ reply, name, told }) => {
      const { operation, path, target } = ROUTES[name];
      const [status, problem, retryAfter] = told;
      upstream.always(operation, reply);
      const answer = await use(name);
      expect(answer.status).toBe(status);
      expect(await code(answer)).toBe(problem);
      expect(answer.headers.get("retry-after")).toBe(retryAfter ?? null);
      expect(answer.headers.get("ratelimit")).toContain('"session";r=19');
      expect(answer.headers.get("location")).toBeNull();
      // Only a call that was not sent is repeated.
      expect(upstream.count(operation)).toBe(reply.kind === "not_sent" ? 2 : 1);

      const description = (await (await app.app.request("/openapi.json")).json()) as {
        paths: Record<
          string,
          Record<string, { responses: Record<string, { description: string }> }>
        >;
      };
      const method = target.split(" ")[0]?.toLowerCase() ?? "";
      const described = description.paths[path]?.[method]?.responses[String(status)];
      expect(described?.description).toContain(`\`${problem}\``);
    },
  );

  // This read comes before the call itself: if it fails, nothing was sent.
  test.each(["send", "end"] as const)(
    "a lost read of the chat before %s is a failure, and nothing is sent",
    async (name) => {
      upstream.next("get", LOST);
      const answer = await use(name);
      expect(answer.status).toBe(502);
      expect(await code(answer)).toBe("upstream_error");
      expect(upstream.count(ROUTES[name].operation)).toBe(0);
      expect((await use(name)).ok).toBe(true);
    },
  );

  test.each(["send", "end", "read"] as const)(
    "a lost read of the owner's stamp before %s is a failure",
    async (name) => {
      await restart({ CHAT_ACCESS: "claim" });
      upstream.next("get", LOST);
      const answer = await use(name);
      expect(answer.status).toBe(502);
      expect(await code(answer)).toBe("upstream_error");
    },
  );

  describe("has a detail about this request", () => {
    const UNSENT = /^(Try again|Report|Wait).*; the message was not sent\.$/;
    const failures = [
      replyWith(500),
      replyWith(200, "[]"),
      TIMEOUT,
      LOST,
      NOT_SENT,
      replyWith(401),
    ];

    test.each(failures)("a read, an end and a start mention no message (%j)", async (reply) => {
      for (const name of ["read", "end", "start"] as const) {
        // For an end, UponAI's answer is its status alone.
        if (name === "end" && "body" in reply && reply.status === 200) continue;
        await restart();
        upstream.always(ROUTES[name].operation, reply);
        const answer = await use(name);
        const { title, detail } = await readProblem(answer);
        expect(answer.status).toBeGreaterThanOrEqual(500);
        expect(`${String(title)} ${String(detail)}`).not.toMatch(/message|sen[dt]/);
      }
    });

    test("a read, an end and a start mention no message while the circuit is open", async () => {
      upstream.always("complete", LOST);
      upstream.always("get", LOST);
      for (let count = 0; count < 10; count += 1) await use("read", {}).catch(() => undefined);
      for (const name of ["read", "end", "start"] as const) {
        const problem = await readProblem(await use(name));
        expect(problem["code"]).toBe("upstream_unavailable");
        expect(problem["detail"]).not.toMatch(/message|sen[dt]/);
      }
    });

    test.each(failures)(
      "after a failed read before a message, the detail says that it was not sent (%j)",
      async (reply) => {
        for (const CHAT_ACCESS of ["first-use", "claim"]) {
          await restart({ CHAT_ACCESS });
          upstream.always("get", reply);
          expect(await detailOf(await use("send"))).toMatch(UNSENT);
          expect(upstream.count("complete")).toBe(0);
          for (const name of ["read", "end"] as const) {
            expect(await detailOf(await use(name))).not.toMatch(/message/);
          }
        }
      },
    );

    test("a body that is too large is called a body", async () => {
      for (const name of ["end", "start", "send"] as const) {
        const body = `{"a":"${"x".repeat(40_000)}"}`;
        const answer = await app.ask(ROUTES[name].target, { body, headers: JSON_TYPE });
        expect(await readProblem(answer)).toMatchObject({
          code: "content_too_large",
          detail: "Send a smaller request body.",
        });
      }
    });

    test("a message that never left says so, and one that may have arrived does not", async () => {
      upstream.next("complete", { kind: "timeout", sent: false });
      expect(await detailOf(await use("send"))).toMatch(UNSENT);
      for (const reply of [TIMEOUT, replyWith(500), replyWith(302)]) {
        upstream.next("complete", reply);
        expect(await detailOf(await use("send"))).toMatch(/^Check the chat before/);
      }
    });
  });

  test("never shows the body of UponAI's answer", async () => {
    for (const name of ROUTE_NAMES) {
      upstream.always(ROUTES[name].operation, replyWith(500, '{"error":"canary"}', "canary"));
      const answer = await use(name);
      expect(`${await answer.text()} ${JSON.stringify([...answer.headers])}`).not.toContain(
        "canary",
      );
    }
    expect(JSON.stringify(app.lines)).not.toContain("canary");
  });
});

describe("limits", () => {
  test("are one quota for all four routes, and reported on each answer", async () => {
    await restart({ LIMIT_SESSION: "8/1m" });
    let remaining = 8;
    for (const name of [...ROUTE_NAMES, ...ROUTE_NAMES]) {
      const answer = await use(name);
      remaining -= 1;
      expect(answer.headers.get("ratelimit")).toContain(`"session";r=${remaining};`);
      expect(answer.headers.get("ratelimit-policy")).toContain('"session";q=8;w=60');
    }
    const before = upstream.calls.length;
    for (const name of ROUTE_NAMES) {
      const answer = await use(name);
      expect(answer.status).toBe(429);
      expect(answer.headers.get("retry-after")).toBe("8");
      expect(await readProblem(answer)).toMatchObject({
        code: "rate_limited",
        "violated-policies": ["session"],
      });
    }
    expect(upstream.calls).toHaveLength(before);
  });

  test("let reading and ending go on while a message is being answered", async () => {
    const answered = Promise.withResolvers<undefined>();
    upstream.next("complete", async (usual) => {
      await answered.promise;
      return usual();
    });
    const sending = use("send");
    await expect.poll(() => upstream.count("complete")).toBe(1);
    expect((await use("send")).status).toBe(409);
    expect((await use("read")).status).toBe(200);
    expect((await use("end")).status).toBe(204);
    answered.resolve(undefined);
    await sending;
  });
});

describe("sessions", () => {
  const COOKIES = {
    COOKIE_KEYS: Buffer.alloc(32, 7).toString("base64url"),
    ALLOWED_ORIGINS: "https://www.example.com",
  };

  test.each(ROUTE_NAMES)("%s needs one, and reaches nothing without", async (name) => {
    for (const Authorization of [undefined, "Bearer a.b.c"]) {
      const answer = await use(name, { Authorization });
      expect(answer.status).toBe(401);
      expect(answer.headers.get("ratelimit")).toBeNull();
    }
    expect(upstream.calls).toEqual([]);
  });

  test.each(ROUTE_NAMES)("%s of a cookie is guarded against foreign sites", async (name) => {
    await restart(COOKIES);
    const setCookie = (await app.ask("POST /session")).headers.get("set-cookie") ?? "";
    const Cookie = setCookie.slice(0, setCookie.indexOf(";"));
    const asCookie = (headers: Record<string, string>) =>
      use(name, { Authorization: undefined, Cookie, ...headers });
    const foreign: Record<string, string>[] = [
      // Only a read is accepted without Sec-Fetch-Site and Origin.
      ...(name === "read" ? [] : [{}]),
      { "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "same-site" },
      { "Sec-Fetch-Site": "none" },
      { Origin: "https://evil.example" },
      { Origin: "null" },
    ];
    for (const headers of foreign) {
      const answer = await asCookie(headers);
      expect(answer.status).toBe(403);
      expect(await code(answer)).toBe("cross_site_request");
    }
    expect(upstream.calls).toEqual([]);
    const { status } = ROUTES[name];
    expect((await asCookie({ "Sec-Fetch-Site": "same-origin" })).status).toBe(status);
    const listed = { "Sec-Fetch-Site": "cross-site", Origin: "https://www.example.com" };
    const answer = await asCookie(listed);
    expect([status, 409]).toContain(answer.status);
    expect(answer.headers.get("access-control-expose-headers")).toMatch(
      /RateLimit-Policy.*Idempotency-Replayed.*Message-Recovered.*Location/,
    );
  });

  test.each(ROUTE_NAMES)("%s is refused once the session is ended", async (name) => {
    await restart(COOKIES);
    expect((await app.ask("DELETE /session", { claims: { sid: "login-1" } })).status).toBe(204);
    const { target } = ROUTES[name];
    const answer = await app.ask(target, {
      claims: { sid: "login-1" },
      ...(name === "send" ? { body: '{"content":"hi"}', headers: JSON_TYPE } : {}),
    });
    expect(answer.status).toBe(401);
    expect(await code(answer)).toBe("session_revoked");
    expect(upstream.calls).toEqual([]);
  });
});

describe("methods", () => {
  test.each([
    ["/chat", "POST, OPTIONS", ["GET", "HEAD", "PUT", "PATCH", "DELETE"]],
    ["/chat/chat-1", "GET, HEAD, OPTIONS", ["POST", "PUT", "PATCH", "DELETE"]],
    ["/chat/chat-1/end", "POST, OPTIONS", ["GET", "HEAD", "PUT", "PATCH", "DELETE"]],
  ])("%s takes %s, and says so to all others", async (path, allow, others) => {
    for (const method of others) {
      const answer = await app.ask(`${method} ${path}`);
      expect(answer.status).toBe(405);
      expect(answer.headers.get("allow")).toBe(allow);
      expect(await answer.text()).toMatch(method === "HEAD" ? /^$/ : /"method_not_allowed"/);
    }
    const options = await app.ask(`OPTIONS ${path}`);
    expect(options.status).toBe(204);
    expect(options.headers.get("allow")).toBe(allow);
    expect(upstream.calls).toEqual([]);
  });

  test.each(["/chat", "/chat/chat-1", "/chat/chat-1/end"])(
    "a preflight for %s passes for listed origins alone",
    async (path) => {
      await restart({ ALLOWED_ORIGINS: "https://www.example.com" });
      const preflight = (Origin: string) =>
        app.ask(`OPTIONS ${path}`, {
          headers: { Authorization: undefined, Origin, "Access-Control-Request-Method": "POST" },
        });
      const listed = await preflight("https://www.example.com");
      expect(listed.status).toBe(204);
      expect(listed.headers.get("access-control-allow-methods")).toContain(
        path === "/chat/chat-1" ? "GET" : "POST",
      );
      expect(listed.headers.get("access-control-allow-headers")).toMatch(/idempotency-key/i);
      const foreign = await preflight("https://evil.example");
      expect(foreign.headers.get("access-control-allow-origin")).toBeNull();
      expect(foreign.headers.get("access-control-allow-methods")).toBeNull();
    },
  );

  test.each(["/chat/", "/chat/chat-1/", "/chat/chat-1/end/", "/chat/chat-1/End", "/chat/a/b/end"])(
    "%s is not found",
    async (path) => {
      for (const method of ["GET", "POST"]) {
        expect((await app.ask(`${method} ${path}`)).status).toBe(404);
      }
      expect(upstream.calls).toEqual([]);
    },
  );
});

test("the access line names the route by its pattern, never by the chat", async () => {
  for (const name of ROUTE_NAMES) await use(name);
  expect(app.lines.map(({ method, route, status }) => `${method} ${route} ${status}`)).toEqual([
    "POST /chat 201",
    "GET /chat/:chatId 200",
    "POST /chat/:chatId/end 204",
    "POST /chat/:chatId/send 409",
  ]);
  expect(JSON.stringify(app.lines)).not.toContain("chat-1");
  for (const line of app.lines) {
    expect(line).toMatchObject({
      workspace: 42,
      subjectHash: expect.any(String),
      upstreamStatus: expect.any(Number),
      upstreamMs: expect.any(Number),
      retries: 0,
    });
  }
});
