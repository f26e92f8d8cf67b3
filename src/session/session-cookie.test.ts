import { compactDecrypt, CompactEncrypt } from "jose";
import { beforeEach, describe, expect, test, vi } from "vitest";

import {
  createSessionCookies,
  PROXY_SAFE_COOKIE_BYTES,
  type SessionCookies,
} from "./session-cookie.ts";
import type { SessionClaims } from "./session.ts";

const START_MS = Date.UTC(2026, 0, 1);
const HOUR_MS = 3_600_000;
const OLD_KEY = crypto.getRandomValues(new Uint8Array(32));
const NEW_KEY = crypto.getRandomValues(new Uint8Array(32));

const claims: SessionClaims = {
  subject: "alice",
  sessionKey: "session-key",
  hasSiblings: true,
  issuedAtMs: START_MS,
  expiresAtMs: START_MS + 24 * HOUR_MS,
  tokenExpiresAtMs: START_MS + 24 * HOUR_MS,
  workspaceClaim: "acme",
  chats: ["chat-1", "chat-2"],
  variableClaims: new Map<string, string | number | boolean>([
    ["plan", "gold"],
    ["profile.seats", 7],
    ["__proto__", true],
  ]),
};

let nowMs: number;
const log = vi.fn<(...line: unknown[]) => void>();

function create(
  keys: readonly Uint8Array[],
  insecure = false,
  maxAgeMs = 8 * HOUR_MS,
  basePath = "",
): SessionCookies {
  const clock = { epochMs: () => nowMs, monotonicMs: () => nowMs };
  return createSessionCookies({ keys, maxAgeMs, insecure, basePath, clock, log: { log } });
}

async function seal(cookies: SessionCookies, of: SessionClaims = claims): Promise<string> {
  const sealed = await cookies.seal(of);
  if (sealed.kind !== "sealed") throw new Error("it fits");
  return sealed.setCookie;
}

/** The cookie value of a `Set-Cookie` line. */
function valueOf(setCookie: string): string {
  return setCookie.slice(setCookie.indexOf("=") + 1, setCookie.indexOf(";"));
}

/** Claims of a session that is confined to `count` chats. */
function chatsOf(count: number): SessionClaims {
  return { ...claims, chats: Array.from({ length: count }, () => crypto.randomUUID()) };
}

beforeEach(() => {
  nowMs = START_MS;
  log.mockReset();
});

test.each([
  [29_000, START_MS],
  [0, START_MS],
  [-60_000, START_MS - 60_000],
])(
  "a token issued %i ms ahead is sealed as issued now at the latest",
  async (aheadMs, expected) => {
    const cookies = create([NEW_KEY]);
    const sealed = await seal(cookies, { ...claims, issuedAtMs: START_MS + aheadMs });
    const opened = await cookies.open(valueOf(sealed));
    expect(opened).toMatchObject({ kind: "opened", claims: { issuedAtMs: expected } });
  },
);

describe("the cookie", () => {
  test("has exactly the attributes that keep it from scripts, other sites and other hosts", async () => {
    const setCookie = await seal(create([NEW_KEY]));
    expect(setCookie.replace(valueOf(setCookie), "JWE")).toBe(
      "__Host-uponai_session=JWE; Max-Age=28800; Path=/; HttpOnly; Secure; SameSite=Strict",
    );
    expect(valueOf(setCookie).split(".")).toHaveLength(5);
    expect(create([NEW_KEY]).cleared).toBe(
      "__Host-uponai_session=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Strict",
    );
  });

  test("on plain-http localhost is without Secure and so without the prefix", async () => {
    const setCookie = await seal(create([NEW_KEY], true));
    expect(setCookie.replace(valueOf(setCookie), "JWE")).toBe(
      "uponai_session=JWE; Max-Age=28800; Path=/; HttpOnly; SameSite=Strict",
    );
  });

  test("below a path is for that path only, and so without __Host-", async () => {
    const cookies = create([NEW_KEY], false, 8 * HOUR_MS, "/api/chat");
    const setCookie = await seal(cookies);
    expect(setCookie.replace(valueOf(setCookie), "JWE")).toBe(
      "__Secure-uponai_session=JWE; Max-Age=28800; Path=/api/chat; HttpOnly; Secure; SameSite=Strict",
    );
    expect(cookies.parse(`__Secure-uponai_session=${valueOf(setCookie)}`)).toMatchObject({
      kind: "value",
    });
    expect(cookies.cleared).toContain("Path=/api/chat;");
  });

  test("reveals nothing without a key", async () => {
    const text = await seal(create([NEW_KEY]));
    const parts = valueOf(text).split(".");
    expect(Buffer.from(parts[0] ?? "", "base64url").toString()).toBe(
      '{"alg":"dir","enc":"A256GCM"}',
    );
    for (const secret of ["alice", "acme", "chat-1", "session-key", "gold"]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(Buffer.from(secret).toString("base64url"));
    }
  });

  test("that common proxies refuse is warned about once; an ordinary one is not", async () => {
    const cookies = create([NEW_KEY]);
    await seal(cookies);
    expect((await seal(cookies, chatsOf(40))).length).toBeLessThan(PROXY_SAFE_COOKIE_BYTES);
    expect(log).not.toHaveBeenCalled();
    const { length: bytes } = await seal(cookies, chatsOf(60));
    await seal(cookies, chatsOf(62));
    expect(bytes).toBeGreaterThan(PROXY_SAFE_COOKIE_BYTES);
    expect(log.mock.calls).toEqual([
      [
        "warn",
        expect.stringContaining("proxy_buffer_size"),
        { bytes, safeBytes: PROXY_SAFE_COOKIE_BYTES },
      ],
    ]);
    expect(JSON.stringify(log.mock.calls)).not.toContain("alice");
    // A session that fits into no cookie is refused without a warning.
    const others = create([NEW_KEY]);
    expect(await others.seal(chatsOf(100))).toEqual({ kind: "too_large" });
    expect(log).toHaveBeenCalledTimes(1);
  });

  test("is never the same twice", async () => {
    const cookies = create([NEW_KEY]);
    expect(await seal(cookies)).not.toBe(await seal(cookies));
  });

  test("never outlives its token", async () => {
    const short = { ...claims, expiresAtMs: START_MS + 90_500 };
    const sealed = await create([NEW_KEY]).seal(short);
    expect(sealed).toMatchObject({
      expiresAtMs: START_MS + 90_500,
      setCookie: expect.stringContaining("; Max-Age=90;"),
    });
  });

  test("is refused when it would be 4,096 bytes, and made when it is one less", async () => {
    const cookies = create([NEW_KEY]);
    const lengthWith = async (chars: number) => {
      const sealed = await cookies.seal({ ...claims, subject: "s".repeat(chars) });
      return sealed.kind === "sealed" ? sealed.setCookie.length : sealed.kind;
    };
    let chars = 2_000;
    while (typeof (await lengthWith(chars)) === "number") chars += 1;
    expect(await lengthWith(chars)).toBe("too_large");
    const largest = await lengthWith(chars - 1);
    expect(largest).toBeGreaterThan(4_090);
    expect(largest).toBeLessThan(4_096);
  });
});

test("a token that expires within a second is not exchanged", async () => {
  for (const leftMs of [-10_000, 0, 999]) {
    const ending = { ...claims, expiresAtMs: START_MS + leftMs };
    expect(await create([NEW_KEY]).seal(ending)).toEqual({ kind: "expired" });
  }
  const last = { ...claims, expiresAtMs: START_MS + 1_000 };
  expect(await create([NEW_KEY]).seal(last)).toMatchObject({ kind: "sealed" });
});

describe("opening", () => {
  test("returns the sealed claims", async () => {
    const cookies = create([NEW_KEY]);
    expect(await cookies.open(valueOf(await seal(cookies)))).toEqual({
      kind: "opened",
      claims: { ...claims, expiresAtMs: START_MS + 8 * HOUR_MS },
    });
    const bare = {
      ...claims,
      workspaceClaim: undefined,
      chats: undefined,
      issuedAtMs: undefined,
      variableClaims: new Map(),
    };
    expect(await cookies.open(valueOf(await seal(cookies, bare)))).toMatchObject({
      kind: "opened",
      claims: {
        workspaceClaim: undefined,
        chats: undefined,
        issuedAtMs: undefined,
        variableClaims: new Map(),
      },
    });
  });

  test("works for a cookie of the previous version, which sealed no variables", async () => {
    const before = {
      sub: "alice",
      key: "session-key",
      siblings: true,
      exp: START_MS + HOUR_MS,
      end: START_MS + HOUR_MS,
      chats: ["chat-1"],
    };
    const value = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(before)))
      .setProtectedHeader({ alg: "dir", enc: "A256GCM" })
      .encrypt(NEW_KEY);
    expect(await create([NEW_KEY]).open(value)).toMatchObject({
      kind: "opened",
      claims: { subject: "alice", chats: ["chat-1"], variableClaims: new Map() },
    });
  });

  test("by the previous version works for a session without variables: no new member is sealed", async () => {
    const cookies = create([NEW_KEY]);
    const value = valueOf(await seal(cookies, { ...claims, variableClaims: new Map() }));
    const { plaintext } = await compactDecrypt(value, NEW_KEY);
    expect(Object.keys(JSON.parse(new TextDecoder().decode(plaintext)) as object)).toEqual([
      "sub",
      "key",
      "siblings",
      "iat",
      "exp",
      "end",
      "workspace",
      "chats",
    ]);
  });

  test("works under all listed keys, so that cookies survive a rotation", async () => {
    const before = valueOf(await seal(create([OLD_KEY])));
    const rotated = create([NEW_KEY, OLD_KEY]);
    expect(await rotated.open(before)).toMatchObject({ kind: "opened" });
    const after = valueOf(await seal(rotated));
    expect(await create([NEW_KEY]).open(after)).toMatchObject({ kind: "opened" });
    expect(await create([OLD_KEY]).open(after)).toEqual({
      kind: "refused",
      code: "session_invalid",
    });
    expect(await create([NEW_KEY]).open(before)).toEqual({
      kind: "refused",
      code: "session_invalid",
    });
  });

  test("fails from the exact millisecond of expiry", async () => {
    const cookies = create([NEW_KEY]);
    const value = valueOf(await seal(cookies));
    nowMs = START_MS + 8 * HOUR_MS - 1;
    expect(await cookies.open(value)).toMatchObject({ kind: "opened" });
    nowMs += 1;
    expect(await cookies.open(value)).toEqual({ kind: "refused", code: "session_expired" });
  });

  test("refuses a value with one changed character", async () => {
    const cookies = create([NEW_KEY]);
    const value = valueOf(await seal(cookies));
    for (let at = 0; at < value.length; at += 7) {
      const other = value[at] === "A" ? "B" : "A";
      const changed = value.slice(0, at) + other + value.slice(at + 1);
      expect(await cookies.open(changed)).toEqual({ kind: "refused", code: "session_invalid" });
    }
    for (const cut of [0, 1, value.length - 1, Math.floor(value.length / 2)]) {
      expect(await cookies.open(value.slice(0, cut))).toMatchObject({ kind: "refused" });
    }
  });

  test.each([
    ["another algorithm", { alg: "dir", enc: "A128CBC-HS256" }, '{"sub":"a"}'],
    ["what is no JSON", { alg: "dir", enc: "A256GCM" }, "not JSON"],
    ["what is JSON of another shape", { alg: "dir", enc: "A256GCM" }, '{"sub":"alice"}'],
    ["a compressed one", { alg: "dir", enc: "A256GCM", zip: "DEF" }, '{"sub":"alice"}'],
  ])("refuses %s, although it was sealed under the key", async (_name, header, text) => {
    const value = await new CompactEncrypt(new TextEncoder().encode(text))
      .setProtectedHeader(header)
      .encrypt(NEW_KEY)
      .catch(() => "cannot even be made");
    expect(await create([NEW_KEY]).open(value)).toEqual({
      kind: "refused",
      code: "session_invalid",
    });
  });
});

describe("parsing the Cookie header", () => {
  const name = "__Host-uponai_session";

  test.each([
    [null, { kind: "missing" }],
    ["", { kind: "missing" }],
    ["theme=dark; lang=de", { kind: "missing" }],
    [`${name}=abc`, { kind: "value", value: "abc" }],
    [`a=b; ${name}=abc; c=d`, { kind: "value", value: "abc" }],
    [`a=b;${name}=abc`, { kind: "value", value: "abc" }],
    [`${name}=a=b`, { kind: "value", value: "a=b" }],
    [`x${name}=abc`, { kind: "missing" }],
    [`${name}x=abc`, { kind: "missing" }],
    [`${name.toLowerCase()}=abc`, { kind: "missing" }],
    [name, { kind: "missing" }],
    [`${name}=abc; ${name}=abc`, { kind: "ambiguous" }],
    [`${name}=abc; a=b; ${name}=`, { kind: "ambiguous" }],
    [`${name} =abc`, { kind: "ambiguous" }],
    [`a=b;  ${name}=abc`, { kind: "ambiguous" }],
    [`a=b; \t${name}=abc`, { kind: "ambiguous" }],
    [` ${name}=abc`, { kind: "ambiguous" }],
    [`a=b; \u00a0${name}=abc`, { kind: "ambiguous" }],
    [`${name}=abc; ${name}\u00a0=evil`, { kind: "ambiguous" }],
    [`\ufeff${name}=abc`, { kind: "ambiguous" }],
  ])("%j is %j", (header, expected) => {
    expect(create([NEW_KEY]).parse(header)).toEqual(expected);
  });
});
