/** Projects of a user: folders outside of the repository that install a packed package. */
import { type ChildProcess, execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { expect } from "vitest";

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
