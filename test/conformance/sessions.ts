/** Contract suite: sessions by token and cookie, log-out, and cross-site requests. */
import { describe, expect, test } from "vitest";

import { openRaw } from "../support/raw-http.ts";
import { ALLOWED_ORIGIN, bearer, COOKIE_NAME, type Fixture, readCode } from "./runtime.ts";

const SAME_ORIGIN = { "Sec-Fetch-Site": "same-origin" };

export function describeSessions(use: () => Fixture): void {
  /** Exchanges a token for a cookie, and returns the `Cookie` header that a browser would send. */
  const logIn = async (claims: Record<string, unknown>) => {
    const answer = await use().ask("/session", { method: "POST", headers: await bearer(claims) });
    expect(answer.status).toBe(201);
    const setCookie = answer.headers.get("set-cookie") ?? "";
    return { setCookie, headers: { Cookie: setCookie.slice(0, setCookie.indexOf(";")) } };
  };

  const end = async (claims: Record<string, unknown>) =>
    use().ask("/session", { method: "DELETE", headers: await bearer(claims) });
  const read = async (claims: Record<string, unknown>) =>
    (await use().ask("/session", { headers: await bearer(claims) })).status;

  describe("a session", () => {
    test("can read its own data", async () => {
      const expiresAt = Math.floor(Date.now() / 1_000) + 600;
      const headers = await bearer({ sub: "who", exp: expiresAt });
      expect(await (await use().ask("/session", { headers })).json()).toEqual({
        subject: "who",
        workspace: "acme",
        expiresAt: new Date(expiresAt * 1_000).toISOString(),
        via: "bearer",
      });
    });

    test.each([
      ["missing", {}, "session_missing"],
      ["no token", { Authorization: "Bearer a.b.c" }, "session_invalid"],
      ["of another scheme", { Authorization: "Basic YTpi" }, "session_missing"],
      ["expired", { exp: 1_700_000_000 }, "session_expired"],
      ["of another issuer", { iss: "https://other.test/" }, "session_invalid"],
      ["for another audience", { aud: "other" }, "session_invalid"],
      ["without a subject", { sub: "" }, "session_invalid"],
      ["without an end", { exp: undefined }, "session_invalid"],
      ["of tomorrow", { nbf: Date.now() / 1_000 + 86_400 }, "session_invalid"],
    ])("that is %s is refused, and reaches nothing", async (_name, given, code) => {
      const before = use().emulator.requests().length;
      const plain = "Authorization" in given || Object.keys(given).length === 0;
      const headers = plain ? given : await bearer(given);
      const answer = await use().ask("/chat/chat-1/send", {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers },
        body: '{"content":"hi"}',
      });
      expect(answer.status).toBe(401);
      expect(answer.headers.get("www-authenticate")).toMatch(/^Bearer/);
      expect(answer.headers.get("ratelimit")).toBeNull();
      expect(await readCode(answer)).toBe(code);
      expect(use().emulator.requests()).toHaveLength(before);
    });
  });

  test("that is missing is refused before the body is read, so that a slow body costs nothing", async () => {
    const before = use().emulator.requests().length;
    const connection = await openRaw(use().service.url);
    const head = [
      "POST /chat/chat-1/send HTTP/1.1",
      "Host: x",
      "Content-Type: application/json",
      "Content-Length: 1000",
    ];
    connection.write(`${head.join("\r\n")}\r\n\r\n{`);
    expect(await connection.received("\r\n\r\n")).toMatch(/^HTTP\/1.1 401 /);
    connection.destroy();
    expect(use().emulator.requests()).toHaveLength(before);
  });

  describe("a cookie", () => {
    test("is had for a token, sends messages, and comes with every protection", async () => {
      const { setCookie, headers } = await logIn({ sub: "cookie-user", sid: "c-1" });
      expect(setCookie).toMatch(
        /^__Host-uponai_session=[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+; Max-Age=\d+; Path=\/; HttpOnly; Secure; SameSite=Strict$/,
      );
      const who = await use().ask("/session", { headers });
      expect(await who.json()).toMatchObject({ subject: "cookie-user", via: "cookie" });
      const sent = await use().send({ headers: { ...headers, ...SAME_ORIGIN } });
      expect(sent.status).toBe(201);
      const upstream = use().emulator.requests().at(-1);
      expect(upstream?.headers).not.toHaveProperty("cookie");
      expect(upstream?.headers).not.toHaveProperty("sec-fetch-site");
    });

    test("of another make, twice, or empty is 401", async () => {
      const { headers } = await logIn({ sub: "cookie-user-2", sid: "c-2" });
      for (const cookie of [
        `${COOKIE_NAME}=x`,
        `${COOKIE_NAME}=`,
        `${headers.Cookie}; ${headers.Cookie}`,
        headers.Cookie.slice(0, -20),
      ]) {
        const answer = await use().send({ headers: { Cookie: cookie, ...SAME_ORIGIN } });
        expect(answer.status).toBe(401);
        expect(await readCode(answer)).toBe("session_invalid");
      }
    });

    test.each([
      ["cross-site", "https://evil.example", 403],
      ["same-site", undefined, 403],
      ["none", undefined, 403],
      [undefined, undefined, 403],
      [undefined, "https://evil.example", 403],
      ["same-origin", undefined, 201],
      ["cross-site", ALLOWED_ORIGIN, 201],
    ])("with Sec-Fetch-Site %s and Origin %s is answered %i", async (site, origin, status) => {
      const { headers } = await logIn({ sub: "guarded", sid: "c-3" });
      const before = use().emulator.requests().length;
      const answer = await use().send({
        headers: {
          ...headers,
          ...(site === undefined ? {} : { "Sec-Fetch-Site": site }),
          ...(origin === undefined ? {} : { Origin: origin }),
        },
      });
      expect(answer.status).toBe(status);
      if (status === 201) return;
      expect(await readCode(answer)).toBe("cross_site_request");
      expect(use().emulator.requests()).toHaveLength(before);
    });
  });

  test.each(["same-site", "cross-site", "none"])(
    "a cookie that a page of another site sends along (%s) reads no chat and claims none",
    async (site) => {
      const { headers } = await logIn({ sub: `victim-${site}`, sid: `v-${site}` });
      const chatId = use().createChat();
      const before = use().emulator.requests().length;
      const image = await use().ask(`/chat/${chatId}`, {
        headers: { ...headers, "Sec-Fetch-Site": site },
      });
      expect(image.status).toBe(403);
      expect(await readCode(image)).toBe("cross_site_request");
      expect(use().emulator.requests()).toHaveLength(before);
      expect((await use().send({ sub: "owner", chatId })).status).toBe(201);
    },
  );

  test("logging out ends a session as cookie and as token, at once, and no other", async () => {
    const login = { sub: "leaver", sid: "l-1" };
    const { headers } = await logIn(login);
    const answer = await use().ask("/session", {
      method: "DELETE",
      headers: { ...headers, ...SAME_ORIGIN },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("set-cookie")).toContain(`${COOKIE_NAME}=; Max-Age=0;`);
    for (const refused of [
      await use().send({ headers: { ...headers, ...SAME_ORIGIN } }),
      await use().send({ claims: login }),
      await use().ask("/session", { headers }),
    ]) {
      expect(refused.status).toBe(401);
      expect(await readCode(refused)).toBe("session_revoked");
    }
    expect((await use().send({ claims: { ...login, sid: "l-2" } })).status).toBe(201);
  });

  test("log-out ends a session with a sid in all workspaces, and one without in its own", async () => {
    const login = { sub: "mover", sid: "m-1" };
    expect((await end({ ...login, workspace: "acme" })).status).toBe(204);
    for (const workspace of ["acme", "tight", "staffed"]) {
      expect(await read({ ...login, workspace })).toBe(401);
      expect(await read({ ...login, sid: "m-2", workspace })).toBe(200);
    }
    const token = { sub: "mover", sid: undefined, jti: "m-3" };
    expect((await end({ ...token, workspace: "acme" })).status).toBe(204);
    expect(await read({ ...token, workspace: "acme" })).toBe(401);
    expect(await read({ ...token, workspace: "tight" })).toBe(200);
  });
}
