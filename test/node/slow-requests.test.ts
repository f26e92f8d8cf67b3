/** Clients that take their time with a request's head hold their connection for half a minute at most. */
import { expect, onTestFinished, test } from "vitest";

import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import { openRaw } from "../support/raw-http.ts";

/** 20 s for the head, looked at every 5 s; a busy machine looks late. */
const CUT_WITHIN_MS = 40_000;

test(
  "a head that never ends, a byte at a time or not at all, is 408",
  async () => {
    const emulator = await startTestEmulator();
    const bff = await startTestBff(emulator.url);
    onTestFinished(async () => {
      await bff.stop();
      await emulator.close();
    });
    const silent = await openRaw(bff.url);
    const dribbling = await openRaw(bff.url);
    dribbling.write("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    const drops = setInterval(() => dribbling.write("a"), 500);
    const answers = await Promise.all([silent.ended(), dribbling.ended()]);
    clearInterval(drops);
    for (const answer of answers) {
      expect(answer).toMatch(/^HTTP\/1\.1 408 /);
      expect(answer).toContain('"code":"request_timeout"');
    }
  },
  CUT_WITHIN_MS,
);
