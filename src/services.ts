/** Owns the list of everything the application is given: all time, chance, network and state. */
import type { AdmissionState } from "./admission/admission.ts";
import type { Clock } from "./clock.ts";
import type { Hashing } from "./hashing.ts";
import type { BodyLimits, BodyRead } from "./http/read-stream.ts";
import type { LoadGate } from "./load-gate.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";
import type { KeySource } from "./session/key-source.ts";
import type { Tracing } from "./tracing.ts";
import type { Circuits } from "./upstream/circuits.ts";
import type { UpstreamTransport } from "./upstream/transport.ts";

/** What the platform knows of a request that the request itself does not say. */
export interface RequestSource {
  /** Reads the body, counting as it comes. `env` is what the platform handed over with it. */
  readBody(request: Request, env: unknown, limits: BodyLimits): Promise<BodyRead>;
  /** Address of the other end of the connection. */
  peerAddress(env: unknown): string;
}

export interface Services {
  readonly clock: Clock;
  readonly hashing: Hashing;
  /** Resolves after so many milliseconds. */
  readonly pause: (ms: number) => Promise<void>;
  /** A fresh id that nobody can guess, 1 to 64 characters of `[A-Za-z0-9_-]`. */
  readonly createId: () => string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Left out: nothing is traced, and an incoming trace goes on upstream as it came. */
  readonly tracing?: Tracing | undefined;
  readonly state: AdmissionState;
  readonly transport: UpstreamTransport;
  /** Of the one origin that `transport` reaches. */
  readonly circuits: Circuits;
  readonly keys: KeySource;
  readonly gate: LoadGate;
  readonly source: RequestSource;
}
