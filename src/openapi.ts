/** Owns the OpenAPI description, made from the schemas that validate and the table of problems. */
import { z } from "zod";

import { chatSchema, startedChatSchema } from "./chat/present-chat.ts";
import { messagesSchema } from "./chat/present-messages.ts";
import { type ProblemCode, problemCodes, problemStatus } from "./problem.ts";
import { VERSION } from "./version.ts";

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

/** Statuses that say when to come back; of the 409s, those that pass. */
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

function without(...left: readonly ProblemCode[]): readonly ProblemCode[] {
  return SEND_PROBLEMS.filter((code) => !left.includes(code));
}

/** What only a message with words of its own can be answered. */
const MESSAGE_ONLY = [
  "chat_busy",
  "request_in_progress",
  "idempotency_key_reused",
  "message_rejected",
] as const;

const START_PROBLEMS: readonly ProblemCode[] = [
  ...without(...MESSAGE_ONLY, "chat_not_found", "chat_ended"),
  "not_found",
];
const READ_PROBLEMS = without(...MESSAGE_ONLY, "unsupported_media_type", "outcome_unknown");
const END_PROBLEMS = without(...MESSAGE_ONLY, "chat_ended");

const CHAT_ID_PARAMETER = {
  name: "chatId",
  in: "path",
  required: true,
  schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,128}$" },
};

const IDEMPOTENCY_KEY_PARAMETER = {
  name: "Idempotency-Key",
  in: "header",
  required: false,
  description:
    "A new one for every message, the same one to repeat it: the message is sent once, and a lost answer is found again. Kept 24 hours.",
  schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
};

const SENT_HEADERS = {
  ...RATE_LIMIT_HEADERS,
  "Idempotency-Replayed": {
    description: "`true`: the answer was given before.",
    schema: { type: "string", const: "true" },
  },
  "Message-Recovered": {
    description: "`true`: the answer was lost, and found in the chat's transcript.",
    schema: { type: "string", const: "true" },
  },
};

const STARTED_HEADERS = {
  ...RATE_LIMIT_HEADERS,
  Location: { description: "`/chat/{chatId}`", schema: { type: "string" } },
};

const EITHER_SESSION = [{ session: [] }, { cookie: [] }];

/** What every route that needs a session can answer before it does anything. */
const SESSION_PROBLEMS: readonly ProblemCode[] = [
  "session_missing",
  "session_invalid",
  "session_expired",
  "rate_limited",
  "internal_error",
  "overloaded",
  "state_unavailable",
  "auth_unavailable",
  "shutting_down",
];

const SET_COOKIE = { "Set-Cookie": { schema: { type: "string" } } };

const sessionSchema = z.strictObject({
  subject: z.string(),
  workspace: z.string().optional().meta({
    description: "The session's workspace claim; absent where one workspace serves all.",
  }),
  expiresAt: z.iso.datetime().meta({ description: "RFC 3339, UTC." }),
});

const ownSessionSchema = sessionSchema.extend({ via: z.enum(["bearer", "cookie"]) });

/**
 * @param messageSchema validates the body of a message; its limits appear in the description
 * @param startSchema validates the body of a start; its names and limits appear in the description
 */
export function describeApi(
  messageSchema: z.ZodType,
  startSchema: z.ZodType,
): Record<string, unknown> {
  return {
    openapi: "3.1.0",
    info: {
      title: "uponai-bff",
      version: VERSION,
      description:
        "Sends a web frontend's messages to UponAI chat agents on behalf of its session.",
    },
    paths: {
      "/chat": {
        post: {
          operationId: "startChat",
          summary: "Starts a chat with the workspace's agent; 404 where it has none.",
          security: EITHER_SESSION,
          requestBody: {
            required: false,
            content: { "application/json": { schema: toJsonSchema(startSchema) } },
          },
          responses: {
            "201": describeJson("The chat, owned by this session.", startedChatSchema, {
              ...STARTED_HEADERS,
            }),
            ...describeProblems(START_PROBLEMS),
          },
        },
      },
      "/chat/{chatId}": {
        parameters: [CHAT_ID_PARAMETER],
        get: {
          operationId: "readChat",
          summary: "The chat and its transcript.",
          security: EITHER_SESSION,
          responses: {
            "200": describeJson("The chat.", chatSchema, RATE_LIMIT_HEADERS),
            ...describeProblems(READ_PROBLEMS),
          },
        },
      },
      "/chat/{chatId}/send": {
        parameters: [CHAT_ID_PARAMETER],
        post: {
          operationId: "sendMessage",
          summary: "Sends a message into a chat and waits for the answer.",
          security: EITHER_SESSION,
          parameters: [IDEMPOTENCY_KEY_PARAMETER],
          requestBody: {
            required: true,
            content: { "application/json": { schema: toJsonSchema(messageSchema) } },
          },
          responses: {
            "201": describeJson("The agent's answer.", messagesSchema, SENT_HEADERS),
            ...describeProblems(SEND_PROBLEMS),
          },
        },
      },
      "/chat/{chatId}/end": {
        parameters: [CHAT_ID_PARAMETER],
        post: {
          operationId: "endChat",
          summary: "Ends the chat; an ended one too.",
          security: EITHER_SESSION,
          responses: {
            "204": {
              description: "Ended.",
              headers: { "X-Request-Id": REQUEST_ID, ...RATE_LIMIT_HEADERS },
            },
            ...describeProblems(END_PROBLEMS),
          },
        },
      },
      "/session": {
        post: {
          operationId: "exchangeSession",
          summary: "Swaps a bearer token for an HttpOnly cookie; 404 where there are none.",
          security: [{ session: [] }],
          responses: {
            "201": describeJson("The session of the cookie.", sessionSchema, SET_COOKIE),
            ...describeProblems([
              ...SESSION_PROBLEMS,
              "session_revoked",
              "workspace_unmapped",
              "not_found",
              "content_too_large",
            ]),
          },
        },
        get: {
          operationId: "readSession",
          summary: "Who am I.",
          security: EITHER_SESSION,
          responses: {
            "200": describeJson("The session of this request.", ownSessionSchema),
            ...describeProblems([
              ...SESSION_PROBLEMS,
              "session_revoked",
              "cross_site_request",
              "workspace_unmapped",
            ]),
          },
        },
        delete: {
          operationId: "endSession",
          summary: "Logs out: ends the session on every instance, as bearer and as cookie.",
          security: EITHER_SESSION,
          responses: {
            "204": {
              description: "Ended.",
              headers: { "X-Request-Id": REQUEST_ID, ...SET_COOKIE },
            },
            ...describeProblems([...SESSION_PROBLEMS, "cross_site_request"]),
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
      securitySchemes: {
        session: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        cookie: { type: "apiKey", in: "cookie", name: "__Host-uponai_session" },
      },
      schemas: { Problem: toJsonSchema(problemSchema) },
    },
  };
}

function describeJson(description: string, schema: z.ZodType, headers: object = {}) {
  return {
    description,
    headers: { "X-Request-Id": REQUEST_ID, ...headers },
    content: { "application/json": { schema: toJsonSchema(schema) } },
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
