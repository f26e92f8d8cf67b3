/**
 * Implements `uponai-bff doctor`: checks the configuration and every dependency of the service from
 * this machine, and prints what to do. It writes only the probe key of the state.
 */
import { parseArgs } from "node:util";

import type { Config, ConfigProblem } from "../../config/config.ts";
import { readConfig } from "../../platform/node/read-config.ts";
import { createPublicKeySource } from "../../session/key-source.ts";
import { variables } from "../../config/variables.ts";
import { type Finding, renderJson, renderText, summarize } from "./finding.ts";
import { checkCookieSize, checkLayout } from "./layout-checks.ts";
import { checkSessionKey } from "./session-checks.ts";
import { checkState } from "./state-checks.ts";
import { checkUpstream } from "./upstream-checks.ts";
import type { Command } from "../command.ts";

const help = `uponai-bff doctor: checks the configuration and everything the service depends on.

Usage: uponai-bff doctor [--json]

  --json    print the findings as JSON:
            {"status", "checks": [{"check", "status", "detail", "action"?}], "notChecked": [text]}

Run it where the service runs, with the same environment. It sends no chat message and prints no
secret. The last lines list what it cannot check. Exit codes: 0 no check failed (there can be
warnings), 1 a check failed, 78 the configuration is wrong and the service would not start.
`;

const EXIT_FAILED = 1;
const EXIT_CONFIG = 78;
const CHECK = "configuration";

/** What cannot be checked without a message or a session; completes "not checked: whether …". */
const NOT_CHECKED: readonly string[] = [
  "each token can use its workspaces and their agents exist (send a first message to check it)",
  "session tokens have this issuer, this audience and the workspace claim (call GET /session with a token)",
  "TRUST_PROXY is the number of proxies in front of the service",
  "traces arrive (neither their packages nor the collector are looked at)",
];
const NOTHING_ELSE: readonly string[] = [
  "anything besides the configuration works, because the service would not start",
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
      { check: CHECK, status: "ok", detail: "all variables have valid values" },
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

/** Imports a public key as the start of the service does, since `parseConfig` does not. */
async function findUnreadableKey({ session: { key } }: Config): Promise<ConfigProblem | undefined> {
  if (key.kind !== "public" || (await createPublicKeySource(key.publicKey)) !== undefined) {
    return undefined;
  }
  const variable = "SESSION_PUBLIC_KEY";
  const problem = "contains no readable public key (PEM, JWK or JWKS)";
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
