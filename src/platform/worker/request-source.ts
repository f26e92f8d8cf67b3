/** Owns what a Worker knows of a request: the client's address by Cloudflare's word, and its body. */
import { readStream } from "../../http/read-stream.ts";
import type { RequestSource } from "../../services.ts";

/** What the entry hands over with each request. */
export interface WorkerRequestEnv {
  readonly clientAddress: string;
}

/**
 * Cloudflare sets `CF-Connecting-IP` on every request itself and replaces a client's own.
 * https://developers.cloudflare.com/fundamentals/reference/http-headers/
 */
export function describeRequest(request: Request): WorkerRequestEnv {
  return { clientAddress: request.headers.get("cf-connecting-ip") ?? "" };
}

export const workerRequestSource: RequestSource = {
  readBody: (request, _env, limits) => readStream(request.body, limits),
  peerAddress: (env) => (isRequestEnv(env) ? env.clientAddress : ""),
};

function isRequestEnv(env: unknown): env is WorkerRequestEnv {
  return typeof env === "object" && env !== null && "clientAddress" in env;
}
