/** Starts the processes of a run, pins them to cores, waits for their ports and stops them. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { availableParallelism } from "node:os";

/** The measured process has a core to itself. All other processes share another one. */
const CORES = { target: 1, other: 0 } as const;
/** Longest time for a process to listen, and to end by itself, in milliseconds. */
const START_MS_MAX = 15_000;
const STOP_MS_MAX = 3_000;
const POLL_MS = 25;

/** Whether processes can be pinned to a core on this machine. */
export const pinned =
  availableParallelism() > 1 &&
  spawnSync("taskset", ["-c", `${CORES.other},${CORES.target}`, "true"]).status === 0;

export interface Child {
  readonly name: string;
  readonly process: ChildProcess;
  readonly pid: number;
}

export interface ChildOptions {
  readonly core: keyof typeof CORES;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether the process exchanges messages with this one. */
  readonly ipc?: boolean;
}

const children: Child[] = [];

/** Starts a process. Its output is discarded; its errors are printed. `stopChildren` ends it. */
export function startChild(
  name: string,
  command: string,
  args: readonly string[],
  { core, env = {}, ipc = false }: ChildOptions,
): Child {
  // taskset replaces itself by the program, so that the process id is the program's.
  const pin = pinned ? ["taskset", "-c", String(CORES[core])] : [];
  const [file, ...rest] = [...pin, command, ...args];
  const child = spawn(file ?? command, rest, {
    // Only PATH of our environment: any other variable could configure the program.
    env: { PATH: process.env["PATH"], NODE_ENV: "production", ...env },
    stdio: ["ignore", "ignore", "inherit", ...(ipc ? ["ipc" as const] : [])],
  });
  if (child.pid === undefined) throw new Error(`${name} could not be started (${command})`);
  const started = { name, process: child, pid: child.pid };
  children.push(started);
  return started;
}

/** Ends every process that was started here, by its id. Kills those that do not end in time. */
export async function stopChildren(): Promise<void> {
  await Promise.all(children.map(stopChild));
}

/** Ends one process. */
export async function stopChild({ process: child }: Child): Promise<void> {
  if (hasEnded(child)) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
  await once(child, "exit");
  clearTimeout(timer);
}

/** Moves this process, and those that it starts without a core, away from the target's core. */
export function leaveTargetCore(): void {
  if (pinned) spawnSync("taskset", ["-cp", String(CORES.other), String(process.pid)]);
}

/** Kills every process that was started here, for use just before an exit. */
export function killChildren(): void {
  for (const { process: child } of children) if (!hasEnded(child)) child.kill("SIGKILL");
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** Resolves when a child accepts connections. Throws when it ends first or takes too long. */
export async function waitForPort({ name, process: child }: Child, port: number): Promise<void> {
  const deadlineMs = performance.now() + START_MS_MAX;
  while (!(await accepts(port))) {
    if (hasEnded(child)) throw new Error(`${name} ended instead of listening`);
    if (performance.now() > deadlineMs) throw new Error(`${name} does not listen`);
    await pause(POLL_MS);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Finds a port that is free at this moment. */
export async function findFreePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port to be had");
  return address.port;
}
