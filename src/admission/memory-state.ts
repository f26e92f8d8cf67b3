/** Owns the state of a single instance, in its own memory: the embedded default and the tests'. */
import type { Clock } from "../clock.ts";
import type { AdmissionState } from "./admission.ts";
import { createMemoryKeySpace } from "./key-space.ts";
import { createRulesState } from "./rules-state.ts";

/** @param ownerTtlMs how long a chat stays its owner's after its last use, in milliseconds */
export function createMemoryState(clock: Clock, ownerTtlMs: number): AdmissionState {
  const nowUs = () => Math.round(clock.epochMs() * 1_000);
  return createRulesState(createMemoryKeySpace(nowUs), nowUs, ownerTtlMs);
}
