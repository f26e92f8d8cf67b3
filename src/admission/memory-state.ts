/** The state of a single instance, in its own memory: the embedded default and the tests'. */
import type { Clock } from "../clock.ts";
import { createMemoryKeySpace } from "./key-space.ts";
import { createRulesState, type RulesState } from "./rules-state.ts";
import type { StateSettings } from "./state-settings.ts";

export function createMemoryState(clock: Clock, settings: StateSettings): RulesState {
  const nowUs = () => Math.round(clock.epochMs() * 1_000);
  return createRulesState(createMemoryKeySpace(nowUs), nowUs, settings);
}
