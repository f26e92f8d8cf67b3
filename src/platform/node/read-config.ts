/** Reads the configuration from the environment of the process, secrets in files included. */
import {
  type Config,
  type ConfigProblem,
  type Environment,
  parseConfig,
} from "../../config/config.ts";
import { type ProxySettings, readProxies } from "./egress.ts";
import { resolveSecretFiles } from "./environment.ts";

export interface ConfigReading {
  /** Undefined where there are problems. */
  readonly config: Config | undefined;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
  /** Proxies for outgoing connections. */
  readonly proxies: ProxySettings;
}

/**
 * Reads and checks the whole configuration. All problems are reported together.
 *
 * @param given variables by name; default: those of the process
 */
export function readConfig(given: Environment = process.env): ConfigReading {
  const { environment, problems: fileProblems } = resolveSecretFiles(given);
  const result = parseConfig(environment);
  const { proxies, problems: proxyProblems } = readProxies(environment);
  const earlier = [...fileProblems, ...proxyProblems];
  if (result.kind === "config" && earlier.length === 0) {
    return { config: result.config, problems: [], warnings: result.warnings, proxies };
  }
  const others = result.kind === "problems" ? result.problems : [];
  // A secret whose file cannot be read is one problem: it must not be reported as missing as well.
  const unread = new Set(fileProblems.map(({ variable }) => variable));
  const told = others.filter(({ variable }) => !unread.has(`${variable}_FILE`));
  return { config: undefined, problems: [...earlier, ...told], warnings: [], proxies };
}
