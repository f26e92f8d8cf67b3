/** What Node knows of a request: the address of its socket, and its body as a stream of Node's own. */
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

/** Events after which no more of the body comes: Node's own, and that of `endBody`. */
const GONE = ["error", "close", "aborted"] as const;

/** Requests whose bodies ended unfinished, perhaps before anything read them. */
const unfinished = new WeakSet<IncomingMessage>();

/** Ends a body that can no longer arrive: Node itself tells no reader, and a reader would wait. */
export function endBody(incoming: IncomingMessage): void {
  unfinished.add(incoming);
  incoming.emit("aborted");
}

/** Reads Node's stream as it is: the web stream that stands for it costs more than all of this. */
function readIncoming(incoming: IncomingMessage, limits: BodyLimits): Promise<BodyRead> {
  // The session is verified first, and the client may have left meanwhile.
  if (incoming.destroyed || unfinished.has(incoming)) return Promise.resolve({ kind: "aborted" });
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
