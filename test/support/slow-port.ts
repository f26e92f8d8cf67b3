/** A port that lets connections wait: its queue is full until it is opened. Then it forwards them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";

/** Another address of this machine than 127.0.0.1, where nobody listens on the same port. */
export const SLOW_ADDRESS = "127.0.0.2";

/** Longer than any connection within this machine takes that is not kept waiting. */
const WAITING_MS = 500;
/** A queue of one holds two or three connections, by system. */
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
  /** From now on connections are accepted, those that wait included. */
  readonly open: () => void;
  readonly close: () => void;
}

/** @param targetPort of 127.0.0.1, which connections are forwarded to once the port is open */
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
 * `NODE_OPTIONS` by which a program finds these addresses under the name `localhost`, in this order,
 * as from a resolver.
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
