/**
 * Parses the JSON of `WORKSPACES`: the workspaces, and the settings that differ from the defaults.
 * The variable can contain API tokens, so that error messages repeat none of its text and identify
 * an entry by its position.
 */
import { z } from "zod";

import { parseQuota } from "./units.ts";

/** Accepted agent ids; completes the sentence "The value must be …". */
export const AGENT_ID_FORM = "an agent id: 1 to 200 characters, no spaces or control characters";

/** Parses an agent id; undefined where the text is not one. */
export function parseAgentId(text: string): string | undefined {
  return /^[^\s\p{C}]{1,200}$/u.test(text) ? text : undefined;
}

/** Largest id that a JSON number holds exactly. */
export const WORKSPACE_ID_MAX = Number.MAX_SAFE_INTEGER;

const AGENT_ID_ERROR = `must be ${AGENT_ID_FORM}`;
const WORKSPACE_ID_ERROR = `must be a whole number from 1 to ${WORKSPACE_ID_MAX}`;

const quota = z
  .string({ error: 'must be a quota in quotes, such as "20/1m", or "off"' })
  .transform((text, context) => {
    const value = parseQuota(text);
    if (value !== undefined) return value;
    context.addIssue({
      code: "custom",
      message: "must be a quota such as 20/1m, or off, with the bounds of LIMIT_SESSION",
    });
    return z.NEVER;
  });

const workspaceId = z.int({ error: WORKSPACE_ID_ERROR }).positive({ error: WORKSPACE_ID_ERROR });

/**
 * Creates the errors of an object.
 *
 * @param members the names that the object can have, for the message about an unknown one
 */
function describeMembers(members: string) {
  return {
    error: ({ code }: { readonly code: string }) =>
      code === "unrecognized_keys"
        ? `has a member that does not exist; the members are ${members}`
        : "must be an object",
  };
}

// Every object is strict: a misspelled limit must be an error, not an unlimited workspace.
const workspaceObject = z.strictObject(
  {
    id: workspaceId,
    agentId: z
      .string({ error: AGENT_ID_ERROR })
      .refine((text) => parseAgentId(text) !== undefined, { error: AGENT_ID_ERROR })
      .optional(),
    apiToken: z
      .string({ error: "must be one API token, or several in one text, separated by commas" })
      .regex(/^[A-Za-z0-9._~+/-]+=*(?:,[A-Za-z0-9._~+/-]+=*)*$/, "must be one or more API tokens")
      .transform((text) => text.split(","))
      .optional(),
    limits: z
      .strictObject(
        {
          session: quota.optional(),
          sessionDaily: quota.optional(),
          workspace: quota.optional(),
          replays: quota.optional(),
        },
        describeMembers("session, sessionDaily, workspace and replays"),
      )
      .optional(),
  },
  describeMembers("id, agentId, apiToken and limits"),
);

const workspaceEntry = z.union([
  workspaceId.transform((id) => ({
    id,
    agentId: undefined,
    apiToken: undefined,
    limits: undefined,
  })),
  workspaceObject,
]);

/** Most problems that are reported, so that a broken table does not fill the log. */
const ISSUES_MAX = 20;

const table = z
  .record(z.string().min(1), workspaceEntry, { error: "must be a JSON object" })
  .refine((entries) => Object.keys(entries).length > 0, "must name at least one workspace");

/** One entry of the table, before the defaults are applied. */
export type WorkspaceEntry = Pick<
  z.output<typeof workspaceEntry>,
  "id" | "agentId" | "apiToken" | "limits"
>;

/**
 * Parses the table to entries by claim value, in the order of the text. It is a Map, so that a claim value such as
 * `constructor` or `__proto__` finds no inherited member.
 */
export const workspaceTable = z.string().transform((text, context) => {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    context.addIssue({ code: "custom", message: "must be a JSON object" });
    return z.NEVER;
  }
  const result = table.safeParse(json);
  const claims = listClaims(text);
  const seen = new Set<string>();
  const repeated = claims.findIndex((claim) => seen.size === seen.add(claim).size);
  if (result.success) {
    if (repeated === -1) {
      // In the order of the text, so that messages can name an entry by its position.
      const positions = new Map(claims.map((claim, index) => [claim, index]));
      const position = ([claim]: readonly [string, unknown]) => positions.get(claim) ?? 0;
      const entries = Object.entries(result.data);
      return new Map<string, WorkspaceEntry>(
        entries.toSorted((one, other) => position(one) - position(other)),
      );
    }
    const message = `entry ${repeated + 1}: has the same key as an earlier entry`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  }
  for (const issue of result.error.issues.slice(0, ISSUES_MAX)) {
    const [claim] = issue.path;
    const message =
      claim === undefined
        ? issue.message
        : `entry ${claims.lastIndexOf(String(claim)) + 1}: ${describeIssue(issue)}`;
    context.addIssue({ code: "custom", message });
  }
  return z.NEVER;
});

/**
 * Lists the keys of a JSON object in the order of the text, with repeated ones. `JSON.parse` drops
 * repeated keys and puts numeric ones first.
 *
 * @param text valid JSON of an object
 */
function listClaims(text: string): readonly string[] {
  const claims: string[] = [];
  let depth = 0;
  let last = "";
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (character === "{" || character === "[") depth += 1;
    else if (character === "}" || character === "]") depth -= 1;
    else if (character === ":" && depth === 1) claims.push(String(JSON.parse(last)));
    else if (character === '"') {
      const start = index;
      for (index += 1; text.charAt(index) !== '"'; index += 1) {
        if (text.charAt(index) === "\\") index += 1;
      }
      last = text.slice(start, index + 1);
    }
  }
  return claims;
}

/** Describes the fault of an entry. Its path has only our own names: unknown ones fail at their object. */
function describeIssue(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_key") return "its key is empty";
  if (issue.code !== "invalid_union") return describeFault(issue.path.slice(1), issue.message);
  // The union's own message names no fault; the message of its object form does.
  const fault = issue.errors.flat().at(-1);
  const form = "must be a workspace id or {id, agentId?, apiToken?, limits?}";
  if (fault === undefined || fault.path.length === 0) return form;
  return `${form} (${describeFault(fault.path, fault.message)})`;
}

function describeFault(path: readonly PropertyKey[], message: string): string {
  return [...path.map(String), message].join(" ");
}
