/** Checks the session key: the strength of a secret, or the keys at the issuer's JWKS URL. */
import { deflateRawSync } from "node:zlib";

import type { Config } from "../../config/config.ts";
import { readStream } from "../../http/read-stream.ts";
import {
  createNodeFetch,
  type EgressOptions,
  type NodeFetch,
  type ProxySettings,
} from "../../platform/node/egress.ts";
import { parseFetchedJwks } from "../../session/key-source.ts";
import { KEYS_HEADERS } from "../../session/remote-keys.ts";
import { checkClock } from "./clock-check.ts";
import type { Finding } from "./finding.ts";

const CHECK = "session key";
/**
 * Smallest compressed size of a strong secret, in bytes. 32 random bytes in any encoding stay far
 * above it; a word repeated four times does not. With one token, an attacker can test guesses of a
 * weak secret offline.
 */
const COMPRESSED_SECRET_MIN = 24;
const FETCH_TIMEOUT_MS = 5_000;
const KEYS_BYTES_MAX = 262_144;

/** Checks the configured session key. For a JWKS URL it also compares the issuer's clock. */
export async function checkSessionKey(
  { session, upstream }: Config,
  proxies: ProxySettings,
): Promise<readonly Finding[]> {
  switch (session.key.kind) {
    case "secret":
      return [checkSecret(session.key.secret)];
    case "public":
      return [{ check: CHECK, status: "ok", detail: "SESSION_PUBLIC_KEY can verify signatures" }];
    case "jwks":
      return checkJwks(session.key.url, {
        connectTimeoutMs: upstream.connectTimeoutMs,
        proxies,
      });
  }
}

function checkSecret(secret: string): Finding {
  if (deflateRawSync(secret).byteLength >= COMPRESSED_SECRET_MIN) {
    return { check: CHECK, status: "ok", detail: "SESSION_SECRET is long and varied enough" };
  }
  return {
    check: CHECK,
    status: "warn",
    detail:
      "SESSION_SECRET repeats the same text, so that an attacker could guess it and sign tokens",
    action: "Create a new secret with openssl rand -base64 48, and set it at the issuer too.",
  };
}

async function checkJwks(url: string, egress: EgressOptions): Promise<readonly Finding[]> {
  const { fetch, close } = createNodeFetch(url, egress);
  try {
    return await checkKeySet(url, fetch);
  } finally {
    await close();
  }
}

async function checkKeySet(url: string, fetch: NodeFetch["fetch"]): Promise<readonly Finding[]> {
  const fail = (detail: string, action: string): readonly Finding[] => [
    { check: CHECK, status: "fail", detail, action },
  ];
  let response: Awaited<ReturnType<NodeFetch["fetch"]>>;
  let text: string;
  const startedMs = Date.now();
  try {
    const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
    response = await fetch(url, { headers: KEYS_HEADERS, redirect: "manual", signal });
    const limits = { bytesMax: KEYS_BYTES_MAX, timeoutMs: FETCH_TIMEOUT_MS };
    const body = await readStream(response.body, limits);
    if (body.kind !== "read")
      return fail(
        `SESSION_JWKS_URL answers more than ${KEYS_BYTES_MAX / 1_024} KiB or takes longer than ${FETCH_TIMEOUT_MS / 1_000} s`,
        ASK_ISSUER,
      );
    text = new TextDecoder().decode(body.bytes);
  } catch {
    return fail(
      "SESSION_JWKS_URL cannot be reached",
      "Check the URL, name resolution, and firewall or proxy rules for outgoing connections.",
    );
  }
  if (response.status !== 200) {
    const action = "Set the URL that answers 200. The service does not follow redirects.";
    return fail(`SESSION_JWKS_URL answers status ${response.status}`, action);
  }
  const set = await parseKeys(text);
  if (set === undefined) return fail("SESSION_JWKS_URL returns no usable public key", ASK_ISSUER);
  const findings: Finding[] = [
    {
      check: CHECK,
      status: "ok",
      detail: `SESSION_JWKS_URL returns ${set.keys.length} usable key(s)`,
    },
  ];
  const servedAtMs = Date.parse(response.headers.get("date") ?? "");
  // Compared with the middle of the round trip. The header cuts off half a second on average.
  const skewMs = servedAtMs + 500 - (startedMs + Date.now()) / 2;
  if (!Number.isNaN(skewMs)) findings.push(checkClock("the issuer", skewMs));
  return findings;
}

const ASK_ISSUER = "Ask the issuer for the URL of its public signing keys (JWKS).";

async function parseKeys(text: string) {
  try {
    return await parseFetchedJwks(JSON.parse(text));
  } catch {
    return undefined;
  }
}
