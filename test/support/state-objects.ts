/** Runs the Durable Objects of the state in workerd, and calls them as the Worker does. */
import { createTestHarness } from "wrangler";

import type { ShiftedStateObject } from "../workers/shifted-state-object.ts";

type Method =
  | "admit"
  | "settle"
  | "withdraw"
  | "replay"
  | "countRows"
  | "end"
  | "runAlarmAt"
  | "timeToAlarmMs"
  | "countEntries";

export interface RunningObjects {
  /** Creates one object per name. Each has its own clock. */
  get(name: string): Pick<ShiftedStateObject, Method>;
  close(): Promise<void>;
}

process.env["CLOUDFLARE_CF_FETCH_ENABLED"] = "false";
process.env["WRANGLER_SEND_METRICS"] = "false";

const CLASS = "ShiftedStateObject";

export async function startStateObjects(): Promise<RunningObjects> {
  const harness = createTestHarness({
    root: new URL("../..", import.meta.url).pathname,
    workers: [
      {
        config: {
          name: "state-objects",
          main: "test/workers/shifted-state-object.ts",
          compatibility_date: "2026-10-20",
          durable_objects: { bindings: [{ name: "OBJECTS", class_name: CLASS }] },
          migrations: [{ tag: "v1", new_sqlite_classes: [CLASS] }],
        },
      },
    ],
  });
  await harness.listen();
  const worker = harness.getWorker<{ OBJECTS: { getByName: RunningObjects["get"] } }>();
  const { OBJECTS: objects } = await worker.getEnv();
  return {
    get: (name) => objects.getByName(name),
    close: () => harness.close(),
  };
}
