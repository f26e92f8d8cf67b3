/**
 * All services that the platform passes to the application: time, randomness, network and state.
 */
import type { AdmissionState } from "./admission/admission.ts";
import type { MessageOutcome } from "./chat/present-answer.ts";
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
import type { Waits } from "./waits.ts";

/** The parts of a request that only the platform can read. */
export interface RequestSource {
  /** Reads the body and counts its bytes as they arrive. `env` came with the request. */
  readBody(request: Request, env: unknown, limits: BodyLimits): Promise<BodyRead>;
  /** IP address of the other end of the connection. */
  peerAddress(env: unknown): string;
}

/** Services of one process (Node) or one isolate (Workers). */
export interface Services {
  readonly clock: Clock;
  readonly hashing: Hashing;
  /** Resolves after `ms` milliseconds. */
  readonly pause: (ms: number) => Promise<void>;
  /** Creates a new id that cannot be guessed: 1 to 64 characters of `[A-Za-z0-9_-]`. */
  readonly createId: () => string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /**
   * Undefined: tracing is off, and a valid incoming `traceparent` is passed to UponAI unchanged.
   */
  readonly tracing?: Tracing | undefined;
  readonly state: AdmissionState;
  readonly transport: UpstreamTransport;
  /** Circuit breakers of the calls through `transport`. */
  readonly circuits: Circuits;
  /** Keys that verify session tokens. */
  readonly keys: KeySource;
  readonly gate: LoadGate;
  /** Requests with a bounded wait, and the messages that they wait for. */
  readonly waits: Waits<MessageOutcome>;
  readonly source: RequestSource;
  /** The script of the chat element. undefined: it is not built, and its paths do not exist. */
  readonly elementScript?: string | undefined;
}
