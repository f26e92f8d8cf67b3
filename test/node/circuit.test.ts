/** What senders see while UponAI is out and when it is back, over real sockets. */
import { afterAll, beforeAll, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { readCode, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import type { BffProcess } from "../support/bff-process.ts";

let emulator: RunningEmulator;
let bff: BffProcess;

beforeAll(async () => {
  emulator = await startTestEmulator();
  bff = await startTestBff(emulator.url, { LIMIT_SESSION: "off" });
});
afterAll(async () => {
  await bff.stop();
  await emulator.close();
});

test("ten resets open the circuit; five seconds later one probe closes it", async () => {
  emulator.addFault({ kind: "reset-before" }, { times: 10 });
  for (let count = 0; count < 10; count += 1) {
    expect(await readCode(await sendMessage(bff.url, "hi"))).toBe("outcome_unknown");
  }
  const openedMs = performance.now();
  const arrived = emulator.requests().length;

  const refused = await sendMessage(bff.url, "hi");
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("5");
  expect(await readCode(refused)).toBe("upstream_unavailable");

  // UponAI has long been well again, but nobody has asked it.
  await expect
    .poll(async () => (await sendMessage(bff.url, "hi")).status, {
      timeout: 10_000,
      interval: 500,
    })
    .toBe(201);
  expect(performance.now() - openedMs).toBeGreaterThan(4_900);
  expect(emulator.requests()).toHaveLength(arrived + 1);
  expect((await sendMessage(bff.url, "hi")).status).toBe(201);
});
