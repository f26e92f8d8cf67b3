/** Traces, as a collector and UponAI receive them. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { RunningEmulator } from "../../src/emulator/listen.ts";
import { CHAT, sendMessage, startTestBff, startTestEmulator } from "../support/bff-fixture.ts";
import { expectNoCanary } from "../support/canary.ts";
import { findFreePort } from "../support/ports.ts";

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly status: { readonly code?: number };
  readonly attributes: readonly {
    readonly key: string;
    readonly value: { readonly stringValue?: string; readonly intValue?: number };
  }[];
}

interface Payload {
  readonly resourceSpans: readonly {
    readonly resource: {
      readonly attributes: readonly { readonly key: string; readonly value: object }[];
    };
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[];
  }[];
}

const INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SERVER = 2;
const CLIENT = 3;

let emulator: RunningEmulator;
let collector: Server;
let endpoint: string;
let received: { readonly path: string | undefined; readonly body: string }[] = [];

beforeAll(async () => {
  emulator = await startTestEmulator();
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      received.push({ path: request.url, body: Buffer.concat(chunks).toString("utf8") });
      response.setHeader("Content-Type", "application/json").end("{}");
    });
  });
  await new Promise<void>((resolve) => {
    collector.listen(0, "127.0.0.1", resolve);
  });
  endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
});
beforeEach(() => {
  emulator.reset();
  received = [];
});
afterAll(async () => {
  collector.close();
  await emulator.close();
});

/** All spans that the collector received until the service ended. */
function listSpans(): Span[] {
  return received.flatMap(({ path, body }) => {
    expect(path).toBe("/v1/traces");
    expectNoCanary(body);
    const { resourceSpans } = JSON.parse(body) as Payload;
    return resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
  });
}

function attribute({ attributes }: Span, name: string): string | number | undefined {
  const value = attributes.find(({ key }) => key === name)?.value;
  return value?.stringValue ?? value?.intValue;
}

describe("with a collector", () => {
  test("a request and its call are spans of the client's trace, and UponAI goes on with it", async () => {
    const bff = await startTestBff(emulator.url, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    await sendMessage(bff.url, "hello", { headers: { traceparent: INCOMING } });
    expect(await bff.stop()).toBe(0);

    const spans = listSpans();
    const server = spans.find(({ kind }) => kind === SERVER);
    const client = spans.find(({ kind }) => kind === CLIENT);
    expect(spans).toHaveLength(2);
    const traceId = INCOMING.split("-")[1];
    expect(server).toMatchObject({
      traceId,
      parentSpanId: INCOMING.split("-")[2],
      name: "POST /chat/:chatId/send",
    });
    expect(client).toMatchObject({ traceId, parentSpanId: server?.spanId, name: "POST UponAI" });
    const [sent] = emulator.requests();
    expect(sent?.headers["traceparent"]).toBe(`00-${traceId}-${client?.spanId}-01`);
  });

  test("spans say how it came out, and nothing that the client sent", async () => {
    const bff = await startTestBff(emulator.url, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    emulator.addFault({ kind: "status", status: 500 });
    await sendMessage(bff.url, "words-9c1e", { subject: "subject-7f3a" });
    await fetch(`${bff.url}/no/such-path-5b2d`, { headers: { traceparent: "nonsense" } });
    await bff.stop();

    const [server, client, unmatched] = [
      "POST /chat/:chatId/send",
      "POST UponAI",
      "GET unmatched",
    ].map((wanted) => listSpans().find(({ name }) => name === wanted));
    if (server === undefined || client === undefined) throw new Error("spans are missing");
    expect(attribute(server, "http.response.status_code")).toBe(502);
    expect(attribute(server, "error.type")).toBe("upstream_error");
    expect(attribute(client, "http.response.status_code")).toBe(500);
    expect([server.status.code, client.status.code]).toEqual([2, 2]);
    expect(unmatched?.status.code ?? 0).toBe(0);
    expect(unmatched?.parentSpanId ?? "").toBe("");
    const all = received.map(({ body }) => body).join("\n");
    for (const word of ["words-9c1e", "subject-7f3a", CHAT, "such-path"]) {
      expect(all).not.toContain(word);
    }
  });

  test("probes are not traced", async () => {
    const bff = await startTestBff(emulator.url, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint });
    await fetch(`${bff.url}/healthz`);
    await fetch(`${bff.url}/readyz`);
    await bff.stop();
    expect(listSpans()).toEqual([]);
  });
});

describe("OpenTelemetry's own variables", () => {
  test.each([
    [{}, "uponai-bff"],
    [{ OTEL_SERVICE_NAME: "chat-backend" }, "chat-backend"],
  ])("%j: service.name is %s", async (more, serviceName) => {
    const bff = await startTestBff(emulator.url, {
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      ...more,
    });
    await sendMessage(bff.url, "hello");
    await bff.stop();
    const resources = received.flatMap(({ body }) => (JSON.parse(body) as Payload).resourceSpans);
    expect(resources.length).toBeGreaterThan(0);
    for (const { resource } of resources) {
      const names = resource.attributes.filter(({ key }) => key === "service.name");
      expect(names).toEqual([{ key: "service.name", value: { stringValue: serviceName } }]);
    }
  });

  test("OTEL_SDK_DISABLED=true sends nothing, and passes a client's traceparent on", async () => {
    const bff = await startTestBff(emulator.url, {
      OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
      OTEL_SDK_DISABLED: "true",
    });
    await sendMessage(bff.url, "hello", { headers: { traceparent: INCOMING } });
    await bff.stop();
    expect(received).toEqual([]);
    expect(emulator.requests()[0]?.headers["traceparent"]).toBe(INCOMING);
  });
});

test("without a collector messages are answered, and the stop is clean", async () => {
  const gone = `http://127.0.0.1:${await findFreePort()}`;
  const bff = await startTestBff(emulator.url, { OTEL_EXPORTER_OTLP_ENDPOINT: gone });
  expect((await sendMessage(bff.url, "hello")).status).toBe(201);
  const startedMs = performance.now();
  expect(await bff.stop()).toBe(0);
  expect(performance.now() - startedMs).toBeLessThan(10_000);
});

test("without a collector a trace goes on as it came", async () => {
  const bff = await startTestBff(emulator.url);
  await sendMessage(bff.url, "hello", { headers: { traceparent: INCOMING } });
  await bff.stop();
  expect(emulator.requests()[0]?.headers["traceparent"]).toBe(INCOMING);
  expect(received).toEqual([]);
});
