/** Clients that send a request's head slowly keep their connection for half a minute at most. */
import { expect, onTestFinished, test } from "vitest";

import { startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import { openRaw } from "../support/raw-http.ts";

/** In milliseconds: 20 s for the head, checked every 5 s, and a tolerance for a busy machine. */
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
