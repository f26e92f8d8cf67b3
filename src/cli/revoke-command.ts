/** Implements `uponai-bff revoke`: writes a revocation to the Redis that the service reads. */
import { parseArgs } from "node:util";

import { listWorkspaceIds } from "../workspace.ts";
import { createRedisState } from "../admission/redis-state.ts";
import { compileStateSettings } from "../admission/state-settings.ts";
import type { Config } from "../config/config.ts";
import { parseDuration } from "../config/units.ts";
import { createHashing, systemClock } from "../platform/system.ts";
import { readConfig } from "../platform/node/read-config.ts";
import { createNodeRedis } from "../platform/node/redis.ts";
import { createSubjectKey } from "../session/authenticate.ts";
import { CLOCK_TOLERANCE_SECONDS } from "../session/verify-token.ts";
import { type Command, CommandError, UsageError } from "./command.ts";

const DEFAULT_FOR = "30d";

const help = `uponai-bff revoke: ends sessions. All instances refuse sessions that were issued until now.

Usage: uponai-bff revoke --subject SUBJECT [--for DURATION]
       uponai-bff revoke --all [--for DURATION]

  --subject SUBJECT   revoke the sessions of this user
  --all               revoke the sessions of all users
  --for DURATION      how long the revocation applies (default ${DEFAULT_FOR}). Set it longer than the
                      lifetime of your tokens: after it the service accepts them again.

The command needs the environment of the service and its Redis. Sessions without an issue time
(iat) count as issued before. Tokens have their issue time in whole seconds, so a token from the same
second is refused too. The service accepts issuers whose clock is up to ${CLOCK_TOLERANCE_SECONDS} s ahead: their tokens of
the last seconds can pass. A later revocation never removes an earlier one.
`;

/** Longest time to wait for Redis, in milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000;

export const revokeCommand: Command = {
  summary: "revokes the sessions of one user or of all users",
  help,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        subject: { type: "string" },
        all: { type: "boolean", default: false },
        for: { type: "string", default: DEFAULT_FOR },
      },
    });
    const { subject, all } = values;
    if ((subject === undefined) !== all || subject === "") {
      throw new UsageError("select the sessions to revoke: --subject SUBJECT, or --all");
    }
    const forMs = parseDuration(values.for);
    if (forMs === undefined) throw new UsageError("--for must be a duration such as 12h or 30d");

    const config = requireConfig();
    if (config.state.kind !== "redis") {
      throw new CommandError(
        "the service has its state in its own process, which this command cannot change. To end all sessions, restart the service with new session and cookie keys.",
      );
    }
    const { address, prefix } = config.state;
    const log = { log: () => undefined };
    const connection = createNodeRedis(address, CONNECT_TIMEOUT_MS, log);
    try {
      const failure = await connection.connected(CONNECT_TIMEOUT_MS);
      if (failure !== undefined)
        throw new CommandError(
          `Redis cannot be reached (${failure}). Nothing was revoked. Check REDIS_URL, or run uponai-bff doctor.`,
        );
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
          throw new CommandError(
            `Redis did not store the revocation${why}, so that it may not apply to all workspaces. Run the command again.`,
          );
        }
      }
      const which = subject === undefined ? "All sessions" : "The subject's sessions";
      return `${which} that were issued until now are refused, in ${workspaceIds.length} workspace(s).`;
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
