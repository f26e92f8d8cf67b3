/** Contract suite: rules for all routes (methods, headers, request ids, problems, CORS). */
import { describe, expect, test } from "vitest";

import { COMMON_HEADERS } from "../support/common-headers.ts";
import { mintToken } from "../support/session-tokens.ts";
import { ALLOWED_ORIGIN, type Fixture, readCode } from "./runtime.ts";

/** The headers that say what the script is and who may keep it. */
const scriptHeaders = (from: Response) => ({
  type: from.headers.get("content-type"),
  cache: from.headers.get("cache-control"),
  origin: from.headers.get("access-control-allow-origin"),
  policy: from.headers.get("cross-origin-resource-policy"),
});

export function describeRoutes(use: () => Fixture): void {
  describe("probes and the description", () => {
    test("answer", async () => {
      expect(await (await use().ask("/healthz")).json()).toEqual({ status: "ok" });
      expect(await (await use().ask("/readyz")).json()).toEqual({ status: "ok" });
      expect(await (await use().ask("/openapi.json")).json()).toMatchObject({ openapi: "3.1.0" });
      const head = await use().ask("/healthz", { method: "HEAD" });
      expect(head.status).toBe(200);
      expect(await head.text()).toBe("");
    });
  });

  describe("the script of the chat element", () => {
    const PATH = "/chat/element.js";

    test("is public, kept by its tag, and the same for ever at its hashed name", async () => {
      const answer = await use().ask(PATH);
      expect(answer.status).toBe(200);
      const script = await answer.text();
      expect(script).toContain('"uponai-chat"');
      expect(scriptHeaders(answer)).toEqual({
        type: "text/javascript; charset=utf-8",
        cache: "no-cache",
        origin: "*",
        policy: "cross-origin",
      });
      const tag = answer.headers.get("etag") ?? "";
      expect(tag).toMatch(/^"[\w-]{16}"$/);

      const hashed = await use().ask(`/chat/element.${tag.slice(1, -1)}.js`);
      expect(hashed.status).toBe(200);
      expect(scriptHeaders(hashed).cache).toBe("public, max-age=31536000, immutable");
      expect(await hashed.text()).toBe(script);
    });

    test("is asked for by HEAD, with any query, and by a page of any site", async () => {
      const head = await use().ask(PATH, { method: "HEAD" });
      expect(head.status).toBe(200);
      expect(await head.text()).toBe("");
      const headers = { Origin: "https://elsewhere.example", "Sec-Fetch-Site": "cross-site" };
      const foreign = await use().ask(`${PATH}?v=1`, { headers });
      expect(foreign.status).toBe(200);
      expect(scriptHeaders(foreign).origin).toBe("*");
      expect(await foreign.text()).toContain('"uponai-chat"');
    });

    test("is not sent again to a client that has it", async () => {
      const tag = (await use().ask(PATH)).headers.get("etag") ?? "";
      for (const known of [tag, `W/${tag}`, `"other", ${tag}`, "*"]) {
        const answer = await use().ask(PATH, { headers: { "If-None-Match": known } });
        expect(answer.status).toBe(304);
        expect(answer.headers.get("etag")).toBe(tag);
        expect(await answer.text()).toBe("");
      }
      for (const known of ['"other"', "", ",", "W/", `${tag}x`, '"'.repeat(4_000)]) {
        const other = await use().ask(PATH, { headers: { "If-None-Match": known } });
        expect(other.status).toBe(200);
        await other.text();
      }
    });

    test("is only read, and no other name has a script", async () => {
      const written = await use().ask(PATH, { method: "POST" });
      expect(written.status).toBe(405);
      expect(written.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
      for (const path of ["/chat/element.css", "/chat/element.0000000000000000.js"]) {
        // As for any other malformed chat id: the session is asked for first.
        expect((await use().ask(path)).status).toBe(401);
      }
    });
  });

  describe("methods and paths", () => {
    test.each([
      ["/healthz", "POST", "GET, HEAD, OPTIONS"],
      ["/session", "PUT", "GET, HEAD, POST, DELETE, OPTIONS"],
      ["/chat/a/send", "GET", "POST, OPTIONS"],
    ])("%s does not take %s", async (path, method, allow) => {
      const answer = await use().ask(path, { method });
      expect(answer.status).toBe(405);
      expect(answer.headers.get("allow")).toBe(allow);
      expect(await readCode(answer)).toBe("method_not_allowed");
    });

    test.each(["/", "/Healthz", "/metrics", "/chat/", "/chat/a/b/send", "/chat/a/send/"])(
      "%s is not found",
      async (path) => {
        for (const method of ["GET", "POST"]) {
          const answer = await use().ask(path, { method });
          expect(answer.status).toBe(404);
          expect(await readCode(answer)).toBe("not_found");
        }
      },
    );
  });

  describe("every answer", () => {
    const requests: Record<string, () => Promise<Response>> = {
      "200": () => use().ask("/healthz"),
      "201": () => use().send(),
      "204": () => use().ask("/chat/a/send", { method: "OPTIONS" }),
      "400": () => use().send({ body: "x" }),
      "401": () => use().ask("/session"),
      "403": () => use().send({ claims: { workspace: "none" } }),
      "404": () => use().ask("/nowhere"),
      "405": () => use().ask("/healthz", { method: "DELETE" }),
      "413": () => use().send({ body: "a".repeat(40_000) }),
      "415": () => use().send({ headers: { "Content-Type": "text/plain" } }),
    };

    test.each(Object.entries(requests))("%s carries the common headers", async (status, ask) => {
      const answer = await ask();
      expect(answer.status).toBe(Number(status));
      const headers = Object.fromEntries(answer.headers);
      expect(headers).toMatchObject(COMMON_HEADERS);
      expect(headers).not.toHaveProperty("server");
      expect(headers).not.toHaveProperty("x-powered-by");
      if (Number(status) < 400) return;
      expect(headers["content-type"]).toBe("application/problem+json");
      expect(await answer.json()).toMatchObject({
        type: expect.stringMatching(/^urn:uponai-bff:problem:[a-z_]+$/),
        status: Number(status),
        instance: headers["x-request-id"],
        title: expect.any(String),
        detail: expect.stringMatching(/\.$/),
      });
    });

    test("keeps a valid request id and replaces another, here and at UponAI", async () => {
      const { send, emulator } = use();
      const kept = await send({ headers: { "X-Request-Id": "client-made_1" }, content: "kept" });
      expect(kept.headers.get("x-request-id")).toBe("client-made_1");
      const replaced = await send({ headers: { "X-Request-Id": "has space" }, content: "other" });
      expect(replaced.headers.get("x-request-id")).toMatch(/^[\w-]{36}$/);
      const ids = emulator.requests().map(({ headers }) => headers["x-request-id"]);
      expect(ids.slice(-2)).toEqual(["client-made_1", replaced.headers.get("x-request-id")]);
    });
  });

  describe("pages of other origins", () => {
    test("may read answers where they are listed, errors too, and preflights say so", async () => {
      for (const answer of [
        await use().send({ headers: { Origin: ALLOWED_ORIGIN } }),
        await use().ask("/nowhere", { headers: { Origin: ALLOWED_ORIGIN } }),
      ]) {
        expect(answer.headers.get("access-control-allow-origin")).toBe(ALLOWED_ORIGIN);
        expect(answer.headers.get("access-control-allow-credentials")).toBe("true");
        expect(answer.headers.get("vary")).toContain("Origin");
      }
      const preflight = await use().ask("/chat/a/send", {
        method: "OPTIONS",
        headers: { Origin: ALLOWED_ORIGIN, "Access-Control-Request-Method": "POST" },
      });
      expect(preflight.status).toBe(204);
      expect(preflight.headers.get("access-control-allow-methods")).toContain("POST");
      const allowed = preflight.headers.get("access-control-allow-headers")?.toLowerCase() ?? "";
      expect(allowed.split(/, */)).toEqual(
        expect.arrayContaining(["authorization", "traceparent", "tracestate", "baggage"]),
      );
      expect(allowed).toContain("sentry-trace");
    });

    test("may send the headers of tracing libraries; only a valid trace context reaches UponAI", async () => {
      const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
      const traced = {
        Origin: ALLOWED_ORIGIN,
        tracestate: "vendor=unseen",
        baggage: "user=unseen",
        "sentry-trace": "unseen-1",
      };
      for (const [given, passed] of [
        [traceparent, traceparent],
        [`${traceparent}-unseen`, undefined],
      ] as const) {
        const answer = await use().send({ headers: { ...traced, traceparent: given } });
        expect(answer.status).toBe(201);
        const { headers = {} } = use().emulator.requests().at(-1) ?? {};
        expect(headers["traceparent"]).toBe(passed);
        expect(JSON.stringify(headers)).not.toContain("unseen");
      }
    });

    test("get no CORS header where they are not", async () => {
      const answer = await use().ask("/healthz", { headers: { Origin: "https://evil.example" } });
      expect(answer.headers.get("access-control-allow-origin")).toBeNull();
    });
  });

  test("the log is one JSON object a line, and holds no message, token, subject or chat id", async () => {
    const { send, service } = use();
    const token = await mintToken({ workspace: "acme", sub: "subject-unseen" });
    await send({
      chatId: use().createChat(),
      content: "content-unseen",
      headers: { Authorization: `Bearer ${token}`, "X-Request-Id": "log-test" },
    });
    const find = () => service.lines().find((line) => line.includes("log-test"));
    await expect.poll(find, { timeout: 5_000 }).toBeDefined();
    expect(JSON.parse(find() ?? "")).toMatchObject({
      level: "info",
      msg: "request",
      reqId: "log-test",
      method: "POST",
      route: "/chat/:chatId/send",
      status: 201,
      workspace: 42,
      subjectHash: expect.stringMatching(/^[\w-]{16}$/),
      upstreamStatus: 201,
      ms: expect.any(Number),
    });
    const all = service.lines().join("\n");
    expect(all).not.toContain("unseen");
    expect(all).not.toContain(token);
    expect(all).not.toContain("chat-1");
    for (const line of service.lines()) expect(JSON.parse(line)).toBeTypeOf("object");
  });
}
