/**
 * Owns `uponai-bff doctor`: looks at everything that the service depends on, from where it would run,
 * and says what to do. It changes nothing but the state's own probe key.
 */
import { parseArgs } from "node:util";

import type { Config, ConfigProblem } from "../config/config.ts";
import { readConfig } from "../platform/node/read-config.ts";
import { createPublicKeySource } from "../session/key-source.ts";
import { variables } from "../config/variables.ts";
import { type Finding, renderJson, renderText, summarize } from "./doctor/finding.ts";
import { checkCookieSize, checkLayout } from "./doctor/layout-checks.ts";
import { checkSessionKey } from "./doctor/session-checks.ts";
import { checkState } from "./doctor/state-checks.ts";
import { checkUpstream } from "./doctor/upstream-checks.ts";
import type { Command } from "./usage.ts";

const help = `uponai-bff doctor: checks the configuration and everything the service depends on.

Usage: uponai-bff doctor [--json]

  --json    findings for a program:
            {"status", "checks": [{"check", "status", "detail", "action"?}], "notChecked": [text]}

Run it with the service's environment, where the service runs. It sends no message and prints no
secret. It ends with what it cannot check. Exit codes: 0 nothing failed (there may be warnings), 1 a check failed, 78 the configuration
is wrong, so that the service would not start.
`;

const EXIT_FAILED = 1;
const EXIT_CONFIG = 78;
const CHECK = "configuration";

/** What no check can tell without a message or a session; completes "not checked: that …". */
const NOT_CHECKED: readonly string[] = [
  "each token reaches its workspaces, and that the agents exist there: the first message shows it",
  "session tokens carry this issuer, this audience and the workspace claim",
  "TRUST_PROXY is the number of proxies in front",
];
const NOTHING_ELSE: readonly string[] = [
  "anything besides the configuration works: the service would not start",
];

export const doctorCommand: Command = {
  summary: "checks the configuration and everything the service depends on",
  help,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: { json: { type: "boolean", default: false } },
    });
    const render = values.json ? renderJson : renderText;
    const { config, problems, warnings, proxies } = readConfig();
    if (config === undefined) {
      return { text: render(problems.map(describeProblem), NOTHING_ELSE), exitCode: EXIT_CONFIG };
    }
    const unreadable = await findUnreadableKey(config);
    if (unreadable !== undefined) {
      return { text: render([describeProblem(unreadable)], NOTHING_ELSE), exitCode: EXIT_CONFIG };
    }
    const findings: readonly Finding[] = [
      { check: CHECK, status: "ok", detail: "every variable has a value that it may have" },
      ...warnings.map((detail): Finding => ({ check: CHECK, status: "warn", detail })),
      ...checkLayout(config),
      ...(await checkCookieSize(config)),
      ...(
        await Promise.all([
          checkSessionKey(config, proxies),
          checkState(config),
          checkUpstream(config, proxies),
        ])
      ).flat(),
    ];
    const exitCode = summarize(findings) === "fail" ? EXIT_FAILED : 0;
    return { text: render(findings, NOT_CHECKED), exitCode };
  },
};

/** A public key is only understood when it is imported, as at the service's start. */
async function findUnreadableKey({ session: { key } }: Config): Promise<ConfigProblem | undefined> {
  if (key.kind !== "public" || (await createPublicKeySource(key.publicKey)) !== undefined) {
    return undefined;
  }
  const variable = "SESSION_PUBLIC_KEY";
  const problem = "holds no public key that can be read";
  return { variable, problem, example: variables[variable].example };
}

function describeProblem({ variable, problem, example }: ConfigProblem): Finding {
  return {
    check: CHECK,
    status: "fail",
    detail: `${variable} ${problem}`,
    action: `Example: ${example}`,
  };
}
