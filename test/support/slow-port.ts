/**
 * A port whose accept queue is full, so that connections wait until it is opened. Then it forwards
 * them.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";

/** Another loopback address, on which no program listens on the same port. */
export const SLOW_ADDRESS = "127.0.0.2";

/** Longer than a connection on this machine takes that does not wait, in milliseconds. */
const WAITING_MS = 500;
/**
 * Most connections that are opened to fill the queue: a backlog of one holds two or three, by
 * system.
 */
const CONNECTIONS_MAX = 20;

const program = `
const { connect, createServer } = require("node:net");
const server = createServer((near) => {
  const far = connect(Number(process.argv[1]), "127.0.0.1");
  for (const socket of [near, far]) socket.on("error", () => undefined);
  near.pipe(far).pipe(near);
});
server.listen({ host: "${SLOW_ADDRESS}", port: 0, backlog: 1 }, () => {
  console.log(server.address().port);
});
`;

export interface SlowPort {
  readonly port: number;
  /** Accepts connections from now on, the waiting ones included. */
  readonly open: () => void;
  readonly close: () => void;
}

/** @param targetPort port of 127.0.0.1 that connections are forwarded to after `open` */
export async function startSlowPort(targetPort: number): Promise<SlowPort> {
  const child = spawn(process.execPath, ["--eval", program, String(targetPort)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(child.stdout, "data");
  const port = Number(String(line));
  child.kill("SIGSTOP");
  const waiting: Socket[] = [];
  for (let full = false; !full;) {
    if (waiting.length === CONNECTIONS_MAX) throw new Error("the queue has no end");
    const socket = connect(port, SLOW_ADDRESS);
    socket.on("error", () => undefined);
    waiting.push(socket);
    const connected = once(socket, "connect").then(() => true);
    full = !(await Promise.race([connected, setTimeout(WAITING_MS, false)]));
  }
  return {
    port,
    open: () => {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGCONT");
    },
    close: () => {
      for (const socket of waiting) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}

/**
 * `NODE_OPTIONS` with which a Node program resolves the name `localhost` to these addresses, in
 * this order.
 */
export function resolveLocalhost(...addresses: readonly string[]): string {
  const found = JSON.stringify(addresses.map((address) => ({ address, family: 4 })));
  const module = `
    import dns from "node:dns";
    import { syncBuiltinESMExports } from "node:module";
    const { lookup } = dns;
    dns.lookup = (name, options, done) =>
      name === "localhost" && options.all
        ? process.nextTick(done, null, ${found})
        : lookup(name, options, done);
    syncBuiltinESMExports();
  `;
  return `--import=data:text/javascript,${encodeURIComponent(module)}`;
}
