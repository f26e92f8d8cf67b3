/** Checks from its own metrics whether a process's memory stays flat. */

export interface Sample {
  readonly atMs: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export function readGauge(metrics: string, name: string): number {
  const line = metrics.split("\n").find((text) => text.startsWith(`${name} `));
  if (line === undefined) throw new Error(`there is no metric ${name}`);
  return Number(line.slice(name.length + 1));
}

export interface Growth {
  /** Growth from the end of the warm-up to the end of the run, in bytes; negative if it shrank. */
  readonly heapBytes: number;
  readonly residentBytes: number;
}

/** Fraction of a run that is warm-up: caches fill and code is compiled. */
const WARM_UP_SHARE = 0.4;
const WINDOW_SHARE = 0.2;

/**
 * Compares the last fifth of a run with the fifth after the warm-up, by the smallest heap in each.
 * The heap grows until a collection; its size after a collection is the memory in use.
 */
export function measureGrowth(samples: readonly Sample[]): Growth {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) throw new Error("nothing was sampled");
  const lengthMs = last.atMs - first.atMs;
  const within = (fromShare: number) => {
    const fromMs = first.atMs + lengthMs * fromShare;
    const toMs = fromMs + lengthMs * WINDOW_SHARE;
    return samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  };
  const [early, late] = [within(WARM_UP_SHARE), within(1 - WINDOW_SHARE)];
  const least = (window: readonly Sample[], read: (sample: Sample) => number) =>
    Math.min(...window.map(read));
  return {
    heapBytes: least(late, (s) => s.heapBytes) - least(early, (s) => s.heapBytes),
    residentBytes: least(late, (s) => s.residentBytes) - least(early, (s) => s.residentBytes),
  };
}
