import { readFileSync } from "node:fs";

import { createConfig, lintFromString } from "@redocly/openapi-core";
import { describe, expect, test } from "vitest";
import { z } from "zod";

import { createMessageSchema } from "./chat/message-request.ts";
import { createStartSchema } from "./chat/start-body.ts";
import { describeApi } from "./openapi.ts";
import { problemCodes, problemStatus } from "./problem.ts";

const CONTENT_CHARS_MAX = 1_234;

const responseSchema = z.looseObject({
  description: z.string().min(1),
  headers: z.record(z.string(), z.unknown()).optional(),
  content: z.record(z.string(), z.looseObject({ schema: z.unknown().optional() })).optional(),
});
const operationSchema = z.looseObject({
  operationId: z.string(),
  summary: z.string().min(1),
  security: z.unknown().optional(),
  requestBody: z.unknown().optional(),
  responses: z.record(z.string(), responseSchema),
});
const documentSchema = z.looseObject({
  openapi: z.string(),
  info: z.looseObject({ title: z.string(), version: z.string() }),
  paths: z.record(
    z.string(),
    z.looseObject({ get: operationSchema.optional(), post: operationSchema.optional() }),
  ),
});

const text = JSON.stringify(
  describeApi(
    createMessageSchema(CONTENT_CHARS_MAX),
    createStartSchema({ variables: new Set(["language", "page"]), metadata: new Set() }),
    { basePath: "", insecure: false },
  ),
);
const document = documentSchema.parse(JSON.parse(text));
const operations = Object.values(document.paths).flatMap(({ get, post }) =>
  [get, post].filter((operation) => operation !== undefined),
);
const send = document.paths["/chat/{chatId}/send"]?.post;

const lookUp = (pointer: string): unknown =>
  pointer
    .split("/")
    .slice(1)
    .reduce<unknown>((value, member) => Reflect.get(Object(value), member), JSON.parse(text));

describe("the description", () => {
  test("is OpenAPI 3.1 of this package at its version", () => {
    const manifest = z
      .looseObject({ name: z.string(), version: z.string() })
      .parse(JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")));
    expect(document.openapi).toMatch(/^3\.1\.\d$/);
    expect(document.info).toMatchObject({ title: manifest.name, version: manifest.version });
  });

  test("describes message_rejected for sending alone", () => {
    const rejecting = operations.filter(({ responses }) =>
      Object.values(responses).some(({ description }) => description.includes("message_rejected")),
    );
    expect(rejecting.map(({ operationId }) => operationId)).toEqual(["sendMessage"]);
  });

  test("describes the bounded wait of a message: Prefer, and 202 with Retry-After from 0", () => {
    const parameters = z.array(z.looseObject({ name: z.string() })).parse(send?.["parameters"]);
    expect(parameters.map(({ name }) => name)).toEqual(["Idempotency-Key", "Prefer"]);
    const running = send?.responses["202"];
    expect(running?.headers).toMatchObject({
      "Preference-Applied": { schema: { type: "string" } },
      "Retry-After": { schema: { type: "integer", minimum: 0 } },
    });
    expect(running?.content?.["application/json"]?.schema).toMatchObject({
      properties: { status: { const: "running" } },
    });
    const accepting = operations.filter(({ responses }) => "202" in responses);
    expect(accepting.map(({ operationId }) => operationId)).toEqual(["sendMessage"]);
  });

  test("names each route, and each operation by an id of its own", () => {
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(["/chat/{chatId}/send", "/healthz", "/readyz", "/openapi.json"]),
    );
    const ids = operations.map(({ operationId }) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("passes the rules that Redocly recommends", async () => {
    const config = await createConfig({ extends: ["recommended"] });
    const findings = await lintFromString({ source: text, config });
    expect(findings.map(({ ruleId, message }) => `${ruleId}: ${message}`)).toEqual([]);
  });

  test("has a schema with a name for what clients handle", () => {
    const { schemas } = z
      .looseObject({ schemas: z.record(z.string(), z.unknown()) })
      .parse(lookUp("/components"));
    expect(Object.keys(schemas)).toEqual([
      "Message",
      "Answer",
      "StartedChat",
      "Chat",
      "Session",
      "OwnSession",
      "Problem",
    ]);
  });

  test("says which routes need no session", () => {
    const open = operations.filter(({ security }) => Array.isArray(security) && !security.length);
    expect(open.map(({ operationId }) => operationId).toSorted()).toEqual([
      "checkLiveness",
      "checkReadiness",
      "describeApi",
      "getElementScript",
    ]);
  });

  test("names every code somewhere, but for a method that no path has", () => {
    const absent = problemCodes.filter(
      (code) => !text.includes(`"\`${code}\``) && !text.includes(`, \`${code}\``),
    );
    expect(absent).toEqual(["method_not_allowed"]);
  });

  test("has no dangling references", () => {
    const references = [...text.matchAll(/"\$ref":"#([^"]+)"/g)].map(([, pointer]) => pointer);
    expect(references.length).toBeGreaterThan(0);
    for (const pointer of references) expect(lookUp(pointer ?? "")).toBeInstanceOf(Object);
    const schemes = z.looseObject({ session: z.unknown() });
    expect(schemes.safeParse(lookUp("/components/securitySchemes")).success).toBe(true);
  });
});

describe("sending a message", () => {
  test("needs a session, and has a body with content only, of the configured length", () => {
    expect(send?.security).toEqual([{ session: [] }, { cookie: [] }]);
    expect(send?.requestBody).toMatchObject({
      required: true,
      content: {
        "application/json": {
          schema: {
            type: "object",
            required: ["content"],
            additionalProperties: false,
            properties: {
              content: { type: "string", minLength: 1, maxLength: CONTENT_CHARS_MAX },
            },
          },
        },
      },
    });
  });

  test("answers messages of four members at most", () => {
    expect(send?.responses["201"]?.content?.["application/json"]?.schema).toEqual({
      $ref: "#/components/schemas/Answer",
    });
    expect(lookUp("/components/schemas/Answer/properties/messages/items")).toEqual({
      $ref: "#/components/schemas/Message",
    });
    const { properties, required } = z
      .looseObject({
        properties: z.record(z.string(), z.unknown()),
        required: z.array(z.string()),
        additionalProperties: z.literal(false),
      })
      .parse(lookUp("/components/schemas/Message"));
    expect(Object.keys(properties)).toEqual(["role", "content", "name", "tool_calls"]);
    expect(required).toEqual(["role", "content"]);
  });

  test("names every problem it can answer under that problem's status", () => {
    for (const code of problemCodes) {
      const { description } = send?.responses[String(problemStatus(code))] ?? {};
      const routing = code === "not_found" || code === "method_not_allowed";
      expect(description?.includes(`\`${code}\``) ?? false).toBe(!routing);
    }
  });
});

const member = (names: readonly string[]) => ({
  type: "object",
  additionalProperties: false,
  properties: Object.fromEntries(names.map((name) => [name, {}])),
  description: expect.stringMatching(/4096 bytes .* 32 levels/),
});

describe("starting a chat", () => {
  test("names what this deployment lets a client choose, and the limits", () => {
    expect(document.paths["/chat"]?.post?.requestBody).toEqual({
      required: false,
      content: {
        "application/json": {
          schema: {
            type: "object",
            additionalProperties: false,
            properties: { metadata: member([]), variables: member(["language", "page"]) },
          },
        },
      },
    });
  });
});

describe("every problem", () => {
  const failures = operations.flatMap(({ operationId, responses }) =>
    Object.entries(responses)
      .filter(([status]) => Number(status) >= 400)
      .map(([status, response]) => ({ operationId, status, response })),
  );

  test.each(failures)("$operationId $status has the one shape and the request id", (failure) => {
    const { content, headers } = failure.response;
    expect(Object.keys(content ?? {})).toEqual(["application/problem+json"]);
    expect(headers).toHaveProperty("X-Request-Id");
  });

  test.each(failures)("$operationId $status says Retry-After where waiting helps", (failure) => {
    const waits = ["409", "429", "503"].includes(failure.status);
    expect(failure.response.headers?.["Retry-After"] !== undefined).toBe(waits);
  });

  test("is listed in the code's enumeration", () => {
    expect(lookUp("/components/schemas/Problem")).toMatchObject({
      properties: { code: { enum: problemCodes } },
      additionalProperties: false,
    });
  });
});
