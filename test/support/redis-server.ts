/** Starts a real Redis on a free port, without persistence. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";

import { findFreePort } from "./ports.ts";

export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** Suspends the server: connections stay open, but no command is answered. */
  pause(): void;
  resume(): void;
  /** Kills the server. `start` starts an empty one on the same port. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Settings of redis-server as command-line arguments. */
export function toArguments(settings: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/**
 * @param args further options of redis-server
 * @param file configuration file that the server may write to; a Sentinel needs one
 */
export async function startRedis(
  args: readonly string[] = [],
  file?: string,
): Promise<RedisServer> {
  const port = await findFreePort();
  let child: ChildProcess | undefined;

  const start = async () => {
    const listen = ["--port", String(port), "--bind", "127.0.0.1"];
    const base = file === undefined ? [...listen, "--save", "", "--appendonly", "no"] : listen;
    const first = file === undefined ? [] : [file];
    child = spawn("redis-server", [...first, ...base, ...args], { stdio: "ignore" });
    await waitUntilAnswering(port);
  };
  const kill = async () => {
    const dying = child;
    if (dying === undefined || dying.exitCode !== null || dying.signalCode !== null) return;
    dying.kill("SIGKILL");
    await once(dying, "exit");
  };
  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    kill,
    start,
  };
}

async function waitUntilAnswering(port: number): Promise<void> {
  const giveUpAt = Date.now() + 10_000;
  for (;;) {
    if (await answersPing(port)) return;
    if (Date.now() > giveUpAt) throw new Error(`redis-server did not answer on port ${port}`);
  }
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    const end = (answered: boolean) => {
      socket.destroy();
      // With a pause: a refused connection would be tried again thousands of times a second.
      if (answered) resolve(true);
      else setTimeout(resolve, 20, false);
    };
    socket.once("data", () => end(true));
    socket.once("error", () => end(false));
  });
}
