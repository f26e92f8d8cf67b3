/** Owns `uponai-bff revoke`: an operator's cut-off, written to the state that the service reads. */
import { parseArgs } from "node:util";

import { listWorkspaceIds } from "../workspace.ts";
import { createRedisState } from "../admission/redis-state.ts";
import { compileStateSettings } from "../admission/state-settings.ts";
import type { Config } from "../config/config.ts";
import { parseDuration } from "../config/units.ts";
import { createHashing } from "../platform/hashing.ts";
import { systemClock } from "../platform/clock.ts";
import { readConfig } from "../platform/node/read-config.ts";
import { createNodeRedis } from "../platform/node/redis.ts";
import { createSubjectKey } from "../session/authenticate.ts";
import { type Command, CommandError, UsageError } from "./usage.ts";

const help = `uponai-bff revoke: refuses all sessions issued until now, on every instance, at once.

Usage: uponai-bff revoke --subject SUBJECT [--for DURATION]
       uponai-bff revoke --all [--for DURATION]

  --subject SUBJECT   the sessions of this user
  --all               everybody's
  --for DURATION      how long the order stays in force (default 30d): longer than any token of
                      yours lives, or the oldest would be served again after it

Reads the same environment as the service and needs its Redis. Sessions without an issue time (iat)
count as issued before. Tokens carry their issue time in whole seconds, so one that is issued in the
very second of the order is refused too; one from an issuer whose clock is ahead (30 s are tolerated)
can pass. A later order never undoes an earlier one.
`;

/** How long the connection to Redis may take, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000;

export const revokeCommand: Command = {
  summary: "refuses all sessions of one subject, or of everyone, issued until now",
  help,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        subject: { type: "string" },
        all: { type: "boolean", default: false },
        for: { type: "string", default: "30d" },
      },
    });
    const { subject, all } = values;
    if ((subject === undefined) !== all || subject === "") {
      throw new UsageError("say whose sessions: --subject SUBJECT, or --all");
    }
    const forMs = parseDuration(values.for);
    if (forMs === undefined) throw new UsageError("--for must be a duration such as 12h or 30d");

    const config = requireConfig();
    if (config.state.kind !== "redis") {
      throw new CommandError("the service's state is in its own process: restart it instead");
    }
    const { address, prefix } = config.state;
    const log = { log: () => undefined };
    const connection = createNodeRedis(address, CONNECT_TIMEOUT_MS, log);
    try {
      const failure = await connection.connected(CONNECT_TIMEOUT_MS);
      if (failure !== undefined) throw new CommandError(`Redis cannot be reached (${failure})`);
      const state = createRedisState({
        connection,
        prefix,
        timeoutMs: CONNECT_TIMEOUT_MS,
        clock: systemClock,
        settings: compileStateSettings(config),
      });
      const subjectKey =
        subject === undefined ? undefined : createSubjectKey(createHashing(config), subject);
      const workspaceIds = listWorkspaceIds(config.workspaces);
      for (const workspaceId of workspaceIds) {
        const written = await state.cutOff({ workspaceId, subjectKey, forMs });
        if (written === "unavailable") {
          const reason = connection.lastFailure();
          const why = reason === undefined ? "" : ` (${reason})`;
          throw new CommandError(`Redis did not take the order${why}; try again`);
        }
      }
      const whose = subject === undefined ? "All sessions" : "The subject's sessions";
      return `${whose} issued until now are refused, in ${workspaceIds.length} workspace(s).`;
    } finally {
      connection.close();
    }
  },
};

function requireConfig(): Config {
  const { config, problems } = readConfig();
  if (config !== undefined) return config;
  const lines = problems.map(({ variable, problem }) => `${variable} ${problem}`);
  throw new CommandError(lines.join("\n"));
}
