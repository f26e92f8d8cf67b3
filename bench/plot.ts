/** Draws the CPU time per message of all targets as bars, in SVG. */

export interface Bar {
  readonly name: string;
  readonly value: number;
}

const WIDTH = 720;
const BAR_HEIGHT = 22;
const ROW = 34;
const TOP = 48;
const LEFT = 130;
const RIGHT = 80;

/**
 * @param title what the bars show, with the unit
 * @param accent name of the bar that stands out
 */
export function drawBars(title: string, bars: readonly Bar[], accent: string): string {
  const height = TOP + bars.length * ROW + 8;
  const longest = Math.max(...bars.map(({ value }) => value));
  const rows = bars.map(({ name, value }, index) => {
    const y = TOP + index * ROW;
    const width = Math.round((value / longest) * (WIDTH - LEFT - RIGHT));
    const kind = name === accent ? "accent" : "bar";
    const middle = y + BAR_HEIGHT / 2 + 5;
    return [
      `<text x="${LEFT - 10}" y="${middle}" text-anchor="end">${name}</text>`,
      `<rect class="${kind}" x="${LEFT}" y="${y}" width="${width}" height="${BAR_HEIGHT}" rx="3"/>`,
      `<text x="${LEFT + width + 8}" y="${middle}">${value.toFixed(0)}</text>`,
    ].join("\n");
  });
  const told = bars.map(({ name, value }) => `${name} ${value.toFixed(0)}`).join(", ");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}: ${told}">
<style>
text { font: 14px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; }
.bar { fill: #8c959f; }
.accent { fill: #0969da; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .bar { fill: #6e7681; } .accent { fill: #4493f8; } }
</style>
<text class="title" x="10" y="26">${title}</text>
${rows.join("\n")}
</svg>
`;
}
