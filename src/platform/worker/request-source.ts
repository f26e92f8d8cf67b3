/** Address of the client, as Cloudflare reports it, and body of a request on Workers. */
import { readStream } from "../../http/read-stream.ts";
import type { RequestSource } from "../../services.ts";

/** The `env` that the entry passes to the application with each request. */
export interface WorkerRequestEnv {
  readonly clientAddress: string;
}

/**
 * Reads the address of the client. Cloudflare sets `CF-Connecting-IP` on every request and replaces
 * one that the client has sent.
 * https://developers.cloudflare.com/fundamentals/reference/http-headers/
 */
export function describeRequest(request: Request): WorkerRequestEnv {
  return { clientAddress: request.headers.get("cf-connecting-ip") ?? "" };
}

/** Request source of Workers. */
export const workerRequestSource: RequestSource = {
  readBody: (request, _env, limits) => readStream(request.body, limits),
  peerAddress: (env) => (isRequestEnv(env) ? env.clientAddress : ""),
};

function isRequestEnv(env: unknown): env is WorkerRequestEnv {
  return typeof env === "object" && env !== null && "clientAddress" in env;
}
