/**
 * The circuit breaker over real sockets: answers, log and metrics while UponAI is out and
 * afterwards.
 */
import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readGauge } from "../soak/memory.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";

let emulator: RunningEmulator;
let bff: BffProcess;
let adminUrl: string;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, { LIMIT_SESSION: "off", ADMIN_PORT: "0" });
  const { adminPort } = await bff.waitForLine(({ msg }) => msg === "listening");
  adminUrl = `http://127.0.0.1:${String(adminPort)}`;
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

const CLOSED = 0;
const HALF_OPEN = 1;
const OPEN = 2;

async function readCircuit(): Promise<number> {
  return readGauge(await (await fetch(`${adminUrl}/metrics`)).text(), "bff_circuit_state");
}

/** Log lines about the connection circuit, in order. */
function circuitLines(): unknown[] {
  return bff
    .log()
    .filter(({ msg }) => String(msg).startsWith("UponAI "))
    .map(({ level, msg }) => [level, msg]);
}

const OPENED = ["error", "UponAI keeps failing: calls of this workspace are refused for now"];
const CLOSED_AGAIN = ["info", "UponAI answers this workspace again"];

test("ten resets open the circuit; five seconds later one probe closes it; gauge and log say so", async () => {
  expect(await readCircuit()).toBe(CLOSED);
  emulator.addFault({ kind: "reset-before" }, { times: 10 });
  for (let count = 0; count < 10; count += 1) {
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("outcome_unknown");
  }
  expect(await readCircuit()).toBe(OPEN);
  expect(circuitLines()).toEqual([OPENED]);
  const openedMs = performance.now();
  const arrived = emulator.requests().length;

  const refused = await sendMessage(bff.url, "hi");
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("5");
  expect(await readCode(refused)).toBe("upstream_unavailable");

  // UponAI works again, but no call has been made since.
  await expect
    .poll(async () => (await sendMessage(bff.url, "hi")).status, {
      timeout: 10_000,
      interval: 500,
    })
    .toBe(201);
  expect(performance.now() - openedMs).toBeGreaterThan(4_900);
  expect(emulator.requests()).toHaveLength(arrived + 1);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
  expect(await readCircuit()).toBe(CLOSED);
  expect(circuitLines()).toEqual([OPENED, CLOSED_AGAIN]);
});

test("the gauge is half open while a probe is out, and one that fails is no further line in the log", async () => {
  const before = circuitLines().length;
  emulator.addFault({ kind: "reset-before" }, { times: 10 });
  for (let count = 0; count < 10; count += 1) await sendMessage(bff.url, "hi");
  emulator.addFault({ kind: "status", status: 500, delayMs: 1_000 });
  const arrived = emulator.requests().length;
  // Refused requests prove nothing. The one that passes is the probe.
  const probes: Promise<Response>[] = [];
  const probed = async () => {
    const chatId = `probe-${probes.length}`;
    emulator.addChat({ chatId, workspaceId: 42 });
    probes.push(sendMessage(bff.url, "probe", { chatId }));
    return (await readCircuit()) === HALF_OPEN;
  };
  await expect.poll(probed, { timeout: 10_000, interval: 200 }).toBe(true);
  const codes = await Promise.all((await Promise.all(probes)).map(readCode));
  expect(codes.filter((code) => code !== "upstream_unavailable")).toHaveLength(1);
  expect(emulator.requests().slice(arrived)).toHaveLength(1);
  expect(await readCircuit()).toBe(OPEN);
  expect(circuitLines().slice(before)).toEqual([OPENED]);
});
