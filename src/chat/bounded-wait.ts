/**
 * Answers a message with a bounded wait (RFC 7240 `Prefer: respond-async, wait=N`): the answer if it
 * is there in time, else 202 while the message goes on. The same request again waits on. On the
 * instance that runs the message it waits for the message's end; elsewhere it asks the state again.
 */
import { describeApplied, type Preference } from "../http/prefer.ts";
import type { WaitResult } from "../metrics.ts";
import { Problem } from "../problem.ts";
import { reportDefect, type RequestContext, roundMs } from "../request-context.ts";
import type { Wait } from "../waits.ts";
import { admitAtOnce } from "./admit-chat.ts";
import type { ChatParts } from "./chat-parts.ts";
import { type MessageOutcome, presentAnswer, readStoredAnswer } from "./present-answer.ts";
import { answerGranted, type Message, referTo, sendMessage } from "./send.ts";

/** Pauses between two questions to the state, in milliseconds: most answers come early. */
const FIRST_PAUSE_MS = 500;
const LATER_PAUSE_MS = 1_000;
const FIRST_PAUSES = 10;

/**
 * `Retry-After` of a 202 in seconds: at once; or, where this instance stops or too many requests wait
 * for the message, after a moment, so that they do not end one another's waits in a busy loop.
 */
const REPEAT_AT_ONCE = 0;
const REPEAT_LATER = 1;

/**
 * Answers `POST /chat/:chatId/send`.
 *
 * @throws Problem for every refusal and failure
 */
export function answerMessage(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
): Promise<Response> {
  const { preference } = message;
  return preference === undefined
    ? sendMessage(parts, context, message)
    : answerInTime(parts, context, message, preference);
}

async function answerInTime(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  preference: Preference,
): Promise<Response> {
  const { clock, waits } = parts;
  const ref = referTo(parts, message);
  // With the content: a state that has lost the key may know it with another content by now.
  const key = `${ref.keyDigest ?? ref.token} ${ref.fingerprint}`;
  const deadlineMs = context.startedMs + preference.waitSeconds * 1_000;
  const applied = describeApplied(preference, false);
  if (applied !== undefined) context.headers["Preference-Applied"] = applied;
  const beganMs = clock.monotonicMs();
  let wait: Wait<MessageOutcome> | undefined;
  let end: WaitResult = "answer";
  try {
    for (let asked = 0; ; asked += 1) {
      const verdict = await admitAtOnce(parts, context, message, ref);
      if (verdict.kind === "replayed") {
        return presentAnswer(context, readStoredAnswer(context, verdict.answer), preference);
      }
      // Limits come before the key in the order of checks. A message that runs here is known without
      // asking, and waiting for it spends nothing.
      if (verdict.kind === "limited" && !waits.isRunning(key)) throw verdict.problem;
      // Only now: a request that is refused at once does not wait.
      if (preference.waitSeconds > 0) wait ??= waits.enter(key, context.request.signal);
      let isHere = true;
      let own: Promise<MessageOutcome> | undefined;
      if (verdict.kind === "key_in_progress" || verdict.kind === "limited") {
        isHere = waits.isRunning(key);
      } else {
        // A refusal is not shared: it says nothing about a message that runs.
        const shared = verdict.kind === "denied" ? undefined : key;
        own = waits.run(shared, wait, () => runMessage(parts, context, message, verdict));
        context.ongoing = own;
      }
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs > 0) {
        const pauseMs = asked < FIRST_PAUSES ? FIRST_PAUSE_MS : LATER_PAUSE_MS;
        await wait?.pause(isHere ? leftMs : Math.min(pauseMs, leftMs));
      }
      const ended = wait?.end;
      if (ended?.kind === "outcome") return presentOutcome(context, ended.outcome, preference);
      // After the last pause elsewhere the state is asked once more.
      if (ended === undefined && !isHere && leftMs > 0) continue;
      end = "time";
      if (own !== undefined) context.ongoing = recordLater(parts, context, own);
      const retryAfterSeconds = ended === undefined ? REPEAT_AT_ONCE : REPEAT_LATER;
      return presentAnswer(context, { kind: "running", retryAfterSeconds }, preference);
    }
  } finally {
    if (wait !== undefined) {
      wait.leave();
      context.wait = { ms: clock.monotonicMs() - beganMs, end };
    }
  }
}

type Verdict = Exclude<
  Awaited<ReturnType<typeof admitAtOnce>>,
  { kind: "key_in_progress" | "limited" }
>;

/** Runs a message, or its refusal, to its end. Never rejects: its request may be answered already. */
async function runMessage(
  parts: ChatParts,
  context: RequestContext,
  message: Message,
  verdict: Verdict,
): Promise<MessageOutcome> {
  try {
    const granted = verdict.kind === "denied" ? await verdict.appeal() : verdict;
    return { kind: "answer", answer: await answerGranted(parts, context, message, granted) };
  } catch (error) {
    const problem = error instanceof Problem ? error : reportDefect(parts.log, context, error);
    return { kind: "problem", problem };
  }
}

/** @throws Problem if the message ended with one */
function presentOutcome(
  context: RequestContext,
  outcome: MessageOutcome,
  preference: Preference,
): Response {
  if (outcome.kind === "problem") throw outcome.problem;
  return presentAnswer(context, outcome.answer, preference);
}

/** Records what the access log line of an answered request could not have: how its message ended. */
async function recordLater(
  { log, metrics }: ChatParts,
  context: RequestContext,
  running: Promise<MessageOutcome>,
): Promise<void> {
  const outcome = await running;
  const { call, requestId: reqId } = context;
  if (call !== undefined) metrics.countLateCall(call.ms);
  const problem = outcome.kind === "problem" ? outcome.problem : undefined;
  const fields = {
    reqId,
    code: problem?.code,
    upstreamStatus: call?.status,
    upstreamMs: call && roundMs(call.ms),
    retries: call?.retries,
    recovered: outcome.kind === "answer" ? outcome.answer.recovered : undefined,
  };
  if (problem?.code === "upstream_auth_failed") {
    log.log("error", "message ended after its request was answered", fields);
  } else if (problem !== undefined && problem.status >= 500) {
    log.log("warn", "message ended after its request was answered", fields);
  } else {
    log.log("info", "message ended after its request was answered", fields);
  }
}
