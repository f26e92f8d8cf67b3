/**
 * An instance of the service in the histories. All its calls and replies pass a gate, where the
 * instance can stall or crash. A stalled call continues later; a crashed one never does.
 */
import type { AdmissionState } from "../../src/admission/admission.ts";
import type { MessageOutcome } from "../../src/chat/present-answer.ts";
import type { Waits } from "../../src/waits.ts";

/**
 * Places where a request can be stopped: just before or just after a call to the state or to
 * UponAI.
 */
export type Point =
  | "before-admit"
  | "after-admit"
  | "before-upstream"
  | "after-upstream"
  | "before-settle"
  | "after-settle"
  | "before-answer";

export type Accident = "stall" | "crash";

/** Number of running tasks that do not wait, so that a history can detect when all is quiet. */
export interface Activity {
  busy: number;
}

export interface Instance {
  readonly slot: number;
  readonly state: AdmissionState;
  readonly activity: Activity;
  /** Bounded waits; a restarted instance knows none. */
  readonly waits: Waits<MessageOutcome>;
  /** Called when the instance begins to drain. */
  readonly drainListeners: (() => void)[];
  health: "well" | "stalled" | "dead";
  draining: boolean;
  /** The accident that is set up, and its place. */
  ambush: { readonly point: Point; readonly accident: Accident } | undefined;
  /** Continuations of the calls that are stopped in it. */
  caught: (() => void)[];
  /** Called when the instance stalls or crashes. */
  readonly onAccident: (instance: Instance) => void;
}

export function befall(instance: Instance, accident: Accident): void {
  instance.health = accident === "crash" ? "dead" : "stalled";
  if (accident === "crash") instance.caught = [];
  instance.ambush = undefined;
  instance.onAccident(instance);
}

/**
 * Continues the stopped calls in order, until one is stopped again.
 *
 * @param quiet resolves when all tasks wait
 */
export async function resume(instance: Instance, quiet: () => Promise<void>): Promise<void> {
  const { caught, activity } = instance;
  instance.health = "well";
  instance.caught = [];
  for (const goOn of caught) {
    // If an accident has happened meanwhile, the call stops again or never continues.
    activity.busy += 1;
    goOn();
    await quiet();
  }
}

/** Passes a call through the gate: at once, later or never. */
export async function pass(instance: Instance, point: Point): Promise<void> {
  const { ambush, activity } = instance;
  if (ambush?.point === point && instance.health === "well") befall(instance, ambush.accident);
  while (instance.health !== "well") {
    activity.busy -= 1;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    if (instance.health === "stalled") instance.caught.push(() => resolve(undefined));
    await promise;
  }
}
