/** Checks UponAI: that it is reached, and that it accepts every token. */
import type { Config } from "../../config/config.ts";
import { systemClock } from "../../platform/clock.ts";
import type { ProxySettings } from "../../platform/node/egress.ts";
import { createNodeUpstream } from "../../platform/node/upstream.ts";
import { canBeUponai } from "../../upstream/classify-reply.ts";
import type { UpstreamReply, UpstreamTransport } from "../../upstream/transport.ts";
import { USER_AGENT } from "../../version.ts";
import type { Finding } from "./finding.ts";

/** Enough for a list; whoever waits at a terminal waits for all of them. */
const CALL_TIMEOUT_MS = 10_000;

interface Token {
  readonly token: string;
  /** Every workspace that has it, and which of several it is there. */
  readonly name: string;
}

export async function checkUpstream(
  { upstream, workspaces }: Config,
  proxies: ProxySettings,
): Promise<readonly Finding[]> {
  const connections = createNodeUpstream({ ...upstream, proxies });
  try {
    const findings: Finding[] = [];
    // One after the other: a check must not look like an attack.
    for (const token of listTokens(workspaces)) {
      const finding = await checkToken(connections.transport, token);
      findings.push(finding);
      // What is out for one token is out for all.
      if (finding.check === UPSTREAM) break;
    }
    return findings;
  } finally {
    await connections.close();
  }
}

/** Every token once, named by all workspaces that have it. */
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
  // The list's shape is not documented: it shows that a token works, not what it reaches.
  if (status === 200) {
    const detail = `UponAI accepts it, in ${ms} ms; that it reaches the workspace is not checked`;
    return { check: name, status: "ok", detail };
  }
  if ((status === 401 || status === 403) && canBeUponai(reply.contentType)) {
    return {
      check: name,
      status: "fail",
      detail: `UponAI refuses it (${status})`,
      action: "Make a new token in UponAI's dashboard, put it first, and drop this one.",
    };
  }
  return {
    check: name,
    status: "warn",
    detail: `UponAI answers ${status}, which says nothing of the token`,
    action: "Try again later; if it stays, check UPONAI_BASE_URL.",
  };
}

function describeOutage(reply: Exclude<UpstreamReply, { kind: "answer" }>): Finding {
  const detail =
    reply.kind === "not_sent"
      ? "cannot be reached"
      : reply.kind === "timeout"
        ? `does not answer within ${CALL_TIMEOUT_MS / 1_000} s`
        : "gives no usable answer";
  return {
    check: UPSTREAM,
    status: "fail",
    detail,
    action: "Check UPONAI_BASE_URL, name resolution, egress and TLS inspection on the way.",
  };
}
