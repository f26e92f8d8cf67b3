/** Calls of uponai-bff over networks and proxies that fail. */
import type { ProblemCode, Session, Transcript } from "./api.ts";
import { ChatError, type ChatErrorCode, type ChatErrorFields } from "./chat-error.ts";
import type { CallOptions, Client, ClientOptions } from "./types.ts";

/** Seconds that one request waits for an answer: shorter than the time-outs of proxies. */
const WAIT_SECONDS = 25;
/** A request without an answer is repeated after this time, in milliseconds. */
const REQUEST_MS = 40_000;
/** Pause before the first repeat at most, in milliseconds. It doubles with each failure. */
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 8_000;
/** Pause before any repeat at least: a server that answers at once is not asked in a loop. */
const PAUSE_MS_MIN = 200;
/** A longer `Retry-After` is cut to this, in milliseconds: the reason may be gone before. */
const RETRY_AFTER_MS_MAX = 60_000;
const GIVE_UP_MS = 300_000;
/** The service keeps a key for twice this time, in milliseconds. */
const KEY_MS = 43_200_000;
/** After so many unknown outcomes the user is asked: the service has searched for each. */
const UNKNOWN_MAX = 5;

interface Call<Result> {
  readonly method: string;
  readonly path: string;
  readonly body?: object | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly options: (CallOptions & { readonly isRepeat?: boolean | undefined }) | undefined;
  /** Reads a success. undefined: the answer is not from the service, but a proxy's. */
  readonly read: (response: Response, body: Body) => Result | undefined;
}

/** Members of the answers. The service's schemas give them these types. */
type Body = Partial<
  Omit<Transcript & Session, "status"> & {
    readonly status: string | number | null;
    readonly code: ProblemCode;
    readonly title: string;
    readonly detail: string;
    readonly instance: string;
    readonly "violated-policies": readonly string[];
  }
>;

/** An error before it is known whether an earlier request has sent the message. */
interface Failure extends ChatErrorFields {
  readonly code: ChatErrorCode;
}

/**
 * Creates the client of one service.
 *
 * An operation repeats after lost, cut and foreign answers, after 202, 408, 429, 502, 503 and 504,
 * and after 409 `chat_busy` and `request_in_progress`. It pauses for as long as `Retry-After` says,
 * else for a random time of up to 0.5 s that doubles up to 8 s, and no longer than until the browser
 * is online or the page is shown again.
 */
export function createClient(options: ClientOptions = {}): Client {
  const { baseUrl = "", token, credentials = "same-origin" } = options;
  const { giveUpAfterMs = GIVE_UP_MS } = options;

  /** Sends one request. Never throws but for an abort. */
  async function ask<Result>(
    call: Call<Result>,
    signal: AbortSignal | undefined,
  ): Promise<{ response?: Response; result?: Result | undefined; failure?: Failure }> {
    const timeout = AbortSignal.timeout(REQUEST_MS);
    try {
      const bearer =
        typeof token === "function" ? await Promise.race([token(), end(timeout)]) : token;
      const response = await (options.fetch ?? fetch)(baseUrl + call.path, {
        method: call.method,
        headers: {
          ...call.headers,
          ...(bearer !== undefined && { Authorization: `Bearer ${bearer}` }),
          ...(call.body && { "Content-Type": "application/json" }),
        },
        credentials,
        signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
        body: call.body ? JSON.stringify(call.body) : null,
      });
      const body = parseObject(response, await response.text());
      if (response.status === 202 && body.status === "running") return { response };
      const result = response.ok ? call.read(response, body) : undefined;
      if (result !== undefined) return { response, result };
      return { response, failure: readProblem(response, body) };
    } catch (cause) {
      signal?.throwIfAborted();
      return { failure: { code: "unreachable", status: 0, cause, sent: "unknown" } };
    }
  }

  async function run<Result>(call: Call<Result>): Promise<Result> {
    const { signal, onRetry, isRepeat = false } = call.options ?? {};
    const giveUpAtMs = Date.now() + giveUpAfterMs;
    let isUncertain = isRepeat;
    let mayAskToken = typeof token === "function";
    let failures = 0;
    let unknowns = 0;
    for (;;) {
      signal?.throwIfAborted();
      // After a long sleep of the device, the service has forgotten the key.
      if (Date.now() > giveUpAtMs + KEY_MS)
        throw new ChatError("gave_up", { status: 0, sent: "unknown" });
      const { response, result, failure } = await ask(call, signal);
      if (result !== undefined) return result;
      const isFinal = failure !== undefined && !isRepeatable(failure);
      isUncertain ||= failure === undefined || !isCertain(failure);
      if (failure?.status === 401 && mayAskToken) {
        mayAskToken = false;
        continue;
      }
      failures = failure === undefined ? 0 : failures + 1;
      if (failure?.code === "outcome_unknown") unknowns += 1;
      // A 4xx problem of the service would have been the same for each request before, unless it is
      // about the session.
      const isDecided = isFinal && failure.status > 403 && failure.status < 500;
      const sent =
        isUncertain && (!isDecided || failure.code === "not_a_problem") ? "unknown" : "no";
      const statedMs = readRetryAfterMs(response);
      const leftMs = giveUpAtMs - Date.now();
      // The last: the service says that no repeat can succeed in time.
      if (
        failure !== undefined &&
        (isFinal || unknowns === UNKNOWN_MAX || (statedMs ?? 0) > leftMs)
      ) {
        throw new ChatError(failure.code, {
          ...failure,
          sent: failure.sent === "refused" ? "refused" : sent,
        });
      }
      const ms = Math.max(Math.min(statedMs ?? jitter(failures), RETRY_AFTER_MS_MAX), PAUSE_MS_MIN);
      const error = failure && new ChatError(failure.code, failure);
      if (ms > leftMs) {
        throw new ChatError("gave_up", {
          ...failure,
          status: response?.status ?? 0,
          sent,
          cause: error,
        });
      }
      onRetry?.({ atMs: Date.now() + ms, reason: error ?? "running" });
      await pause(ms, statedMs === undefined, signal);
    }
  }

  return {
    startChat: ({ metadata, variables, ...options } = {}) =>
      run({
        method: "POST",
        path: "/chat",
        body: { metadata, variables },
        options,
        read: readChat,
      }),

    sendMessage: (chatId, { text, key = createKey(), ...options }) =>
      run({
        method: "POST",
        path: `${pathOf(chatId)}/send`,
        body: { content: text },
        headers: { "Idempotency-Key": key, Prefer: `respond-async, wait=${WAIT_SECONDS}` },
        options,
        read: ({ headers }, { messages }) =>
          Array.isArray(messages)
            ? {
                messages,
                isRecovered: headers.has("Message-Recovered"),
                isReplayed: headers.has("Idempotency-Replayed"),
              }
            : undefined,
      }),

    getChat: (chatId, options) =>
      run({ method: "GET", path: pathOf(chatId), options, read: readChat }),

    endChat: (chatId, options) =>
      run({ method: "POST", path: `${pathOf(chatId)}/end`, options, read: readEmpty }).then(ignore),

    getSession: (options) => run({ method: "GET", path: "/session", options, read: readSession }),

    createSession: (options) =>
      run({ method: "POST", path: "/session", options, read: readSession }),

    deleteSession: (options) =>
      run({ method: "DELETE", path: "/session", options, read: readEmpty }).then(ignore),
  };
}

/** Rejects when the signal is aborted. */
function end(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(new Error("late"));
    if (signal.aborted) fail();
    signal.addEventListener("abort", fail);
  });
}

/** Creates an idempotency key of 128 bits. `crypto.randomUUID` exists on https and localhost only. */
export function createKey(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

function pathOf(chatId: string): string {
  return `/chat/${encodeURIComponent(chatId)}`;
}

function ignore(): void {
  // The operation has no result.
}

// An answer is only told apart from a proxy's, so that no validator has to be loaded.
function readChat(_response: Response, body: Body): Transcript | undefined {
  return isChat(body) ? body : undefined;
}

function readSession(_response: Response, body: Body): Session | undefined {
  return isSession(body) ? body : undefined;
}

function readEmpty({ status }: Response): true | undefined {
  return status === 204 || undefined;
}

function isBody(value: unknown): value is Body {
  return typeof value === "object" && value !== null;
}

function isChat(body: Body): body is Transcript {
  return typeof body.chatId === "string" && Array.isArray(body.messages);
}

function isSession(body: Body): body is Session {
  return typeof body.subject === "string";
}

/** The JSON object of an answer; empty if it has none. */
function parseObject({ headers }: Response, text: string): Body {
  if (headers.get("Content-Type")?.includes("json") === true) {
    try {
      const body: unknown = JSON.parse(text);
      if (isBody(body)) return body;
    } catch {
      // Cut off, or not JSON at all.
    }
  }
  return {};
}

function readProblem(response: Response, body: Body): Failure {
  const { status } = response;
  // A proxy can answer with JSON of its own.
  const problem = body.status === status ? body : {};
  const { code = "not_a_problem", title, detail, instance } = problem;
  const ms = readRetryAfterMs(response);
  return {
    code: status === 401 ? "session_required" : code,
    status,
    title,
    detail,
    requestId: instance,
    retryAfterSeconds: ms && Math.ceil(ms / 1000),
    violatedPolicies: problem["violated-policies"],
    sent: code === "message_rejected" || code === "chat_ended" ? "refused" : "unknown",
  };
}

/** Whether the failure tells that this request sent nothing. Of a proxy's pages only 413 does. */
function isCertain({ code, status }: Failure): boolean {
  if (code === "not_a_problem") return status === 413;
  return (
    code !== "request_in_progress" &&
    (/^upstream_(un|auth)/.test(code) || status === 503 || (status >= 400 && status < 500))
  );
}

/** Whether the same request can still succeed. */
function isRepeatable({ code, status }: Failure): boolean {
  // A defect, or an order for the operator: it does not mend itself within minutes.
  if (code === "upstream_auth_failed" || code === "internal_error") return false;
  if (code === "chat_busy" || code === "request_in_progress") return true;
  // Without a problem of the service even a success is a proxy's or a login page's.
  return status < 400 || [408, 425, 429].includes(status) || status >= 500;
}

/** `Retry-After` in milliseconds, from seconds or a date. undefined: absent, malformed or past. */
function readRetryAfterMs(response: Response | undefined): number | undefined {
  const value = response?.headers.get("Retry-After") ?? "";
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms >= 0 ? ms : undefined;
}

function jitter(failures: number): number {
  return Math.random() * Math.min(PAUSE_MS * 2 ** (failures - 1), PAUSE_MS_MAX);
}

/** Resolves after so many milliseconds, or when the browser is back, or the signal aborts. */
function pause(ms: number, isWakeable: boolean, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const listening = new AbortController();
    const end = () => {
      clearTimeout(timer);
      listening.abort();
      resolve();
    };
    const timer = setTimeout(end, ms);
    // `signal` here removes the listener.
    const options = { signal: listening.signal };
    signal?.addEventListener("abort", end, options);
    if (!isWakeable || typeof document === "undefined") return;
    addEventListener("online", end, options);
    addEventListener("pageshow", end, options);
    document.addEventListener("visibilitychange", end, options);
  });
}
