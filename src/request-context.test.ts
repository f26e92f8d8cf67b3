import { beforeEach, describe, expect, test } from "vitest";

import type { WorkspaceId } from "./branded.ts";
import {
  answer,
  answerJson,
  createRequestContext,
  type RequestContext,
  type RequestContextParts,
  handleRequest,
} from "./request-context.ts";
import { createCommonHeaders } from "./http/common-headers.ts";
import type { LogFields, LogLevel } from "./logger.ts";
import { noMetrics } from "./metrics.ts";
import { Problem, type ProblemCode } from "./problem.ts";

interface Line {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

const COMMON_HEADERS = createCommonHeaders(false);
const SECRET = "hunter2-the-password";
const PATH = "/chat/secret-chat-id/send?token=secret-query";

let lines: Line[];
let nowMs: number;
let parts: RequestContextParts;

beforeEach(() => {
  lines = [];
  nowMs = 1_000;
  parts = {
    clock: { epochMs: () => 0, monotonicMs: () => nowMs },
    createId: () => "made-id",
    log: { log: (level, message, fields) => void lines.push({ level, message, fields }) },
    metrics: noMetrics,
    commonHeaders: COMMON_HEADERS,
    allowedOrigins: new Set(),
  };
});

function begin(headers: Record<string, string> = {}): RequestContext {
  const request = new Request(`https://bff.example${PATH}`, { method: "POST", headers });
  return createRequestContext(parts, "/chat/:chatId/send", request, undefined);
}

const refuse = (code: ProblemCode) => () => {
  throw new Problem(code);
};

describe("the request id", () => {
  test("is the request's own when it is well-formed", () => {
    expect(begin({ "X-Request-Id": "client-id_1" }).requestId).toBe("client-id_1");
  });

  test.each([{}, { "X-Request-Id": "two words" }, { "X-Request-Id": "x".repeat(65) }])(
    "is a new one with %j",
    (headers) => {
      expect(begin(headers).requestId).toBe("made-id");
    },
  );
});

describe("an answer", () => {
  test("has the common headers and the request id, for any status", async () => {
    const response = answerJson(begin(), 201, '{"messages":[]}', { RateLimit: "x" });
    expect(response.status).toBe(201);
    expect(Object.fromEntries(response.headers)).toEqual({
      ...Object.fromEntries(new Headers({ ...COMMON_HEADERS })),
      "content-type": "application/json",
      ratelimit: "x",
      "x-request-id": "made-id",
    });
    expect(await response.text()).toBe('{"messages":[]}');
  });

  test("without a body has no content type", () => {
    const response = answer(begin(), 204, null);
    expect(response.body).toBeNull();
    expect(response.headers.get("content-type")).toBeNull();
    expect(response.headers.get("cache-control")).toBe("no-store");
  });
});

describe("running a handler", () => {
  test("its answer is passed on as it is, with one line at level info", async () => {
    const context = begin();
    const given = answer(context, 200, "ok");
    const response = await handleRequest(parts, context, () => {
      nowMs += 12.3456;
      return given;
    });
    expect(response).toBe(given);
    expect(lines).toEqual([
      {
        level: "info",
        message: "request",
        fields: {
          reqId: "made-id",
          method: "POST",
          route: "/chat/:chatId/send",
          status: 200,
          ms: 12.35,
        },
      },
    ]);
  });

  test("what later steps set in the context is in the line", async () => {
    await handleRequest(parts, begin(), (context) => {
      context.workspace = 42 as WorkspaceId;
      context.subjectHash = "hash";
      context.call = { status: 201, ms: 7.777, retries: 1 };
      return answer(context, 201, "{}");
    });
    expect(lines[0]?.fields).toMatchObject({
      workspace: 42,
      subjectHash: "hash",
      upstreamStatus: 201,
      upstreamMs: 7.78,
      retries: 1,
    });
  });

  test("a refusal is answered as its problem, with the headers it brings", async () => {
    const response = await handleRequest(parts, begin(), async () => {
      await Promise.resolve();
      throw new Problem("rate_limited", { retryAfterSeconds: 9, headers: { RateLimit: "r" } });
    });
    expect(response.status).toBe(429);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(response.headers.get("retry-after")).toBe("9");
    expect(response.headers.get("ratelimit")).toBe("r");
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.get("x-request-id")).toBe("made-id");
    expect(await response.json()).toMatchObject({ code: "rate_limited", instance: "made-id" });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({
      level: "info",
      fields: { status: 429, code: "rate_limited" },
    });
  });

  const LEVELS: [ProblemCode, LogLevel][] = [
    ["session_invalid", "info"],
    ["chat_busy", "info"],
    ["upstream_error", "warn"],
    ["state_unavailable", "warn"],
    ["auth_unavailable", "info"],
    ["upstream_timeout", "warn"],
    ["upstream_auth_failed", "error"],
    ["internal_error", "error"],
  ];

  test.each(LEVELS)("%s is logged at level %s", async (code, level) => {
    await handleRequest(parts, begin(), refuse(code));
    expect(lines.map((line) => line.level)).toEqual([level]);
  });
});

describe("a defect", () => {
  const defects: [string, unknown][] = [
    ["an error", new TypeError(SECRET)],
    ["an error with a cause", new Error("outer", { cause: new Error(SECRET) })],
    ["a text", SECRET],
    ["an object", { password: SECRET }],
    ["nothing", undefined],
    // Only an instance of Problem decides the answer.
    [
      "a look-alike of a problem",
      { name: "Problem", code: "not_found", status: 200, body: SECRET },
    ],
  ];

  test.each(defects)("is answered 500 without its text: %s", async (_what, thrown) => {
    const response = await handleRequest(parts, begin(), () => {
      throw thrown;
    });
    expect(response.status).toBe(500);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ code: "internal_error", instance: "made-id" });
    const answered = text + JSON.stringify([...response.headers]);
    expect(answered).not.toContain(SECRET);
    expect(answered).not.toContain("context.test");
  });

  test.each(defects)("is logged with its stack under the request's id: %s", async (_, thrown) => {
    await handleRequest(parts, begin(), () => {
      throw thrown;
    });
    expect(lines.map(({ level, message }) => [level, message])).toEqual([
      ["error", "defect"],
      ["error", "request"],
    ]);
    expect(lines.map(({ fields }) => fields?.["reqId"])).toEqual(["made-id", "made-id"]);
    expect(lines[0]?.fields?.["stack"] !== undefined).toBe(thrown instanceof Error);
    expect(JSON.stringify(lines)).not.toContain(SECRET);
  });
});

test("no line holds the path, the query, a header or the body of a request", async () => {
  const headers = {
    Authorization: `Bearer ${SECRET}`,
    Cookie: `a=${SECRET}`,
    "User-Agent": SECRET,
    "X-Request-Id": "ok",
  };
  const context = begin(headers);
  await handleRequest(parts, context, () => answer(context, 200, SECRET, { "X-Answer": SECRET }));
  await handleRequest(parts, context, refuse("chat_not_found"));
  const logged = JSON.stringify(lines);
  for (const text of [SECRET, "secret-chat-id", "secret-query", "bff.example"]) {
    expect(logged).not.toContain(text);
  }
});
