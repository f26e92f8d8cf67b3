// One chat: its transcript, its end, and its JSON form in an answer.
import { Refusal } from "./refusal.ts";

interface Message {
  readonly role: "assistant" | "user";
  readonly content: string;
}

/** The values from which a chat is created. */
export interface ChatSeed {
  readonly chatId: string;
  readonly workspaceId: number;
  /** Default `agent`. */
  readonly agentId?: string | undefined;
  readonly metadata?: Record<string, unknown> | undefined;
  readonly dynamicVariables?: Record<string, unknown> | undefined;
}

const GREETING: Message = { role: "assistant", content: "Hello, how can I help?" };

// Limits of a transcript for load tests. No test reads a transcript this long.
const TRANSCRIPT_MESSAGES_MAX = 10_000;
const TRANSCRIPT_CHARS_MAX = 4 * 1024 * 1024;

export class Chat {
  readonly workspaceId: number;
  readonly #seed: ChatSeed;
  readonly #startedAt = new Date();
  readonly #messages: Message[] = [];
  #chars = 0;
  #endedAt: Date | null = null;

  constructor(seed: ChatSeed) {
    this.#seed = seed;
    this.workspaceId = seed.workspaceId;
    this.#append(GREETING);
  }

  /**
   * Takes a message into the transcript and returns the assistant's new messages.
   * @throws {Refusal} 409 once the chat has ended
   */
  take(content: string): readonly Message[] {
    if (this.#endedAt !== null) throw new Refusal(409, "the chat has ended");
    const reply: Message = { role: "assistant", content: `You said: ${content}` };
    this.#append({ role: "user", content });
    this.#append(reply);
    return [reply];
  }

  /**
   * Ends the chat.
   * @throws {Refusal} 409 if it has ended before
   */
  end(): void {
    if (this.#endedAt !== null) throw new Refusal(409, "the chat has ended already");
    this.close();
  }

  /** Ends the chat, as the agent does with a silent one. A second call changes nothing. */
  close(): void {
    this.#endedAt ??= new Date();
  }

  /** The `Chat` of the API. Every member has a value, so that a test can prove which ones leak. */
  toJSON(): Record<string, unknown> {
    const speaker = { assistant: "Agent", user: "User" };
    return {
      chatId: this.#seed.chatId,
      agentId: this.#seed.agentId ?? "agent",
      version: 1,
      status: this.#endedAt === null ? "ongoing" : "ended",
      type: "web_chat",
      metadata: this.#seed.metadata ?? {},
      customAttributes: { tier: "internal" },
      startedAt: this.#startedAt.toISOString(),
      endedAt: this.#endedAt?.toISOString() ?? null,
      transcript: this.#messages.map((m) => `${speaker[m.role]}: ${m.content}\n`).join(""),
      messages: this.#messages,
      chatCost: { combined_cost: 0.07 },
      chatAnalysis: { chat_summary: "The user asked; the agent answered." },
      collectedDynamicVariables: { collected: "internal" },
      uponai_dynamic_variables: this.#seed.dynamicVariables ?? {},
      overrideDynamicVariables: { override: "internal" },
    };
  }

  #append(message: Message): void {
    this.#messages.push(message);
    this.#chars += message.content.length;
    while (
      this.#messages.length > TRANSCRIPT_MESSAGES_MAX ||
      (this.#chars > TRANSCRIPT_CHARS_MAX && this.#messages.length > 1)
    ) {
      this.#chars -= this.#messages.shift()?.content.length ?? 0;
    }
  }
}
