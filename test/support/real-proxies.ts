/** Starts nginx, HAProxy and Caddy with the configuration files of docs/proxies, on a free port. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { findFreePort } from "./ports.ts";

export type ProxyName = "nginx" | "haproxy" | "caddy";

export interface RealProxy {
  readonly url: string;
  stop(): Promise<void>;
}

export interface RealProxyOptions {
  /** Port of the service. */
  readonly servicePort: number;
  /** Replaces the time-out of 90 s; undefined leaves the file as it is. */
  readonly timeoutSeconds?: number;
  /** Edits of the file that the documentation tells: what is there once, and what replaces it. */
  readonly edits?: readonly (readonly [string, string])[];
  /** Path before the service's routes at the proxy. */
  readonly basePath?: string;
}

interface Recipe {
  /** The documented file. */
  readonly file: string;
  /** Where the file has the proxy's own address, and what replaces it. */
  readonly address: readonly [string, (port: number) => string];
  /** Number of places with the time-out of 90 s. */
  readonly timeouts: number;
  /** Prepares a folder, in which `name` is the file; returns the command. */
  readonly command: (folder: string, name: string) => Promise<readonly string[]>;
}

const RECIPES: Readonly<Record<ProxyName, Recipe>> = {
  nginx: {
    file: "nginx.conf",
    address: ["listen 80;", (port) => `listen 127.0.0.1:${port};`],
    timeouts: 1,
    command: async (folder, name) => {
      // What a distribution's own nginx.conf has around the files of conf.d.
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
        (kind) => `${kind}_temp_path ${folder}/${kind};`,
      );
      const main = [
        "daemon off;",
        `pid ${folder}/nginx.pid;`,
        "error_log stderr;",
        "events {}",
        `http { access_log off; ${temporary.join(" ")} include ${folder}/${name}; }`,
      ];
      await writeFile(join(folder, "main.conf"), main.join("\n"));
      return ["nginx", "-e", "stderr", "-c", join(folder, "main.conf")];
    },
  },
  haproxy: {
    file: "haproxy.cfg",
    address: ["bind :80\n", (port) => `bind 127.0.0.1:${port}\n`],
    timeouts: 2,
    command: (folder, name) => Promise.resolve(["haproxy", "-db", "-f", join(folder, name)]),
  },
  caddy: {
    file: "Caddyfile",
    address: ["\nchat.example.com {", (port) => `\nhttp://127.0.0.1:${port} {`],
    timeouts: 1,
    command: async (folder, name) => {
      await mkdir(join(folder, "home"));
      return ["caddy", "run", "--adapter", "caddyfile", "--config", join(folder, name)];
    },
  },
};

/** @throws Error if the documented file has not what is replaced, or if the proxy does not start */
export async function startProxy(name: ProxyName, options: RealProxyOptions): Promise<RealProxy> {
  const { file, address, timeouts, command } = RECIPES[name];
  const { servicePort, timeoutSeconds } = options;
  const port = await findFreePort();
  const folder = await mkdtemp(join(tmpdir(), `uponai-bff-${name}-`));
  const documented = await readFile(new URL(`../../docs/proxies/${file}`, import.meta.url), "utf8");
  let text = replace(documented, "127.0.0.1:8787", `127.0.0.1:${servicePort}`, 1);
  text = replace(text, address[0], address[1](port), 1);
  if (timeoutSeconds !== undefined) text = replace(text, "90s", `${timeoutSeconds}s`, timeouts);
  for (const [from, to] of options.edits ?? []) text = replace(text, from, to, 1);
  await writeFile(join(folder, file), text);
  const [program = "", ...args] = await command(folder, file);
  const home = join(folder, "home");
  const child = spawn(program, args, {
    env: {
      PATH: `${process.env["PATH"]}:/usr/sbin:/sbin`,
      HOME: home,
      // The interface that changes the configuration of a running Caddy.
      CADDY_ADMIN: `unix/${folder}/admin.sock`,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (part: string) => (said += part));
  const url = `http://127.0.0.1:${port}`;
  await untilServing(url + (options.basePath ?? ""), child, () => said);
  return {
    url,
    stop: async () => {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
      await rm(folder, { recursive: true });
    },
  };
}

function replace(text: string, from: string, to: string, times: number): string {
  const parts = text.split(from);
  if (parts.length !== times + 1)
    throw new Error(`${from} is ${parts.length - 1} times in:\n${text}`);
  return parts.join(to);
}

async function untilServing(url: string, child: ChildProcess, said: () => string): Promise<void> {
  const giveUpAt = Date.now() + 20_000;
  for (;;) {
    const answer = await fetch(`${url}/healthz`).catch(() => undefined);
    if (answer?.status === 200) return;
    if (child.exitCode !== null || Date.now() > giveUpAt) {
      throw new Error(`the proxy does not serve:\n${said()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
