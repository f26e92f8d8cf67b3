/**
 * Model of UponAI for the histories. A message can be taken at once, late, partly or not at all.
 * The sender can get the right reply, another reply or none, independent of that.
 *
 * All answers have the same content. Only the `name` of an answer tells which message it belongs
 * to.
 */
import type { UpstreamReply } from "../../src/upstream/transport.ts";
import { answerWith } from "../support/app-fixture.ts";

/** The reply that the sender gets. */
export type Heard =
  | "answer"
  | "nothing" // no reply until a later step or the time-out
  | "lost"
  | "500"
  | "503"
  | "garbage"
  | "429"
  | "503-wait"
  | "404"
  | "403"
  | "409"
  | "unreachable"
  | "unsent";

/** What UponAI does with the message, independent of the reply. */
export type Taken =
  | "at-once"
  | "answer-later" // the message is in the transcript at once, its answer after later steps
  | "later" // taken by later steps
  | "never";

/** Further entries of the transcript, such as tool calls, and whether the answer includes them. */
export type Style = "plain" | "tool" | "tool-listed" | "two-tools" | "echo";

export interface PostScript {
  readonly heard: Heard;
  readonly taken: Taken;
  readonly style: Style;
}

/** Result of reading the chat. A stale one shows the chat at the start of the call. */
export type Look = "seen" | "stale" | "500" | "404" | "hangs";

/** A message that reached UponAI. */
export interface Post {
  /** Id of the message, and `name` of its answer. */
  readonly label: string;
  readonly sender: string;
  readonly chatId: string;
  readonly content: string;
  readonly style: Style;
  readonly sentAtMs: number;
  stage: "adrift" | "asked" | "working" | "answered" | "gone";
  /** True while the sender waits for a reply. */
  reply: ((reply: UpstreamReply) => void) | undefined;
  /** True if the sender got a reply that means "not taken". */
  disclaimed: boolean;
}

interface Message {
  readonly role: "user" | "assistant";
  readonly content: string | null;
  readonly name?: string;
  readonly tool_calls?: readonly object[];
}

/** Content of all answers: too long to be stored without using a byte budget. */
export const ANSWER_WORDS = `Certainly. ${"More. ".repeat(25)}`;

/** Replies after which the message is certainly not taken, now or later. */
const DISCLAIMERS: ReadonlySet<Heard> = new Set([
  "429",
  "503-wait",
  "404",
  "403",
  "unreachable",
  "unsent",
]);

/** Tells whether the reply proves to the sender that its message has no effect and never will. */
export function isNeverTaken(heard: Heard): boolean {
  return DISCLAIMERS.has(heard) || heard === "409";
}

export class UpstreamModel {
  readonly posts: Post[] = [];
  readonly #transcripts = new Map<string, Message[]>();

  transcript(chatId: string): Message[] {
    const known = this.#transcripts.get(chatId);
    if (known !== undefined) return known;
    const begun: Message[] = [{ role: "assistant", content: "Hello!" }];
    this.#transcripts.set(chatId, begun);
    return begun;
  }

  /** Handles a message that arrives. @returns its reply, or a promise of it */
  post(
    sender: string,
    chatId: string,
    content: string,
    nowMs: number,
    script: PostScript,
  ): { readonly post: Post; readonly reply: Promise<UpstreamReply> } {
    const { heard, taken, style } = script;
    const { promise, resolve } = Promise.withResolvers<UpstreamReply>();
    const post: Post = {
      label: `${sender}.${this.posts.filter((post) => post.sender === sender).length + 1}`,
      sender,
      chatId,
      content,
      style,
      sentAtMs: nowMs,
      stage: "adrift",
      reply: resolve,
      disclaimed: false,
    };
    this.posts.push(post);
    if (heard === "answer") this.finish(post);
    else {
      if (taken === "never" || isNeverTaken(heard)) post.stage = "gone";
      if (taken === "at-once") this.#complete(post);
      if (taken === "answer-later") this.progress(post);
      if (heard !== "nothing") this.tell(post, heard);
    }
    return { post, reply: promise };
  }

  /** Lists the messages that can still change a transcript. */
  unfinished(): Post[] {
    return this.posts.filter(({ stage }) => stage !== "answered" && stage !== "gone");
  }

  /** Lists the messages whose sender still waits. */
  awaited(): Post[] {
    return this.posts.filter(({ reply }) => reply !== undefined);
  }

  /** Moves a message one step on: into the transcript, to the tools, to the answer. */
  progress(post: Post): void {
    const transcript = this.transcript(post.chatId);
    switch (post.stage) {
      case "adrift":
        transcript.push({ role: "user", content: post.content });
        post.stage = "asked";
        return;
      case "asked":
        transcript.push(...this.#tools(post));
        post.stage = "working";
        return;
      case "working":
        transcript.push(this.#words(post));
        post.stage = "answered";
        return;
      case "answered":
      case "gone":
    }
  }

  /** Takes the message if needed, answers it, and replies to the sender if it still waits. */
  finish(post: Post): void {
    this.#complete(post);
    const words = this.#words(post);
    const lists: Record<Style, readonly Message[]> = {
      plain: [words],
      tool: [words],
      "two-tools": [words],
      "tool-listed": [...this.#tools(post), words],
      echo: [{ role: "user", content: post.content }, words],
    };
    if (post.stage === "answered") this.#reply(post, answerWith({ messages: lists[post.style] }));
  }

  /** Gives the sender a reply that is not the answer. */
  tell(post: Post, heard: Exclude<Heard, "answer" | "nothing">): void {
    if (post.reply === undefined) return;
    if (isNeverTaken(heard)) post.stage = "gone";
    if (DISCLAIMERS.has(heard)) post.disclaimed = true;
    this.#reply(post, describeHeard(heard));
  }

  /** Called when the sender's time-out is over or the sender is gone. */
  giveUp(post: Post): void {
    this.#reply(post, { kind: "timeout", sent: true });
  }

  drop(post: Post): void {
    if (post.stage !== "answered") post.stage = "gone";
  }

  show(chatId: string): UpstreamReply {
    return answerWith({ chatId, messages: this.transcript(chatId) }, 200);
  }

  #reply(post: Post, reply: UpstreamReply): void {
    post.reply?.(reply);
    post.reply = undefined;
  }

  #complete(post: Post): void {
    while (post.stage !== "answered" && post.stage !== "gone") this.progress(post);
  }

  #tools({ style, label }: Post): Message[] {
    const tool: Message = { role: "assistant", content: null, tool_calls: [{ id: label }] };
    if (style === "two-tools") return [tool, tool];
    return style === "tool" || style === "tool-listed" ? [tool] : [];
  }

  #words({ label }: Post): Message {
    return { role: "assistant", content: ANSWER_WORDS, name: `answer to ${label}` };
  }
}

function status(code: number, retryAfter?: string): UpstreamReply {
  return { kind: "answer", status: code, retryAfter, body: "" };
}

function describeHeard(heard: Exclude<Heard, "answer" | "nothing">): UpstreamReply {
  switch (heard) {
    case "lost":
      return { kind: "lost" };
    case "garbage":
      return { kind: "answer", status: 201, retryAfter: undefined, body: "<html>" };
    case "500":
    case "503":
    case "429":
    case "404":
    case "403":
    case "409":
      return status(Number(heard));
    case "503-wait":
      return status(503, "2");
    case "unreachable":
      return { kind: "not_sent", reason: "connect_timeout" };
    case "unsent":
      return { kind: "timeout", sent: false };
  }
}

export function describeLook(model: UpstreamModel, chatId: string, look: Look): UpstreamReply {
  switch (look) {
    case "seen":
    case "stale":
      return model.show(chatId);
    case "500":
    case "404":
      return { kind: "answer", status: Number(look), retryAfter: undefined, body: "" };
    case "hangs":
      return { kind: "timeout", sent: true };
  }
}
