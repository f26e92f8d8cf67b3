/**
 * Checks docs/operations.md and the dashboard: all metrics, codes, labels and log lines that they
 * name exist.
 */
import { readdirSync, readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { createLoadGate } from "../src/load-gate.ts";
import { createPrometheusMetrics } from "../src/platform/node/prometheus.ts";
import { isProblemCode } from "../src/problem.ts";
import { createTestApp } from "./support/app-fixture.ts";

function read(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
}

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

const page = read("docs/operations.md");
const [, rules = ""] = /```yaml\n(groups:[\s\S]*?)```/.exec(page) ?? [];
const dashboard = JSON.parse(read("docs/grafana-dashboard.json")) as { panels: Panel[] };
const queries: [string, string][] = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }): [string, string] => [title, expr]),
);

/** Type of each metric by name, as a scrape shows them. */
const metrics = createPrometheusMetrics(createLoadGate(1));
const text = await metrics.render();
const types = new Map(
  [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type = ""]) => [name, type]),
);

/**
 * Metrics of a query that do not exist. Series of a histogram end in `_bucket`, `_sum` or `_count`.
 */
function findUnknown(query: string): string[] {
  const named = [...query.matchAll(/\b(?:bff|process|nodejs)_[a-z0-9_]+/g)].map(([name]) => name);
  return named.filter((name) => {
    const histogram = name.replace(/_(?:bucket|sum|count)$/, "");
    return histogram === name
      ? types.get(name) === undefined
      : types.get(histogram) !== "histogram";
  });
}

const LABELS = "route status code operation policy reason result end le job instance".split(" ");

function findUnknownLabels(query: string): string[] {
  const grouped = [...query.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
    list.split(",").map((label) => label.trim()),
  );
  const matched = [...query.matchAll(/\b([a-z_]+)(?:=~|!=|=)"/g)].map(([, label = ""]) => label);
  return [...grouped, ...matched].filter((label) => !LABELS.includes(label));
}

test("the queries are there to be looked at, and a metric that does not exist is seen", () => {
  expect(queries.length).toBeGreaterThan(15);
  expect(rules.match(/- alert: /g)?.length).toBeGreaterThan(10);
  expect(findUnknown("rate(bff_nothing_total[5m])")).toEqual(["bff_nothing_total"]);
  expect(findUnknown("rate(bff_requests_total_bucket[5m])")).toHaveLength(1);
  expect(findUnknownLabels('sum by (subject) (x{chat="1"})')).toEqual(["subject", "chat"]);
});

test.each([...queries, ["the alerts", rules] as [string, string]])(
  "%s: asks for metrics and labels that exist",
  (_title, query) => {
    expect(findUnknown(query)).toEqual([]);
    expect(findUnknownLabels(query)).toEqual([]);
  },
);

test("the alerts ask for codes that exist", () => {
  const codes = [...rules.matchAll(/code="([a-z_]+)"/g)].map(([, code = ""]) => code);
  expect(codes.length).toBeGreaterThan(3);
  for (const code of codes) expect(isProblemCode(code), code).toBe(true);
});

test("every metric of the service has a row, and every row a metric", () => {
  const rows = [...page.matchAll(/^\| `(bff_[a-z_]+)(?:\{[a-z,]+\})?` +\| (\w+)/gm)];
  expect(new Map(rows.map(([, name = "", type = ""]) => [name, type]))).toEqual(
    new Map([...types].filter(([name]) => name.startsWith("bff_"))),
  );
});

/** Source files of the service, as paths from the root of the repository. */
function listSources(): string[] {
  const others = /\.test\.ts$|^(?:emulator|demo)\//;
  return readdirSync(new URL("../src", import.meta.url), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts") && !others.test(path))
    .map((path) => `src/${path}`);
}

describe("the log", () => {
  test("has a row for every field of a request's line, and no other", async () => {
    const service = await createTestApp();
    await service.send();
    const fields = service.lines
      .filter(({ message }) => message === "request")
      .flatMap(Object.keys);
    const [, table = ""] = /## Log lines([\s\S]*?)Other lines:/.exec(page) ?? [];
    const rows = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, field]) => field);
    const ours = fields.filter((field) => field !== "level" && field !== "message");
    expect(new Set(rows)).toEqual(new Set(ours));
  });

  test("has a row for every other line that the service can write, at its level, and no other", () => {
    const source = listSources().map(read).join("\n");
    const logged = [...source.matchAll(/\.log\(\s*"(\w+)",\s*"([^"]+)"/g)];
    const announced = [...source.matchAll(/\.announce\(\s*"([^"]+)"/g)];
    const written = [
      ...logged.map(([, level = "", message = ""]) => `${message}: ${level}`),
      ...announced.map(([, message = ""]) => `${message}: info`),
    ];
    expect(written.length).toBeGreaterThan(15);
    const [, table = ""] = /Other lines:([\s\S]*?)\n## /.exec(page) ?? [];
    const rows = table.split("\n").flatMap((row) => {
      const [, messages = [], levels = []] = row
        .split("|")
        .map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code));
      // A row has one level for all messages, one message with all its levels, or one level per
      // message.
      return messages.length === levels.length
        ? messages.map((message, index) => `${message}: ${levels[index] ?? ""}`)
        : messages.flatMap((message) => levels.map((level) => `${message}: ${level}`));
    });
    expect(new Set(rows)).toEqual(new Set(written.filter((line) => !line.startsWith("request: "))));
  });
});
