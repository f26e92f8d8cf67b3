/** Owns secrets that come as files: `NAME_FILE` holds the path of what would be `NAME`. */
import { readFileSync } from "node:fs";

import type { ConfigProblem, Environment } from "../../config/config.ts";
import { variableNames, variables } from "../../config/variables.ts";

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
    const path = environment[variable];
    if (path === undefined || path === "") continue;
    if (environment[name] !== undefined && environment[name] !== "") {
      problems.push({ variable, problem: `and ${name} exclude each other`, example: "set one" });
      continue;
    }
    try {
      // Files end in a line break that no secret has.
      resolved[name] = readFileSync(path, "utf8").replace(/\r?\n$/, "");
    } catch {
      problems.push({
        variable,
        problem: "names a file that cannot be read",
        example: `/run/secrets/${name.toLowerCase()}`,
      });
    }
  }
  return { environment: resolved, problems };
}
