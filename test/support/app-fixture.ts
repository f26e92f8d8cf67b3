/**
 * The application in this process, with a movable clock, in-process state and a scripted upstream.
 */
import type { AdmissionState } from "../../src/admission/admission.ts";
import { createMemoryState } from "../../src/admission/memory-state.ts";
import { compileStateSettings } from "../../src/admission/state-settings.ts";
import { type App, createApp } from "../../src/app.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { readStream } from "../../src/http/read-stream.ts";
import { createLoadGate, type LoadGate } from "../../src/load-gate.ts";
import type { LogFields, Logger } from "../../src/logger.ts";
import { noMetrics } from "../../src/metrics.ts";
import { createHashing } from "../../src/platform/system.ts";
import type { Services } from "../../src/services.ts";
import { createSecretKeySource } from "../../src/session/key-source.ts";
import { createCircuits } from "../../src/upstream/circuits.ts";
import type { UpstreamReply, UpstreamRequest } from "../../src/upstream/transport.ts";
import { createWaits } from "../../src/waits.ts";
import { mintToken, sessionEnvironment, sessionSecret } from "./session-tokens.ts";
import { createMovableClock, type MovableClock } from "./state-fixtures.ts";

export interface TestApp {
  readonly app: App;
  readonly clock: MovableClock;
  readonly gate: LoadGate;
  readonly state: AdmissionState;
  /** All requests that were sent upstream. */
  readonly sent: UpstreamRequest[];
  /** The fields of all log lines. */
  readonly lines: LogFields[];
  /** Sends a message with a bearer token of `sub`, unless the headers have another credential. */
  send(options?: TestSend): Promise<Response>;
  /**
   * Moves the clock by so many milliseconds, and ends the bounded waits that are over by then, also
   * those of instances that share it.
   */
  elapse(ms: number): Promise<void>;
  /** The timers of bounded waits, also of instances that share the clock. */
  readonly timers: Set<TestTimer>;
  /** Requests that wait for a running message. */
  waiting(): number;
  /** Sends any request, such as `POST /chat`, with the same credentials. */
  ask(target: string, options?: TestAsk): Promise<Response>;
}

export interface TestTimer {
  readonly atMs: number;
  readonly run: () => void;
  /** That of the instance. */
  readonly gate: LoadGate;
}

export interface TestAsk {
  readonly sub?: string;
  readonly claims?: Record<string, unknown>;
  readonly body?: NonNullable<RequestInit["body"]>;
  readonly headers?: Record<string, string | undefined>;
  readonly peer?: string;
  /** Signal that is aborted when the client hangs up. */
  readonly signal?: AbortSignal;
}

export interface TestSend extends TestAsk {
  readonly chatId?: string;
}

export interface TestAppOptions {
  readonly environment?: Record<string, string>;
  readonly services?: Partial<Services>;
  /** Whether a request may wait for a promise of another request, as on Node (default). */
  readonly joins?: boolean;
  /** Called whenever `elapse` has moved the clock, with the milliseconds. */
  readonly elapsed?: (ms: number) => void;
  /** Another instance, whose state and clock this one shares. */
  readonly beside?: TestApp;
  /** The upstream's reply; default: one assistant message. */
  readonly upstream?: (request: UpstreamRequest) => UpstreamReply | Promise<UpstreamReply>;
}

export function createTestConfig(environment: Record<string, string> = {}): Config {
  const workspace = "WORKSPACES" in environment ? {} : { UPONAI_WORKSPACE_ID: "42" };
  const result = parseConfig({
    ...sessionEnvironment(),
    ...workspace,
    UPONAI_API_TOKEN: "upstream-canary-token",
    ...environment,
  });
  if (result.kind === "problems") throw new Error(JSON.stringify(result.problems));
  return result.config;
}

export function answerWith(body: unknown, status = 201): UpstreamReply {
  return { kind: "answer", status, retryAfter: undefined, body: JSON.stringify(body) };
}

/** A state that cannot be reached: all operations fail. */
export const unavailableState: AdmissionState = {
  admit: () => Promise.resolve({ kind: "unavailable" }),
  settle: () => Promise.resolve("unavailable"),
  own: () => Promise.resolve("unavailable"),
  renew: () => Promise.resolve("unavailable"),
  checkSession: () => Promise.resolve("unavailable"),
  isEnded: () => Promise.resolve("unavailable"),
  revokeSession: () => Promise.resolve("unavailable"),
  cutOff: () => Promise.resolve("unavailable"),
  countAuthFailure: () => Promise.resolve({ kind: "unavailable" }),
  isReachable: () => Promise.resolve(false),
};

export async function createTestApp(options: TestAppOptions = {}): Promise<TestApp> {
  const config = createTestConfig(options.environment);
  const clock = options.beside?.clock ?? createMovableClock(Date.now());
  const gate = createLoadGate(config.inFlightMax);
  const state =
    options.services?.state ??
    options.beside?.state ??
    createMemoryState(clock, compileStateSettings(config));
  const sent: UpstreamRequest[] = [];
  const lines: LogFields[] = [];
  const reply =
    options.upstream ?? (() => answerWith({ messages: [{ role: "assistant", content: "Hi" }] }));
  let ids = 0;
  const timers = options.beside?.timers ?? new Set();
  const log: Logger = {
    log: (level, message, fields) => void lines.push({ level, message, ...fields }),
  };
  const app = createApp(config, {
    clock,
    gate,
    waits: createWaits({
      clock,
      gate,
      joins: options.joins ?? true,
      keep: () => undefined,
      schedule: (run, ms) => {
        const timer = { atMs: clock.monotonicMs() + ms, run, gate };
        timers.add(timer);
        return () => void timers.delete(timer);
      },
    }),
    hashing: createHashing(config),
    // A pause moves the clock instead of waiting.
    pause: async (ms) => {
      clock.advanceMs(ms);
    },
    createId: () => `id-${(ids += 1)}`,
    log,
    metrics: noMetrics,
    circuits: createCircuits(clock, log),
    state,
    transport: async (request) => {
      sent.push(request);
      return reply(request);
    },
    keys: await createSecretKeySource(sessionSecret),
    source: {
      readBody: (request, _env, limits) => readStream(request.body, limits),
      peerAddress: (env) => (env as { peer?: string } | undefined)?.peer ?? "192.0.2.1",
    },
    ...options.services,
  });
  const ask: TestApp["ask"] = async (target, options = {}) => {
    const { sub = "alice", claims, body, headers = {}, peer, signal } = options;
    const [method, path = ""] = target.split(" ");
    const token = "Authorization" in headers ? undefined : await mintToken({ sub, ...claims });
    const all: Record<string, string | undefined> = {
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...headers,
    };
    const init: RequestInit & { duplex: "half" } = {
      // The platform requires this for a streamed body.
      duplex: "half",
      headers: Object.entries(all).flatMap(([name, value]): [string, string][] =>
        value === undefined ? [] : [[name, value]],
      ),
    };
    if (method !== undefined) init.method = method;
    if (body !== undefined) init.body = body;
    if (signal !== undefined) init.signal = signal;
    return app.request(path, init, { peer });
  };
  const elapse = async (ms: number) => {
    const untilMs = clock.monotonicMs() + ms;
    for (;;) {
      await calm();
      const nextMs = Math.min(untilMs, ...[...timers].map(({ atMs }) => atMs));
      const byMs = Math.max(nextMs - clock.monotonicMs(), 0);
      clock.advanceMs(byMs);
      options.elapsed?.(byMs);
      const due = [...timers].filter(({ atMs }) => atMs <= nextMs);
      if (due.length === 0) return;
      for (const timer of due) {
        timers.delete(timer);
        timer.run();
      }
    }
  };
  return {
    app,
    clock,
    gate,
    state,
    sent,
    lines,
    ask,
    elapse,
    timers,
    waiting: () => [...timers].filter((timer) => timer.gate === gate).length,
    send: ({ chatId = "chat-1", body = '{"content":"hi"}', headers, ...rest } = {}) =>
      ask(`POST /chat/${chatId}/send`, {
        ...rest,
        body,
        headers: { "Content-Type": "application/json", ...headers },
      }),
  };
}

/** Resolves when all that goes on in this process waits for a timer or a call. */
async function calm(): Promise<void> {
  for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve));
}

export async function readProblem(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}
