// Owns what a thrown error becomes: a refusal, a broken connection, or a defect of the emulator.
import type { Context } from "hono";
import { ConnectionCut, cutConnection, type EmulatorEnv } from "./connection.ts";
import { Refusal } from "./refusal.ts";

/** Hono's error handler for every route. */
export function answerError(error: Error, c: Context<EmulatorEnv>): Response {
  if (error instanceof Refusal) return c.json({ error: error.message }, error.status);
  if (error instanceof ConnectionCut) return cutConnection(c.env, error);
  // A defect in the emulator must not pass for a fault that a test asked for.
  console.error(error);
  return c.json({ error: "the emulator itself failed, see its output" }, 500);
}
