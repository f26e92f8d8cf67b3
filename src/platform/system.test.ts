import { createHash } from "node:crypto";

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { type Environment, parseConfig } from "../config/config.ts";
import { createHashing } from "./system.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const COMMON = {
  SESSION_ISSUER: "issuer",
  SESSION_AUDIENCE: "audience",
  UPONAI_API_TOKEN: "token-1",
  UPONAI_WORKSPACE_ID: "42",
};

function hashingOf(environment: Environment) {
  const result = parseConfig({ ...COMMON, ...environment });
  if (result.kind !== "config") throw new Error(JSON.stringify(result.problems));
  return createHashing(result.config);
}

const tableWith = (token: string) => ({
  SESSION_JWKS_URL: "https://issuer.example/jwks",
  UPONAI_WORKSPACE_ID: "",
  UPONAI_API_TOKEN: "",
  WORKSPACES: JSON.stringify({ acme: { id: 1, apiToken: token } }),
});

const hashing = hashingOf({ SESSION_SECRET: SECRET });

describe("the digest", () => {
  test("is SHA-256 of the UTF-8 text as base64url without padding", () => {
    for (const text of ["", "alice", "é 🙂", "x".repeat(10_000)]) {
      const digest = createHash("sha256").update(text, "utf8").digest("base64url");
      expect(hashing.digest(text)).toBe(digest);
      expect(digest).toHaveLength(43);
    }
  });

  test("is the same in every deployment, whatever its secrets", () => {
    const other = hashingOf({ SESSION_SECRET: "f".repeat(32), UPONAI_API_TOKEN: "token-2" });
    expect(other.digest("alice")).toBe(hashing.digest("alice"));
  });
});

describe("the pseudonym", () => {
  test("is 16 characters that fit a log field, and holds nothing of the subject", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 4 }), (subject) => {
        const pseudonym = hashing.pseudonym(subject);
        expect(pseudonym).toMatch(/^[A-Za-z0-9_-]{16}$/);
        expect(pseudonym).not.toContain(subject);
      }),
    );
  });

  test("is not a plain hash, which would allow to test a guess", () => {
    const digest = hashing.digest("alice");
    expect(digest.startsWith(hashing.pseudonym("alice"))).toBe(false);
    expect(hashing.pseudonym(digest)).not.toBe(hashing.pseudonym("alice"));
  });

  test("is the same on every instance of a deployment, and another for each subject", () => {
    const instance = hashingOf({ SESSION_SECRET: SECRET, PORT: "9999" });
    expect(instance.pseudonym("alice")).toBe(hashing.pseudonym("alice"));
    expect(hashing.pseudonym("alicf")).not.toBe(hashing.pseudonym("alice"));
  });

  test("is another under another secret", () => {
    const other = hashingOf({ SESSION_SECRET: "f".repeat(32) });
    expect(other.pseudonym("alice")).not.toBe(hashing.pseudonym("alice"));
  });

  test("where sessions have a public key, which all know, is keyed by the API token", () => {
    const base = { SESSION_JWKS_URL: "https://issuer.example/jwks" };
    const first = hashingOf(base).pseudonym("alice");
    expect(hashingOf(base).pseudonym("alice")).toBe(first);
    expect(hashingOf({ ...base, UPONAI_API_TOKEN: "token-2" }).pseudonym("alice")).not.toBe(first);
    const elsewhere = { SESSION_JWKS_URL: "https://other.example/jwks" };
    expect(hashingOf(elsewhere).pseudonym("alice")).toBe(first);
  });

  test("is keyed by a table's first token where every workspace has its own", () => {
    const first = hashingOf(tableWith("a")).pseudonym("alice");
    expect(hashingOf(tableWith("a")).pseudonym("alice")).toBe(first);
    expect(hashingOf(tableWith("b")).pseudonym("alice")).not.toBe(first);
  });
});
