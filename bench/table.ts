/** Renders the measurements as one table. */

/** The measurements of one target. Each list has one entry per round. */
export interface Measurements {
  readonly name: string;
  /** Processor time per request, in microseconds; empty where it cannot be read. */
  readonly cpuUsPerRequest: number[];
  readonly requestsPerSecond: number[];
  /** Median time to an answer over one connection, minus the upstream's, in milliseconds. */
  readonly addedMs: number[];
}

const COLUMNS = [
  "target",
  "CPU us/request",
  "(range)",
  "requests/s",
  "core busy",
  "x base",
  "x product",
  "added p50 ms",
] as const;

/**
 * Renders one line per target. A ratio compares processor time: it is the median of the ratios of
 * all rounds, since slots of the same round have the same noise.
 */
export function renderTable(
  targets: readonly Measurements[],
  base: Measurements | undefined,
  product: Measurements | undefined,
): string {
  const rows = targets.map((target) => [
    target.name,
    format(median(target.cpuUsPerRequest), 0),
    formatRange(target.cpuUsPerRequest),
    format(median(target.requestsPerSecond), 0),
    formatBusy(target),
    format(median(divide(target.cpuUsPerRequest, base?.cpuUsPerRequest)), 2),
    format(median(divide(target.cpuUsPerRequest, product?.cpuUsPerRequest)), 2),
    format(median(target.addedMs), 2),
  ]);
  const table = [[...COLUMNS], ...rows];
  const widths = COLUMNS.map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  return table
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  "),
    )
    .join("\n");
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

function divide(values: readonly number[], others: readonly number[] = []): number[] {
  return values.map((value, round) => value / (others[round] ?? Number.NaN));
}

function format(value: number, digits: number): string {
  return Number.isNaN(value) ? "-" : value.toFixed(digits);
}

function formatRange(values: readonly number[]): string {
  if (values.length === 0) return "-";
  return `${format(Math.min(...values), 0)}-${format(Math.max(...values), 0)}`;
}

/** Far below 100 %, the load was the bottleneck and requests/s do not describe the target. */
function formatBusy({ cpuUsPerRequest, requestsPerSecond }: Measurements): string {
  const share = median(
    cpuUsPerRequest.map((us, round) => (us * (requestsPerSecond[round] ?? 0)) / 1e6),
  );
  return Number.isNaN(share) ? "-" : `${Math.round(share * 100)}%`;
}
