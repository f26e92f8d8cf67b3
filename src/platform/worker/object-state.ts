/**
 * State in Durable Objects, as the Worker calls it: chooses the object and limits the wait for it.
 *
 * All values of one admission are in one object, so that its limits are exact. They are the same
 * values that share a hash tag in Redis.
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

/** The methods of an object that are called here. */
export type StateObjectCalls = Pick<StateObject, keyof AdmissionState | "withdraw">;

/** The part of the binding `STATE_OBJECT` that is used here. */
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

/** Creates the state. A call without an answer in time is `unavailable`; outages are logged. */
export function createObjectState(options: ObjectStateOptions): AdmissionState {
  const { objects, timeoutMs, settings, clock, log } = options;
  const reachability = createReachability(clock, log, 0);
  const failed = (error: unknown) => reachability.failed(describeDefect(error));

  /**
   * Calls with a deadline by the Worker's clock. If the object answers "late" although time is
   * left, its clock is ahead: a second call has a deadline by the object's clock.
   */
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

  const follow = <Result>(asking: Promise<Result>): Promise<Result> => {
    // The call must go on after the request is answered, or Cloudflare would cut it off.
    currentScope().waitUntil(asking.then(reachability.succeeded, failed));
    return asking;
  };

  const begin = <Result>(
    name: string,
    call: (object: StateObjectCalls, callOptions: CallOptions) => Promise<CallAnswer<Result>>,
  ): Promise<Result | undefined> => {
    const asking = callInTime((callOptions) => call(objects.getByName(name), callOptions));
    return follow(asking);
  };

  /** Calls an object; undefined when there is no answer in time. */
  const ask = <Result>(
    name: string,
    call: (object: StateObjectCalls, callOptions: CallOptions) => Promise<CallAnswer<Result>>,
  ): Promise<Result | undefined> => within(timeoutMs, begin(name, call));

  /** After an answer that came too late or failed: gives back what the admission has taken. */
  const withdrawLater = (request: AdmitRequest, admitting: Promise<AdmitOutcome | undefined>) => {
    const withdraw = async () => {
      // A call that failed may have been decided. Then only the stored values show whether it was.
      const outcome = await admitting.catch(() => "unheard" as const);
      const spent = outcome === "unheard" || (outcome !== undefined && SPENDING.has(outcome.kind));
      if (!spent) return;
      const object = objects.getByName(nameOf(request.workspaceId));
      await object.withdraw(request, outcome !== "unheard", settings);
    };
    // When the object cannot be reached this fails, and leases and windows end on their own.
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
      // Without a deadline, as on Redis; see `StateObject.settle`.
      const settle = () => follow(objects.getByName(name).settle(admission, settlement, settings));
      // A deployment resets an object, and open calls fail. A sender's settlement may be sent
      // twice. A recoverer's may not: the second call would look like that of another recoverer.
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
    async isEnded(session, forMs) {
      const ended = await ask(nameOf(session.workspaceId), (object, callOptions) =>
        object.isEnded(session, forMs, callOptions),
      );
      return ended ?? "unavailable";
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

/** Outcomes that count against the limits. */
const SPENDING: ReadonlySet<AdmitOutcome["kind"]> = new Set(["admitted", "denied", "unresolved"]);

/**
 * Name of a workspace's object. Sessions without a workspace share the object of id 0, which is no
 * workspace.
 */
function nameOf(workspaceId: WorkspaceId | undefined): string {
  return `ws:${workspaceId ?? 0}`;
}
