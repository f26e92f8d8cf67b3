// The parts of the two floors: the least work of a request on bare Node.
import { createServer } from "node:http";

import { Pool } from "undici";

import { host, port, upstreamOrigin, upstreamToken } from "./settings.js";

const pool = new Pool(upstreamOrigin);

/** Sends one request through undici's cheapest interface: `pool.request` would add a stream. */
class Call {
  #resolve;
  #reject;
  #status = 0;
  #chunks = [];

  constructor(resolve, reject) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onRequestStart() {}

  onResponseStart(_controller, status) {
    this.#status = status;
  }

  onResponseData(_controller, chunk) {
    this.#chunks.push(chunk);
  }

  onResponseEnd() {
    const [only] = this.#chunks;
    const bytes = this.#chunks.length === 1 ? only : Buffer.concat(this.#chunks);
    this.#resolve({ status: this.#status, text: bytes.toString() });
  }

  onResponseError(_controller, error) {
    this.#reject(error);
  }
}

export function complete(chatId, workspaceId, content) {
  return new Promise((resolve, reject) => {
    const options = {
      method: "POST",
      path: `/api/chats/${chatId}/completions`,
      headers: { authorization: `Bearer ${upstreamToken}`, "content-type": "application/json" },
      body: JSON.stringify({ workspaceId, content }),
    };
    pool.dispatch(options, new Call(resolve, reject));
  });
}

const PATH = /^\/chat\/([A-Za-z0-9_-]{1,128})\/send$/;

/** @param handle takes the request, the chat's id and the content; returns `{status, text}` */
export function serve(handle) {
  const server = createServer((request, response) => {
    const chatId = PATH.exec(request.url)?.[1];
    if (request.method !== "POST" || chatId === undefined) {
      response.writeHead(404).end();
      return;
    }
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      try {
        const { content } = JSON.parse(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks));
        const { status, text } = await handle(request, chatId, content);
        response.writeHead(status, {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(text),
        });
        response.end(text);
      } catch (error) {
        console.error(error);
        response.writeHead(500).end();
      }
    });
  });
  server.listen(port, host);
}

/** Converts the upstream's answer to the client's. */
export function present({ status, text }) {
  if (status !== 201) return { status: 502, text: "{}" };
  return { status, text: JSON.stringify({ messages: JSON.parse(text).messages }) };
}
