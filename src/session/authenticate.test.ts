// From the header to the session, and what is remembered of it. Attacks are in jwt-attacks.test.ts.
import { SignJWT } from "jose";
import { beforeEach, describe, expect, test, vi } from "vitest";

import { type Authenticator, createAuthenticator } from "./authenticate.ts";
import { createSecretKeySource, type KeySource, KeysUnavailable } from "./key-source.ts";

const START_MS = 1_800_000_000_000;
const START = START_MS / 1_000;
const SECRET = "0123456789abcdef0123456789abcdef";
const MINUTE_MS = 60_000;
const DIGEST_OF = (text: string) => `digest-of-${text}`.padEnd(43, "=");

const secretKeys = await createSecretKeySource(SECRET);
const getKey = vi.fn<KeySource["getKey"]>();
const digest = vi.fn<(text: string) => string>();
let nowMs: number;
let authenticator: Authenticator;

function create(workspaceClaim = "workspace"): Authenticator {
  return createAuthenticator({
    keys: { ...secretKeys, getKey, isUsable: () => Promise.resolve(false) },
    issuer: "issuer",
    audience: "audience",
    workspaceClaim,
    chatsClaim: "chats",
    variables: new Map(),
    cookies: undefined,
    clock: { epochMs: () => nowMs, monotonicMs: () => nowMs - START_MS },
    hashing: { digest, pseudonym: (text) => `pseudonym-of-${text}`, keyedDigest: () => "" },
  });
}

beforeEach(() => {
  nowMs = START_MS;
  getKey.mockReset().mockImplementation(secretKeys.getKey);
  digest.mockReset().mockImplementation(DIGEST_OF);
  authenticator = create();
});

const sign = (claims: object) =>
  new SignJWT({
    iss: "issuer",
    aud: "audience",
    sub: "alice",
    exp: START + 3_600,
    workspace: "acme",
    ...claims,
  })
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(SECRET));

const bearer = async (claims: object = {}) => `Bearer ${await sign(claims)}`;

describe("a session", () => {
  test("holds the claims of the token and nothing more", async () => {
    const header = await bearer({ email: "alice@example.org", roles: ["admin"] });
    expect(await authenticator.authenticate(header)).toEqual({
      kind: "session",
      session: {
        subject: "alice",
        subjectKey: DIGEST_OF("alice").slice(0, 22),
        subjectHash: "pseudonym-of-alice",
        sessionKey: DIGEST_OF(
          JSON.stringify([
            "token",
            DIGEST_OF(header.slice("Bearer ".length, header.lastIndexOf("."))),
            "alice",
          ]),
        ).slice(0, 22),
        hasSiblings: false,
        issuedAtMs: undefined,
        workspaceClaim: "acme",
        chats: undefined,
        variableClaims: new Map(),
        variables: {},
        expiresAtMs: START_MS + 60 * MINUTE_MS,
        tokenExpiresAtMs: START_MS + 60 * MINUTE_MS,
        via: "bearer",
      },
    });
  });

  test.each([
    ["org.id", { org: { id: 42 } }, "42"],
    ["https://claims.example/org", { "https://claims.example/org": "acme" }, "acme"],
    ["workspace", { workspace: ["acme"] }, undefined],
    ["workspace", { workspace: { toString: "acme" } }, undefined],
    ["absent", {}, undefined],
    ["constructor", {}, undefined],
    ["__proto__", {}, undefined],
  ])("has as its workspace claim what %s says: %j", async (name, claims, claim) => {
    const result = await create(name).authenticate(await bearer(claims));
    expect(result).toMatchObject({ kind: "session", session: { workspaceClaim: claim } });
  });
});

describe("without a session", () => {
  test.each([null, "", "Basic dXNlcjpwYXNz"])(
    "%j is missing, and costs nothing",
    async (header) => {
      expect(await authenticator.authenticate(header)).toEqual({ kind: "missing" });
      expect(getKey).not.toHaveBeenCalled();
      expect(digest).not.toHaveBeenCalled();
    },
  );

  test.each([
    "Bearer",
    "Bearer a.b",
    "Bearer a.b.c, Bearer a.b.c",
    `Bearer ${"a".repeat(9_000)}.b.c`,
  ])("%j is invalid, and costs nothing", async (header) => {
    const refusal = { kind: "refused", code: "session_invalid" };
    expect(await authenticator.authenticate(header)).toEqual(refusal);
    expect(getKey).not.toHaveBeenCalled();
    expect(digest).not.toHaveBeenCalled();
  });

  test("keys that cannot be fetched give `unavailable`, which is not cached", async () => {
    getKey.mockRejectedValueOnce(new KeysUnavailable(7));
    const header = await bearer();
    expect(await authenticator.authenticate(header)).toEqual({
      kind: "unavailable",
      retryAfterSeconds: 7,
    });
    expect(await authenticator.authenticate(header)).toMatchObject({ kind: "session" });
  });

  test("isUsable asks the keys", async () => {
    expect(await authenticator.isUsable()).toBe(false);
  });
});

describe("a token that was verified", () => {
  test("is verified only once", async () => {
    const header = await bearer();
    const first = await authenticator.authenticate(header);
    const second = await authenticator.authenticate(header);
    expect(second).toEqual(first);
    expect(getKey).toHaveBeenCalledTimes(1);
  });

  test("does not replace the check of another token, even of the same subject", async () => {
    await authenticator.authenticate(await bearer());
    await authenticator.authenticate(await bearer({ workspace: "globex" }));
    expect(getKey).toHaveBeenCalledTimes(2);
    const forged = `${(await bearer()).slice(0, -10)}AAAAAAAAAA`;
    expect(await authenticator.authenticate(forged)).toMatchObject({ kind: "refused" });
    expect(getKey).toHaveBeenCalledTimes(3);
  });

  test("is cached by its digest, in one authenticator only", async () => {
    const header = await bearer();
    await authenticator.authenticate(header);
    await create().authenticate(header);
    expect(getKey).toHaveBeenCalledTimes(2);
    expect(digest).toHaveBeenCalledWith(header.slice("Bearer ".length));
  });

  test("expires 30 seconds after its exp, cached or not", async () => {
    const header = await bearer({ exp: START + 60 });
    await authenticator.authenticate(header);
    nowMs = START_MS + 90_000 - 1;
    expect(await authenticator.authenticate(header)).toMatchObject({ kind: "session" });
    expect(getKey).toHaveBeenCalledTimes(1);
    nowMs += 1;
    const refusal = { kind: "refused", code: "session_expired" };
    expect(await authenticator.authenticate(header)).toEqual(refusal);
    expect(await authenticator.authenticate(header)).toEqual(refusal);
    expect(await create().authenticate(header)).toEqual(refusal);
  });

  test("is checked again after ten minutes, even if it is used often", async () => {
    const header = await bearer({ exp: START + 86_400 });
    for (let minute = 0; minute < 10; minute += 1) {
      await authenticator.authenticate(header);
      nowMs += MINUTE_MS;
    }
    expect(getKey).toHaveBeenCalledTimes(1);
    await authenticator.authenticate(header);
    expect(getKey).toHaveBeenCalledTimes(2);
    // The new check is valid for another ten minutes.
    nowMs += 10 * MINUTE_MS - 1;
    await authenticator.authenticate(header);
    expect(getKey).toHaveBeenCalledTimes(2);
    nowMs += 1;
    await authenticator.authenticate(header);
    expect(getKey).toHaveBeenCalledTimes(3);
  });

  test("is refused after ten minutes if its key was removed", async () => {
    const header = await bearer({ exp: START + 86_400 });
    await authenticator.authenticate(header);
    getKey.mockRejectedValue(new Error("no such key"));
    nowMs += 10 * MINUTE_MS;
    expect(await authenticator.authenticate(header)).toMatchObject({ kind: "refused" });
  });
});
