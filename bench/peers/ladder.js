// The ladder from `floor-full` to the product: STEPS names the parts that the product does instead of
// the hand-written ones. What a step adds to the time of the step before is what that part costs.
import { createRedisState } from "../../dist/admission/redis-state.js";
import { compileStateSettings } from "../../dist/admission/state-settings.js";
import { renderLimitHeaders } from "../../dist/admission/limit-policy.js";
import { formatState } from "../../dist/admission/records.js";
import { createCommonHeaders } from "../../dist/http/common-headers.js";
import { createLoadGate } from "../../dist/load-gate.js";
import { noMetrics } from "../../dist/metrics.js";
import { createConfiguredKeys } from "../../dist/platform/configured-keys.js";
import { createNodeLog } from "../../dist/platform/node/log.js";
import { readConfig } from "../../dist/platform/node/read-config.js";
import { createNodeRedis } from "../../dist/platform/node/redis.js";
import { nodeRequestSource } from "../../dist/platform/node/request-source.js";
import { startNodeServer } from "../../dist/platform/node/server.js";
import { createNodeUpstream } from "../../dist/platform/node/upstream.js";
import { createHashing, systemClock } from "../../dist/platform/system.js";
import { createAuthenticator } from "../../dist/session/authenticate.js";
import { createCircuits } from "../../dist/upstream/circuits.js";
import { createUponaiClient } from "../../dist/upstream/uponai-client.js";
import { createWorkspaceResolver } from "../../dist/workspace.js";
import { createSend, parts, PATH, serve, writeLine } from "./floor-full.js";

const steps = new Set((process.env.STEPS ?? "").split(","));
const { config, proxies } = readConfig();
const log = createNodeLog("info", false);
const hashing = createHashing(config);
const resolveWorkspace = createWorkspaceResolver(config.workspaces);
const workspaceOf = (session) => resolveWorkspace({ workspaceClaim: session.workspace });

const chosen = { ...parts };
let write = writeLine;

if (steps.has("log")) {
  write = (fields) => log.log("info", "request", fields);
}

if (steps.has("session")) {
  const { keys } = await createConfiguredKeys(config.session, { clock: systemClock, log });
  const authenticator = createAuthenticator({
    ...config.session,
    keys,
    hashing,
    clock: systemClock,
    cookies: undefined,
  });
  chosen.authenticate = async (authorization) => {
    const result = await authenticator.authenticate(authorization ?? null, null);
    if (result.kind !== "session") return undefined;
    const { session } = result;
    return {
      workspace: session.workspaceClaim,
      subject: session.subjectKey,
      session: session.sessionKey,
      subjectHash: session.subjectHash,
      issuedAtMs: session.issuedAtMs,
    };
  };
}

if (steps.has("client")) {
  const { transport } = createNodeUpstream({ ...config.upstream, proxies });
  const circuits = createCircuits(systemClock, log);
  const client = createUponaiClient(transport, systemClock, config.upstream.timeoutMs, circuits);
  const accounts = new Map([...config.workspaces.byClaim.values()].map((one) => [one.id, one]));
  chosen.complete = async (chatId, workspaceId, content, requestId) => {
    const account = accounts.get(workspaceId);
    const outcome = await client.send(account, chatId, content, { requestId });
    return { status: outcome.call.status, messages: outcome.answer };
  };
}

if (steps.has("state")) {
  const { address, prefix, timeoutMs } = config.state;
  const connection = createNodeRedis(address, timeoutMs, log);
  await connection.connected(1_000);
  const settings = compileStateSettings(config);
  const clock = systemClock;
  const state = createRedisState({ connection, prefix, timeoutMs, settings, clock });
  chosen.admit = async ({ session, workspaceId, chatId, address: addressKey, message }) => {
    const { policies, replays } = workspaceOf(session);
    const outcome = await state.admit({
      workspaceId,
      subjectKey: session.subject,
      sessionKey: session.session,
      issuedAtMs: session.issuedAtMs,
      addressKey,
      policies,
      replays,
      chat: { chatId, access: "first-use", message },
    });
    if (outcome.kind === "unavailable") throw new Error("unavailable");
    const { kind, admission, answer } = outcome;
    const headers = renderLimitHeaders(outcome.limits);
    if (kind !== "admitted") return { kind, headers, answer: answer?.slice(2) };
    return { kind, headers, admission, state: formatState(admission.transcriptState) };
  };
  chosen.settle = async (question, { admission }, answer, states) => {
    const parse = (text) => {
      const [count, digest] = text.split(":");
      return digest === undefined ? undefined : { count: Number(count), digest };
    };
    const owner = admission.provisionalOwner ? "first-use" : undefined;
    await state.settle(admission, {
      disposition: "taken",
      source: "reply",
      answer: `m ${answer}`,
      stateBefore: parse(states.before),
      stateAfter: parse(states.after),
      owner,
    });
  };
}

const send = createSend(chosen);
if (steps.has("listener")) {
  const commonHeaders = createCommonHeaders(config.insecure);
  const fetch = async (request, env) => {
    const startedMs = performance.now();
    const chatId = PATH.exec(new URL(request.url).pathname)?.[1];
    const fields = { reqId: crypto.randomUUID(), method: "POST", route: "/chat/:chatId/send" };
    const { bytes } = await nodeRequestSource.readBody(request, env, {
      bytesMax: config.bodyBytesMax,
      timeoutMs: 10_000,
      enterSlow: () => ({ leave() {} }),
    });
    const raw = {
      headers: {
        authorization: request.headers.get("authorization") ?? undefined,
        "x-forwarded-for": request.headers.get("x-forwarded-for") ?? undefined,
        "idempotency-key": request.headers.get("idempotency-key") ?? undefined,
      },
    };
    const { status, body, headers } = await send(
      raw,
      chatId,
      new TextDecoder().decode(bytes),
      fields,
    );
    fields.status = status;
    fields.ms = Math.round((performance.now() - startedMs) * 100) / 100;
    write(fields);
    return new Response(body, {
      status,
      headers: {
        ...commonHeaders,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy",
        Vary: "Origin",
        "Access-Control-Allow-Origin": request.headers.get("origin") ?? "null",
        "X-Request-Id": fields.reqId,
        ...headers,
        "Content-Type": "application/json",
      },
    });
  };
  const { listen, connections } = config;
  await startNodeServer(fetch, createLoadGate(10_000), {
    ...listen,
    commonHeaders,
    connections,
    log,
    metrics: noMetrics,
  });
} else {
  serve(send, write);
}
