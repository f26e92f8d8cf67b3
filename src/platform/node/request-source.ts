/** Address of the peer and body of a request, read from Node's own request object. */
import { IncomingMessage } from "node:http";

import {
  type BodyLimits,
  type BodyRead,
  joinChunks,
  watchBodyTime,
} from "../../http/read-stream.ts";
import type { RequestSource } from "../../services.ts";

/** Request source of Node. A call without Node's request in `env` throws. */
export const nodeRequestSource: RequestSource = {
  readBody: (_request, env, limits) => readIncoming(findIncoming(env), limits),
  peerAddress: (env) => findIncoming(env).socket.remoteAddress ?? "",
};

function findIncoming(env: unknown): IncomingMessage {
  const incoming: unknown =
    typeof env === "object" && env !== null ? Reflect.get(env, "incoming") : undefined;
  if (incoming instanceof IncomingMessage) return incoming;
  throw new Error("the request came without its Node connection");
}

/** Events after which no more of the body arrives: from Node, and from `Connections`. */
const GONE = ["error", "close", "aborted"] as const;

/** Reads Node's stream directly: its web stream wrapper costs more than the whole read. */
function readIncoming(incoming: IncomingMessage, limits: BodyLimits): Promise<BodyRead> {
  if (incoming.readableEnded)
    throw new Error("the body was read before: mount before body parsers");
  // The client may have left while its session was verified.
  if (incoming.destroyed || incoming.aborted) return Promise.resolve({ kind: "aborted" });
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    const finish = (result: BodyRead) => {
      stopWatching();
      incoming.off("data", onData).off("end", onEnd);
      for (const event of GONE) incoming.off(event, onGone);
      resolve(result);
    };
    const onData = (chunk: Uint8Array) => {
      size += chunk.byteLength;
      if (size > limits.bytesMax) {
        // When the refusal is written, the server reads and drops the rest.
        incoming.pause();
        finish({ kind: "too_large" });
        return;
      }
      chunks.push(chunk);
    };
    const onEnd = () => finish({ kind: "read", bytes: joinChunks(chunks, size) });
    const onGone = () => finish({ kind: "aborted" });
    const stopWatching = watchBodyTime(limits, (broken) => {
      incoming.pause();
      finish(broken);
    });
    incoming.on("data", onData).on("end", onEnd);
    for (const event of GONE) incoming.on(event, onGone);
  });
}
