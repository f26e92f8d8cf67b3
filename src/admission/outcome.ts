/** Owns the way from a decision of the rules, in TypeScript or Lua, to the port's outcome. */
import type { AdmitOutcome, AdmitRequest, Ticket } from "./admission.ts";
import { describeLimits } from "./limit-policy.ts";
import type { Decision } from "./rules.ts";
import { parseMark } from "./transcript-mark.ts";

/** @param waitedMs how long the decision took to come, in milliseconds */
export function describeOutcome(
  request: AdmitRequest,
  { verdict, tatsUs, detail }: Decision,
  nowUs: number,
  waitedMs: number,
): AdmitOutcome {
  const limits = describeLimits(request.policies, tatsUs, nowUs);
  switch (verdict) {
    case "admitted": {
      const [claimed, sends, mark, contested] = detail.split(" ");
      const ticket: Ticket = {
        request,
        role: request.chat?.message === undefined ? "reader" : "sender",
        newlyClaimed: claimed === "1",
        sends: Number(sends ?? 0),
        mark: parseMark(mark),
        contested: contested === "1",
        waitedMs,
      };
      return { kind: verdict, limits, ticket };
    }
    case "unresolved": {
      const [text, code] = detail.split(" ");
      const mark = parseMark(text);
      const ticket: Ticket = {
        request,
        role: "seeker",
        newlyClaimed: false,
        sends: 0,
        mark,
        contested: mark === undefined,
        waitedMs,
      };
      return { kind: verdict, limits, ticket, code: code === "-" ? undefined : code };
    }
    case "replayed":
      return { kind: verdict, limits, answer: detail };
    case "denied":
      return { kind: verdict, limits, unowned: detail === "unowned" };
    case "limited":
    case "revoked":
    case "chat_busy":
    case "key_in_progress":
    case "key_reused":
      return { kind: verdict, limits };
  }
}
