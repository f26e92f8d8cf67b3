/** Owns the JSON of `WORKSPACES`: which workspaces exist, and how each differs from the rest. */
import { z } from "zod";

import { parseQuota } from "./units.ts";

const quota = z.string().transform((text, context) => {
  const value = parseQuota(text);
  if (value !== undefined) return value;
  context.addIssue({ code: "custom", message: "must be a quota such as 20/1m, or off" });
  return z.NEVER;
});

const workspaceId = z.int().positive();

// Strict throughout: a misspelt limit must not silently become no limit.
const workspaceEntry = z.union([
  workspaceId.transform((id) => ({
    id,
    agentId: undefined,
    apiToken: undefined,
    limits: undefined,
  })),
  z.strictObject({
    id: workspaceId,
    agentId: z
      .string()
      .regex(/^\S{1,200}$/, "must be an agent id: 1 to 200 characters, no spaces")
      .optional(),
    apiToken: z
      .string()
      .regex(/^[A-Za-z0-9._~+/-]+=*(?:,[A-Za-z0-9._~+/-]+=*)*$/, "must be one or more API tokens")
      .transform((text) => text.split(","))
      .optional(),
    limits: z
      .strictObject({
        session: quota.optional(),
        sessionDaily: quota.optional(),
        workspace: quota.optional(),
      })
      .optional(),
  }),
]);

const table = z
  .record(z.string().min(1), workspaceEntry)
  .refine((entries) => Object.keys(entries).length > 0, "must name at least one workspace");

/** One entry as written, before the defaults of all workspaces. */
export type WorkspaceEntry = Pick<
  z.output<typeof workspaceEntry>,
  "id" | "agentId" | "apiToken" | "limits"
>;

/** A Map, so that a claim such as `constructor` or `__proto__` finds nothing. */
export const workspaceTable = z.string().transform((text, context) => {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    context.addIssue({ code: "custom", message: "must be a JSON object" });
    return z.NEVER;
  }
  const result = table.safeParse(json);
  if (result.success) return new Map<string, WorkspaceEntry>(Object.entries(result.data));
  for (const issue of result.error.issues) {
    const where = issue.path.map(String).join(".");
    context.addIssue({
      code: "custom",
      message: where === "" ? issue.message : `${where}: ${describeIssue(issue)}`,
    });
  }
  return z.NEVER;
});

/** A union's own message says nothing; unknown members and wrong values of the object form do. */
function describeIssue(issue: z.core.$ZodIssue): string {
  if (issue.code !== "invalid_union") return issue.message;
  const faults = issue.errors
    .flat()
    .map((fault) => [...fault.path.map(String), fault.message].join(": "));
  return `must be a workspace id or {id, agentId?, apiToken?, limits?} (${faults.at(-1) ?? "neither"})`;
}
