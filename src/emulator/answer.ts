// Owns how an answer is written. It has no effect on any chat and knows no faults but their members.
import { type Bindings, sendInformational } from "./connection.ts";

/** What an operation answers when nothing goes wrong. */
export interface Answer {
  readonly status: 200 | 201 | 204;
  /** Undefined with 204. */
  readonly body?: unknown;
}

type Headers = Record<string, string>;
type Body = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>> | null;

/** `Response` throws on a body with these (https://fetch.spec.whatwg.org/#null-body-status). */
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/** JSON unless `headers` says otherwise; a body that the status forbids is left out. */
export function answer(status: number, body: Body, headers: Headers = {}): Response {
  if (body === null || NULL_BODY_STATUSES.has(status))
    return new Response(null, { status, headers });
  return new Response(body, {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

/** The operation's own answer. */
export function answerPlainly({ status, body }: Answer): Response {
  return answer(status, body === undefined ? null : JSON.stringify(body));
}

/** The operation's answer as something to spoil: where it has no body, 200 and an empty object. */
export function withBody({ status, body }: Answer): { status: number; text: string } {
  return body === undefined ? { status: 200, text: "{}" } : { status, text: JSON.stringify(body) };
}

interface ChosenHeaders {
  readonly contentType?: string | undefined;
  readonly retryAfter?: string | undefined;
  readonly headers?: Headers | undefined;
}

/** The members that have a name of their own give way to the same header in `headers`. */
export function answerHeaders({ contentType, retryAfter, headers = {} }: ChosenHeaders): Headers {
  const chosen: Headers = {};
  if (contentType !== undefined) chosen["content-type"] = contentType;
  if (retryAfter !== undefined) chosen["retry-after"] = retryAfter;
  // Lower case, or "Content-Type" and "content-type" would be sent joined as one value.
  for (const [name, value] of Object.entries(headers)) chosen[name.toLowerCase()] = value;
  return chosen;
}

/** Any status of 100 to 599. */
export function answerStatus(
  chosen: ChosenHeaders & { readonly status: number; readonly body?: string | undefined },
  env: Bindings,
): Response {
  const headers = answerHeaders(chosen);
  if (chosen.status < 200) return sendInformational(env, chosen.status, headers);
  return answer(chosen.status, chosen.body ?? '{"error":"fault"}', headers);
}
