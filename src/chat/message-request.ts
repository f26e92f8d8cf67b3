/**
 * Parses what a request for a chat carries: the chat id, the idempotency key and the body. The parser
 * of bodies serves all routes.
 */
import { z } from "zod";

import type { ChatId } from "../branded.ts";
import { Problem, type RequestFault } from "../problem.ts";

// Matched with the raw path, before any decoding: `%61` is not an `a` here.
const CHAT_ID = /^[A-Za-z0-9_-]{1,128}$/;

/**
 * Parses a chat id of 1 to 128 letters, digits, underscores and hyphens, so that no other text of a
 * client's URL reaches an upstream path.
 *
 * @param rawSegment the path segment, not decoded
 * @returns undefined if it is not a chat id
 */
export function parseChatId(rawSegment: string): ChatId | undefined {
  // The only place that creates a `ChatId` from a string.
  return CHAT_ID.test(rawSegment) ? (rawSegment as ChatId) : undefined; // oxlint-disable-line typescript/no-unsafe-type-assertion
}

/**
 * Returns the second segment of a URL's raw path: `abc` of `https://host/chat/abc/send?x`.
 *
 * @param prefix path before all routes; empty: none
 * @returns an empty string if the raw path does not begin with the prefix, as when it is encoded
 */
export function readRawChatId(url: string, prefix = ""): string {
  const pathStart = url.indexOf("/", url.indexOf("//") + 2);
  if (!url.startsWith(prefix, pathStart)) return "";
  const idStart = url.indexOf("/", pathStart + prefix.length + 1) + 1;
  let idEnd = idStart;
  while (idEnd < url.length && !"/?#".includes(url.charAt(idEnd))) idEnd += 1;
  return url.slice(idStart, idEnd);
}

// Visible ASCII. If a client sends the draft's quotes, they are part of the key.
const IDEMPOTENCY_KEY_CHARS_MAX = 255;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * Parses an idempotency key of 1 to 255 visible ASCII characters
 * (draft-ietf-httpapi-idempotency-key-header).
 *
 * @param header the `Idempotency-Key` header; null if it is absent
 * @returns the key; undefined if the header is absent; null if it is not valid
 */
export function parseIdempotencyKey(header: string | null): string | undefined | null {
  if (header === null) return undefined;
  if (header.length > IDEMPOTENCY_KEY_CHARS_MAX) return null;
  return IDEMPOTENCY_KEY.test(header) ? header : null;
}

/** Most faults in one answer, so that a body of many unknown members is not echoed in full. */
const FAULTS_MAX = 10;

/**
 * Creates the schema of the body of `POST /chat/:chatId/send`.
 *
 * @param contentCharsMax longest message, in Unicode code points
 */
export function createMessageSchema(contentCharsMax: number) {
  return z.strictObject({
    content: z
      .string()
      .refine((text) => /\S/.test(text), "must have at least one character that is not a space")
      .refine(
        (text) => text.length <= contentCharsMax || countCodePoints(text) <= contentCharsMax,
        `must be at most ${contentCharsMax} characters`,
      )
      .meta({
        minLength: 1,
        maxLength: contentCharsMax,
        description: "The message, passed on verbatim.",
      }),
  });
}

function countCodePoints(text: string): number {
  // A surrogate pair is two units and one code point.
  const pairs = text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0;
  return text.length - pairs;
}

/** Throws for invalid UTF-8. Created once: creating it costs more than decoding a message. */
const utf8 = new TextDecoder("utf-8", { fatal: true });

export interface BodyRules<Body> {
  readonly schema: z.ZodType<Body>;
  /** Describes why an unknown member of the object at this path is refused, without its name. */
  readonly describeUnknown?: (path: readonly PropertyKey[]) => string;
  /** Finds faults in the text of a body that matches the schema. */
  readonly findFaults?: (text: string) => readonly PathFault[];
}

export interface PathFault {
  readonly path: readonly PropertyKey[];
  readonly detail: string;
}

/**
 * Parses and validates a body.
 *
 * @param bytes the raw body; must be UTF-8 (RFC 8259 section 8.1)
 * @throws Problem `invalid_request` with a pointer to each fault
 */
export function parseBody<Body>(bytes: Uint8Array, schema: z.ZodType<Body>): Body {
  return parseBodyBy(bytes, { schema });
}

/**
 * Parses and validates a body with a schema and further rules.
 *
 * @param bytes the raw body; must be UTF-8 (RFC 8259 section 8.1)
 * @throws Problem `invalid_request` with a pointer to each fault
 */
export function parseBodyBy<Body>(
  bytes: Uint8Array,
  { schema, describeUnknown, findFaults }: BodyRules<Body>,
): Body {
  let text: string;
  let json: unknown;
  try {
    text = utf8.decode(bytes);
    json = JSON.parse(text);
  } catch {
    throw refuse([{ path: [], detail: "must be JSON in UTF-8" }]);
  }
  const result = schema.safeParse(json);
  if (!result.success) {
    throw refuse(result.error.issues.flatMap((issue) => describeIssue(issue, describeUnknown)));
  }
  const faults = findFaults?.(text) ?? [];
  if (faults.length > 0) throw refuse(faults);
  return result.data;
}

function refuse(faults: readonly PathFault[]): Problem {
  const errors = faults
    .slice(0, FAULTS_MAX)
    .map(({ path, detail }): RequestFault => ({ pointer: toPointer(path), detail }));
  return new Problem("invalid_request", { errors });
}

function describeIssue(
  issue: z.core.$ZodIssue,
  describeUnknown: BodyRules<unknown>["describeUnknown"],
): PathFault[] {
  const { path } = issue;
  if (issue.code === "unrecognized_keys") {
    const detail = describeUnknown?.(path) ?? "is not a member of this request";
    return issue.keys.map((key) => ({ path: [...path, key], detail }));
  }
  if (issue.code === "invalid_type") {
    return [{ path, detail: `must be ${article(issue.expected)}` }];
  }
  return [{ path, detail: issue.message }];
}

function article(type: string): string {
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}

/** Longest pointer in an answer, in characters: it contains names that the client chose. */
const POINTER_CHARS_MAX = 200;

/** Formats a path as a JSON pointer (RFC 6901). */
function toPointer(path: readonly PropertyKey[]): string {
  return path
    .map((member) => `/${String(member).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("")
    .slice(0, POINTER_CHARS_MAX);
}
