/**
 * One instance of the service as the histories know it: everything that goes in or out of it passes
 * its gate, where it can stall for a while or die. What it was about to do then happens later, or never.
 */
import type { AdmissionState } from "../../src/admission/admission.ts";

/** Where a request can be caught: just before or after it asks somebody else. */
export type Point =
  | "before-admit"
  | "after-admit"
  | "before-upstream"
  | "after-upstream"
  | "before-settle"
  | "after-settle"
  | "before-answer";

export type Accident = "stall" | "crash";

/** Counts what is going on and is not waiting, so that a history knows when all is quiet. */
export interface Activity {
  busy: number;
}

export interface Instance {
  readonly slot: number;
  readonly state: AdmissionState;
  readonly activity: Activity;
  health: "well" | "stalled" | "dead";
  draining: boolean;
  /** What happens to it where. */
  ambush: { readonly point: Point; readonly accident: Accident } | undefined;
  /** Continuations of what is caught in it. */
  caught: (() => void)[];
  /** Called when it stalls or dies. */
  readonly onAccident: (instance: Instance) => void;
}

export function befall(instance: Instance, accident: Accident): void {
  instance.health = accident === "crash" ? "dead" : "stalled";
  if (accident === "crash") instance.caught = [];
  instance.ambush = undefined;
  instance.onAccident(instance);
}

/**
 * Lets what was caught go on, one after the other, until it is caught again.
 *
 * @param quiet resolves when nothing more happens by itself
 */
export async function resume(instance: Instance, quiet: () => Promise<void>): Promise<void> {
  const { caught, activity } = instance;
  instance.health = "well";
  instance.caught = [];
  for (const goOn of caught) {
    // Caught again at once, or never again, where an accident has happened meanwhile.
    activity.busy += 1;
    goOn();
    await quiet();
  }
}

/** Lets a request through, later or never. */
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
