/**
 * Asks the state's objects: which one decides, within the time bound, and what it said. All values of
 * one admission lie in one object, so that its limits are exact; they are the ones that share a hash
 * tag in Redis.
 */
import type { AdmissionState, AdmitOutcome, AdmitRequest } from "../../admission/admission.ts";
import type { StateSettings } from "../../admission/state-settings.ts";
import type { WorkspaceId } from "../../branded.ts";
import type { Clock } from "../../clock.ts";
import { describeDefect, type Logger } from "../../logger.ts";
import { within } from "../../within.ts";
import { createReachability } from "../reachability.ts";
import { currentScope } from "./request-scope.ts";
import type { CallAnswer, CallOptions, StateObject } from "./state-object.ts";

/** What is needed of one object. */
export type StateObjectCalls = Pick<StateObject, keyof AdmissionState | "withdraw">;

/** What is needed of the binding to the objects' class. */
export interface StateObjects {
  getByName(name: string): StateObjectCalls;
}

export interface ObjectStateOptions {
  readonly objects: StateObjects;
  /** Longest wait for an object, in milliseconds. */
  readonly timeoutMs: number;
  readonly settings: StateSettings;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createObjectState(options: ObjectStateOptions): AdmissionState {
  const { objects, timeoutMs, settings, clock, log } = options;
  const reachability = createReachability(clock, log, 0);
  const failed = (error: unknown) => reachability.failed(describeDefect(error));

  /** Calls by our clock and, where the object's says "late" while there is time, by the object's. */
  const callInTime = async <Result>(
    call: (callOptions: CallOptions) => Promise<CallAnswer<Result>>,
  ): Promise<Result | undefined> => {
    const endMs = clock.monotonicMs() + timeoutMs;
    const answer = await call({ deadlineMs: clock.epochMs() + timeoutMs, settings });
    if ("result" in answer) return answer.result;
    const leftMs = endMs - clock.monotonicMs();
    if (leftMs <= 0) return undefined;
    const again = await call({ deadlineMs: answer.lateAtMs + leftMs, settings });
    return "result" in again ? again.result : undefined;
  };

  const begin = <Result>(
    name: string,
    call: (object: StateObjectCalls, callOptions: CallOptions) => Promise<CallAnswer<Result>>,
  ): Promise<Result | undefined> => {
    const asking = callInTime((callOptions) => call(objects.getByName(name), callOptions));
    // What still comes after the answer must not be cut off half-way.
    currentScope().waitUntil(asking.then(reachability.succeeded, failed));
    return asking;
  };

  /** Undefined: no answer in time. */
  const ask = <Result>(
    name: string,
    call: (object: StateObjectCalls, callOptions: CallOptions) => Promise<CallAnswer<Result>>,
  ): Promise<Result | undefined> => within(timeoutMs, begin(name, call));

  /** The answer came too late, or broke: what the admission took is given back. */
  const withdrawLater = (request: AdmitRequest, admitting: Promise<AdmitOutcome | undefined>) => {
    const withdraw = async () => {
      // A call that failed may have been decided: then only what it left proves it.
      const outcome = await admitting.catch(() => "unheard" as const);
      const spent = outcome === "unheard" || (outcome !== undefined && SPENDING.has(outcome.kind));
      if (!spent) return;
      const object = objects.getByName(nameOf(request.workspaceId));
      await object.withdraw(request, outcome !== "unheard", settings);
    };
    // In vain where the object cannot be reached: leases and windows end on their own.
    currentScope().waitUntil(withdraw().catch(() => undefined));
  };

  return {
    async admit(request) {
      const admitting = begin(nameOf(request.workspaceId), (object, callOptions) =>
        object.admit(request, callOptions),
      );
      const outcome = await within(timeoutMs, admitting);
      if (outcome === undefined) withdrawLater(request, admitting);
      return outcome ?? { kind: "unavailable" };
    },
    async settle(admission, settlement) {
      const name = nameOf(admission.request.workspaceId);
      const settle = () =>
        begin(name, (object, callOptions) => object.settle(admission, settlement, callOptions));
      // An object that a deployment resets fails what it was asked. What a message's sender settles
      // may be told twice; what a recoverer settles would look like another's the second time.
      const settling = admission.role === "sender" ? settle().catch(settle) : settle();
      return (await within(timeoutMs, settling)) ?? "unavailable";
    },
    async renew(admission, stateBefore) {
      const name = nameOf(admission.request.workspaceId);
      const renewed = await ask(name, (object, callOptions) =>
        object.renew(admission, stateBefore, callOptions),
      );
      return renewed ?? "unavailable";
    },
    async own(ownership) {
      const owned = await ask(nameOf(ownership.workspaceId), (object, callOptions) =>
        object.own(ownership, callOptions),
      );
      return owned ?? "unavailable";
    },
    async checkSession(session) {
      const verdict = await ask(nameOf(session.workspaceId), (object, callOptions) =>
        object.checkSession(session, callOptions),
      );
      return verdict ?? "unavailable";
    },
    async revokeSession(session, forMs) {
      const done = await ask(nameOf(session.workspaceId), (object, callOptions) =>
        object.revokeSession(session, forMs, callOptions),
      );
      return done ?? "unavailable";
    },
    async cutOff(target) {
      const done = await ask(nameOf(target.workspaceId), (object, callOptions) =>
        object.cutOff(target, callOptions),
      );
      return done ?? "unavailable";
    },
    async countAuthFailure(addressKey, policy) {
      const outcome = await ask(`af:${addressKey}`, (object, callOptions) =>
        object.countAuthFailure(addressKey, policy, callOptions),
      );
      return outcome ?? { kind: "unavailable" };
    },
    isReachable: async () =>
      (await ask("probe", (object, callOptions) => object.isReachable(callOptions))) ?? false,
  };
}

/** Outcomes that spend the limits. */
const SPENDING: ReadonlySet<AdmitOutcome["kind"]> = new Set(["admitted", "denied", "unresolved"]);

/** Sessions without a workspace have an object of their own; no workspace has the id 0. */
function nameOf(workspaceId: WorkspaceId | undefined): string {
  return `ws:${workspaceId ?? 0}`;
}
