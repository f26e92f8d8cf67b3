/** Texts of the chat element. */
import type { ChatErrorCode } from "../chat-error.ts";

/** All texts that the element shows or reads out. Its messages are not among them. */
export interface Labels {
  /** Name of the list of messages, for screen readers. */
  readonly conversation: string;
  /** Name of the text field. */
  readonly input: string;
  readonly placeholder: string;
  readonly send: string;
  /** Who wrote a message, for screen readers. */
  readonly you: string;
  readonly bot: string;
  /** Shown before the first message. */
  readonly empty: string;
  readonly earlier: string;
  readonly loading: string;
  readonly sending: string;
  /** After 10 seconds without an answer. */
  readonly slow: string;
  /** After 40 seconds without an answer. */
  readonly verySlow: string;
  /** While a message waits for a limit, for a busy service, for the network. */
  readonly rateLimited: string;
  readonly busy: string;
  readonly reconnecting: string;
  /** The time until the next try. */
  readonly seconds: (count: number) => string;
  readonly ended: string;
  readonly tryAgain: string;
  readonly discard: string;
  readonly newChat: string;
  /** The message may or may not have been sent. */
  readonly unknown: string;
  /** Any other error. */
  readonly failed: string;
  /** Errors that have their own text. */
  readonly errors: Readonly<Partial<Record<ChatErrorCode, string>>>;
}
