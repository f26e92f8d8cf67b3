/**
 * Owns how an answer is kept for its idempotency key: as text, and back. It is no larger than the
 * largest answer that is taken from UponAI.
 */
import { isProblemCode, type ProblemCode } from "../problem.ts";

/** What a client was told. */
export type Reply =
  /** 201 with this JSON. */
  | { readonly kind: "messages"; readonly json: string }
  | { readonly kind: "problem"; readonly code: ProblemCode };

export function formatReply(reply: Reply): string {
  return reply.kind === "messages" ? `m ${reply.json}` : `p ${reply.code}`;
}

/** Undefined for what this version did not write. */
export function parseReply(text: string): Reply | undefined {
  const rest = text.slice(2);
  if (text.startsWith("m ")) return { kind: "messages", json: rest };
  return text.startsWith("p ") && isProblemCode(rest) ? { kind: "problem", code: rest } : undefined;
}
