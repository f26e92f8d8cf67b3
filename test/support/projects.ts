/** Projects of a user: folders outside of the repository that install a packed package. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { expect } from "vitest";

import { findFreePort } from "./ports.ts";

/** Runs a program to its end; its output is in the error if it fails. */
export async function run(
  cwd: string,
  program: string,
  ...args: readonly string[]
): Promise<string> {
  const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", CI: "1" };
  // A project of its own: settings of the npm that runs these tests do not count there.
  for (const name of Object.keys(env)) {
    if (name.startsWith("npm_config_") || name === "NODE_ENV") Reflect.deleteProperty(env, name);
  }
  try {
    const { stdout } = await promisify(execFile)(program, args, { cwd, env });
    return stdout;
  } catch (cause) {
    const { stdout = "", stderr = "" } = cause as { stdout?: string; stderr?: string };
    throw new Error(`${program} ${args.join(" ")}:\n${stdout}\n${stderr}`, { cause });
  }
}

/** Installs packages in a project. */
export const npm = (cwd: string, ...args: readonly string[]) =>
  run(cwd, "npm", "install", "--no-audit", "--no-fund", ...args);

/** Writes files of a project. */
export async function write(
  project: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(project, path)), { recursive: true });
    await writeFile(join(project, path), text);
  }
}

/** Resolves when a server answers. */
export async function untilReady(url: string): Promise<void> {
  await expect
    .poll(
      () =>
        fetch(url).then(
          ({ ok }) => ok,
          () => false,
        ),
      { timeout: 60_000 },
    )
    .toBe(true);
}

/** Ends a process by its id. */
export async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

/**
 * Builds a project of Next.js that installs the tarball, and starts its server.
 *
 * @param env variables of the server, besides those of this process
 */
export async function startNext(
  project: string,
  tarball: string,
  files: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>> = {},
): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> {
  await write(project, {
    "package.json": JSON.stringify({ name: "next-project", private: true, type: "module" }),
    "app/layout.tsx": `export default function Layout({ children }: { children: React.ReactNode }) {
      return <html lang="en"><body>{children}</body></html>;
    }`,
    ...files,
  });
  const types = ["typescript@5", "@types/react", "@types/node"];
  await npm(project, "next", "react", "react-dom", ...types, tarball);
  await run(project, "npx", "next", "build");
  const port = await findFreePort();
  const next = spawn("node_modules/.bin/next", ["start", "--port", String(port)], {
    cwd: project,
    env: { ...process.env, ...env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1" },
    stdio: "ignore",
  });
  const url = `http://127.0.0.1:${port}`;
  await untilReady(url);
  return { url, stop: () => stop(next) };
}
