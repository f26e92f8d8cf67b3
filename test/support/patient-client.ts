/** A client that repeats a message until it has an answer of the service, whatever a proxy says. */
import { sendMessage } from "./bff-fixture.ts";
import type { TestChat } from "./chat-fixture.ts";

export interface Patience {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
  /** Number of requests by what they were answered: `202`, `html` or `broken`. */
  readonly seen: Readonly<Record<"202" | "html" | "broken", number>>;
  /** When the answer came, in monotonic milliseconds. */
  readonly atMs: number;
}

/**
 * Sends a message with a bounded wait and repeats it: at once after a 202, after a moment when a proxy
 * or the network has failed.
 *
 * @param waitSeconds seconds that each request waits
 */
export async function sendPatiently(
  chat: TestChat,
  url: string,
  content: string,
  waitSeconds: number,
): Promise<Patience> {
  const seen = { "202": 0, html: 0, broken: 0 };
  for (;;) {
    const answer = await sendMessage(url, content, {
      subject: chat.subject,
      chatId: chat.chatId,
      headers: {
        "Idempotency-Key": "patient",
        Prefer: `respond-async, wait=${waitSeconds}`,
      },
    }).catch(() => undefined);
    if (answer !== undefined && isOurs(answer) && answer.status !== 202) {
      const { status, headers } = answer;
      return { status, headers, text: await answer.text(), seen, atMs: performance.now() };
    }
    if (answer?.status === 202) seen["202"] += 1;
    else {
      seen[answer === undefined ? "broken" : "html"] += 1;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function isOurs(answer: Response): boolean {
  return answer.headers.get("content-type")?.includes("json") === true;
}
