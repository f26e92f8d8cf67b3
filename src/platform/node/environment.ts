/** Secrets in files: `NAME_FILE` holds the path of a file with the value of `NAME`. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

import { cleanText } from "../../config/clean-environment.ts";
import type { ConfigProblem, Environment } from "../../config/config.ts";
import { variableNames, variables } from "../../config/variables.ts";

/** Largest file in bytes: far more than any table of workspaces needs. */
const FILE_BYTES_MAX = 1_048_576;

/** The reason why a file is refused. Constant texts only, because the file holds a secret. */
class Refusal extends Error {}

/**
 * Replaces the `NAME_FILE` of each secret by `NAME` with the content of the file. Synchronous,
 * because it runs once, before the start.
 *
 * @returns the new environment, and a problem for each file that cannot be used
 */
export function resolveSecretFiles(environment: Environment): {
  readonly environment: Environment;
  readonly problems: readonly ConfigProblem[];
} {
  const resolved: Record<string, string | undefined> = { ...environment };
  const problems: ConfigProblem[] = [];
  for (const name of variableNames) {
    if (!("secret" in variables[name])) continue;
    const variable = `${name}_FILE`;
    const path = cleanText(environment[variable] ?? "");
    if (path === "") continue;
    if (cleanText(environment[name] ?? "") !== "") {
      problems.push({ variable, problem: `and ${name} exclude each other`, example: "set one" });
      continue;
    }
    try {
      resolved[name] = readText(path);
    } catch (error) {
      const problem = error instanceof Refusal ? error.message : "names a file that cannot be read";
      problems.push({ variable, problem, example: `/run/secrets/${name.toLowerCase()}` });
    }
  }
  return { environment: resolved, problems };
}

/** @throws Refusal for a file without usable text, a system error for one that cannot be read */
function readText(path: string): string {
  const text = decode(readBytes(path));
  // UTF-16 without a byte order mark decodes as UTF-8 with a zero in every second place.
  if (text.includes("\0")) throw new Refusal("names a file that is not text in UTF-8");
  if (cleanText(text) === "") throw new Refusal("names an empty file");
  // Editors and `echo` end a file in a line break that is not part of the secret.
  return text.replace(/\r?\n$/, "");
}

function readBytes(path: string): Uint8Array {
  // Without O_NONBLOCK, opening a named pipe without a writer blocks for ever.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw new Refusal("names something that is not a regular file");
    const buffer = new Uint8Array(FILE_BYTES_MAX + 1);
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      if (count === 0) return buffer.subarray(0, length);
      length += count;
    }
    throw new Refusal("names a file of more than 1 MiB");
  } finally {
    closeSync(file);
  }
}

/** Decodes UTF-16 where a byte order mark says so (PowerShell writes it), otherwise UTF-8. */
function decode(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const encoding =
    first === 0xff && second === 0xfe
      ? "utf-16le"
      : first === 0xfe && second === 0xff
        ? "utf-16be"
        : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal("names a file that is not text in UTF-8");
  }
}
