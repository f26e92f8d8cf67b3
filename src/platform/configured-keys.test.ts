import { expect, test, vi } from "vitest";

import type { Config } from "../config/config.ts";
import type { FetchKeys } from "../session/remote-keys.ts";
import { createConfiguredKeys } from "./configured-keys.ts";

const fetch = vi.fn<FetchKeys>(() => Promise.reject(new Error("is not called here")));

/** Creates the keys, and reports the URLs for which a fetch was opened. */
async function create(key: Config["session"]["key"]) {
  const opened: string[] = [];
  const openFetch = (url: string) => {
    opened.push(url);
    return fetch;
  };
  const clock = { epochMs: () => 0, monotonicMs: () => 0 };
  const log = { log: () => undefined };
  const session = { key } as Config["session"];
  return { configured: await createConfiguredKeys(session, { openFetch, clock, log }), opened };
}

test("a secret allows HS256 alone and opens no fetch", async () => {
  const { configured, opened } = await create({ kind: "secret", secret: "s".repeat(32) });
  expect(configured).toMatchObject({ kind: "keys", keys: { algorithms: ["HS256"] } });
  expect(opened).toEqual([]);
});

test("a public key that cannot be read is a problem of its variable, without its value", async () => {
  const { configured } = await create({ kind: "public", publicKey: "canary" });
  expect(configured).toMatchObject({
    kind: "problem",
    problem: { variable: "SESSION_PUBLIC_KEY" },
  });
  expect(JSON.stringify(configured)).not.toContain("canary");
});

test("keys behind a URL open one fetch and do not use it yet", async () => {
  const url = "https://issuer.example/jwks";
  const { configured, opened } = await create({ kind: "jwks", url });
  expect(configured.kind).toBe("keys");
  expect(opened).toEqual([url]);
  expect(fetch).not.toHaveBeenCalled();
});
