/** Checks UponAI: whether it can be reached and accepts every API token. */
import type { Config } from "../../config/config.ts";
import { systemClock } from "../../platform/system.ts";
import type { ProxySettings } from "../../platform/node/egress.ts";
import { createNodeUpstream } from "../../platform/node/upstream.ts";
import { canBeUponai } from "../../upstream/classify-reply.ts";
import type { UpstreamReply, UpstreamTransport } from "../../upstream/transport.ts";
import { USER_AGENT } from "../../version.ts";
import type { Finding } from "./finding.ts";

/** Longest time for one call. The operator waits for the calls of all tokens, one after the other. */
const CALL_TIMEOUT_MS = 10_000;

interface Token {
  readonly token: string;
  /** Names the workspaces that use the token, and its position among their tokens. */
  readonly name: string;
}

/** Checks every API token with a call that reads the list of workspaces. */
export async function checkUpstream(
  { upstream, workspaces }: Config,
  proxies: ProxySettings,
): Promise<readonly Finding[]> {
  const connections = createNodeUpstream({ ...upstream, proxies });
  try {
    const findings: Finding[] = [];
    // One after the other: parallel calls with different tokens could look like an attack.
    for (const token of listTokens(workspaces)) {
      const finding = await checkToken(connections.transport, token);
      findings.push(finding);
      // UponAI cannot be reached: the other tokens would only repeat this finding.
      if (finding.check === UPSTREAM) break;
    }
    return findings;
  } finally {
    await connections.close();
  }
}

/** Lists every token once, with the workspaces that use it. */
function listTokens(workspaces: Config["workspaces"]): readonly Token[] {
  const all =
    workspaces.kind === "single" ? [workspaces.workspace] : [...workspaces.byClaim.values()];
  const owners = new Map<string, Set<string>>();
  for (const { id, apiTokens } of all) {
    for (const [index, token] of apiTokens.entries()) {
      const which = apiTokens.length === 1 ? "" : `, ${index + 1} of ${apiTokens.length}`;
      const names = owners.get(token) ?? new Set();
      owners.set(token, names.add(`workspace ${id}${which}`));
    }
  }
  return [...owners].map(([token, names]) => ({
    token,
    name: `token of ${[...names].join(" and of ")}`,
  }));
}

const UPSTREAM = "UponAI";

async function checkToken(transport: UpstreamTransport, { token, name }: Token): Promise<Finding> {
  const startedMs = systemClock.monotonicMs();
  const reply = await transport({
    method: "GET",
    path: "/api/workspaces",
    headers: {
      Authorization: `Bearer ${token}`,
      Accept: "application/json",
      "User-Agent": USER_AGENT,
    },
    timeoutMs: CALL_TIMEOUT_MS,
  });
  const ms = Math.round(systemClock.monotonicMs() - startedMs);
  if (reply.kind !== "answer") return describeOutage(reply);
  const { status } = reply;
  // The format of the list is not documented: it shows that a token is valid, not its workspaces.
  if (status === 200) {
    const detail = `UponAI accepts the token, in ${ms} ms; whether it can use the workspace is not checked`;
    return { check: name, status: "ok", detail };
  }
  if ((status === 401 || status === 403) && canBeUponai(reply.contentType)) {
    return {
      check: name,
      status: "fail",
      detail: `UponAI refuses the token (${status})`,
      action:
        "Create a new token in UponAI's dashboard, put it first in the list, and remove this one.",
    };
  }
  return {
    check: name,
    status: "warn",
    detail: `UponAI answers ${status}, so the token could not be checked`,
    action: "Run the check again later. If the answer stays the same, check UPONAI_BASE_URL.",
  };
}

function describeOutage(reply: Exclude<UpstreamReply, { kind: "answer" }>): Finding {
  const detail =
    reply.kind === "not_sent"
      ? "UponAI cannot be reached"
      : reply.kind === "timeout"
        ? `UponAI does not answer within ${CALL_TIMEOUT_MS / 1_000} s`
        : "UponAI gives no usable answer";
  return {
    check: UPSTREAM,
    status: "fail",
    detail,
    action:
      "Check UPONAI_BASE_URL, name resolution, firewall or proxy rules for outgoing connections, and proxies that inspect TLS.",
  };
}
