/** What a check can find, and how findings are shown. */

export type FindingStatus = "ok" | "warn" | "fail";

export interface Finding {
  /** What was looked at. */
  readonly check: string;
  readonly status: FindingStatus;
  /** What was found; never a secret, nor anything that a server sent. */
  readonly detail: string;
  /** What to do about it; undefined where nothing is to be done. */
  readonly action?: string;
}

const RANKS: readonly FindingStatus[] = ["ok", "warn", "fail"];

/** The status of the worst of them. */
export function summarize(findings: readonly Finding[]): FindingStatus {
  const ranks = findings.map(({ status }) => RANKS.indexOf(status));
  return RANKS[Math.max(0, ...ranks)] ?? "ok";
}

/** @param notChecked what the findings do not tell; each completes "not checked: that …" */
export function renderText(findings: readonly Finding[], notChecked: readonly string[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, status, detail, action }) => {
    const line = `${status.padEnd(4)}  ${check.padEnd(width)}  ${detail}`;
    return action === undefined ? [line] : [line, `${" ".repeat(width + 8)}→ ${action}`];
  });
  const counts = RANKS.map((rank) => findings.filter(({ status }) => status === rank).length);
  const unchecked = notChecked.map((what) => `not checked: that ${what}`);
  return [
    ...lines,
    "",
    ...unchecked,
    "",
    `${counts[0]} ok, ${counts[1]} to look at, ${counts[2]} failed`,
  ].join("\n");
}

/** @param notChecked as in `renderText` */
export function renderJson(findings: readonly Finding[], notChecked: readonly string[]): string {
  return JSON.stringify({ status: summarize(findings), checks: findings, notChecked }, null, 2);
}
