/** Owns reading the process's own environment, with the secrets that come as files. */
import { type Config, type ConfigProblem, parseConfig } from "../../config/config.ts";
import { type ProxySettings, readProxies } from "./egress.ts";
import { resolveSecretFiles } from "./environment.ts";

export interface ConfigReading {
  /** Undefined where there are problems. */
  readonly config: Config | undefined;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
  /** The way out, which is set for all programs of a machine alike. */
  readonly proxies: ProxySettings;
}

export function readConfig(): ConfigReading {
  const { environment, problems: fileProblems } = resolveSecretFiles(process.env);
  const result = parseConfig(environment);
  const { proxies, problems: proxyProblems } = readProxies(environment);
  const earlier = [...fileProblems, ...proxyProblems];
  if (result.kind === "config" && earlier.length === 0) {
    return { config: result.config, problems: [], warnings: result.warnings, proxies };
  }
  const others = result.kind === "problems" ? result.problems : [];
  // A secret whose file could not be read must not be told missing too.
  const unread = new Set(fileProblems.map(({ variable }) => variable));
  const told = others.filter(({ variable }) => !unread.has(`${variable}_FILE`));
  return { config: undefined, problems: [...earlier, ...told], warnings: [], proxies };
}
