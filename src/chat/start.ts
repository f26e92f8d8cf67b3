/** Starts a chat with the operator's agent, and records its owner before a client learns its id. */
import { answerJson, type RequestContext, traceOf } from "../request-context.ts";
import { Problem } from "../problem.ts";
import type { SessionVariables } from "../session/claims.ts";
import { admitCaller } from "./admit-chat.ts";
import { type Caller, type ChatParts, describeFailure } from "./chat-parts.ts";
import { parseChatId } from "./message-request.ts";
import { createOwnerStamp, OWNER_STAMP } from "./owner-stamp.ts";
import { presentStartedChat } from "./present-chat.ts";
import type { StartBody } from "./start-body.ts";
import { computeAnsweredState } from "./transcript.ts";

/**
 * Answers `POST /chat`.
 *
 * @throws Problem for every refusal and failure; `not_found` if the workspace has no agent
 */
export async function startChat(
  parts: ChatParts,
  context: RequestContext,
  caller: Caller,
  { metadata, variables }: StartBody,
): Promise<Response> {
  const { provider, state, hashing, log, exposeToolCalls } = parts;
  const { session, workspace } = caller;
  const { agentId } = workspace;
  if (agentId === undefined) throw new Problem("not_found");
  if (session.variables === "too_large") {
    throw new Problem("content_too_large", { detail: SESSION_TOO_LARGE });
  }
  await admitCaller(parts, context, caller);

  const stamp = createOwnerStamp(hashing, { workspace, subject: session.subject });
  const seed = {
    agentId,
    metadata: { ...metadata, [OWNER_STAMP]: stamp },
    variables: mergeVariables(variables, session.variables),
  };
  const outcome = await provider.start(workspace, seed, traceOf(context));
  context.call = outcome.call;
  if (outcome.kind === "failed") throw describeFailure(outcome, "start");
  const chat = outcome.answer;
  const chatId = parseChatId(chat.chatId);
  if (chatId === undefined) throw new Problem("upstream_malformed");

  const { subjectKey } = session;
  const transcriptState = computeAnsweredState(hashing, chat.messages);
  const owned = await state.own({
    workspaceId: workspace.id,
    subjectKey,
    chatId,
    transcriptState,
    stamped: false,
  });
  if (owned !== "owned") {
    // The client must not learn the id of a chat that has no owner, or that another subject owns.
    log.log("error", "started chat was not recorded", { reqId: context.requestId, owned });
    throw new Problem(owned === "unavailable" ? "state_unavailable" : "upstream_malformed");
  }
  const json = JSON.stringify(presentStartedChat(chat, exposeToolCalls));
  return answerJson(context, 201, json, { Location: `${parts.basePath}/chat/${chatId}` });
}

const SESSION_TOO_LARGE =
  "Issue the session with fewer or shorter claims: its variables take more than 4,096 bytes.";

/** The session's variables replace the client's, even without a value; see `SessionVariables`. */
function mergeVariables(
  client: StartBody["variables"],
  session: SessionVariables,
): Readonly<Record<string, unknown>> | undefined {
  const set = Object.entries({ ...client, ...session }).filter(([, value]) => value !== undefined);
  return client === undefined && set.length === 0 ? undefined : Object.fromEntries(set);
}
