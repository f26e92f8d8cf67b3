/** Owns what is checked of sessions: the strength of their key, and where an issuer's keys come from. */
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
import { CLOCK_TOLERANCE_SECONDS } from "../../session/verify-token.ts";
import type { Finding } from "./finding.ts";

const CHECK = "session key";
/**
 * In bytes. No 32 random bytes come near this when compressed, in whatever letters they are written;
 * a word written four times does. Whoever has one token can guess at such a secret without asking.
 */
const COMPRESSED_SECRET_MIN = 24;
const FETCH_TIMEOUT_MS = 5_000;
const KEYS_BYTES_MAX = 262_144;

export async function checkSessionKey(
  { session, upstream }: Config,
  proxies: ProxySettings,
): Promise<readonly Finding[]> {
  switch (session.key.kind) {
    case "secret":
      return [checkSecret(session.key.secret)];
    case "public":
      return [{ check: CHECK, status: "ok", detail: "the public key can verify signatures" }];
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
    detail: "SESSION_SECRET is long enough but repeats itself: it may be guessed",
    action: "Make a new one, for the issuer too: openssl rand -base64 48",
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
    if (body.kind !== "read") return fail("SESSION_JWKS_URL answers too much or too slowly", ASK);
    text = new TextDecoder().decode(body.bytes);
  } catch {
    return fail("SESSION_JWKS_URL cannot be reached", "Check the URL, name resolution and egress.");
  }
  if (response.status !== 200) {
    const action = "Give the URL that answers 200 itself: redirects are not followed.";
    return fail(`SESSION_JWKS_URL answers status ${response.status}`, action);
  }
  const set = await parseKeys(text);
  if (set === undefined) return fail("SESSION_JWKS_URL holds no key that can verify", ASK);
  const findings: Finding[] = [
    { check: CHECK, status: "ok", detail: `${set.keys.length} usable key(s) at SESSION_JWKS_URL` },
  ];
  const servedAtMs = Date.parse(response.headers.get("date") ?? "");
  // Half of the way there and back; the header itself is cut to whole seconds.
  const skewMs = servedAtMs + 500 - (startedMs + Date.now()) / 2;
  if (!Number.isNaN(skewMs)) findings.push(describeSkew("the issuer", skewMs));
  return findings;
}

const ASK = "Ask the issuer for the address of its public signing keys (a JWKS).";

async function parseKeys(text: string) {
  try {
    return await parseFetchedJwks(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Clocks within a second of each other cannot be told apart by a header of whole seconds. */
const SAME_CLOCK_MS = 2_000;

/** @param skewMs how far the other clock is ahead of this machine's, in milliseconds */
export function describeSkew(whose: string, skewMs: number): Finding {
  const check = "clock";
  const seconds = Math.round(Math.abs(skewMs) / 1_000);
  if (Math.abs(skewMs) <= SAME_CLOCK_MS) {
    return { check, status: "ok", detail: `this machine and ${whose} agree` };
  }
  return {
    check,
    status: seconds > CLOCK_TOLERANCE_SECONDS ? "fail" : "warn",
    detail: `${whose} is ${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} this machine; ${CLOCK_TOLERANCE_SECONDS} s are tolerated`,
    action: "Set both clocks by NTP.",
  };
}
