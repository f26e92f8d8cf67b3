/**
 * Contract of all routes: order of checks, headers, methods, probes and the OpenAPI description.
 */
import { beforeEach, describe, expect, test } from "vitest";

import { COMMON_HEADERS } from "../support/common-headers.ts";
import {
  createTestApp,
  readProblem,
  type TestApp,
  type TestSend,
  unavailableState,
} from "../support/app-fixture.ts";
import { mintToken } from "../support/session-tokens.ts";

let app: TestApp;

beforeEach(async () => {
  app = await createTestApp();
});

describe("the order of checks", () => {
  const tooLarge = JSON.stringify({ content: "a".repeat(40_000) });
  const wrong = "Bearer a.b.c";

  test("route, then drain, then session, then declared length, then capacity", async () => {
    const full = await createTestApp({ environment: { MAX_IN_FLIGHT: "1" } });
    full.gate.enter();
    expect((await full.app.request("/nowhere", { method: "POST" })).status).toBe(404);
    const code = async (options: TestSend) => (await readProblem(await full.send(options)))["code"];
    expect(await code({ headers: { Authorization: wrong } })).toBe("session_invalid");
    expect(await code({ headers: { "Content-Length": "40000" } })).toBe("content_too_large");
    const overloaded = await full.send({ body: "no JSON" });
    expect(overloaded.status).toBe(503);
    expect(overloaded.headers.get("retry-after")).toBe("1");
    expect(await readProblem(overloaded)).toMatchObject({ code: "overloaded" });
    void full.gate.drain();
    expect(await code({ headers: { Authorization: wrong } })).toBe("shutting_down");
    expect(full.sent).toHaveLength(0);
  });

  test("size as read, then capacity, then schema", async () => {
    const declared = { "Content-Length": undefined };
    expect((await app.send({ body: tooLarge, headers: declared })).status).toBe(413);
    const full = await createTestApp({ environment: { MAX_IN_FLIGHT: "1" } });
    // Another request takes the last place while the body arrives.
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        full.gate.enter();
        controller.enqueue(new TextEncoder().encode("no JSON"));
        controller.close();
      },
    });
    const late = await full.send({ body });
    expect(await readProblem(late)).toMatchObject({ code: "overloaded" });
    full.gate.leave();
    expect(await readProblem(await full.send({ body: "no JSON" }))).toMatchObject({
      code: "invalid_request",
    });
    expect(full.gate.inFlight).toBe(0);
  });

  test("session, then workspace, then content type, then schema, then admission", async () => {
    app = await createTestApp({
      environment: { WORKSPACES: '{"acme":42}' },
      services: { state: unavailableState },
    });
    const text = { "Content-Type": "text/plain" };
    const send = async (
      claims: Record<string, unknown>,
      body: string,
      headers: Record<string, string>,
    ) => (await readProblem(await app.send({ claims, body, headers })))["code"];
    expect(await send({ workspace: "none" }, "no JSON", text)).toBe("workspace_unmapped");
    expect(await send({ workspace: "acme" }, "no JSON", text)).toBe("unsupported_media_type");
    expect(await send({ workspace: "acme" }, "no JSON", {})).toBe("invalid_request");
    expect(await send({ workspace: "acme" }, '{"content":"hi"}', {})).toBe("state_unavailable");
    expect(app.sent).toHaveLength(0);
  });

  test("a wrong session stays 401 while the state is out, and is not counted", async () => {
    app = await createTestApp({ services: { state: unavailableState } });
    const answer = await app.send({ headers: { Authorization: wrong } });
    expect(answer.status).toBe(401);
  });
});

describe("every answer", () => {
  const requests: Record<string, () => Promise<Response>> = {
    "201": () => app.send(),
    "200": async () => app.app.request("/healthz"),
    "204": async () => app.app.request("/chat/a/send", { method: "OPTIONS" }),
    "400": () => app.send({ body: "x" }),
    "401": () => app.send({ headers: { Authorization: undefined } }),
    "404": async () => app.app.request("/nowhere"),
    "405": async () => app.app.request("/healthz", { method: "DELETE" }),
    "413": () => app.send({ body: "a".repeat(40_000) }),
    "415": () => app.send({ headers: { "Content-Type": "text/plain" } }),
  };

  test.each(Object.entries(requests))(
    "%s carries the common headers and a request id",
    async (status, ask) => {
      const answer = await ask();
      expect(answer.status).toBe(Number(status));
      const headers = Object.fromEntries(answer.headers);
      expect(headers).toMatchObject(COMMON_HEADERS);
      expect(headers).not.toHaveProperty("server");
      expect(headers).not.toHaveProperty("x-powered-by");
      expect(headers).not.toHaveProperty("access-control-allow-origin");
      if (Number(status) < 400) return;
      expect(headers["content-type"]).toBe("application/problem+json");
      const problem = await readProblem(answer);
      expect(problem).toMatchObject({
        type: `urn:uponai-bff:problem:${String(problem["code"])}`,
        status: Number(status),
        instance: headers["x-request-id"],
        title: expect.any(String),
        detail: expect.stringMatching(/\.$/),
      });
      const members = ["type", "title", "status", "detail", "instance", "code", "errors"];
      expect(members).toEqual(expect.arrayContaining(Object.keys(problem)));
    },
  );

  test.each([
    ["client-made_1", "client-made_1"],
    ["a".repeat(64), "a".repeat(64)],
    ["a".repeat(65), "id-"],
    ["has space", "id-"],
    ["line\u0085", "id-"],
    ["", "id-"],
  ])("to X-Request-Id %j carries %s…", async (given, expected) => {
    const answer = await app.app.request("/healthz", { headers: { "X-Request-Id": given } });
    expect(answer.headers.get("x-request-id")).toMatch(new RegExp(`^${expected}`));
  });
});

describe("trace context", () => {
  const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

  test.each([
    [valid, valid],
    ["00-00000000000000000000000000000000-b7ad6b7169203331-01", undefined],
    ["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", undefined],
    ["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", undefined],
    [valid.toUpperCase(), undefined],
    [`${valid}-extra`, undefined],
  ])("%s goes upstream as %s", async (given, expected) => {
    await app.send({ headers: { traceparent: given, tracestate: "vendor=canary" } });
    expect(app.sent[0]?.headers["traceparent"]).toBe(expected);
    expect(JSON.stringify(app.sent)).not.toContain("vendor=canary");
  });
});

describe("methods", () => {
  test.each([
    ["/healthz", "POST", "GET, HEAD, OPTIONS"],
    ["/readyz", "DELETE", "GET, HEAD, OPTIONS"],
    ["/openapi.json", "PUT", "GET, HEAD, OPTIONS"],
    ["/chat/a/send", "GET", "POST, OPTIONS"],
    ["/chat/a/send", "HEAD", "POST, OPTIONS"],
    ["/chat/a/send", "PATCH", "POST, OPTIONS"],
  ])("%s does not take %s", async (path, method, allow) => {
    const answer = await app.app.request(path, { method });
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe(allow);
    expect(app.sent).toHaveLength(0);
  });

  test.each([
    "/",
    "/chat/",
    "/chats",
    "/chat/a/",
    "/chat/a/send/",
    "/chat/a/b/send",
    "/Healthz",
    "/metrics",
  ])("%s is not found, by any method", async (path) => {
    for (const method of ["GET", "POST", "OPTIONS", "DELETE"]) {
      const answer = await app.app.request(path, { method });
      expect(answer.status).toBe(404);
      expect(await readProblem(answer)).toMatchObject({ code: "not_found" });
    }
  });

  test("HEAD is GET without a body", async () => {
    const answer = await app.app.request("/healthz", { method: "HEAD" });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("");
  });
});

describe("probes", () => {
  test("healthz uses no dependency, readyz names the one that fails", async () => {
    app = await createTestApp({ services: { state: unavailableState } });
    expect(await (await app.app.request("/healthz")).json()).toEqual({ status: "ok" });
    const state = await app.app.request("/readyz");
    expect(state.status).toBe(503);
    expect(await readProblem(state)).toMatchObject({ code: "state_unavailable" });

    const keyless = await createTestApp({
      services: {
        keys: {
          algorithms: ["ES256"],
          getKey: () => Promise.reject(new Error("none")),
          isUsable: () => Promise.resolve(false),
        },
      },
    });
    expect(await readProblem(await keyless.app.request("/readyz"))).toMatchObject({
      code: "auth_unavailable",
    });

    const stopping = await createTestApp();
    expect((await stopping.app.request("/readyz")).status).toBe(200);
    void stopping.gate.drain();
    expect(await readProblem(await stopping.app.request("/readyz"))).toMatchObject({
      code: "shutting_down",
    });
    expect((await stopping.app.request("/healthz")).status).toBe(200);
  });
});

describe("the access line", () => {
  test("has the allowed fields only, one line a request", async () => {
    const answer = await app.send({ headers: { "X-Request-Id": "line-1" } });
    expect(answer.status).toBe(201);
    expect(app.lines).toEqual([
      {
        level: "info",
        message: "request",
        reqId: "line-1",
        method: "POST",
        route: "/chat/:chatId/send",
        status: 201,
        code: undefined,
        ms: expect.any(Number),
        workspace: 42,
        subjectHash: expect.stringMatching(/^[A-Za-z0-9_-]{16}$/),
        upstreamStatus: 201,
        upstreamMs: expect.any(Number),
        retries: 0,
      },
    ]);
  });

  test("names the same subject alike and others apart", async () => {
    await app.send({ sub: "ann" });
    await app.send({ sub: "ann" });
    await app.send({ sub: "bob" });
    const [first, second, third] = app.lines.map(({ subjectHash }) => subjectHash);
    expect(first).toBe(second);
    expect(third).not.toBe(first);
  });
});

describe("the description", () => {
  test("lists every route and no other, and each works without a session only where it says so", async () => {
    app = await createTestApp({
      environment: { COOKIE_KEYS: Buffer.alloc(32, 1).toString("base64url") },
      services: { elementScript: "script" },
    });
    const { paths } = (await (await app.app.request("/openapi.json")).json()) as {
      paths: Record<
        string,
        Record<string, { security?: unknown[]; responses: Record<string, unknown> }>
      >;
    };
    const described = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item)
        .filter((member) => member !== "parameters")
        .map((method) => `${method.toUpperCase()} ${path.replace("{chatId}", ":chatId")}`),
    );
    const routed = app.app.routes
      .map(({ method, path }) => `${method} ${path}`)
      // The description of the script tells of its hashed name.
      .filter((route) => !/^GET \/chat\/element\.[\w-]{16}\.js$/.test(route));
    expect(described.toSorted()).toEqual(routed.toSorted());
    for (const [path, item] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (method === "parameters") continue;
        const url = path.replace("{chatId}", "chat-1");
        const answer = await app.app.request(url, { method: method.toUpperCase() });
        expect(answer.status === 401).toBe((operation.security ?? []).length > 0);
        expect(operation.responses).toHaveProperty(String(answer.status));
      }
    }
  });

  test("gives the limits that validate", async () => {
    app = await createTestApp({ environment: { MAX_CONTENT_CHARS: "12" } });
    const text = await (await app.app.request("/openapi.json")).text();
    expect(text).toContain('"maxLength":12');
    expect((await app.send({ body: `{"content":"${"a".repeat(13)}"}` })).status).toBe(400);
  });
});

test("a session verified once is served again from memory, and only while its token is good", async () => {
  const token = await mintToken({ exp: Math.floor(app.clock.epochMs() / 1_000) + 10 });
  const headers = { Authorization: `Bearer ${token}` };
  expect((await app.send({ headers })).status).toBe(201);
  app.clock.advanceMs(41_000);
  expect((await app.send({ headers })).status).toBe(401);
});
