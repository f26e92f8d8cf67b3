/**
 * Serves as a stand-in for UponAI that always sends the same answer at once, so that only the target
 * is measured. It is a process of its own and ends with its parent.
 */
import { createServer } from "node:http";

const ANSWER = JSON.stringify({
  messages: [
    {
      role: "assistant",
      content:
        "Your order left our warehouse this morning and should be with you on Thursday. Is there anything else that I can do for you?",
    },
  ],
});
const HEADERS = {
  "Content-Type": "application/json",
  "Content-Length": String(Buffer.byteLength(ANSWER)),
};
/** Longer than a run, so that no request meets a connection that was just closed. */
const KEEP_ALIVE_MS = 600_000;

/** Time before each answer, in milliseconds; set by `GET /delay/<ms>`. */
let delayMs = 0;
const CHAT = /^\/api\/chats\/([A-Za-z0-9_-]+)\?/;

/** The last request, for the check that a target sends the right one. */
let last = { authorization: "", body: "" };

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
  if (request.url === "/last") {
    response.end(JSON.stringify(last));
    return;
  }
  // A message with a key reads its chat first, where the state does not know the transcript.
  const chatId = CHAT.exec(request.url ?? "")?.[1];
  if (request.method === "GET" && chatId !== undefined) {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ chatId, messages: [] }));
    return;
  }
  if (request.url?.startsWith("/delay/") === true) {
    delayMs = Number(request.url.slice("/delay/".length));
    response.end();
    return;
  }
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const known = request.method === "POST" && request.url?.startsWith("/api/chats/") === true;
    last = { authorization: request.headers.authorization ?? "", body: chunks.join("") };
    response.writeHead(known ? 201 : 404, HEADERS);
    if (delayMs === 0) response.end(ANSWER);
    else setTimeout(() => response.end(ANSWER), delayMs);
  });
});
server.listen(Number(process.env["PORT"]), "127.0.0.1");
process.on("disconnect", () => process.exit());
