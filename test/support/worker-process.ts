/** Starts the built Worker in workerd, Cloudflare's own runtime, without wrangler or miniflare. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";

import { expectNoCanary } from "./canary.ts";

export interface RunningWorker {
  readonly url: string;
  /** All lines of its log so far. */
  lines(): readonly string[];
  stop(): Promise<void>;
}

/** The package exports the path of its program. */
const { default: workerd } = createRequire(import.meta.url)("workerd") as { default: string };

const root = new URL("../../", import.meta.url);

/**
 * @param environment variables and secrets
 * @param authority file of the only CA that is trusted; without it no CA is trusted
 */
export async function startWorker(
  environment: Record<string, string>,
  authority?: string,
): Promise<RunningWorker> {
  const folder = await mkdtemp(join(tmpdir(), "uponai-bff-worker-"));
  const built = new URL("dist/worker/", root);
  // The script of the chat element is a text module of its own.
  const texts = (await readdir(built)).filter((name) => name.endsWith(".txt"));
  for (const name of ["worker.js", ...texts])
    await copyFile(new URL(name, built), join(folder, name));
  const trust = authority === undefined ? "" : 'trustedCertificates = [embed "authority.pem"]';
  if (authority !== undefined) await copyFile(authority, join(folder, "authority.pem"));
  const config = await describeWorker(Object.keys(environment), trust, texts);
  await writeFile(join(folder, "config.capnp"), config);
  await mkdir(join(folder, "state"));
  const child = spawn(workerd, ["serve", "config.capnp", "--control-fd=3"], {
    cwd: folder,
    env: environment,
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const faults: string[] = [];
  // All three streams were requested as pipes.
  const [, stdout, stderr, control] = child.stdio as readonly unknown[] as readonly Readable[];
  if (stdout === undefined || stderr === undefined || control === undefined) {
    throw new Error("workerd has no pipes");
  }
  createInterface({ input: stdout }).on("line", (line) => lines.push(readMessage(line)));
  createInterface({ input: stderr }).on("line", (line) => faults.push(line));
  const exited = once(child, "exit");
  const told = once(createInterface({ input: control }), "line");
  const listening = await Promise.race([told, exited.then(() => undefined)]);
  if (listening === undefined) throw new Error(`workerd did not start:\n${faults.join("\n")}`);
  const { port } = JSON.parse(String(listening[0])) as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    lines: () => lines,
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
      await rm(folder, { recursive: true });
      expectNoCanary([...lines, ...faults].join("\n"));
    },
  };
}

/** Parses a line of workerd, which wraps the Worker's console output in JSON. */
function readMessage(line: string): string {
  return (JSON.parse(line) as { message: string }).message;
}

/** Translates the runtime and state settings of wrangler.toml to a workerd configuration. */
async function describeWorker(
  variables: readonly string[],
  trust: string,
  texts: readonly string[],
): Promise<string> {
  const toml = await readFile(new URL("wrangler.toml", root), "utf8");
  const read = (name: string) => new RegExp(`^${name} = (.+)$`, "m").exec(toml)?.[1] ?? "";
  const bindings = variables.map((name) => `(name = "${name}", fromEnvironment = "${name}"),`);
  const modules = texts.map((name) => `(name = "${name}", text = embed "${name}"),`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "bff", worker = .bff),
    (name = "disk", disk = (path = "state", writable = true)),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (${trust}))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "bff")],
  structuredLogging = true,
);
const bff :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    ${modules.join("\n    ")}
  ],
  compatibilityDate = ${read("compatibility_date")},
  compatibilityFlags = ${read("compatibility_flags")},
  bindings = [${bindings.join(" ")} (name = "STATE_OBJECT", durableObjectNamespace = ${read("class_name")})],
  durableObjectNamespaces = [(className = ${read("class_name")}, uniqueKey = "state", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
);
`;
}
