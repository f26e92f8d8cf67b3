/** Contract suite: faults of UponAI and of the network on the way, and the answer to the sender. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import type { Fault } from "../../src/emulator/faults.ts";
import { findFreePort } from "../support/ports.ts";
import { ANSWER, type RawUpstream, startRawUpstream } from "../support/raw-upstream.ts";
import {
  bearer,
  type Fixture,
  readCode,
  type Runtime,
  STAFFED,
  startFixture,
  TIGHT,
} from "./runtime.ts";

interface Case {
  readonly name: string;
  readonly fault: Fault;
  readonly status: number;
  readonly code: string;
  readonly retryAfter?: string;
  /** Status of the next message; 201 unless the fault lasts. */
  readonly next?: number;
}

const status = (code: number, more: { retryAfter?: string } = {}): Fault => ({
  kind: "status",
  status: code,
  ...more,
});

const cases: readonly Case[] = [
  { name: "400", fault: status(400), status: 422, code: "message_rejected" },
  { name: "401", fault: status(401), status: 502, code: "upstream_auth_failed" },
  { name: "402", fault: status(402), status: 502, code: "upstream_error" },
  { name: "403", fault: status(403), status: 502, code: "upstream_auth_failed" },
  { name: "404", fault: status(404), status: 404, code: "chat_not_found" },
  { name: "409", fault: status(409), status: 409, code: "chat_ended" },
  { name: "410", fault: status(410), status: 409, code: "chat_ended" },
  { name: "422", fault: status(422), status: 422, code: "message_rejected" },
  { name: "429", fault: status(429), status: 503, code: "upstream_busy", retryAfter: "1" },
  {
    name: "429 with Retry-After",
    fault: status(429, { retryAfter: "7" }),
    status: 503,
    code: "upstream_busy",
    retryAfter: "7",
  },
  ...[400, 401, 403, 404, 409, 422].map((code): Case => ({
    name: `${code} as a page of a proxy`,
    fault: { kind: "status", status: code, contentType: "text/html", body: "<h1>fault</h1>" },
    status: 502,
    code: "upstream_malformed",
  })),
  {
    name: "503 with Retry-After as a page of a proxy",
    fault: { kind: "status", status: 503, contentType: "text/html", retryAfter: "5" },
    status: 502,
    code: "upstream_error",
  },
  { name: "500", fault: status(500), status: 502, code: "upstream_error" },
  { name: "503", fault: status(503), status: 502, code: "upstream_error" },
  {
    name: "503 with a long Retry-After",
    fault: status(503, { retryAfter: "900" }),
    status: 503,
    code: "upstream_busy",
    retryAfter: "60",
  },
  {
    name: "503 with a Retry-After that is no time",
    fault: status(503, { retryAfter: "soon" }),
    status: 502,
    code: "upstream_error",
  },
  { name: "202", fault: status(202), status: 502, code: "upstream_malformed" },
  { name: "204", fault: status(204), status: 502, code: "upstream_malformed" },
  { name: "a redirect", fault: { kind: "redirect" }, status: 502, code: "upstream_malformed" },
  { name: "no JSON", fault: { kind: "garbage" }, status: 502, code: "upstream_malformed" },
  { name: "a huge answer", fault: { kind: "huge" }, status: 502, code: "upstream_malformed" },
  {
    name: "a compressed bomb",
    fault: { kind: "gzip", bytes: 20_000_000 },
    status: 502,
    code: "upstream_malformed",
  },
  { name: "a reset", fault: { kind: "reset-before" }, status: 504, code: "outcome_unknown" },
  {
    name: "JSON of another shape",
    fault: { kind: "body", body: '{"messages":{"role":"assistant"}}' },
    status: 502,
    code: "upstream_malformed",
  },
  {
    name: "an unknown encoding",
    fault: { kind: "body", body: "x", headers: { "content-encoding": "zstd" } },
    status: 502,
    code: "upstream_malformed",
  },
  {
    name: "a reset after taking it",
    fault: { kind: "reset-after" },
    status: 504,
    code: "outcome_unknown",
  },
  {
    name: "a chat that was closed",
    fault: { kind: "closed" },
    status: 409,
    code: "chat_ended",
    next: 409,
  },
  { name: "silence", fault: { delayMs: 10_000 }, status: 504, code: "upstream_timeout" },
  {
    name: "a slow drip",
    fault: { kind: "drip", everyMs: 200 },
    status: 504,
    code: "upstream_timeout",
  },
];

function interim(status: number, headers = ""): string {
  return `HTTP/1.1 ${status} Wait\r\n${headers}\r\n`;
}

export function describeUpstream(use: () => Fixture, runtime: Runtime): void {
  describe("UponAI answers", () => {
    test.each(cases)(
      "$name",
      async ({ name, fault, status: expected, code, retryAfter, next = 201 }) => {
        const { send, createChat, emulator } = use();
        const chatId = createChat();
        emulator.addFault(fault, { chatId });
        const before = emulator.requests().length;
        const answer = await send({ sub: `faulted by ${name}`, chatId });
        const text = await answer.text();
        expect(JSON.parse(text)).toMatchObject({ status: expected, code });
        expect(answer.status).toBe(expected);
        expect(answer.headers.get("content-type")).toBe("application/problem+json");
        expect(answer.headers.get("retry-after")).toBe(retryAfter ?? null);
        expect(answer.headers.get("ratelimit")).toContain('"workspace";r=');
        // The answer holds nothing of the upstream's, and the message was sent once.
        expect(text).not.toContain("fault\\");
        expect(answer.headers.get("location")).toBeNull();
        expect(emulator.requests()).toHaveLength(before + 1);
        // The lock of the chat is free again.
        expect((await send({ sub: `faulted by ${name}`, chatId })).status).toBe(next);
      },
    );

    test("an unrequested gzip answer is decoded", async () => {
      const chatId = use().createChat();
      use().emulator.addFault({ kind: "gzip" }, { chatId });
      const answer = await use().send({ chatId });
      expect(await answer.json()).toEqual({
        messages: [{ role: "assistant", content: "You said: hi" }],
      });
    });
  });

  test.each([400, 422])(
    "a %i on a read, an end or a start is UponAI's failure, and no message that was rejected",
    async (refused) => {
      const { ask, createChat, emulator } = use();
      const staffed = {
        headers: await bearer({ workspace: "staffed", sub: `rejected ${refused}` }),
      };
      const chatId = createChat(STAFFED);
      const told = async (operation: "get" | "end" | "create", path: string, method?: string) => {
        emulator.addFault(status(refused), {
          operation,
          ...(operation !== "create" && { chatId }),
        });
        const answer = await ask(path, { ...staffed, ...(method !== undefined && { method }) });
        return [answer.status, await readCode(answer)];
      };
      expect(await told("get", `/chat/${chatId}`)).toEqual([502, "upstream_error"]);
      expect((await ask(`/chat/${chatId}`, staffed)).status).toBe(200);
      expect(await told("end", `/chat/${chatId}/end`, "POST")).toEqual([502, "upstream_error"]);
      expect(await told("create", "/chat", "POST")).toEqual([502, "upstream_error"]);
    },
  );

  describe("UponAI answers, byte by byte,", () => {
    let upstream: RawUpstream;
    let fixture: Fixture;
    beforeAll(async () => {
      upstream = await startRawUpstream();
      fixture = await startFixture(runtime, { UPONAI_BASE_URL: upstream.url });
    });
    afterAll(async () => {
      await fixture.stop();
      await upstream.close();
    });
    let chats = 0;
    const sendOnce = async (...pieces: readonly string[]): Promise<[number, unknown]> => {
      upstream.answer(...pieces);
      const before = upstream.requests();
      chats += 1;
      const answer = await fixture.send({ sub: `raw-${chats}`, chatId: `raw-${chats}` });
      expect(upstream.requests()).toBe(before + 1);
      return [answer.status, answer.status === 201 ? await answer.json() : await readCode(answer)];
    };
    const answered = [201, { messages: [{ role: "assistant", content: "Hi" }] }];

    test.each([
      ["102", [interim(102)]],
      ["103 and more of them", [interim(103) + interim(103), interim(104)]],
      ["103 at once with the answer", [interim(103, "Link: </x>; rel=preload\r\n") + ANSWER]],
      ["twenty of them", [interim(102).repeat(20)]],
    ])("%s before the answer: the answer counts", async (_name, pieces) => {
      const whole = pieces.some((piece) => piece.endsWith(ANSWER)) ? pieces : [...pieces, ANSWER];
      expect(await sendOnce(...whole)).toEqual(answered);
      // The connection still works.
      expect(await sendOnce(ANSWER)).toEqual(answered);
    });

    test.each([
      ["101", ""],
      ["101 to another protocol", "Upgrade: websocket\r\nConnection: Upgrade\r\n"],
    ])("%s: malformed", async (_name, headers) => {
      expect(await sendOnce(interim(101, headers), ANSWER)).toEqual([502, "upstream_malformed"]);
      expect(await sendOnce(ANSWER)).toEqual(answered);
    });

    test("an unrequested 100: answered, or of unknown outcome, and not sent again", async () => {
      const [status] = await sendOnce(interim(100), ANSWER);
      // undici breaks the connection. The answer must then not say that the message was not taken.
      expect(status).toBe(runtime.skipsContinue ? 201 : 502);
      expect(await sendOnce(ANSWER)).toEqual(answered);
    });

    test("an interim answer and then the end: of unknown outcome", async () => {
      upstream.endings.end = true;
      expect(await sendOnce(interim(102))).toEqual([504, "outcome_unknown"]);
      upstream.endings.end = false;
    });

    test.each(["none", "", "identity", "IDENTITY", "utf-8"])(
      "with Content-Encoding %j and not encoded: read",
      async (coding) => {
        const headed = ANSWER.replace("\r\n", `\r\nContent-Encoding: ${coding}\r\n`);
        expect(await sendOnce(headed)).toEqual(answered);
      },
    );

    test("with a byte order mark: read", async () => {
      const body = '\ufeff{"messages":[]}';
      const length = Buffer.byteLength(body);
      const head = `HTTP/1.1 201 Created\r\nContent-Length: ${length}\r\n\r\n`;
      expect(await sendOnce(head, body)).toEqual([201, { messages: [] }]);
    });
  });

  test("UponAI and the issuer get the User-Agent of this program, and nothing of the browser's", async () => {
    const { version } = JSON.parse(
      readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
    ) as { version: string };
    const own = `uponai-bff/${version}`;
    const agents: (string | undefined)[] = [];
    const issuer = createServer(({ headers }, response) => {
      agents.push(headers["user-agent"]);
      response.end('{"keys":[]}');
    });
    issuer.listen(0, "127.0.0.1");
    await once(issuer, "listening");
    const address = issuer.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    const fixture = await startFixture(runtime, {
      SESSION_SECRET: "",
      SESSION_JWKS_URL: `http://127.0.0.1:${port}/jwks.json`,
    });
    try {
      await fixture.ask("/readyz", { headers: { "User-Agent": "browser" } });
      expect(agents.length).toBeGreaterThan(0);
      expect(new Set(agents)).toEqual(new Set([own]));
    } finally {
      await fixture.stop();
      issuer.close();
    }
    await use().send({ headers: { "User-Agent": "browser" } });
    expect(use().emulator.requests().at(-1)?.headers["user-agent"]).toBe(own);
  });

  test("a page of a portal does not pass for the end of a chat", async () => {
    const { ask, createChat, emulator } = use();
    const chatId = createChat();
    const headers = await bearer({ sub: "portal" });
    emulator.addFault({ kind: "status", status: 200, contentType: "text/html" }, { chatId });
    const answer = await ask(`/chat/${chatId}/end`, { method: "POST", headers });
    expect([answer.status, await readCode(answer)]).toEqual([502, "upstream_malformed"]);
    expect((await ask(`/chat/${chatId}/end`, { method: "POST", headers })).status).toBe(204);
  });

  test("a workspace whose messages get 500 from UponAI does not affect other workspaces", async () => {
    const fixture = await startFixture(runtime);
    try {
      const { send, createChat, emulator } = fixture;
      const [failing, chatId] = [createChat(), createChat(TIGHT)];
      emulator.addFault(status(500), { chatId: failing, times: 10 });
      for (let count = 0; count < 10; count += 1) {
        expect(await readCode(await send({ chatId: failing }))).toBe("upstream_error");
      }
      expect(await readCode(await send({ chatId: failing }))).toBe("upstream_unavailable");
      expect((await send({ chatId, claims: { workspace: "tight" } })).status).toBe(201);
    } finally {
      await fixture.stop();
    }
  });

  test("a port without a listener is unreachable if the runtime can tell, else of unknown outcome", async () => {
    const alone = await startFixture(runtime, {
      UPONAI_BASE_URL: `http://127.0.0.1:${await findFreePort()}`,
    });
    try {
      const answer = await alone.send();
      expect([answer.status, await readCode(answer)]).toEqual(
        runtime.tellsUnsent ? [502, "upstream_unreachable"] : [504, "outcome_unknown"],
      );
    } finally {
      await alone.stop();
    }
  });
}
