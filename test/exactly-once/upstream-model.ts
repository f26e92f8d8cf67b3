/**
 * UponAI as the histories know it: transcripts, and every way in which a message can be taken, late,
 * partly or not at all, while its sender hears something, something else or nothing.
 *
 * Agents repeat themselves: every answer has the same words, and only its `name` tells which message
 * it belongs to.
 */
import type { UpstreamReply } from "../../src/upstream/transport.ts";
import { answerWith } from "../support/app-fixture.ts";

/** What the sender hears. */
export type Heard =
  | "answer"
  | "nothing" // until a later step, or until its time is up
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

/** What becomes of the message, whatever its sender hears. */
export type Taken =
  | "at-once"
  | "answer-later" // in the transcript at once, its answer by later steps
  | "later" // by later steps
  | "never";

/** What the transcript holds besides the words, and whether the answer lists it. */
export type Style = "plain" | "tool" | "tool-listed" | "two-tools" | "echo";

export interface PostScript {
  readonly heard: Heard;
  readonly taken: Taken;
  readonly style: Style;
}

/** What a look at the chat shows. A stale one is as old as it took. */
export type Look = "seen" | "stale" | "500" | "404" | "hangs";

/** One message that reached UponAI. */
export interface Post {
  /** Names it and its answer. */
  readonly label: string;
  readonly sender: string;
  readonly chatId: string;
  readonly content: string;
  readonly style: Style;
  readonly sentAtMs: number;
  stage: "adrift" | "asked" | "working" | "answered" | "gone";
  /** The sender waits. */
  reply: ((reply: UpstreamReply) => void) | undefined;
  /** The sender was told something that means it was not taken. */
  disclaimed: boolean;
}

interface Message {
  readonly role: "user" | "assistant";
  readonly content: string | null;
  readonly name?: string;
  readonly tool_calls?: readonly object[];
}

/** Too long to be stored for free. */
export const ANSWER_WORDS = `Certainly. ${"More. ".repeat(25)}`;

/** Replies after which the message certainly was not and will not be taken. */
const DISCLAIMERS: ReadonlySet<Heard> = new Set([
  "429",
  "503-wait",
  "404",
  "403",
  "unreachable",
  "unsent",
]);

/** Whether the sender is told for certain that its message has no effect, or will never have one. */
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

  /** A message has arrived. @returns its reply, or a promise of one */
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

  /** Messages that can still change a transcript. */
  unfinished(): Post[] {
    return this.posts.filter(({ stage }) => stage !== "answered" && stage !== "gone");
  }

  /** Messages whose sender still waits. */
  awaited(): Post[] {
    return this.posts.filter(({ reply }) => reply !== undefined);
  }

  /** One step on: into the transcript, on to the tools, to the answer. */
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

  /** Takes the message, if it is not yet, answers it, and tells the sender, if it still waits. */
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

  /** Tells the sender something other than the answer. */
  tell(post: Post, heard: Exclude<Heard, "answer" | "nothing">): void {
    if (post.reply === undefined) return;
    if (isNeverTaken(heard)) post.stage = "gone";
    if (DISCLAIMERS.has(heard)) post.disclaimed = true;
    this.#reply(post, describeHeard(heard));
  }

  /** The sender has waited long enough, or is gone. */
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
