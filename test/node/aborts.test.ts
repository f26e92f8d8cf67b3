/**
 * A thousand clients that hang up: the service leaks nothing, and completed messages are still
 * sent.
 */
import { connect } from "node:net";

import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { CHAT, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";
import { mintToken } from "../support/session-tokens.ts";
import { readGauge } from "../soak/memory.ts";

const ABORTS = 1_000;
/** Connections at a time; within the default limits of a machine. */
const BATCH = 50;
/** Timers and sockets that vary without a leak, such as those of the scrape itself. */
const RESOURCES_SLACK = 10;
/**
 * Open files more than before: the keep-alive pool to UponAI, far smaller than the number of
 * clients.
 */
const FILES_SLACK = 200;
/**
 * Less than the ten seconds that a slow body may take: a client that left must not hold a place.
 */
const SETTLED_WITHIN_MS = 6_000;

let emulator: RunningEmulator;
let bff: BffProcess;
let adminUrl: string;
let port: number;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, {
    ADMIN_PORT: "0",
    LIMIT_SESSION: "off",
    LIMIT_IP: "off",
    LIMIT_WORKSPACE: "off",
  });
  const listening = await bff.waitForLine(({ msg }) => msg === "listening");
  port = Number(listening["port"]);
  adminUrl = `http://127.0.0.1:${String(listening["adminPort"])}`;
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

async function readOpen(): Promise<{ inFlight: number; files: number; resources: number }> {
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
  return {
    inFlight: readGauge(metrics, "bff_in_flight"),
    files: readGauge(metrics, "process_open_fds"),
    resources: readGauge(metrics, "nodejs_active_resources_total"),
  };
}

/**
 * Sends `text` and closes the connection at once: with a TCP reset if `reset`, else with an end.
 */
function sendAndLeave(text: string, reset: boolean): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(text, () => {
        if (reset) socket.resetAndDestroy();
        else socket.destroy();
      });
    });
    socket.once("close", () => resolve());
    socket.once("error", () => undefined);
  });
}

test("a thousand clients that hang up leave no socket, timer or listener, and the process lives", async () => {
  const token = await mintToken();
  const render = (number: number, whole: boolean) => {
    const body = JSON.stringify({ content: `aborted ${number}` });
    const head = [
      `POST /chat/gone-${number}/send HTTP/1.1`,
      "Host: x",
      `Authorization: Bearer ${token}`,
      "Content-Type: application/json",
      `Content-Length: ${body.length}`,
    ];
    return `${head.join("\r\n")}\r\n\r\n${whole ? body : body.slice(0, 5)}`;
  };
  const open = async (from: number) => {
    const batch = Array.from({ length: BATCH }, (_, index) => {
      const number = from + index;
      emulator.addChat({ chatId: `gone-${number}`, workspaceId: 42 });
      // Half of them hang up in the middle of their message, half while it is being answered.
      return sendAndLeave(render(number, number % 2 === 0), number % 4 < 2);
    });
    await Promise.all(batch);
  };

  // Resources that are opened once and kept are no leak.
  await sendMessage(bff.url, "before");
  const before = await readOpen();
  for (let from = 0; from < ABORTS; from += BATCH) await open(from);
  const settled = async () => {
    const after = await readOpen();
    return (
      after.inFlight === 0 &&
      after.files <= before.files + FILES_SLACK &&
      after.resources <= before.resources + RESOURCES_SLACK
    );
  };
  await expect.poll(settled, { timeout: SETTLED_WITHIN_MS, interval: 200 }).toBe(true);

  // Node warns when listeners are added to one emitter and never removed.
  expect(bff.log().filter(({ level }) => level === "warn" || level === "error")).toEqual(
    bff.log().filter(({ msg }) => String(msg).startsWith("State is kept in this process")),
  );
  const taken = emulator.messages().filter(({ content }) => content.startsWith("aborted"));
  for (const { arrived } of taken) expect(arrived).toBe(1);
  // Messages that arrived in full before their client left were sent.
  expect(taken.length).toBeGreaterThan(0);
  expect((await sendMessage(bff.url, "after", { chatId: CHAT })).status).toBe(201);
  process.kill(bff.pid, 0);
});
