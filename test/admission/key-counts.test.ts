/**
 * Number of keys that one message reads and writes, on Redis and in a Durable Object, as
 * documented.
 */
import { readFileSync, writeFileSync } from "node:fs";

import { afterAll, beforeAll, expect, test } from "vitest";

import type { AdmitRequest, Settlement } from "../../src/admission/admission.ts";
import { compilePolicies, compileReplayPolicies } from "../../src/admission/limit-policy.ts";
import type { ChatId, WorkspaceId } from "../../src/branded.ts";
import { type RedisServer, startRedis } from "../support/redis-server.ts";
import { createShiftedRedis, SETTINGS, type ShiftedRedis } from "../support/state-fixtures.ts";
import { type RunningObjects, startStateObjects } from "../support/state-objects.ts";

let server: RedisServer;
let redis: ShiftedRedis;
let objects: RunningObjects;

beforeAll(async () => {
  [server, objects] = await Promise.all([startRedis(), startStateObjects()]);
  redis = createShiftedRedis(server.url, "");
});
afterAll(async () => {
  redis.close();
  await Promise.all([server.kill(), objects.close()]);
});

/** The defaults. */
const limits = {
  session: { quota: 20, windowSeconds: 60, burst: 20 },
  sessionDaily: "off",
  workspace: { quota: 600, windowSeconds: 60, burst: 600 },
  ip: { quota: 120, windowSeconds: 60, burst: 120 },
} as const;

function requestOf(nth: number): AdmitRequest {
  return {
    workspaceId: 42 as WorkspaceId,
    subjectKey: "subject",
    sessionKey: "session",
    issuedAtMs: 4_000_000_000_000,
    addressKey: "192.0.2.1",
    policies: compilePolicies(limits),
    replays: compileReplayPolicies({ quota: 60, windowSeconds: 60, burst: 60 }),
    chat: {
      chatId: "chat-1" as ChatId,
      access: "first-use",
      message: { token: `token-${nth}`, fingerprint: `words-${nth}`, keyDigest: `key-${nth}` },
    },
  };
}

const answered = (bytes: number): Settlement => ({
  disposition: "taken",
  source: "reply",
  answer: "x".repeat(bytes),
  stateBefore: { count: 1, digest: "one" },
  stateAfter: { count: 3, digest: "three" },
  owner: "first-use",
});

const ANSWER_BYTES = 700;

/** Commands of the scripts to Redis, by distinct key. */
async function countCommands(act: () => Promise<unknown>) {
  const watching = redis.redis.duplicate();
  const monitor = await watching.monitor();
  const commands: string[][] = [];
  monitor.on("monitor", (_time: string, args: string[], source: string) => {
    if (source === "lua") commands.push(args);
  });
  await act();
  await redis.redis.ping("done");
  await expect.poll(() => commands.length).toBeGreaterThan(0);
  await new Promise(setImmediate);
  monitor.disconnect();
  watching.disconnect();
  const keys = commands
    .filter(([, key]) => key !== undefined && !key.startsWith("test:"))
    .map(([name = "", ...args]) => ({ name: name.toUpperCase(), args }));
  const read = keys.flatMap(({ name, args }) => {
    if (name === "MGET") return args;
    return name === "GET" ? args.slice(0, 1) : [];
  });
  const written = keys.flatMap(({ name, args }) =>
    name === "SET" || name === "DEL" ? args.slice(0, 1) : [],
  );
  expect(written.length, "one write per record").toBe(new Set(written).size);
  return { read: new Set(read).size, written: written.length };
}

/** Collapses white space and dashes, so that the layout of a Markdown table does not matter. */
const cells = (lines: string) => lines.replaceAll(/[\s-]+/g, " ");

async function send(nth: number, bytes: number) {
  let admission: Parameters<typeof redis.state.settle>[0] | undefined;
  const admit = await countCommands(async () => {
    const outcome = await redis.state.admit(requestOf(nth));
    if (outcome.kind !== "admitted") throw new Error(outcome.kind);
    ({ admission } = outcome);
  });
  const settle = await countCommands(async () => {
    if (admission === undefined) throw new Error("it was admitted");
    expect(await redis.state.settle(admission, answered(bytes))).toBe("settled");
  });
  return { admit, settle };
}

test("a message reads and writes as few keys as the documentation says", async () => {
  await send(0, ANSWER_BYTES);
  const small = await send(1, ANSWER_BYTES);
  const large = await send(2, 10 * ANSWER_BYTES);
  const rows = [];
  for (const [nth, bytes] of [ANSWER_BYTES, ANSWER_BYTES, 10 * ANSWER_BYTES].entries()) {
    rows.push(await objects.get("counted").countRows(requestOf(nth), answered(bytes), SETTINGS));
  }
  const [, smallRows = NaN, largeRows = NaN] = rows;
  expect(small).toEqual({ admit: { read: 6, written: 5 }, settle: { read: 2, written: 2 } });
  expect(smallRows).toBeLessThanOrEqual(7);

  const line = (of: string, { admit, settle }: typeof small, objectRows: number) =>
    `| ${of} | ${admit.read} | ${admit.written} | ${settle.read} | ${settle.written} | ${objectRows} |`;
  const table = [
    "| answer | keys read at admission | written | keys read when settled | written | rows written on Durable Objects |",
    "| --- | --- | --- | --- | --- | --- |",
    line("up to 1 KiB", small, smallRows),
    line("over 1 KiB", large, largeRows),
  ];
  const page = new URL("../../docs/state-keys.md", import.meta.url);
  const text = readFileSync(page, "utf8");
  const between = /(<!-- counts -->\n)[\s\S]*(<!-- \/counts -->)/;
  if (process.env["UPDATE_DOCS"] === "1") {
    writeFileSync(page, text.replace(between, `$1\n${table.join("\n")}\n\n$2`));
  }
  const documented = between.exec(readFileSync(page, "utf8"))?.[0] ?? "";
  expect(cells(documented)).toContain(cells(table.slice(2).join("\n")));
});
