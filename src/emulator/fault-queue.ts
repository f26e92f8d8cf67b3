// Owns which fault comes next. It neither knows what a fault does nor sees the request.
import { z } from "zod";
import { type Fault, faultSchema, type Operation, operationSchema } from "./faults.ts";

/** What `POST /emulator/faults` takes, and in code `addFault`. */
export const faultRequestSchema = z.strictObject({
  fault: faultSchema,
  times: z.int().min(1).optional(),
  operation: operationSchema.optional(),
  chatId: z.string().optional(),
});
export type FaultRequest = z.infer<typeof faultRequestSchema>;

export interface FaultOptions {
  /** How many matching requests it strikes, from 1. Default 1. */
  readonly times?: number;
  /** Default: any. */
  readonly operation?: Operation;
  /** Default: any chat, and also the creation of one, which has no id yet. */
  readonly chatId?: string;
}

export class FaultQueue {
  readonly #entries: (FaultRequest & { times: number })[] = [];

  add(request: FaultRequest): void {
    this.#entries.push({ ...request, times: request.times ?? 1 });
  }

  /** Uses up one time of the first fault that this request matches. */
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
