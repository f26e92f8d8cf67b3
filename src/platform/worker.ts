/** The entry of the service on Cloudflare Workers; wrangler.toml says how it runs. */
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

/** Once per isolate. Requests that come while it is made make their own: they cannot wait for it. */
let service: App | undefined;

async function answer(request: Request, bindings: WorkerBindings): Promise<Response> {
  if (service === undefined) {
    const made = await createWorkerService(bindings);
    service ??= made;
  }
  return service === undefined ? refuse() : service.fetch(request, describeRequest(request));
}

/** Nothing can be served as the service is configured; the log says why. */
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
