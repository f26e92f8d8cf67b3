/** Starts the built service as a process, as an operator does, and reads its log. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { expectNoCanary } from "./canary.ts";

export type LogLine = Readonly<Record<string, unknown>>;

export interface BffProcess {
  readonly url: string;
  readonly pid: number;
  /** All lines of both streams so far. */
  readonly lines: readonly string[];
  /** The lines of the log as objects. Throws if a line is not JSON. */
  log(): LogLine[];
  /** Resolves with the first past or future line that the predicate accepts. */
  waitForLine(accepts: (line: LogLine) => boolean): Promise<LogLine>;
  signal(signal: NodeJS.Signals): void;
  /** Breaks both pipes, like a log collector that crashes. */
  stopReading(): void;
  /** Resolves with the exit code; null after a signal. */
  exited(): Promise<number | null>;
  stop(): Promise<number | null>;
}

export const ENTRY = new URL("../../dist/platform/node.js", import.meta.url).pathname;

/** Starts the service on a free port and waits until it listens. */
export async function startBff(environment: Record<string, string>): Promise<BffProcess> {
  const running = spawnBff({ PORT: "0", HOST: "127.0.0.1", ...environment });
  const listening = await Promise.race([
    running.waitForLine((line) => line["msg"] === "listening"),
    running.exited().then(() => undefined),
  ]);
  if (listening === undefined) throw new Error(`did not start:\n${running.lines.join("\n")}`);
  return { ...running, url: `http://127.0.0.1:${String(listening["port"])}` };
}

/** Starts the service without waiting. It does not inherit the environment of this process. */
export function spawnBff(environment: Record<string, string>): Omit<BffProcess, "url"> {
  const child = spawn(process.execPath, [ENTRY], {
    env: { PATH: process.env["PATH"], ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const waiters = new Set<(line: string) => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      for (const waiter of waiters) waiter(line);
    });
  }
  // "close": the process has ended and all its output has been read.
  const closed = once(child, "close").then(([code]) => {
    expectNoCanary(lines.join("\n"));
    return code as number | null;
  });
  return {
    pid: requirePid(child),
    lines,
    log: () => lines.map(parseLine),
    waitForLine: (accepts) =>
      new Promise((resolve) => {
        const consider = (text: string) => {
          const line = parseLine(text);
          if (!accepts(line)) return;
          waiters.delete(consider);
          resolve(line);
        };
        waiters.add(consider);
        for (const line of lines) consider(line);
      }),
    signal: (signal) => void child.kill(signal),
    stopReading: () => {
      child.stdout.destroy();
      child.stderr.destroy();
    },
    exited: () => closed,
    stop: () => {
      child.kill("SIGTERM");
      return closed;
    },
  };
}

function requirePid(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error("the service could not be started");
  return child.pid;
}

function parseLine(line: string): LogLine {
  return JSON.parse(line) as LogLine;
}
