/**
 * Owns sending one message: admission, the call, settling, the answer. Whoever calls it has proven
 * the session and the workspace and validated the message; it asks for all three by type.
 */
import type { AdmissionState, AdmitOutcome, Ticket } from "../admission/admission.ts";
import { describeRefusal, renderLimitHeaders } from "../admission/rate-limit-headers.ts";
import type { ChatId } from "../branded.ts";
import { answerJson, type Exchange } from "../exchange.ts";
import { parseTraceparent } from "../http/request-id.ts";
import type { Logger } from "../logger.ts";
import { Problem } from "../problem.ts";
import type { Session } from "../session/session.ts";
import type { UponaiClient } from "../upstream/uponai-client.ts";
import type { Workspace } from "../workspace.ts";
import { presentMessages } from "./present-messages.ts";

export interface SendParts {
  readonly state: AdmissionState;
  readonly upstream: UponaiClient;
  readonly createId: () => string;
  readonly log: Logger;
  readonly exposeToolCalls: boolean;
}

export interface Message {
  readonly session: Session;
  readonly workspace: Workspace;
  /** Normalised address of the client. */
  readonly addressKey: string;
  readonly chatId: ChatId;
  readonly content: string;
}

/** How often the chat lock is renewed: a third of its lease, so that one lost renewal is no harm. */
const RENEW_EVERY_MS = 5_000;

/** @throws Problem for every refusal, with `RateLimit` headers once admission has answered */
export async function sendMessage(
  parts: SendParts,
  exchange: Exchange,
  message: Message,
): Promise<Response> {
  const { session, workspace, chatId, content, addressKey } = message;
  const admitted = await parts.state.admit({
    workspaceId: workspace.id,
    subjectKey: session.subjectKey,
    sessionKey: session.sessionKey,
    issuedAtMs: session.issuedAtMs,
    addressKey,
    chatId,
    policies: workspace.policies,
    lockToken: parts.createId(),
  });
  if (admitted.kind !== "admitted") throw describeDenial(admitted);
  const headers = renderLimitHeaders(admitted.limits);

  const outcome = await whileLocked(parts, exchange, admitted.ticket, () =>
    parts.upstream.completeChat(workspace, chatId, content, {
      requestId: exchange.requestId,
      traceparent: parseTraceparent(exchange.request.headers.get("traceparent")),
    }),
  );
  exchange.call = outcome.call;
  if (outcome.kind === "failed") {
    const { code, retryAfterSeconds } = outcome;
    throw new Problem(
      code,
      retryAfterSeconds === undefined ? { headers } : { headers, retryAfterSeconds },
    );
  }
  const messages = presentMessages(outcome.messages, parts.exposeToolCalls);
  return answerJson(exchange, 201, JSON.stringify({ messages }), headers);
}

/** Keeps the chat locked while `work` runs, and frees it whatever comes of it. */
async function whileLocked<Result>(
  { state, log }: SendParts,
  exchange: Exchange,
  ticket: Ticket,
  work: () => Promise<Result>,
): Promise<Result> {
  const renewal = setInterval(() => void state.renew(ticket), RENEW_EVERY_MS);
  try {
    return await work();
  } finally {
    clearInterval(renewal);
    // Waited for: a client that has its answer may send the next message at once.
    const settled = await state.settle(ticket);
    if (settled !== "settled") {
      log.log("warn", "chat lock was not freed", { reqId: exchange.requestId, settled });
    }
  }
}

function describeDenial(outcome: Exclude<AdmitOutcome, { kind: "admitted" }>): Problem {
  switch (outcome.kind) {
    case "unavailable":
      return new Problem("state_unavailable");
    case "revoked":
      return new Problem("session_revoked", { headers: renderLimitHeaders(outcome.limits) });
    case "chat_busy":
      return new Problem("chat_busy", {
        retryAfterSeconds: 1,
        headers: renderLimitHeaders(outcome.limits),
      });
    case "limited":
      return new Problem("rate_limited", {
        ...describeRefusal(outcome.limits),
        headers: renderLimitHeaders(outcome.limits),
      });
  }
}
