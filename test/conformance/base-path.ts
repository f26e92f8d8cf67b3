/** The routes below a path, with and without a proxy that removes it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { readCode } from "../support/bff-fixture.ts";
import { mintToken } from "../support/session-tokens.ts";
import { type Fixture, type Runtime, STAFFED, startFixture } from "./runtime.ts";

const BASE_PATH = "/api/chat-bff";

const bearer = async () => ({
  Authorization: `Bearer ${await mintToken({ workspace: "staffed", sub: "below" })}`,
});

export function describeBasePath(
  runtime: Runtime,
  environment: () => Readonly<Record<string, string>>,
): void {
  describe.each([
    ["passed on", BASE_PATH, {}],
    ["removed by a proxy", "", { BASE_PATH_STRIPPED: "true" }],
  ])("a base path that is %s", (_, prefix, more) => {
    let fixture: Fixture;
    beforeAll(async () => {
      const given = environment();
      // Its emulator gives chats the ids of another's: the owners in Redis must not mix.
      const own = "REDIS_URL" in given ? { REDIS_PREFIX: `${crypto.randomUUID()}:` } : {};
      fixture = await startFixture(runtime, { ...given, ...own, BASE_PATH, ...more });
    });
    afterAll(() => fixture.stop());

    test("is before every route, and no other path has one", async () => {
      for (const path of ["/healthz", "/readyz", "/openapi.json", "/chat/element.js"]) {
        const answer = await fixture.ask(prefix + path);
        expect(answer.status).toBe(200);
        await answer.text();
      }
      const wrong = prefix === "" ? [BASE_PATH] : ["", "/api", `${BASE_PATH}/`, `${BASE_PATH}x`];
      for (const base of wrong) {
        const answer = await fixture.ask(`${base}/healthz`);
        expect(answer.status).toBe(404);
        expect(await readCode(answer)).toBe("not_found");
      }
      expect((await fixture.ask(`${prefix}/session`, { method: "PUT" })).status).toBe(405);
      expect((await fixture.ask(`${prefix}/session`, { method: "OPTIONS" })).status).toBe(204);
    });

    test("is in Location, the description, the script and the cookie, as browsers see them", async () => {
      const started = await fixture.ask(`${prefix}/chat`, {
        method: "POST",
        headers: await bearer(),
      });
      expect(started.status).toBe(201);
      const { chatId } = (await started.json()) as { chatId: string };
      expect(started.headers.get("location")).toBe(`${BASE_PATH}/chat/${chatId}`);
      const read = await fixture.ask(`${prefix}/chat/${chatId}`, { headers: await bearer() });
      expect(read.status).toBe(200);
      await read.text();

      const description = await fixture.ask(`${prefix}/openapi.json`);
      expect(await description.json()).toMatchObject({
        servers: [{ url: BASE_PATH }],
        components: { securitySchemes: { cookie: { name: "__Secure-uponai_session" } } },
      });
      const script = await (await fixture.ask(`${prefix}/chat/element.js`)).text();
      expect(script).toContain(`"${BASE_PATH}"`);
      expect(script).not.toContain("__BASE_PATH__");

      const session = await fixture.ask(`${prefix}/session`, {
        method: "POST",
        headers: await bearer(),
      });
      const cookie = session.headers.get("set-cookie") ?? "";
      expect(cookie).toMatch(
        /^__Secure-uponai_session=.*; Path=\/api\/chat-bff; HttpOnly; Secure;/,
      );
      await session.text();
      const who = await fixture.ask(`${prefix}/session`, {
        headers: { Cookie: cookie.split(";")[0] ?? "", "Sec-Fetch-Site": "same-origin" },
      });
      expect(await who.json()).toMatchObject({ subject: "below", via: "cookie" });
    });

    test("that is encoded leads to no chat", async () => {
      const headers = await bearer();
      const path =
        prefix === "" ? "/%63hat/a" : `/%61pi/chat-bff/chat/${fixture.createChat(STAFFED)}`;
      expect((await fixture.ask(path, { headers })).status).toBe(prefix === "" ? 404 : 400);
    });

    test("changes nothing for a message", async () => {
      const chatId = fixture.createChat(STAFFED);
      const sent = await fixture.ask(`${prefix}/chat/${chatId}/send`, {
        method: "POST",
        headers: { ...(await bearer()), "Content-Type": "application/json" },
        body: '{"content":"below"}',
      });
      expect(sent.status).toBe(201);
      expect(await sent.json()).toMatchObject({ messages: [{ content: "You said: below" }] });
    });
  });
}
