/** Answers with the script of the chat element, which pages of any site can load. */
import type { Hashing } from "./hashing.ts";
import { answer, type RequestContext } from "./request-context.ts";

/** The script, and where it is. */
export interface ElementScript {
  /** Path that always has the newest script: pages name this one. */
  readonly path: "/chat/element.js";
  /** Path of exactly this script, which caches keep for ever. */
  readonly hashedPath: string;
  /** Answers a request for one of the paths; 304 if the client has this script already. */
  readonly answer: (context: RequestContext) => Response;
}

/** The dot keeps the paths apart from those of chats, whose ids have none. */
const PATH = "/chat/element.js";

/** Stands in the built script for the path before all routes, see `build:element`. */
const BASE_PATH_MARK = "/__BASE_PATH__";

/**
 * Creates the answers for a script. It holds no session, so it is public.
 *
 * @param built the script as it was built
 * @param basePath the default of `base-url` of its elements; empty: the root
 */
export function createElementScript(
  built: string,
  basePath: string,
  hashing: Hashing,
): ElementScript {
  const source = built.replaceAll(BASE_PATH_MARK, basePath);
  const hash = hashing.digest(source).slice(0, 16);
  const tag = `"${hash}"`;
  const hashedPath = `/chat/element.${hash}.js`;
  return {
    path: PATH,
    hashedPath,
    answer(context) {
      const { request, route } = context;
      const headers = {
        ETag: tag,
        "Cache-Control": route === hashedPath ? "public, max-age=31536000, immutable" : "no-cache",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
      };
      // RFC 9110 section 13.1.2; a proxy that compresses makes the tag weak.
      const known = request.headers.get("if-none-match");
      const isKnown = known
        ?.split(",")
        .some((entry) => ["*", tag, `W/${tag}`].includes(entry.trim()));
      if (isKnown === true) return answer(context, 304, null, headers);
      return answer(context, 200, source, {
        ...headers,
        "Content-Type": "text/javascript; charset=utf-8",
      });
    },
  };
}
