/** Slow request bodies, with a session and without: other clients are served as usual. */
import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { openRaw, type RawConnection } from "../support/raw-http.ts";
import { mintToken } from "../support/session-tokens.ts";

const SOCKETS = 2_000;
/**
 * MAX_IN_FLIGHT, far below the number of slow sockets: if each held a place, nothing would be
 * served.
 */
const PLACES = "50";

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    MAX_IN_FLIGHT: PLACES,
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
    LIMIT_WORKSPACE: "off",
    // The client address is the X-Forwarded-For entry, so that slow and other clients have
    // different ones.
    TRUST_PROXY: "1",
  });
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

async function beginSlowly(headers: readonly string[]): Promise<RawConnection> {
  const connection = await openRaw(bff.url);
  const head = [
    "POST /chat/slow/send HTTP/1.1",
    "Host: x",
    "X-Forwarded-For: 198.51.100.66",
    "Content-Type: application/json",
    "Content-Length: 1000",
    ...headers,
  ];
  connection.write(`${head.join("\r\n")}\r\n\r\n{`);
  return connection;
}

async function expectOthersServed(): Promise<void> {
  for (const subject of ["alice", "bob", "carol"]) {
    const chatId = `chat-of-${subject}`;
    emulator.addChat({ chatId, workspaceId: 42 });
    const headers = { "X-Forwarded-For": "203.0.113.1" };
    const answer = await sendMessage(bff.url, "hello", { subject, chatId, headers });
    expect(answer.status).toBe(201);
  }
}

test(`${SOCKETS} slow bodies without a session are refused at once, and others are served`, async () => {
  const slow: RawConnection[] = [];
  for (let index = 0; index < SOCKETS; index += 1) slow.push(await beginSlowly([]));
  await expectOthersServed();
  for (const connection of slow) expect(await connection.received("\r\n\r\n")).toContain(" 401 ");
  await expectOthersServed();
  for (const connection of slow) connection.destroy();
});

test(`${SOCKETS} slow bodies with one session: few are waited for, and others are served`, async () => {
  const authorization = `Authorization: Bearer ${await mintToken({ sub: "mallory" })}`;
  const slow: RawConnection[] = [];
  for (let index = 0; index < SOCKETS; index += 1) slow.push(await beginSlowly([authorization]));
  await expectOthersServed();
  // Bodies over the bound are refused within a second. The others get 408 after their time limit.
  const texts = await Promise.all(slow.map((connection) => connection.received("\r\n\r\n")));
  const late = texts.filter((text) => text.includes(" 408 "));
  const refused = texts.filter((text) => text.includes(" 503 "));
  expect(late.length).toBeGreaterThanOrEqual(20);
  expect(late.length + refused.length).toBe(SOCKETS);
  for (const connection of slow) connection.destroy();
  await expectOthersServed();
});
