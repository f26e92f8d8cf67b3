// Builds HTTP answers. It does not change any chat.
import { type Bindings, sendInformational } from "./connection.ts";

/** The answer of an operation without a fault. */
export interface Answer {
  readonly status: 200 | 201 | 204;
  /** Undefined with 204. */
  readonly body?: unknown;
}

type Headers = Record<string, string>;
type Body = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> | null;

/** `Response` throws on a body with these (https://fetch.spec.whatwg.org/#null-body-status). */
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * Builds a response: JSON unless `headers` says otherwise. A body that the status forbids is left
 * out.
 */
export function answer(status: number, body: Body, headers: Headers = {}): Response {
  if (body === null || NULL_BODY_STATUSES.has(status))
    return new Response(null, { status, headers });
  return new Response(body, {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

/** Builds the answer of an operation without a fault. */
export function answerPlainly({ status, body }: Answer): Response {
  return answer(status, body === undefined ? null : JSON.stringify(body));
}

/**
 * Returns status and text of an answer for a fault to change: 200 and `{}` where it has no body.
 */
export function withBody({ status, body }: Answer): { status: number; text: string } {
  return body === undefined ? { status: 200, text: "{}" } : { status, text: JSON.stringify(body) };
}

interface ChosenHeaders {
  readonly contentType?: string | undefined;
  readonly retryAfter?: string | undefined;
  readonly headers?: Headers | undefined;
}

/**
 * Combines the headers of a fault. A header in `headers` wins over `contentType` and `retryAfter`.
 */
export function answerHeaders({ contentType, retryAfter, headers = {} }: ChosenHeaders): Headers {
  const chosen: Headers = {};
  if (contentType !== undefined) chosen["content-type"] = contentType;
  if (retryAfter !== undefined) chosen["retry-after"] = retryAfter;
  // In lower case: otherwise "Content-Type" and "content-type" are sent as one joined value.
  for (const [name, value] of Object.entries(headers)) chosen[name.toLowerCase()] = value;
  return chosen;
}

/** Sends the status of a fault, 100 to 599. */
export function answerStatus(
  chosen: ChosenHeaders & { readonly status: number; readonly body?: string | undefined },
  env: Bindings,
): Response {
  const headers = answerHeaders(chosen);
  if (chosen.status < 200) return sendInformational(env, chosen.status, headers);
  return answer(chosen.status, chosen.body ?? '{"error":"fault"}', headers);
}
