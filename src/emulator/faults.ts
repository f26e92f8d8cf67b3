// Faults: their schema, their form inside a message, and the queue of faults for the next requests.
// apply-fault.ts applies them.
import { z } from "zod";
import { Refusal } from "./refusal.ts";

/** In milliseconds: longer than any time-out of the product. */
const DELAY_MS_MAX = 120_000;
/** 1 GiB: too much for a reader without a limit, and still sent in seconds. */
const BYTES_MAX = 2 ** 30;

const delayMs = z.int().min(0).max(DELAY_MS_MAX).optional();
const bytes = z.int().min(1).max(BYTES_MAX).optional();

// RFC 9110 sections 5.1 and 5.5. Node would throw for other texts, after the message was taken.
const headerName = z.string().regex(/^[!#$%&'*+.^_`|~\w-]+$/);
const headerValue = z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/);

const answer = {
  body: z.string().optional(),
  contentType: headerValue.optional(),
  headers: z.record(headerName, headerValue).optional(),
};
const statusAnswer = {
  /** A 1xx status is sent as the answer, and the connection is closed. */
  status: z.int().min(100).max(599),
  retryAfter: headerValue.optional(),
  ...answer,
};

/**
 * The delay is before everything else. Only in `taken-then-delay` it is after the message is taken.
 */
export const faultSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.undefined().optional(), delayMs }),
  z.strictObject({ kind: z.literal("status"), delayMs, ...statusAnswer }),
  z.strictObject({ kind: z.literal("reset-before"), delayMs }),
  z.strictObject({ kind: z.literal("reset-after"), delayMs }),
  z.strictObject({ kind: z.literal("taken-then-delay"), delayMs }),
  z.strictObject({ kind: z.literal("taken-then-status"), delayMs, ...statusAnswer }),
  z.strictObject({ kind: z.literal("garbage"), delayMs }),
  z.strictObject({
    kind: z.literal("body"),
    delayMs,
    ...answer,
    body: z.string(),
    status: z.int().min(200).max(599).optional(),
  }),
  z.strictObject({ kind: z.literal("redirect"), delayMs, location: headerValue.optional() }),
  z.strictObject({ kind: z.literal("huge"), delayMs, bytes }),
  z.strictObject({ kind: z.literal("drip"), delayMs, everyMs: delayMs }),
  z.strictObject({ kind: z.literal("gzip"), delayMs, bytes }),
  z.strictObject({ kind: z.literal("closed"), delayMs }),
]);
export type Fault = z.infer<typeof faultSchema>;

/** The operations that can have faults. The list of workspaces cannot. */
export const operationSchema = z.enum(["completion", "create", "get", "end"]);
export type Operation = z.infer<typeof operationSchema>;

const MESSAGE_PREFIX = "!fault ";

/**
 * Reads the fault that a message asks for in its first line, `!fault {"kind":"reset-after"}`.
 * The lines after it are free text, so that two such messages can differ.
 *
 * @returns undefined for an ordinary message
 * @throws {Refusal} 400 if the first line begins like a fault and is malformed
 */
export function parseFaultMessage(content: string): Fault | undefined {
  if (!content.startsWith(MESSAGE_PREFIX)) return undefined;
  const [line = ""] = content.slice(MESSAGE_PREFIX.length).split("\n", 1);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Refusal(400, "the fault in the message is not JSON");
  }
  const fault = faultSchema.safeParse(value);
  if (!fault.success) {
    throw new Refusal(
      400,
      `the fault in the message is malformed: ${z.prettifyError(fault.error)}`,
    );
  }
  return fault.data;
}

/** Body of `POST /emulator/faults`, and arguments of `addFault`. */
export const faultRequestSchema = z.strictObject({
  fault: faultSchema,
  times: z.int().min(1).optional(),
  operation: operationSchema.optional(),
  chatId: z.string().optional(),
});
export type FaultRequest = z.infer<typeof faultRequestSchema>;

export interface FaultOptions {
  /** Number of matching requests that get the fault, 1 or more. Default 1. */
  readonly times?: number;
  /** Default: any operation. */
  readonly operation?: Operation;
  /** Default: any chat, and also the operation `create`, whose chat has no id yet. */
  readonly chatId?: string;
}

/** Faults for the next matching requests, in the order in which they were added. */
export class FaultQueue {
  readonly #entries: (FaultRequest & { times: number })[] = [];

  add(request: FaultRequest): void {
    this.#entries.push({ ...request, times: request.times ?? 1 });
  }

  /** Returns the first fault that matches the request, and counts it down. */
  next(operation: Operation, chatId?: string): Fault | undefined {
    const index = this.#entries.findIndex(
      (entry) =>
        (entry.operation === undefined || entry.operation === operation) &&
        (entry.chatId === undefined || entry.chatId === chatId),
    );
    const entry = this.#entries[index];
    if (entry === undefined) return undefined;
    entry.times -= 1;
    if (entry.times === 0) this.#entries.splice(index, 1);
    return entry.fault;
  }

  clear(): void {
    this.#entries.length = 0;
  }
}
