/** Owns reading the process's own environment, with the secrets that come as files. */
import { type Config, type ConfigProblem, parseConfig } from "../../config/config.ts";
import { resolveSecretFiles } from "./environment.ts";

export interface ConfigReading {
  /** Undefined where there are problems. */
  readonly config: Config | undefined;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

export function readConfig(): ConfigReading {
  const { environment, problems: fileProblems } = resolveSecretFiles(process.env);
  const result = parseConfig(environment);
  if (result.kind === "config" && fileProblems.length === 0) {
    return { config: result.config, problems: [], warnings: result.warnings };
  }
  const others = result.kind === "problems" ? result.problems : [];
  // A secret whose file could not be read must not be told missing too.
  const unread = new Set(fileProblems.map(({ variable }) => variable));
  const told = others.filter(({ variable }) => !unread.has(`${variable}_FILE`));
  return { config: undefined, problems: [...fileProblems, ...told], warnings: [] };
}
