/** Computes what a deployment needs and costs from measured figures and list prices. */
import { renderTable } from "./table.ts";

/** Measured figures. */
export interface Measured {
  /** Messages per second of one process on one core. */
  readonly messagesPerSecond: number;
  /** Time of both scripts of one message in Redis, in microseconds. */
  readonly redisUsPerMessage: number;
  /** Bytes of Redis memory per record. */
  readonly bytes: Readonly<Record<"idle subject" | "chat", number>>;
}

/** Requests to a Durable Object and rows that it writes per message; `test/workers` counts them. */
const OBJECT_REQUESTS = 2;
const ROWS_WRITTEN = 7;
/** Assumed CPU time of a Worker per message, in milliseconds. */
const WORKER_CPU_MS = 1;

/**
 * List prices in US dollars per million units, and the units in millions that the paid plan includes
 * per month. Sources: https://developers.cloudflare.com/workers/platform/pricing/ and
 * https://developers.cloudflare.com/durable-objects/platform/pricing/ (November 2026).
 */
const PRICES = [
  { unit: "Worker requests", perMessage: 1, dollars: 0.3, included: 10 },
  { unit: "Worker CPU ms", perMessage: WORKER_CPU_MS, dollars: 0.02, included: 30 },
  { unit: "object requests", perMessage: OBJECT_REQUESTS, dollars: 0.15, included: 1 },
  { unit: "rows written", perMessage: ROWS_WRITTEN, dollars: 1, included: 50 },
] as const;
const PLAN_DOLLARS = 5;
const DAYS = 30;
const SECONDS_PER_DAY = 86_400;
/** The busiest second of a day, as a multiple of the average one. */
const PEAK = 5;

/** The sizing table of `docs/operations.md`. */
export function renderSizing({ messagesPerSecond, redisUsPerMessage, bytes }: Measured): string {
  const volumes = [1e6, 1e8].map((perDay) => {
    const peak = (perDay / SECONDS_PER_DAY) * PEAK;
    const millions = (perDay * DAYS) / 1e6;
    const dollars = PRICES.reduce(
      (sum, { perMessage, dollars: price, included }) =>
        sum + Math.max(millions * perMessage - included, 0) * price,
      PLAN_DOLLARS,
    );
    return {
      title: `${perDay.toLocaleString("en")} messages a day`,
      peak: `${Math.ceil(peak)}/s`,
      cores: (peak / messagesPerSecond).toFixed(2),
      redis: `${((peak * redisUsPerMessage) / 1e4).toFixed(1)} %`,
      dollars: `$${Math.round(dollars).toLocaleString("en")} a month`,
    };
  });
  const row = (name: string, read: (volume: (typeof volumes)[number]) => string) => [
    name,
    ...volumes.map(read),
  ];
  const table = renderTable([
    ["", ...volumes.map(({ title }) => title)],
    row(`messages in the busiest second (${PEAK} times the average)`, ({ peak }) => peak),
    row("cores for the service then", ({ cores }) => cores),
    row("share of one core for Redis then", ({ redis }) => redis),
    row("Workers with Durable Objects, list price", ({ dollars }) => dollars),
  ]);
  const units = PRICES.map(({ unit, perMessage }) => `${perMessage} ${unit}`).join(", ");
  return [
    table,
    // Bytes each are megabytes per million.
    `Per million: ${Math.round(bytes["idle subject"])} MB of Redis memory for subjects, ${Math.round(bytes.chat)} MB for chats.`,
    `Billing units per message on Workers: ${units}.`,
  ].join("\n\n");
}
