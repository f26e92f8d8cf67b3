/** The deployed bundle: its size, modules that must not be in it, and the logging settings. */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import { expect, test } from "vitest";
import { unstable_readConfig } from "wrangler";

const output = new URL("../../dist/worker/", import.meta.url);
const bundle = readFileSync(new URL("worker.js", output));
const metafile = JSON.parse(readFileSync(new URL("metafile.json", output), "utf8")) as {
  readonly inputs: Readonly<Record<string, unknown>>;
};

/**
 * Largest compressed bundle, in bytes. The platform allows more, but each megabyte slows down a
 * cold start.
 */
const GZIP_BYTES_MAX = 250 * 1_024;

test("the bundle is under 250 KiB compressed", () => {
  expect(gzipSync(bundle).byteLength).toBeLessThan(GZIP_BYTES_MAX);
});

test("the bundle holds nothing that only Node needs, and nothing of the tests and the demo", () => {
  const inputs = Object.keys(metafile.inputs);
  expect(inputs).toContain("src/app.ts");
  const strangers = inputs.filter((input) =>
    /node_modules\/(?:undici|pino|thread-stream|sonic-boom|@hono\/node-server)\/|^src\/(?:platform\/node|emulator|demo|cli)|^test\//.test(
      input,
    ),
  );
  expect(strangers).toEqual([]);
});

test("the platform logs the service's lines, and no invocation logs, whose URLs hold chat ids", () => {
  const config = new URL("../../wrangler.toml", import.meta.url).pathname;
  const { observability } = unstable_readConfig({ config });
  expect(observability).toMatchObject({
    enabled: true,
    logs: { enabled: true, invocation_logs: false },
    traces: { enabled: false },
  });
});
