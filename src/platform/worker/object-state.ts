/**
 * Owns asking the state's objects: which one decides, within the time bound, and what it said. All
 * values of one admission lie in one object, so that its limits are exact; they are the ones that
 * share a hash tag in Redis.
 */
import type { AdmissionState, AdmitOutcome, AdmitRequest } from "../../admission/admission.ts";
import type { WorkspaceId } from "../../branded.ts";
import type { Clock } from "../../clock.ts";
import { describeDefect, type Logger } from "../../logger.ts";
import { currentScope } from "./request-scope.ts";
import type { CallAnswer, CallOptions, StateObject } from "./state-object.ts";

/** What is needed of the binding to the objects' class. */
export interface StateObjects {
  getByName(name: string): Pick<StateObject, "call" | "withdraw">;
}

export interface ObjectStateOptions {
  readonly objects: StateObjects;
  /** Longest wait for an object, in milliseconds. */
  readonly timeoutMs: number;
  /** How long a chat stays its owner's after its last use, in milliseconds. */
  readonly ownerTtlMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

type Method = keyof AdmissionState;
type Result<Name extends Method> = Awaited<ReturnType<AdmissionState[Name]>>;

export function createObjectState(options: ObjectStateOptions): AdmissionState {
  const { objects, timeoutMs, ownerTtlMs, clock, log } = options;
  /** Undefined until either was seen; each change is said once per isolate, not by each request. */
  let reachable: boolean | undefined;
  const succeeded = () => {
    if (reachable === false) log.log("info", "state is reachable again");
    reachable = true;
  };
  const failed = (error: unknown) => {
    if (reachable !== false) log.log("error", "state is unreachable", describeDefect(error));
    reachable = false;
  };

  /** Calls by our clock and, where the object's says "late" while there is time, by the object's. */
  const callInTime = async (
    call: (callOptions: CallOptions) => Promise<CallAnswer>,
  ): Promise<{ readonly result: unknown } | undefined> => {
    const endMs = clock.monotonicMs() + timeoutMs;
    const answer = await call({ deadlineMs: clock.epochMs() + timeoutMs, ownerTtlMs });
    if ("result" in answer) return answer;
    const leftMs = endMs - clock.monotonicMs();
    if (leftMs <= 0) return undefined;
    const again = await call({ deadlineMs: answer.lateAtMs + leftMs, ownerTtlMs });
    return "result" in again ? again : undefined;
  };

  const begin = <Name extends Method>(
    object: string,
    method: Name,
    args: Parameters<AdmissionState[Name]>,
  ): Promise<Result<Name> | undefined> => {
    const asking = callInTime((options) => objects.getByName(object).call(method, args, options));
    // What still comes after the answer must not be cut off half-way.
    currentScope().waitUntil(asking.then(succeeded, failed));
    // The object runs this very method of the same program.
    return asking.then((answer) => answer?.result as Result<Name> | undefined); // oxlint-disable-line typescript/no-unsafe-type-assertion
  };

  /** Undefined: no answer in time. */
  const ask = <Name extends Method>(
    object: string,
    method: Name,
    ...args: Parameters<AdmissionState[Name]>
  ): Promise<Result<Name> | undefined> => within(timeoutMs, begin(object, method, args));

  /** The object decided in time, but its word came too late: what was taken is given back. */
  const withdrawLater = (request: AdmitRequest, admitting: Promise<AdmitOutcome | undefined>) => {
    const withdraw = async () => {
      const outcome = await admitting;
      if (outcome === undefined) return;
      await objects.getByName(nameOf(request.workspaceId)).withdraw(request, outcome, ownerTtlMs);
    };
    // In vain where the object cannot be reached: leases and windows end on their own.
    currentScope().waitUntil(withdraw().catch(() => undefined));
  };

  return {
    async admit(request) {
      const admitting = begin(nameOf(request.workspaceId), "admit", [request]);
      const outcome = await within(timeoutMs, admitting);
      if (outcome === undefined) withdrawLater(request, admitting);
      return outcome ?? { kind: "unavailable" };
    },
    async settle(ticket, settlement) {
      const name = nameOf(ticket.request.workspaceId);
      const settle = () => begin(name, "settle", [ticket, settlement]);
      // An object that a deployment resets fails what it was asked. What a message's sender settles
      // may be told twice; what a seeker settles would look like somebody else's the second time.
      const settling = ticket.role === "sender" ? settle().catch(settle) : settle();
      return (await within(timeoutMs, settling)) ?? "unavailable";
    },
    async renew(ticket, markBefore) {
      const name = nameOf(ticket.request.workspaceId);
      return (await ask(name, "renew", ticket, markBefore)) ?? "unavailable";
    },
    async own(ownership) {
      return (await ask(nameOf(ownership.workspaceId), "own", ownership)) ?? "unavailable";
    },
    async checkSession(session) {
      const name = nameOf(session.workspaceId);
      return (await ask(name, "checkSession", session)) ?? "unavailable";
    },
    async revokeSession(session, forMs) {
      const name = nameOf(session.workspaceId);
      return (await ask(name, "revokeSession", session, forMs)) ?? "unavailable";
    },
    async cutOff(target) {
      return (await ask(nameOf(target.workspaceId), "cutOff", target)) ?? "unavailable";
    },
    async countAuthFailure(addressKey, policy) {
      const outcome = await ask(`af:${addressKey}`, "countAuthFailure", addressKey, policy);
      return outcome ?? { kind: "unavailable" };
    },
    isReachable: async () => (await ask("probe", "isReachable")) ?? false,
  };
}

/** Sessions without a workspace have an object of their own; no workspace has the id 0. */
function nameOf(workspaceId: WorkspaceId | undefined): string {
  return `ws:${workspaceId ?? 0}`;
}

/** The promise's value, or undefined when it fails or takes longer. The promise itself goes on. */
async function within<Value>(
  ms: number,
  promise: Promise<Value | undefined>,
): Promise<Value | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  const value = await Promise.race([promise.catch(() => undefined), late]);
  clearTimeout(timer);
  return value;
}
