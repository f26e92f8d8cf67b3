/** Reads from Node's own request what the application needs: the peer's address and the body. */
import { IncomingMessage } from "node:http";

import {
  type BodyLimits,
  type BodyRead,
  joinChunks,
  watchBodyTime,
} from "../../http/read-stream.ts";
import type { RequestSource } from "../../services.ts";

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

/** Events after which no more of the body comes: from Node, and from the listener (see `Connections`). */
const GONE = ["error", "close", "aborted"] as const;

/** Reads Node's stream as it is: the web stream that stands for it costs more than all of this. */
function readIncoming(incoming: IncomingMessage, limits: BodyLimits): Promise<BodyRead> {
  // The session is verified first, and the client may have left meanwhile.
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
        // The rest is read off and dropped by the server once the refusal is written.
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
