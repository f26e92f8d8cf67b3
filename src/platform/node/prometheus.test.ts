import { describe, expect, test } from "vitest";

import { createLoadGate } from "../../load-gate.ts";
import type { CircuitState } from "../../metrics.ts";
import { createPrometheusMetrics } from "./prometheus.ts";

function create() {
  const gate = createLoadGate(10);
  const metrics = createPrometheusMetrics(gate);
  /** The value of a series, or undefined where there is none. */
  const read = async (series: string): Promise<number | undefined> => {
    const line = (await metrics.render()).split("\n").find((text) => text.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  };
  return { gate, metrics, read };
}

const SEND = "/chat/:chatId/send";

describe("a request", () => {
  test("is counted by route, status and code, and timed in seconds", async () => {
    const { metrics, read } = create();
    metrics.countRequest({ route: SEND, status: 201, ms: 40, upstreamMs: 30 });
    metrics.countRequest({ route: SEND, status: 502, code: "upstream_error", ms: 2_000 });
    const labels = `route="${SEND}",status`;
    expect(await read(`bff_requests_total{${labels}="201",code=""}`)).toBe(1);
    expect(await read(`bff_requests_total{${labels}="502",code="upstream_error"}`)).toBe(1);
    const sum = await read(`bff_request_duration_seconds_sum{route="${SEND}"}`);
    expect(sum).toBeCloseTo(2.04);
    expect(await read("bff_upstream_duration_seconds_count")).toBe(1);
    expect(await read("bff_upstream_duration_seconds_sum")).toBeCloseTo(0.03);
  });

  test("without a time is in no histogram", async () => {
    const { metrics, read } = create();
    metrics.countRequest({ route: "unparsed", status: 400, code: "invalid_request" });
    expect(await read('bff_request_duration_seconds_count{route="unparsed"}')).toBeUndefined();
    expect(
      await read('bff_requests_total{route="unparsed",status="400",code="invalid_request"}'),
    ).toBe(1);
  });

  test("refused by limits counts once for each of them", async () => {
    const { metrics, read } = create();
    const violatedPolicies = ["session", "ip"];
    metrics.countRequest({ route: SEND, status: 429, code: "rate_limited", violatedPolicies });
    expect(await read('bff_limited_total{policy="session"}')).toBe(1);
    expect(await read('bff_limited_total{policy="ip"}')).toBe(1);
    expect(await read('bff_limited_total{policy="workspace"}')).toBeUndefined();
  });

  test.each([
    ["session_missing", "missing"],
    ["session_invalid", "invalid"],
    ["session_expired", "expired"],
    ["session_revoked", "revoked"],
  ] as const)("refused with %s is an authentication failure: %s", async (code, reason) => {
    const { metrics, read } = create();
    const series = `bff_auth_failures_total{reason="${reason}"}`;
    // There from the start, so that an alert on its rate sees the first one.
    expect(await read(series)).toBe(0);
    metrics.countRequest({ route: SEND, status: 401, code });
    expect(await read(series)).toBe(1);
  });

  test("refused for another reason is none", async () => {
    const { metrics } = create();
    metrics.countRequest({ route: SEND, status: 403, code: "cross_site_request" });
    expect(await metrics.render()).not.toMatch(/bff_auth_failures_total\{[^}]*\} [1-9]/);
  });
});

test("recoveries and replays are counted, and there from the start", async () => {
  const { metrics, read } = create();
  expect(await read('bff_recoveries_total{result="recovered"}')).toBe(0);
  metrics.countRequest({ route: SEND, status: 201, recovery: "recovered" });
  metrics.countRequest({ route: SEND, status: 201, replayed: true });
  metrics.countRequest({ route: SEND, status: 201, replayed: false });
  expect(await read('bff_recoveries_total{result="recovered"}')).toBe(1);
  expect(await read('bff_recoveries_total{result="unknown"}')).toBe(0);
  expect(await read("bff_replays_total")).toBe(1);
});

test("bounded waits are counted by what ended them, and there from the start", async () => {
  const { metrics, read } = create();
  expect(await read('bff_waits_total{end="answer"}')).toBe(0);
  metrics.countRequest({ route: SEND, status: 202, wait: "time" });
  metrics.countRequest({ route: SEND, status: 201, wait: "answer" });
  metrics.countRequest({ route: SEND, status: 201 });
  expect(await read('bff_waits_total{end="answer"}')).toBe(1);
  expect(await read('bff_waits_total{end="time"}')).toBe(1);
});

test("a call that ended after its request was answered counts for UponAI's time", async () => {
  const { metrics, read } = create();
  metrics.countRequest({ route: SEND, status: 202, wait: "time" });
  expect(await read("bff_upstream_duration_seconds_count")).toBe(0);
  metrics.countLateCall(40_000);
  expect(await read("bff_upstream_duration_seconds_sum")).toBe(40);
});

test("the state of the circuits is read at each scrape, and closed until there are any", async () => {
  const { metrics, read } = create();
  expect(await read("bff_circuit_state")).toBe(0);
  const circuits: { state: CircuitState } = { state: "open" };
  metrics.watchCircuits(circuits);
  expect(await read("bff_circuit_state")).toBe(2);
  circuits.state = "half_open";
  expect(await read("bff_circuit_state")).toBe(1);
  circuits.state = "closed";
  expect(await read("bff_circuit_state")).toBe(0);
});

test("requests being worked on are read from the gate at each scrape", async () => {
  const { gate, read } = create();
  gate.enter();
  gate.enter();
  expect(await read("bff_in_flight")).toBe(2);
  gate.leave();
  expect(await read("bff_in_flight")).toBe(1);
});

test("a round trip to the state is timed by its script", async () => {
  const { metrics, read } = create();
  metrics.countStateTrip("bffAdmit", 0.4);
  const labels = 'le="0.0005",operation="bffAdmit"';
  expect(await read(`bff_state_duration_seconds_bucket{${labels}}`)).toBe(1);
});
