/** Defines the finding of a check, and renders findings as text or JSON. */

export type FindingStatus = "ok" | "warn" | "fail";

export interface Finding {
  /** Name of the check. */
  readonly check: string;
  readonly status: FindingStatus;
  /** What the check found. It never contains a secret or text that a server sent. */
  readonly detail: string;
  /** What the operator can do; undefined where nothing is necessary. */
  readonly action?: string;
}

const RANKS: readonly FindingStatus[] = ["ok", "warn", "fail"];

/** Returns the worst status of the findings; `ok` where there are none. */
export function summarize(findings: readonly Finding[]): FindingStatus {
  const ranks = findings.map(({ status }) => RANKS.indexOf(status));
  return RANKS[Math.max(0, ...ranks)] ?? "ok";
}

/**
 * Renders the findings for a terminal.
 *
 * @param notChecked what was not checked; each text completes "not checked: whether …"
 */
export function renderText(findings: readonly Finding[], notChecked: readonly string[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, status, detail, action }) => {
    const line = `${status.padEnd(4)}  ${check.padEnd(width)}  ${detail}`;
    return action === undefined ? [line] : [line, `${" ".repeat(width + 8)}→ ${action}`];
  });
  const counts = RANKS.map((rank) => findings.filter(({ status }) => status === rank).length);
  const unchecked = notChecked.map((what) => `not checked: whether ${what}`);
  return [
    ...lines,
    "",
    ...unchecked,
    "",
    `${counts[0]} ok, ${counts[1]} warnings, ${counts[2]} failed`,
  ].join("\n");
}

/**
 * Renders the findings for a program.
 *
 * @param notChecked as in `renderText`
 */
export function renderJson(findings: readonly Finding[], notChecked: readonly string[]): string {
  return JSON.stringify({ status: summarize(findings), checks: findings, notChecked }, null, 2);
}
