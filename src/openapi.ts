/**
 * Builds the OpenAPI 3.1 description that `GET /openapi.json` serves, from the same zod schemas
 * that validate requests and from the catalogue of problems.
 */
import { z } from "zod";

import { chatSchema, startedChatSchema } from "./chat/present-chat.ts";
import { messageSchema, messagesSchema } from "./chat/present-messages.ts";
import { type ProblemCode, problemCodes, problemStatus } from "./problem.ts";
import { type CookieScope, nameCookie } from "./session/session-cookie.ts";
import { VERSION } from "./version.ts";

const REQUEST_ID = {
  description: "Id of this request: the operator finds it in the log as `reqId`.",
  schema: { type: "string", pattern: "^[A-Za-z0-9_-]{1,64}$" },
};

const RATE_LIMIT_HEADERS = {
  "RateLimit-Policy": {
    description: "The limits that apply: each with its quota `q` and its window `w` in seconds.",
    schema: { type: "string" },
    example: '"session";q=20;w=60, "workspace";q=600;w=60',
  },
  RateLimit: {
    description:
      "The state of each limit, the one closest to refusing first: `r` requests remain, and one more is added in `t` seconds.",
    schema: { type: "string" },
    example: '"session";r=3;t=9, "workspace";r=580;t=1',
  },
};

/** Statuses that can carry `Retry-After`. Of the 409 problems, only the temporary ones do. */
const RETRY_STATUSES: ReadonlySet<number> = new Set([409, 429, 503]);

/** Statuses that a request can get after admission; such answers carry the rate-limit headers. */
const ADMITTED_STATUSES: ReadonlySet<number> = new Set([404, 409, 422, 429, 502, 503, 504]);

const problemSchema = z.strictObject({
  type: z.string().meta({ example: "urn:uponai-bff:problem:rate_limited" }),
  title: z.string(),
  status: z.int(),
  detail: z.string().meta({ description: "What to do about the problem, in one sentence." }),
  instance: z
    .string()
    .meta({ description: "The id of the request, also in the `X-Request-Id` header." }),
  code: z.enum(problemCodes),
  errors: z.array(z.strictObject({ pointer: z.string(), detail: z.string() })).optional(),
  "violated-policies": z.array(z.string()).optional(),
});

// Which problems a route can answer is listed by hand: a new code appears nowhere by itself.

/** Problems that every route with a session can answer with before its handler runs. */
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

/** Problems of the routes that need a session which may act in a workspace. */
const CALLER_PROBLEMS: readonly ProblemCode[] = [
  ...SESSION_PROBLEMS,
  "session_revoked",
  "cross_site_request",
  "workspace_unmapped",
];

const BODY_PROBLEMS: readonly ProblemCode[] = [
  "request_timeout",
  "content_too_large",
  "unsupported_media_type",
];

/** Problems of the routes that ask UponAI. */
const UPSTREAM_PROBLEMS: readonly ProblemCode[] = [
  "invalid_request",
  "upstream_error",
  "upstream_unreachable",
  "upstream_malformed",
  "upstream_auth_failed",
  "upstream_busy",
  "upstream_unavailable",
  "upstream_timeout",
];

const START_PROBLEMS: readonly ProblemCode[] = [
  ...CALLER_PROBLEMS,
  ...BODY_PROBLEMS,
  ...UPSTREAM_PROBLEMS,
  "not_found",
  "outcome_unknown",
];
const READ_PROBLEMS: readonly ProblemCode[] = [
  ...CALLER_PROBLEMS,
  ...UPSTREAM_PROBLEMS,
  "chat_not_found",
  "chat_ended",
];
const SEND_PROBLEMS: readonly ProblemCode[] = [
  ...CALLER_PROBLEMS,
  ...BODY_PROBLEMS,
  ...UPSTREAM_PROBLEMS,
  "chat_not_found",
  "chat_ended",
  "chat_busy",
  "request_in_progress",
  "idempotency_key_reused",
  "message_rejected",
  "outcome_unknown",
];
const END_PROBLEMS: readonly ProblemCode[] = [
  ...CALLER_PROBLEMS,
  ...BODY_PROBLEMS,
  ...UPSTREAM_PROBLEMS,
  "chat_not_found",
  "outcome_unknown",
];
/** What a request without a session can be refused for, on every route: its head is malformed. */
const OPEN_PROBLEMS: readonly ProblemCode[] = ["invalid_request"];

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
    "Use a new key for each message and the same key to repeat it. The message is then sent at most once, and a lost answer is recovered. A key is kept for 24 hours.",
  schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
};

const PREFER_PARAMETER = {
  name: "Prefer",
  in: "header",
  required: false,
  description:
    "`respond-async, wait=N` (RFC 7240): answer within N seconds, 1 to 55; `respond-async` alone does not wait. If the answer is not ready by then, the response is 202 and the message goes on: repeat the same request to wait on. Ignored without an `Idempotency-Key`, and if it is malformed.",
  schema: { type: "string" },
  example: "respond-async, wait=25",
};

const PREFERENCE_APPLIED = {
  "Preference-Applied": {
    description: "The part of `Prefer` that was applied.",
    schema: { type: "string" },
    example: "wait=25",
  },
};

/** The answer to a message that is not ready within the wait that the client asked for. */
const runningSchema = z.strictObject({ status: z.literal("running") });

const RUNNING_HEADERS = {
  ...RATE_LIMIT_HEADERS,
  ...PREFERENCE_APPLIED,
  "Retry-After": {
    description: "Seconds after which to repeat the request with the same `Idempotency-Key`.",
    schema: { type: "integer", minimum: 0 },
  },
};

const SENT_HEADERS = {
  ...RATE_LIMIT_HEADERS,
  ...PREFERENCE_APPLIED,
  "Idempotency-Replayed": {
    description: "`true`: this answer was stored by an earlier request with the same key.",
    schema: { type: "string", const: "true" },
  },
  "Message-Recovered": {
    description:
      "`true`: the answer was lost on its way and was recovered from the chat's transcript.",
    schema: { type: "string", const: "true" },
  },
};

const STARTED_HEADERS = {
  ...RATE_LIMIT_HEADERS,
  Location: { description: "Path of the new chat.", schema: { type: "string" } },
};

const EITHER_SESSION = [{ session: [] }, { cookie: [] }];

const SET_COOKIE = { "Set-Cookie": { schema: { type: "string" } } };

const sessionSchema = z.strictObject({
  subject: z.string(),
  workspace: z.string().optional().meta({
    description: "The session's workspace claim. Absent if all sessions use one workspace.",
  }),
  expiresAt: z.iso.datetime().meta({ description: "Time of expiry (RFC 3339, UTC)." }),
});

const ownSessionSchema = sessionSchema.extend({ via: z.enum(["bearer", "cookie"]) });

/** The schemas that clients know by a name. */
const registry = z
  .registry<{ id: string }>()
  .add(messageSchema, { id: "Message" })
  .add(messagesSchema, { id: "Answer" })
  .add(startedChatSchema, { id: "StartedChat" })
  .add(chatSchema, { id: "Chat" })
  .add(sessionSchema, { id: "Session" })
  .add(ownSessionSchema, { id: "OwnSession" })
  .add(problemSchema, { id: "Problem" });

const referTo = (id: string) => `#/components/schemas/${id}`;

function describeNamedSchemas(): Record<string, unknown> {
  const { schemas } = z.toJSONSchema(registry, { io: "input", uri: referTo });
  return Object.fromEntries(
    Object.entries(schemas).map(([name, { $schema: _dialect, $id: _id, ...schema }]) => [
      name,
      schema,
    ]),
  );
}

/**
 * Builds the OpenAPI 3.1 document of all routes.
 *
 * @param messageSchema the schema that validates the body of a message; its limits are described
 * @param startSchema the schema that validates the body of a start; its allowed names and limits
 *   are described
 * @param scope where browsers see the routes and the cookie
 */
export function describeApi(
  messageSchema: z.ZodType,
  startSchema: z.ZodType,
  scope: CookieScope,
): Record<string, unknown> {
  return {
    openapi: "3.1.0",
    info: {
      title: "uponai-bff",
      version: VERSION,
      description:
        "Backend of a web frontend: sends the messages of a signed-in user to UponAI chat agents.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: scope.basePath || "/" }],
    paths: {
      "/chat": {
        post: {
          operationId: "startChat",
          summary: "Starts a chat with the workspace's agent. 404 if the workspace has no agent.",
          security: EITHER_SESSION,
          requestBody: {
            required: false,
            content: { "application/json": { schema: toJsonSchema(startSchema) } },
          },
          responses: {
            "201": describeJson(
              "The new chat. The subject of this session owns it.",
              startedChatSchema,
              {
                ...STARTED_HEADERS,
              },
            ),
            ...describeProblems(START_PROBLEMS),
          },
        },
      },
      "/chat/{chatId}": {
        parameters: [CHAT_ID_PARAMETER],
        get: {
          operationId: "readChat",
          summary: "Returns the chat and its transcript.",
          security: EITHER_SESSION,
          responses: {
            "200": describeJson("The chat and its transcript.", chatSchema, RATE_LIMIT_HEADERS),
            ...describeProblems(READ_PROBLEMS),
          },
        },
      },
      "/chat/{chatId}/send": {
        parameters: [CHAT_ID_PARAMETER],
        post: {
          operationId: "sendMessage",
          summary: "Sends a message to a chat and returns the agent's answer.",
          security: EITHER_SESSION,
          parameters: [IDEMPOTENCY_KEY_PARAMETER, PREFER_PARAMETER],
          requestBody: {
            required: true,
            content: { "application/json": { schema: toJsonSchema(messageSchema) } },
          },
          responses: {
            "201": describeJson("The agent's answer.", messagesSchema, SENT_HEADERS),
            "202": describeJson(
              "The message is running and its answer is not ready yet. Only with `Prefer`.",
              runningSchema,
              RUNNING_HEADERS,
            ),
            ...describeProblems(SEND_PROBLEMS),
          },
        },
      },
      "/chat/{chatId}/end": {
        parameters: [CHAT_ID_PARAMETER],
        post: {
          operationId: "endChat",
          summary: "Ends the chat. Succeeds too if the chat has already ended.",
          security: EITHER_SESSION,
          responses: {
            "204": {
              description: "The chat has ended.",
              headers: { "X-Request-Id": REQUEST_ID, ...RATE_LIMIT_HEADERS },
            },
            ...describeProblems(END_PROBLEMS),
          },
        },
      },
      "/session": {
        post: {
          operationId: "exchangeSession",
          summary:
            "Exchanges a bearer token for an HttpOnly session cookie. 404 if cookie sessions are off.",
          security: [{ session: [] }],
          responses: {
            "201": describeJson("The session that the cookie holds.", sessionSchema, SET_COOKIE),
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
          summary: "Returns the session of this request.",
          security: EITHER_SESSION,
          responses: {
            "200": describeJson("The session of this request.", ownSessionSchema),
            ...describeProblems(CALLER_PROBLEMS),
          },
        },
        delete: {
          operationId: "endSession",
          summary:
            "Logs out: ends the session on every instance, for its bearer token and its cookie.",
          security: EITHER_SESSION,
          responses: {
            "204": {
              description: "The session has ended.",
              headers: { "X-Request-Id": REQUEST_ID, ...SET_COOKIE },
            },
            ...describeProblems([...SESSION_PROBLEMS, "cross_site_request"]),
          },
        },
      },
      "/chat/element.js": {
        get: {
          operationId: "getElementScript",
          summary: "Returns the script that defines the chat element `<uponai-chat>`.",
          description:
            "Public. `/chat/element.{hash}.js` is the same script under a name that caches keep for ever; the hash is in the `ETag`.",
          security: [],
          responses: {
            "200": {
              description: "The script.",
              headers: {
                "X-Request-Id": REQUEST_ID,
                ETag: {
                  description: "Names this version of the script.",
                  schema: { type: "string" },
                },
              },
              content: { "text/javascript": { schema: { type: "string" } } },
            },
            "304": {
              description: "The client has this version: `If-None-Match` names it.",
              headers: { "X-Request-Id": REQUEST_ID },
            },
            ...describeProblems(OPEN_PROBLEMS),
          },
        },
      },
      "/healthz": describeProbe("checkLiveness", "Tells whether the process is alive.", []),
      "/readyz": describeProbe(
        "checkReadiness",
        "Tells whether this instance can serve requests.",
        ["state_unavailable", "auth_unavailable", "shutting_down"],
      ),
      "/openapi.json": {
        get: {
          operationId: "describeApi",
          summary: "Returns this description.",
          security: [],
          responses: {
            "200": {
              description: "The OpenAPI 3.1 document.",
              content: { "application/json": {} },
            },
            ...describeProblems(OPEN_PROBLEMS),
          },
        },
      },
    },
    components: {
      securitySchemes: {
        session: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        cookie: { type: "apiKey", in: "cookie", name: nameCookie(scope) },
      },
      schemas: describeNamedSchemas(),
    },
  };
}

function describeJson(description: string, schema: z.ZodType, headers: object = {}) {
  return {
    description,
    headers: { "X-Request-Id": REQUEST_ID, ...headers },
    content: { "application/json": { schema: refer(schema) } },
  };
}

/** Describes a schema by its name if it has one. */
function refer(schema: z.ZodType): Record<string, unknown> {
  const id = registry.get(schema)?.id;
  return id === undefined ? toJsonSchema(schema) : { $ref: referTo(id) };
}

function describeProbe(operationId: string, summary: string, problems: readonly ProblemCode[]) {
  const schema = toJsonSchema(z.strictObject({ status: z.literal("ok") }));
  return {
    get: {
      operationId,
      summary,
      security: [],
      responses: {
        "200": {
          description: "Yes: the check passed.",
          content: { "application/json": { schema } },
        },
        ...describeProblems([...OPEN_PROBLEMS, ...problems]),
      },
    },
  };
}

/** Describes one response per status; its description lists the codes that share the status. */
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
          "application/problem+json": {
            schema: {
              allOf: [
                { $ref: "#/components/schemas/Problem" },
                { type: "object", properties: { code: { type: "string", enum: sharing } } },
              ],
            },
          },
        },
      },
    ]),
  );
}

function toJsonSchema(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: "input" });
  return rest;
}
