/** Entry of the service on Cloudflare Workers; wrangler.toml configures it. */
import type { App } from "../app.ts";
import { createCommonHeaders } from "../http/common-headers.ts";
import { Problem } from "../problem.ts";
import { describeRequest } from "./worker/request-source.ts";
import { runInScope } from "./worker/request-scope.ts";
import { createWorkerService, type WorkerBindings } from "./worker/service.ts";

export { StateObject } from "./worker/state-object.ts";

interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void;
}

/**
 * One per isolate. A request that arrives while the service is being created creates its own,
 * because on Workers a request must not wait for a promise of another request. The first one is
 * kept.
 */
let service: App | undefined;

async function answer(request: Request, bindings: WorkerBindings): Promise<Response> {
  if (service === undefined) {
    const made = await createWorkerService(bindings);
    service ??= made;
  }
  return service === undefined ? refuse() : service.fetch(request, describeRequest(request));
}

/** The answer to every request where the configuration has problems. The log names them. */
function refuse(): Response {
  const problem = new Problem("internal_error");
  const requestId = crypto.randomUUID();
  return new Response(problem.body(requestId), {
    status: problem.status,
    headers: { ...createCommonHeaders(false), "X-Request-Id": requestId, ...problem.headers() },
  });
}

export default {
  fetch: (
    request: Request,
    bindings: WorkerBindings,
    context: ExecutionContext,
  ): Promise<Response> =>
    runInScope(
      (work) => context.waitUntil(work),
      () => answer(request, bindings),
    ),
};
