/** Secrets that come as files: `NAME_FILE` holds the path of what would be `NAME`. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

import { cleanText } from "../../config/clean-environment.ts";
import type { ConfigProblem, Environment } from "../../config/config.ts";
import { variableNames, variables } from "../../config/variables.ts";

/** Largest file that is read, in bytes: far more than any table of workspaces. */
const FILE_BYTES_MAX = 1_048_576;

/** Why a file is not read. Only fixed words: the file holds a secret. */
class Refusal extends Error {}

/** Replaces each `NAME_FILE` of a secret by `NAME`. Synchronous: it runs once, before the start. */
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

/** @throws Refusal where the file holds no text; an error of the system where it cannot be read */
function readText(path: string): string {
  const text = decode(readBytes(path));
  // UTF-16 without its mark is valid UTF-8, with a zero in every other place.
  if (text.includes("\0")) throw new Refusal("names a file that is not text in UTF-8");
  if (cleanText(text) === "") throw new Refusal("names an empty file");
  // Editors and `echo` end a file in a line break that no secret has.
  return text.replace(/\r?\n$/, "");
}

function readBytes(path: string): Uint8Array {
  // Without O_NONBLOCK the open of a pipe that has no writer would wait for one forever.
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

/** By its byte order mark the text is UTF-16 (as PowerShell writes it), else UTF-8. */
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
