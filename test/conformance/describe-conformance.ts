/** The contract over HTTP: one suite for all runtimes and all kinds of state. */
import { afterAll, beforeAll } from "vitest";

import { describeAtMostOnce } from "./at-most-once.ts";
import { describeBasePath } from "./base-path.ts";
import { describeChats } from "./chats.ts";
import { describeLimits } from "./limits.ts";
import { describeLongAnswers } from "./long-answers.ts";
import { describeRoutes } from "./routes.ts";
import { type Fixture, type Runtime, startFixture } from "./runtime.ts";
import { describeSending } from "./sending.ts";
import { describeSessions } from "./sessions.ts";
import { describeUpstream } from "./upstream.ts";

/**
 * @param prepare starts the dependencies of the service; returns its variables and a stop function
 */
export function describeConformance(
  runtime: Runtime,
  prepare: () => Promise<Preparation> = () => Promise.resolve({ environment: {} }),
): void {
  let fixture: Fixture | undefined;
  let preparation: Preparation | undefined;
  beforeAll(async () => {
    preparation = await prepare();
    fixture = await startFixture(runtime, preparation.environment);
  });
  afterAll(async () => {
    await fixture?.stop();
    await preparation?.stop?.();
  });
  const use = (): Fixture => {
    if (fixture === undefined) throw new Error("the service did not start");
    return fixture;
  };

  describeRoutes(use);
  describeSessions(use);
  describeSending(use);
  describeChats(use);
  describeAtMostOnce(use);
  describeLongAnswers(use);
  describeLimits(use);
  describeUpstream(use, runtime);
  describeBasePath(runtime, () => preparation?.environment ?? {});
}

export interface Preparation {
  readonly environment: Record<string, string>;
  readonly stop?: () => Promise<void>;
}
