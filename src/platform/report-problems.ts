/** Reports a configuration that stops the start. */
import type { ConfigProblem } from "../config/config.ts";
import type { Logger } from "../logger.ts";

/** Logs each problem as one `fatal` line: the variable, what is wrong with it and an example. */
export function reportProblems(log: Logger, problems: readonly ConfigProblem[]): void {
  for (const { variable, problem, example } of problems) {
    log.log("fatal", `${variable} ${problem}. Example: ${example}`, { variable });
  }
}
