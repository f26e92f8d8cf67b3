/** Renders measurements as tables, in Markdown. */

/** Renders a table whose first row is the head. All columns but the first are aligned right. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const render = (row: readonly string[]) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    return `| ${cells.join(" | ")} |`;
  };
  const line = widths.map((width, column) => (column === 0 ? "-" : "-".repeat(width - 1) + ":"));
  const rule = line.map((dashes, column) => dashes.padEnd(widths[column] ?? 0, "-"));
  return [render(head), render(rule), ...rows.slice(1).map(render)].join("\n");
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/**
 * Compares two targets: the median of the ratios of all rounds, since slots of the same round have
 * the same noise.
 */
export function ratio(values: readonly number[], others: readonly number[]): number {
  return median(values.map((value, round) => value / (others[round] ?? Number.NaN)));
}

export function format(value: number, digits: number): string {
  return Number.isNaN(value) ? "-" : value.toFixed(digits);
}

export function formatRange(values: readonly number[]): string {
  if (values.length === 0) return "-";
  return `${format(Math.min(...values), 0)}-${format(Math.max(...values), 0)}`;
}
