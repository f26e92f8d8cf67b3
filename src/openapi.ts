/** Owns the OpenAPI description, made from the schemas that validate and the table of problems. */
import { z } from "zod";

import { messagesSchema } from "./chat/present-messages.ts";
import { type ProblemCode, problemCodes, problemStatus } from "./problem.ts";

const REQUEST_ID = {
  description: "Identifies this answer in the operator's log.",
  schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,64}$" },
};

const RATE_LIMIT_HEADERS = {
  "RateLimit-Policy": {
    description: "The limits in force: quota `q` and window `w` in seconds of each.",
    schema: { type: "string" },
    example: '"session";q=20;w=60, "workspace";q=600;w=60',
  },
  RateLimit: {
    description:
      "Where each limit stands, the closest to refusing first: `r` requests remain, and in `t` seconds there is one more.",
    schema: { type: "string" },
    example: '"session";r=3;t=9, "workspace";r=580;t=1',
  },
};

/** Statuses that say when to come back; of the 409s, `chat_busy` does. */
const RETRY_STATUSES: ReadonlySet<number> = new Set([409, 429, 503]);

/** Statuses that can be given after admission, and then tell where the limits stand. */
const ADMITTED_STATUSES: ReadonlySet<number> = new Set([404, 409, 422, 429, 502, 503, 504]);

const problemSchema = z.strictObject({
  type: z.string().meta({ example: "urn:uponai-bff:problem:rate_limited" }),
  title: z.string(),
  status: z.int(),
  detail: z.string().meta({ description: "What to do about it." }),
  instance: z.string().meta({ description: "The request id, also in `X-Request-Id`." }),
  code: z.enum(problemCodes),
  errors: z.array(z.strictObject({ pointer: z.string(), detail: z.string() })).optional(),
  "violated-policies": z.array(z.string()).optional(),
});

/** Everything that `POST /chat/:chatId/send` can answer but success. */
const SEND_PROBLEMS: readonly ProblemCode[] = problemCodes.filter(
  (code) => code !== "not_found" && code !== "method_not_allowed",
);

/** @param messageSchema validates the body of a message; its limits appear in the description */
export function describeApi(messageSchema: z.ZodType): Record<string, unknown> {
  return {
    openapi: "3.1.0",
    info: {
      title: "uponai-bff",
      version: "0.1.0",
      description:
        "Sends a web frontend's messages to UponAI chat agents on behalf of its session.",
    },
    paths: {
      "/chat/{chatId}/send": {
        parameters: [
          {
            name: "chatId",
            in: "path",
            required: true,
            schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,128}$" },
          },
        ],
        post: {
          operationId: "sendMessage",
          summary: "Sends a message into a chat and waits for the answer.",
          security: [{ session: [] }],
          requestBody: {
            required: true,
            content: { "application/json": { schema: toJsonSchema(messageSchema) } },
          },
          responses: {
            "201": {
              description: "The agent's answer.",
              headers: { "X-Request-Id": REQUEST_ID, ...RATE_LIMIT_HEADERS },
              content: { "application/json": { schema: toJsonSchema(messagesSchema) } },
            },
            ...describeProblems(SEND_PROBLEMS),
          },
        },
      },
      "/healthz": describeProbe("checkLiveness", "Whether the process lives.", []),
      "/readyz": describeProbe("checkReadiness", "Whether requests can be served.", [
        "state_unavailable",
        "auth_unavailable",
        "shutting_down",
      ]),
      "/openapi.json": {
        get: {
          operationId: "describeApi",
          summary: "This description.",
          responses: {
            "200": { description: "OpenAPI 3.1.", content: { "application/json": {} } },
          },
        },
      },
    },
    components: {
      securitySchemes: { session: { type: "http", scheme: "bearer", bearerFormat: "JWT" } },
      schemas: { Problem: toJsonSchema(problemSchema) },
    },
  };
}

function describeProbe(operationId: string, summary: string, problems: readonly ProblemCode[]) {
  const schema = toJsonSchema(z.strictObject({ status: z.literal("ok") }));
  return {
    get: {
      operationId,
      summary,
      responses: {
        "200": { description: "Yes.", content: { "application/json": { schema } } },
        ...describeProblems(problems),
      },
    },
  };
}

/** One response per status, naming the codes that share it. */
function describeProblems(codes: readonly ProblemCode[]): Record<string, unknown> {
  const byStatus = Map.groupBy(codes, problemStatus);
  return Object.fromEntries(
    [...byStatus].map(([status, sharing]) => [
      String(status),
      {
        description: sharing.map((code) => `\`${code}\``).join(", "),
        headers: {
          "X-Request-Id": REQUEST_ID,
          ...(status === 401 ? { "WWW-Authenticate": { schema: { type: "string" } } } : {}),
          ...(RETRY_STATUSES.has(status)
            ? { "Retry-After": { schema: { type: "integer", minimum: 1 } } }
            : {}),
          ...(ADMITTED_STATUSES.has(status) ? RATE_LIMIT_HEADERS : {}),
        },
        content: {
          "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
        },
      },
    ]),
  );
}

function toJsonSchema(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}
