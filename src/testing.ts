/** A whole service for the tests of a frontend or of a login backend: no account, no Redis. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { SignJWT } from "jose";

import { type RunningEmulator, startEmulator } from "./emulator/listen.ts";
import { createBff, type Settings } from "./platform/node/mount.ts";

/** A running service, with the stand-in for UponAI behind it. */
export interface TestService {
  /** Address on loopback, without a slash at the end. */
  readonly url: string;
  /** The stand-in for UponAI: its faults, and what it was sent. */
  readonly emulator: RunningEmulator;
  /** Creates a session token of ten minutes. `claims` add to it. */
  readonly createToken: (subject: string, claims?: Record<string, unknown>) => Promise<string>;
  /** Closes all of it at once. */
  readonly close: () => Promise<void>;
}

const WORKSPACE_ID = 42;
const UPSTREAM_TOKEN = "test-upstream-token";
const ISSUER = "https://login.example/";
const AUDIENCE = "uponai-bff";

/**
 * Starts a service on a free port of loopback. It keeps its state in the process, and its secrets are
 * new each time.
 *
 * @param settings replace those of the test service
 * @throws SettingsError
 */
export async function startTestService(settings: Settings = {}): Promise<TestService> {
  const secret = randomBytes(32).toString("hex");
  const emulator = await startEmulator({ tokens: { [UPSTREAM_TOKEN]: [WORKSPACE_ID] } });
  try {
    const bff = await createBff(
      {
        UPONAI_BASE_URL: emulator.url,
        UPONAI_API_TOKEN: UPSTREAM_TOKEN,
        UPONAI_WORKSPACE_ID: String(WORKSPACE_ID),
        UPONAI_AGENT_ID: "test-agent",
        SESSION_SECRET: secret,
        SESSION_ISSUER: ISSUER,
        SESSION_AUDIENCE: AUDIENCE,
        COOKIE_KEYS: randomBytes(32).toString("base64url"),
        COOKIE_INSECURE: "true",
        LIMIT_IP: "off",
        ...settings,
      },
      { log: () => undefined },
    );
    const server = createServer((incoming, outgoing) => bff.listener(incoming, outgoing));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo; // oxlint-disable-line typescript/no-unsafe-type-assertion -- a TCP listener's address is an object
    return {
      url: `http://127.0.0.1:${port}`,
      emulator,
      createToken: (subject, claims = {}) =>
        new SignJWT({ workspace: String(WORKSPACE_ID), ...claims })
          .setProtectedHeader({ alg: "HS256" })
          .setIssuer(ISSUER)
          .setAudience(AUDIENCE)
          .setSubject(subject)
          .setIssuedAt()
          .setExpirationTime("10m")
          .sign(new TextEncoder().encode(secret)),
      async close() {
        server.close();
        server.closeAllConnections();
        await Promise.all([bff.close(), emulator.close()]);
      },
    };
  } catch (error) {
    await emulator.close();
    throw error;
  }
}
