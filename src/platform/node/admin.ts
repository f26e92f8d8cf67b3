/**
 * Requests to the second listener (`ADMIN_PORT`): metrics and the probes of the public listener. It
 * serves nothing else, so a client of this port cannot reach the routes of users.
 */
import type { App } from "../../app.ts";
import {
  answer,
  createRequestContext,
  type RequestContextParts,
  handleRequest,
} from "../../request-context.ts";
import { Problem } from "../../problem.ts";

export interface AdminParts extends RequestContextParts {
  /** The public application, which answers the probes. */
  readonly app: App;
  /** Path before the routes of `app`. On this listener the probes are at the root. */
  readonly routePrefix: string;
  /** Renders the metrics as text of type `contentType`. */
  readonly render: () => Promise<string>;
  readonly contentType: string;
}

const PROBES: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);
const READING: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** Creates the request handler of the second listener. Other paths get 404, other methods 405. */
export function createAdminFetch(parts: AdminParts): App["fetch"] {
  return (request, env) => {
    const url = new URL(request.url);
    const { pathname } = url;
    const known = pathname === "/metrics" || PROBES.has(pathname);
    if (PROBES.has(pathname) && READING.has(request.method)) {
      url.pathname = parts.routePrefix + pathname;
      return parts.app.fetch(new Request(url, request), env);
    }
    const route = pathname === "/metrics" ? pathname : "unmatched";
    return handleRequest(
      parts,
      createRequestContext(parts, route, request, env),
      async (context) => {
        if (!known) throw new Problem("not_found");
        if (!READING.has(request.method)) {
          throw new Problem("method_not_allowed", { headers: { Allow: "GET, HEAD" } });
        }
        const text = await parts.render();
        return answer(context, 200, text, { "Content-Type": parts.contentType });
      },
    );
  };
}
