/** Contract of `/session`, of cookie sessions and of the checks against cross-site requests. */
import { beforeEach, describe, expect, test } from "vitest";

import { createMemoryState } from "../../src/admission/memory-state.ts";
import type { Services } from "../../src/services.ts";
import {
  answerWith,
  createTestApp,
  readProblem,
  type TestApp,
  unavailableState,
} from "../support/app-fixture.ts";
import { mintToken } from "../support/session-tokens.ts";
import { SETTINGS } from "../support/state-fixtures.ts";

const ALLOWED = "https://www.example.com";
const FOREIGN = "https://evil.example";
const COOKIE_KEY = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
const NAME = "__Host-uponai_session";
const SAME_ORIGIN = { "Sec-Fetch-Site": "same-origin" };

let app: TestApp;

beforeEach(async () => {
  app = await createTestApp({
    environment: {
      COOKIE_KEYS: COOKIE_KEY,
      ALLOWED_ORIGINS: ALLOWED,
      WORKSPACES: '{"acme":42,"globex":43}',
    },
    // An answer to a message, and a chat.
    upstream: () =>
      answerWith({ chatId: "chat-1", messages: [{ role: "assistant", content: "Hi" }] }),
  });
});

const claims = { workspace: "acme", sid: "login-1" };

function ask(method: string, headers: Record<string, string> = {}): Promise<Response> {
  return Promise.resolve(app.app.request("/session", { method, headers }));
}

async function bearer(more: Record<string, unknown> = {}): Promise<Record<string, string>> {
  return { Authorization: `Bearer ${await mintToken({ ...claims, ...more })}` };
}

/** Exchanges a token for a cookie, and returns the `Cookie` header that a browser would send. */
async function logIn(more: Record<string, unknown> = {}): Promise<{ Cookie: string }> {
  const answer = await ask("POST", await bearer(more));
  expect(answer.status).toBe(201);
  const setCookie = answer.headers.get("set-cookie") ?? "";
  return { Cookie: setCookie.slice(0, setCookie.indexOf(";")) };
}

async function code(answer: Response): Promise<unknown> {
  return (await readProblem(answer))["code"];
}

function send(headers: Record<string, string>): Promise<Response> {
  return app.send({ headers: { Authorization: undefined, ...headers } });
}

describe("POST /session", () => {
  test("exchanges a token for a cookie, and returns its subject and its expiry", async () => {
    const expiresAt = Math.floor(app.clock.epochMs() / 1_000) + 600;
    const answer = await ask("POST", await bearer({ exp: expiresAt }));
    expect(answer.status).toBe(201);
    expect(await answer.json()).toEqual({
      subject: "alice",
      workspace: "acme",
      expiresAt: new Date(expiresAt * 1_000).toISOString(),
    });
    expect(answer.headers.get("set-cookie")).toMatch(
      /^__Host-uponai_session=[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+; Max-Age=(?:599|600); Path=\/; HttpOnly; Secure; SameSite=Strict$/,
    );
  });

  test("lasts as long as COOKIE_MAX_AGE where the token lives longer", async () => {
    const answer = await ask(
      "POST",
      await bearer({ exp: Math.floor(app.clock.epochMs() / 1_000) + 864_000 }),
    );
    expect(answer.headers.get("set-cookie")).toContain("; Max-Age=28800;");
  });

  test("needs a token: a cookie alone is 401, and so is nothing", async () => {
    const cookie = await logIn();
    const again = await ask("POST", { ...cookie, ...SAME_ORIGIN });
    expect(again.status).toBe(401);
    expect(await code(again)).toBe("session_missing");
    expect(again.headers.get("set-cookie")).toBeNull();
    expect((await ask("POST")).status).toBe(401);
  });

  test("refuses a session without a workspace, and one that does not fit into a cookie", async () => {
    expect((await ask("POST", await bearer({ workspace: "none" }))).status).toBe(403);
    const chats = Array.from({ length: 200 }, (_, index) => `chat-number-${index}`);
    const answer = await ask("POST", await bearer({ chats }));
    expect(answer.status).toBe(413);
    expect(await readProblem(answer)).toMatchObject({
      code: "content_too_large",
      detail: expect.stringContaining("claims"),
    });
    expect(answer.headers.get("set-cookie")).toBeNull();
  });

  test("is not there without COOKIE_KEYS, and then cookies are not looked at", async () => {
    const cookie = await logIn();
    app = await createTestApp();
    const answer = await ask("POST", await bearer());
    expect(answer.status).toBe(404);
    expect(await code(answer)).toBe("not_found");
    const sent = await send({ ...cookie, ...SAME_ORIGIN });
    expect(await code(sent)).toBe("session_missing");
  });

  test("has no cookie for a token that is over but for the tolerance", async () => {
    const answer = await ask(
      "POST",
      await bearer({ exp: Math.floor(app.clock.epochMs() / 1_000) - 10 }),
    );
    expect(answer.status).toBe(401);
    expect(await code(answer)).toBe("session_expired");
    expect(answer.headers.get("set-cookie")).toBeNull();
  });

  test("does not make a session longer by being asked again", async () => {
    const token = await bearer({ exp: Math.floor(app.clock.epochMs() / 1_000) + 100 });
    await ask("POST", token);
    app.clock.advanceMs(60_000);
    const again = await ask("POST", token);
    expect(again.headers.get("set-cookie")).toMatch(/; Max-Age=(?:39|40);/);
  });
});

test("where one workspace serves all, no session answer names it", async () => {
  app = await createTestApp({
    environment: { COOKIE_KEYS: COOKIE_KEY, UPONAI_WORKSPACE_ID: "987654321" },
  });
  for (const method of ["POST", "GET"]) {
    const text = await (await ask(method, await bearer())).text();
    expect(JSON.parse(text)).not.toHaveProperty("workspace");
    expect(text).not.toContain("987654321");
  }
});

describe("GET /session", () => {
  test("returns the subject and the kind of credential", async () => {
    const asBearer = await ask("GET", await bearer());
    expect(asBearer.status).toBe(200);
    expect(await asBearer.json()).toMatchObject({
      subject: "alice",
      workspace: "acme",
      via: "bearer",
    });
    const asCookie = await ask("GET", await logIn());
    expect(await asCookie.json()).toMatchObject({
      subject: "alice",
      workspace: "acme",
      via: "cookie",
    });
  });

  test("with a cookie is refused to pages of other sites, and needs no proof without a browser", async () => {
    const cookie = await logIn();
    const foreign = { ...cookie, "Sec-Fetch-Site": "cross-site", Origin: FOREIGN };
    expect(await code(await ask("GET", foreign))).toBe("cross_site_request");
    expect((await ask("GET", cookie)).status).toBe(200);
  });

  test("never prolongs a cookie", async () => {
    const cookie = await logIn();
    const first = await ask("GET", cookie);
    app.clock.advanceMs(1_800_000);
    const later = await ask("GET", cookie);
    expect(await later.json()).toEqual(await first.json());
    expect(later.headers.get("set-cookie")).toBeNull();
  });
});

describe("a cookie session", () => {
  test("sends messages as its token would, into the same workspace and under the same limits", async () => {
    const cookie = await logIn();
    expect((await send({ ...cookie, ...SAME_ORIGIN })).status).toBe(201);
    expect(app.sent[0]?.headers).not.toHaveProperty("Cookie");
    const asBearer = await app.send({ claims });
    expect(asBearer.headers.get("ratelimit")).toContain('"session";r=18');
  });

  test("is ignored where there is a bearer token: that decides alone", async () => {
    const cookie = await logIn();
    const other = await ask("GET", { ...cookie, ...(await bearer({ sub: "bob" })) });
    expect(await other.json()).toMatchObject({ subject: "bob", via: "bearer" });
    const wrong = await ask("GET", { ...cookie, Authorization: "Bearer a.b.c" });
    expect(wrong.status).toBe(401);
    // Basic credentials, as staging sites use them, are ignored: the cookie still counts.
    const basic = await ask("GET", { ...cookie, Authorization: "Basic dXNlcjpwdw==" });
    expect(await basic.json()).toMatchObject({ via: "cookie" });
  });

  test.each([
    ["twice", (pair: string) => `${pair}; ${pair}`],
    ["beside a padded one", (pair: string) => `${pair}; ${NAME}\u00a0=x`],
    [
      "tampered with",
      (pair: string) => `${pair.slice(0, -8)}${pair.at(-8) === "A" ? "B" : "A"}${pair.slice(-7)}`,
    ],
    ["cut short", (pair: string) => pair.slice(0, -20)],
    ["empty", () => `${NAME}=`],
    ["a bearer token", () => `${NAME}=a.b.c`],
  ])("%s is 401 and sends nothing", async (_name, change) => {
    const { Cookie } = await logIn();
    const answer = await send({ Cookie: change(Cookie), ...SAME_ORIGIN });
    expect(answer.status).toBe(401);
    expect(await code(answer)).toBe("session_invalid");
    expect(app.sent).toHaveLength(0);
  });

  test("is not to be had by putting a token into the cookie, even one that was just served", async () => {
    const token = await mintToken(claims);
    const headers = { Authorization: `Bearer ${token}` };
    expect((await ask("GET", headers)).status).toBe(200);
    const answer = await ask("GET", { Cookie: `${NAME}=${token}` });
    expect(answer.status).toBe(401);
    expect(await code(answer)).toBe("session_invalid");
    const sent = await send({ Cookie: `${NAME}=${token}`, "Sec-Fetch-Site": "cross-site" });
    expect(sent.status).toBe(401);
  });

  test("that has expired has its own code", async () => {
    const cookie = await logIn();
    app.clock.advanceMs(3_600_000 + 1_000);
    expect(await code(await ask("GET", cookie))).toBe("session_expired");
  });

  test("is no bearer token: its JWE is refused there", async () => {
    const { Cookie } = await logIn();
    const answer = await ask("GET", { Authorization: `Bearer ${Cookie.slice(NAME.length + 1)}` });
    expect(await code(answer)).toBe("session_invalid");
  });
});

describe("DELETE /session", () => {
  test("ends the session as cookie and as bearer, and every token of the same login", async () => {
    const cookie = await logIn();
    const answer = await ask("DELETE", { ...cookie, ...SAME_ORIGIN });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("set-cookie")).toBe(
      `${NAME}=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Strict`,
    );
    for (const refused of [
      await send({ ...cookie, ...SAME_ORIGIN }),
      await app.send({ claims }),
      await ask("GET", cookie),
      await ask("GET", await bearer({ jti: "another token of it" })),
      await ask("POST", await bearer()),
    ]) {
      expect(refused.status).toBe(401);
      expect(refused.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
      expect(await code(refused)).toBe("session_revoked");
    }
    expect(app.sent).toHaveLength(0);
    // Other sessions stay: another login of the same user, and the same session id of another user.
    expect((await app.send({ claims: { ...claims, sid: "login-2" } })).status).toBe(201);
    expect((await app.send({ claims, sub: "bob", chatId: "chat-of-bob" })).status).toBe(201);
    // A second logout succeeds as well.
    expect((await ask("DELETE", { ...cookie, ...SAME_ORIGIN })).status).toBe(204);
  });

  test.each([
    ["jti", { sid: undefined, jti: "token-1" }],
    ["the token itself", { sid: undefined }],
  ])("ends a session that is known by %s", async (_name, more) => {
    const token = await bearer({ ...more, exp: Math.floor(app.clock.epochMs() / 1_000) + 300 });
    expect((await ask("DELETE", token)).status).toBe(204);
    expect(await code(await ask("GET", token))).toBe("session_revoked");
    expect((await ask("GET", await bearer({ ...more, jti: "token-2" }))).status).toBe(200);
  });

  test("ends a login for its longer-lived tokens too, and a shorter one cannot undo that", async () => {
    const nowSeconds = Math.floor(app.clock.epochMs() / 1_000);
    const long = await bearer({ exp: nowSeconds + 3_600 });
    const short = await bearer({ exp: nowSeconds + 5 });
    expect((await ask("DELETE", short)).status).toBe(204);
    app.clock.advanceMs(60_000);
    expect(await code(await ask("GET", long))).toBe("session_revoked");

    const token = { sid: undefined, jti: "alone" };
    const again = Math.floor(app.clock.epochMs() / 1_000);
    const first = await bearer({ ...token, exp: again + 3_600 });
    expect((await ask("DELETE", first)).status).toBe(204);
    expect((await ask("DELETE", await bearer({ ...token, exp: again + 5 }))).status).toBe(204);
    app.clock.advanceMs(60_000);
    expect(await code(await ask("GET", first))).toBe("session_revoked");
  });

  test.each([
    [{ sid: "a b" }, "c", { sid: "a" }, "b c"],
    [{ sid: "1", jti: undefined }, "c", { sid: undefined, jti: "1" }, "c"],
  ])("of %j of %s leaves %j of %s alone", async (ended, sub, other, otherSub) => {
    expect((await ask("DELETE", await bearer({ ...ended, sub }))).status).toBe(204);
    expect((await ask("GET", await bearer({ ...other, sub: otherSub }))).status).toBe(200);
  });

  test("is not undone by writing the token differently", async () => {
    const token = await mintToken({ ...claims, sid: undefined });
    expect((await ask("DELETE", { Authorization: `Bearer ${token}` })).status).toBe(204);
    // The last character of a signature has bits that decoders ignore.
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const answers = await Promise.all(
      Array.from(alphabet).map((last) =>
        ask("GET", { Authorization: `Bearer ${token.slice(0, -1)}${last}` }),
      ),
    );
    expect(answers.map(({ status }) => status)).not.toContain(200);
    const codes = await Promise.all(answers.map(code));
    expect(codes.filter((found) => found === "session_revoked").length).toBeGreaterThan(1);
  });

  test("keeps a session ended for exactly as long as its token could live", async () => {
    const token = await mintToken({
      ...claims,
      exp: Math.floor(app.clock.epochMs() / 1_000) + 100,
    });
    const headers = { Authorization: `Bearer ${token}` };
    await ask("DELETE", headers);
    app.clock.advanceMs(129_000);
    expect(await code(await ask("GET", headers))).toBe("session_revoked");
    app.clock.advanceMs(2_000);
    expect(await code(await ask("GET", headers))).toBe("session_expired");
  });

  test("needs only an authentic session, with a workspace or without", async () => {
    const token = await bearer({ workspace: "none" });
    expect((await ask("DELETE", token)).status).toBe(204);
    expect((await ask("DELETE", { Authorization: "Bearer a.b.c" })).status).toBe(401);
    expect((await ask("DELETE")).status).toBe(401);
  });

  test("is answered 503 where its end is not written in every workspace, and can be repeated", async () => {
    const state = createMemoryState(app.clock, SETTINGS);
    let out = true;
    const services: Partial<Services> = {
      state: {
        ...state,
        revokeSession: (session, forMs) =>
          out && session.workspaceId === 43
            ? Promise.resolve("unavailable")
            : state.revokeSession(session, forMs),
      },
    };
    const environment = { COOKIE_KEYS: COOKIE_KEY, WORKSPACES: '{"acme":42,"globex":43}' };
    app = await createTestApp({ environment, services });
    const cookie = await logIn();
    const failed = await ask("DELETE", { ...cookie, ...SAME_ORIGIN });
    expect(failed.status).toBe(503);
    expect(failed.headers.get("set-cookie")).toBeNull();
    out = false;
    expect((await ask("DELETE", { ...cookie, ...SAME_ORIGIN })).status).toBe(204);
    expect(await code(await ask("GET", await bearer({ workspace: "globex" })))).toBe(
      "session_revoked",
    );
  });

  describe("of a login that was ended before", () => {
    let written: (number | undefined)[];

    beforeEach(async () => {
      written = [];
      const state = createMemoryState(app.clock, SETTINGS);
      app = await createTestApp({
        environment: { WORKSPACES: '{"acme":42,"globex":43,"initech":44}' },
        beside: app,
        services: {
          state: {
            ...state,
            revokeSession: (session, forMs) => {
              written.push(session.workspaceId);
              return state.revokeSession(session, forMs);
            },
          },
        },
      });
    });

    test("writes nothing within the hour, and then all workspaces again, its own last", async () => {
      const exp = Math.floor(app.clock.epochMs() / 1_000) + 86_400;
      const login = await bearer({ workspace: "globex", exp });
      expect((await ask("DELETE", login)).status).toBe(204);
      expect(written).toEqual([42, 44, 43]);
      app.clock.advanceMs(3_500_000);
      for (let times = 0; times < 3; times += 1) {
        expect((await ask("DELETE", login)).status).toBe(204);
      }
      expect(written).toHaveLength(3);
      app.clock.advanceMs(200_000);
      expect((await ask("DELETE", login)).status).toBe(204);
      expect(written).toEqual([42, 44, 43, 42, 44, 43]);
    });

    test("in another workspace's token is complete, too", async () => {
      expect((await ask("DELETE", await bearer())).status).toBe(204);
      expect((await ask("DELETE", await bearer({ workspace: "globex" }))).status).toBe(204);
      expect(written).toHaveLength(3);
    });

    test("is not skipped for an operator's order, which ends one workspace only", async () => {
      const order = { workspaceId: 42 as never, subjectKey: undefined, forMs: 86_400_000_000 };
      await app.state.cutOff(order);
      expect((await ask("DELETE", await bearer())).status).toBe(204);
      expect(written).toEqual([43, 44, 42]);
    });
  });

  test("of all sessions ends a cookie whose token was issued by a clock ahead", async () => {
    const nowSeconds = Math.floor(app.clock.epochMs() / 1_000);
    const cookie = await logIn({ iat: nowSeconds + 29 });
    await app.state.cutOff({ workspaceId: 42 as never, subjectKey: undefined, forMs: 600_000 });
    expect(await code(await ask("GET", cookie))).toBe("session_revoked");
    app.clock.advanceMs(60_000);
    expect(await code(await ask("GET", cookie))).toBe("session_revoked");
  });

  test("takes no cookie away while the state is out: it can be tried again", async () => {
    const cookie = await logIn();
    app = await createTestApp({
      environment: { COOKIE_KEYS: COOKIE_KEY, WORKSPACES: '{"acme":42}' },
      services: {
        state: unavailableState,
      },
    });
    const answer = await ask("DELETE", { ...cookie, ...SAME_ORIGIN });
    expect(answer.status).toBe(503);
    expect(answer.headers.get("set-cookie")).toBeNull();
    expect(await code(await ask("GET", cookie))).toBe("state_unavailable");
    expect(await code(await ask("POST", await bearer()))).toBe("state_unavailable");
  });

  test("of all sessions by an operator ends those issued before, and none issued after", async () => {
    const state = app;
    const nowSeconds = Math.floor(state.clock.epochMs() / 1_000);
    const before = await bearer({ iat: nowSeconds - 10 });
    // From an issuer whose clock is ahead, within the tolerance.
    const ahead = await bearer({ iat: nowSeconds + 29 });
    const after = await bearer({ iat: nowSeconds + 32 });
    const undated = await bearer({ iat: undefined });
    await state.state.cutOff({ workspaceId: 42 as never, subjectKey: undefined, forMs: 60_000 });
    expect(await code(await ask("GET", before))).toBe("session_revoked");
    expect(await code(await ask("GET", undated))).toBe("session_revoked");
    expect(await code(await ask("GET", ahead))).toBe("session_revoked");
    state.clock.advanceMs(32_000);
    expect((await ask("GET", after)).status).toBe(200);
    expect(
      (await ask("GET", await bearer({ iat: nowSeconds - 10, workspace: "globex" }))).status,
    ).toBe(200);
  });
});

describe("the check against cross-site requests", () => {
  const sites = [undefined, "same-origin", "same-site", "cross-site", "none"] as const;
  const origins = [undefined, "https://bff.test", ALLOWED, FOREIGN, "null"] as const;
  const guarded = [
    ["POST", "/chat/chat-1/send"],
    ["DELETE", "/session"],
    ["GET", "/session"],
    ["GET", "/chat/chat-1"],
    ["HEAD", "/chat/chat-1"],
  ] as const;
  const matrix = guarded.flatMap(([method, path]) =>
    sites.flatMap((site) => origins.map((origin) => ({ method, path, site, origin }))),
  );

  const statuses = { POST: 201, DELETE: 204, GET: 200, HEAD: 200 } as const;

  function act(
    { method, path, site, origin }: (typeof matrix)[number],
    credentials: Record<string, string>,
  ): Promise<Response> {
    const headers: Record<string, string> = {
      "Content-Type": "application/json",
      Host: "bff.test",
      ...credentials,
    };
    if (site !== undefined) headers["Sec-Fetch-Site"] = site;
    if (origin !== undefined) headers["Origin"] = origin;
    const body = method === "POST" ? '{"content":"hi"}' : null;
    return Promise.resolve(app.app.request(path, { method, headers, body }));
  }

  test.each(matrix)(
    "$method $path with a cookie, Sec-Fetch-Site $site, Origin $origin",
    async (row) => {
      const answer = await act(row, await logIn());
      const reads = row.method === "GET" || row.method === "HEAD";
      const trusted =
        row.site === "same-origin" ||
        row.origin === ALLOWED ||
        (row.site === undefined && row.origin === "https://bff.test") ||
        (reads && row.site === undefined && row.origin === undefined);
      if (trusted) {
        expect(answer.status).toBe(statuses[row.method]);
        return;
      }
      expect(answer.status).toBe(403);
      if (row.method !== "HEAD") expect(await code(answer)).toBe("cross_site_request");
      expect(app.sent).toHaveLength(0);
      expect(answer.headers.get("set-cookie")).toBeNull();
      expect(answer.headers.get("ratelimit")).toBeNull();
    },
  );

  test.each(matrix)(
    "$method $path with a token, Sec-Fetch-Site $site, Origin $origin passes",
    async (row) => {
      const answer = await act(row, await bearer());
      expect(answer.status).toBe(statuses[row.method]);
    },
  );

  test("stands before every route that takes a cookie, as the description lists them", async () => {
    const { paths } = (await (await app.app.request("/openapi.json")).json()) as {
      paths: Record<string, Record<string, { security?: object[] }>>;
    };
    const cookie = await logIn();
    let guardedRoutes = 0;
    for (const [path, item] of Object.entries(paths)) {
      for (const [method, { security }] of Object.entries(item)) {
        if (method === "parameters" || security === undefined || security.length === 0) continue;
        const answer = await app.app.request(path.replace("{chatId}", "chat-1"), {
          method: method.toUpperCase(),
          headers: { ...cookie, "Sec-Fetch-Site": "cross-site", Origin: FOREIGN },
          body: method === "post" ? "{}" : null,
        });
        const takesCookies = JSON.stringify(security).includes('"cookie"');
        expect(await code(answer)).toBe(takesCookies ? "cross_site_request" : "session_missing");
        guardedRoutes += 1;
      }
    }
    expect(guardedRoutes).toBeGreaterThanOrEqual(7);
    expect(app.sent).toHaveLength(0);
  });

  test("comes after authentication and before the workspace", async () => {
    const strangers = await send({ Cookie: `${NAME}=x`, "Sec-Fetch-Site": "cross-site" });
    expect(strangers.status).toBe(401);
    const cookie = await logIn();
    app = await createTestApp({
      environment: { COOKIE_KEYS: COOKIE_KEY, WORKSPACES: '{"globex":43}' },
    });
    expect((await send({ ...cookie, "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect(await code(await send({ ...cookie, "Sec-Fetch-Site": "cross-site" }))).toBe(
      "cross_site_request",
    );
    expect(await code(await send({ ...cookie, ...SAME_ORIGIN }))).toBe("workspace_unmapped");
  });
});

describe("CORS", () => {
  const wanted = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
  };

  test("lets pages of listed origins read every answer, errors too", async () => {
    for (const answer of [
      await send({ Origin: ALLOWED }),
      await app.send({ claims, headers: { Origin: ALLOWED } }),
      await app.app.request("/nowhere", { headers: { Origin: ALLOWED } }),
      await app.app.request("/healthz", { method: "DELETE", headers: { Origin: ALLOWED } }),
      await ask("POST", { ...(await bearer()), Origin: ALLOWED }),
    ]) {
      expect(answer.headers.get("access-control-allow-origin")).toBe(ALLOWED);
      expect(answer.headers.get("access-control-allow-credentials")).toBe("true");
      expect(answer.headers.get("access-control-expose-headers")).toContain("Retry-After");
      expect(answer.headers.get("vary")).toBe("Origin");
    }
  });

  test.each([FOREIGN, "null", `${ALLOWED}.evil.example`, "https://WWW.example.com", undefined])(
    "tells %s nothing but that origins matter",
    async (origin) => {
      const headers = origin === undefined ? {} : { Origin: origin };
      for (const answer of [
        await app.send({ claims, headers }),
        await app.app.request("/chat/a/send", {
          method: "OPTIONS",
          headers: { ...headers, ...wanted },
        }),
      ]) {
        const names = [...answer.headers.keys()].filter((name) =>
          name.startsWith("access-control"),
        );
        expect(names).toEqual([]);
        expect(answer.headers.get("vary")).toBe("Origin");
      }
    },
  );

  test("answers a preflight without a session, for the methods of the route", async () => {
    const preflight = await app.app.request("/chat/a/send", {
      method: "OPTIONS",
      headers: { Origin: ALLOWED, ...wanted },
    });
    expect(preflight.status).toBe(204);
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      "access-control-allow-origin": ALLOWED,
      "access-control-allow-credentials": "true",
      "access-control-allow-methods": "POST, OPTIONS",
      "access-control-allow-headers":
        "Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id, traceparent, tracestate, baggage, sentry-trace",
      "access-control-max-age": "7200",
      vary: "Origin",
    });
    expect(app.sent).toHaveLength(0);
    const session = await app.app.request("/session", {
      method: "OPTIONS",
      headers: { Origin: ALLOWED, "Access-Control-Request-Method": "DELETE" },
    });
    expect(session.headers.get("access-control-allow-methods")).toBe(
      "GET, HEAD, POST, DELETE, OPTIONS",
    );
  });

  test("is silent where no origin is listed", async () => {
    app = await createTestApp();
    const answer = await app.send({ headers: { Origin: ALLOWED } });
    expect(answer.headers.get("vary")).toBeNull();
    expect(answer.headers.get("access-control-allow-origin")).toBeNull();
  });
});

test("in plain-http development there is no strict transport security to be locked out by", async () => {
  app = await createTestApp({ environment: { COOKIE_KEYS: COOKIE_KEY, COOKIE_INSECURE: "true" } });
  const answer = await ask("POST", await bearer());
  expect(answer.headers.get("strict-transport-security")).toBeNull();
  expect(answer.headers.get("set-cookie")).toMatch(
    /^uponai_session=.*; HttpOnly; SameSite=Strict$/,
  );
});
