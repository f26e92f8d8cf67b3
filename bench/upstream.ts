/**
 * Owns the stand-in for UponAI: it answers at once and always the same, so that what is measured is
 * the way there. Its own process; ends with the one that started it.
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
/** Longer than a run: no connection is ever found closed, which no proxy could make good. */
const KEEP_ALIVE_MS = 600_000;

/** What came last, so that the run can check that a target sent what it should. */
let last = { authorization: "", body: "" };

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
  if (request.url === "/last") {
    response.end(JSON.stringify(last));
    return;
  }
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const known = request.method === "POST" && request.url?.startsWith("/api/chats/") === true;
    last = { authorization: request.headers.authorization ?? "", body: chunks.join("") };
    response.writeHead(known ? 201 : 404, HEADERS);
    response.end(ANSWER);
  });
});
server.listen(Number(process.env["PORT"]), "127.0.0.1");
process.on("disconnect", () => process.exit());
