/** The `<uponai-chat>` element. Importing this file defines nothing, and works on servers. */
import type { ChatError } from "./chat-error.ts";
import { createChat } from "./chat.ts";
import { create, createText, createView, type View } from "./element-view.ts";
import { de } from "./labels/de.ts";
import { en } from "./labels/en.ts";
import type { Labels } from "./labels/labels.ts";
import { renderMarkdown } from "./markdown.ts";
import type { Chat, ChatMessage, ChatOptions, ChatSnapshot, ChatStatus } from "./types.ts";

/** After these times without an answer, in milliseconds, the element says that it takes long. */
const SLOW_MS = 10_000;
const VERY_SLOW_MS = 40_000;
/** Number of messages that are shown, and that "Show earlier messages" adds. */
const SHOWN = 100;
/** The log follows new messages while its reader is this near to its end, in CSS pixels. */
const NEAR_END_PX = 80;

/** Renders the text of a message. */
export type RenderText = (text: string, message: ChatMessage) => Node;

// On a server there is no HTMLElement; the class is then only named, and never created.
const Base =
  typeof HTMLElement === "undefined"
    ? // oxlint-disable-next-line typescript/no-unsafe-type-assertion, typescript/no-extraneous-class -- see above
      (class {} as typeof HTMLElement)
    : HTMLElement;

/** Events of the element, with their details. All bubble, also out of shadow roots. */
export interface UponaiChatEventMap {
  /** The element is shown, also again after it was moved. */
  "uponai-ready": CustomEvent<object>;
  /** Before a message is sent; `preventDefault()` stops it. */
  "uponai-send": CustomEvent<{ readonly text: string }>;
  /** A message of the agent that came while the element was shown. */
  "uponai-message": CustomEvent<{ readonly message: ChatMessage }>;
  "uponai-status": CustomEvent<{ readonly status: ChatStatus }>;
  "uponai-error": CustomEvent<{ readonly error: ChatError }>;
  /** The user must sign in; then call `chat.retry()`. */
  "uponai-session-required": CustomEvent<{ readonly error: ChatError }>;
  /** The chat is ended, or an ended one is shown. */
  "uponai-end": CustomEvent<object>;
}

/** Set in the script that the service serves: the path before its routes. */
declare const DEFAULT_BASE_URL: string | undefined;
const SERVED_BELOW = typeof DEFAULT_BASE_URL === "string" ? DEFAULT_BASE_URL : "";

/** Attributes that name the chat: a change of one opens another chat. */
const CHAT_ATTRIBUTES = ["base-url", "chat-id", "start", "persist"];

/**
 * A chat with an agent of UponAI.
 *
 * Attributes: `base-url`, `chat-id`, `start` (`lazy` or `eager`), `heading`, `placeholder`,
 * `bot-name`, `markdown` (`off`), `send-key` (`mod-enter`: Enter breaks the line), `disabled`,
 * `persist` (`off`).
 *
 * Events: `uponai-ready`, `uponai-send` (cancelable), `uponai-message`, `uponai-status`,
 * `uponai-error`, `uponai-session-required`, `uponai-end`.
 */
export class UponaiChatElement extends Base {
  static readonly observedAttributes = [
    ...CHAT_ATTRIBUTES,
    "heading",
    "placeholder",
    "bot-name",
    "markdown",
    "disabled",
    "lang",
  ];

  #chat: Chat | undefined;
  #isOwnChat = false;
  #token: ChatOptions["token"];
  #labels: Partial<Labels> = {};
  #renderText: RenderText | undefined;
  #unsubscribe: (() => void) | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #view: View | undefined;
  #nodes = new Map<string, { readonly message: ChatMessage; readonly node: HTMLElement }>();
  #shown = SHOWN;
  #status: ChatStatus | undefined;
  #error: ChatError | undefined;
  /** Number of messages that were announced by events; undefined before the chat is loaded. */
  #announced: number | undefined;

  /** The store of the chat. Default: one that the attributes describe. */
  get chat(): Chat {
    if (this.#chat === undefined) {
      this.#isOwnChat = true;
      this.#chat = createChat({
        baseUrl: this.getAttribute("base-url") ?? SERVED_BELOW,
        chatId: this.getAttribute("chat-id") ?? undefined,
        start: this.getAttribute("start") === "eager" ? "eager" : "lazy",
        token: () => (typeof this.#token === "function" ? this.#token() : this.#token),
        storageKey: this.id,
        ...(this.getAttribute("persist") === "off" && { storage: null }),
      });
    }
    return this.#chat;
  }

  set chat(chat: Chat) {
    this.#leave();
    this.#chat = chat;
    this.#isOwnChat = false;
    this.#join();
  }

  /** The session token, as for `createClient`. */
  get token(): ChatOptions["token"] {
    return this.#token;
  }

  set token(token: ChatOptions["token"]) {
    this.#token = token;
  }

  /** Texts that replace those of the page's language. */
  get labels(): Partial<Labels> {
    return this.#labels;
  }

  set labels(labels: Partial<Labels>) {
    this.#labels = labels;
    this.#render();
  }

  /** Renders the text of messages; default: Markdown for the agent's, plain text for the user's. */
  get renderText(): RenderText | undefined {
    return this.#renderText;
  }

  set renderText(renderText: RenderText | undefined) {
    this.#renderText = renderText;
    this.#nodes.clear();
    this.#render();
  }

  /** Whether the user can send; the attribute of the same name. */
  get disabled(): boolean {
    return this.hasAttribute("disabled");
  }

  set disabled(disabled: boolean) {
    this.toggleAttribute("disabled", disabled);
  }

  connectedCallback(): void {
    // A page can set them before the element is defined. They then hide the accessors of the class.
    for (const name of ["token", "labels", "renderText", "disabled", "chat"]) {
      const early = Object.getOwnPropertyDescriptor(this, name);
      if (early === undefined) continue;
      Reflect.deleteProperty(this, name);
      Reflect.set(this, name, early.value);
    }
    this.#join();
  }

  disconnectedCallback(): void {
    this.#leave();
  }

  attributeChangedCallback(name: string): void {
    if (CHAT_ATTRIBUTES.includes(name) && this.#isOwnChat) {
      this.#leave();
      this.#chat = undefined;
      this.#join();
    }
    if (name === "markdown" || name === "bot-name") this.#nodes.clear();
    this.#render();
  }

  /**
   * Sends a text, by default that of the input.
   *
   * @returns false if it was not sent: blank, cancelled by `uponai-send`, or another one is pending
   */
  async send(text?: string): Promise<boolean> {
    const view = this.#view;
    const sent = text ?? view?.input.value ?? "";
    if (!this.#canSend() || sent.trim() === "") return false;
    if (!this.#emit("uponai-send", { text: sent }, true)) return false;
    if (view !== undefined && text === undefined) view.input.value = "";
    const result = await this.chat.sendMessage({ text: sent });
    if (result === "refused") this.#giveBack(sent);
    return result !== "refused";
  }

  override focus(options?: FocusOptions): void {
    this.#view?.input.focus(options);
  }

  /** Leaves the chat; the next message starts a new one. */
  newChat(): void {
    this.#nodes.clear();
    this.#announced = undefined;
    const text = this.chat.pending?.text;
    this.chat.newChat();
    if (text !== undefined) this.#giveBack(text);
    this.focus();
  }

  /** Ends the chat. */
  end(): Promise<void> {
    return this.chat.end();
  }

  /** Reads the transcript again. */
  reload(): Promise<void> {
    return this.chat.reload();
  }

  #join(): void {
    if (!this.isConnected || this.#unsubscribe !== undefined) return;
    this.#view ??= this.#createView();
    this.#unsubscribe = this.chat.subscribe(() => this.#update());
    this.#timer = setInterval(() => this.#renderStatus(), 1000);
    this.#update();
    this.#emit("uponai-ready");
  }

  #leave(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    clearInterval(this.#timer);
    this.#view?.log.removeAttribute("role");
    this.#nodes.clear();
    this.#announced = undefined;
    this.#status = undefined;
  }

  #createView(): View {
    const view = createView(this);
    view.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    view.input.addEventListener("keydown", (event) => {
      if (!this.#isSendKey(event)) return;
      event.preventDefault();
      void this.send();
    });
    view.input.addEventListener("input", () => this.#renderStatus());
    view.earlier.addEventListener("click", () => {
      const { log } = view;
      const fromEnd = log.scrollHeight - log.scrollTop;
      this.#shown += SHOWN;
      this.#renderMessages(this.chat.getSnapshot());
      log.scrollTop = log.scrollHeight - fromEnd;
      log.focus();
    });
    view.retry.addEventListener("click", () => {
      void this.chat.retry();
      this.focus();
    });
    view.discard.addEventListener("click", () => {
      const text = this.chat.pending?.text;
      this.chat.dismiss();
      if (text !== undefined) this.#giveBack(text);
      this.focus();
    });
    view.newChat.addEventListener("click", () => this.newChat());
    return view;
  }

  /** Enter that ends the composition of an input method does not send. Safari says so by 229 only. */
  #isSendKey({ key, shiftKey, ctrlKey, metaKey, isComposing, keyCode }: KeyboardEvent): boolean {
    if (key !== "Enter" || isComposing || keyCode === 229) return false;
    if (ctrlKey || metaKey) return true;
    const isTouch = matchMedia("(pointer: coarse)").matches;
    return !shiftKey && !isTouch && this.getAttribute("send-key") !== "mod-enter";
  }

  #canSend(): boolean {
    const { status, pending } = this.chat;
    return !this.disabled && pending === undefined && status !== "ended";
  }

  #giveBack(text: string): void {
    const input = this.#view?.input;
    if (input === undefined) return;
    input.value = input.value === "" ? text : `${text}\n${input.value}`;
    this.#renderStatus();
  }

  #emit(name: keyof UponaiChatEventMap, detail: object = {}, cancelable = false): boolean {
    const options = { detail, cancelable, bubbles: true, composed: true };
    return this.dispatchEvent(new CustomEvent(name, options));
  }

  #update(): void {
    this.#render();
    const { status, error, messages, pending } = this.chat.getSnapshot();
    if (status !== "loading" && pending === undefined) {
      // The first list is the history; only what comes after it is news.
      for (const message of messages.slice(this.#announced ?? messages.length)) {
        if (message.role === "assistant") this.#emit("uponai-message", { message });
      }
      this.#announced = messages.length;
    }
    if (error !== this.#error) {
      this.#error = error;
      if (error?.code === "session_required") this.#emit("uponai-session-required", { error });
      if (error !== undefined) this.#emit("uponai-error", { error });
    }
    if (status !== this.#status) {
      this.#status = status;
      this.#emit("uponai-status", { status });
      if (status === "ended") this.#emit("uponai-end");
    }
  }

  #texts(): Labels {
    const page = this.closest<HTMLElement>("[lang]")?.lang ?? "";
    return { ...(page.startsWith("de") ? de : en), ...this.#labels };
  }

  #render(): void {
    const view = this.#view;
    if (view === undefined || !this.isConnected) return;
    const texts = this.#texts();
    const heading = this.getAttribute("heading");
    view.heading.textContent = heading;
    view.header.hidden = heading === null && this.querySelector('[slot="header"]') === null;
    view.frame.setAttribute("aria-label", heading ?? texts.conversation);
    view.log.setAttribute("aria-label", texts.conversation);
    view.input.setAttribute("aria-label", texts.input);
    view.input.placeholder = this.getAttribute("placeholder") ?? texts.placeholder;
    view.input.disabled = this.disabled;
    view.send.setAttribute("aria-label", texts.send);
    view.emptyText.textContent = texts.empty;
    view.earlier.textContent = texts.earlier;
    view.retry.textContent = texts.tryAgain;
    view.discard.textContent = texts.discard;
    view.newChat.textContent = texts.newChat;
    this.#renderMessages(this.chat.getSnapshot());
    this.#renderStatus();
  }

  #renderMessages({ messages, status }: ChatSnapshot): void {
    const view = this.#view;
    if (view === undefined) return;
    const { log, list } = view;
    const isNearEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
    const isFirst = this.#nodes.size === 0;
    const shown = messages.slice(-this.#shown);
    view.earlier.hidden = shown.length === messages.length;
    view.empty.hidden = messages.length > 0 || status === "loading";
    view.dots.hidden = status !== "submitted";
    // Before the others: they would be inserted again in front of it, and read out again.
    const ids = new Set(shown.map(({ id }) => id));
    for (const [id, { node }] of this.#nodes) if (!ids.has(id)) node.remove();
    const nodes = new Map<string, { readonly message: ChatMessage; readonly node: HTMLElement }>();
    let isNew = false;
    let before: ChatMessage | undefined;
    // Each node stays in its place and stays the same while its message does.
    let at: Element | null = view.empty.nextElementSibling;
    for (const message of shown) {
      const old = this.#nodes.get(message.id);
      const isSame = old?.message === message;
      const node = isSame ? old.node : this.#createMessage(message, before?.role !== message.role);
      isNew ||= old === undefined;
      if (node === at) at = node.nextElementSibling;
      else if (old !== undefined && !isSame && old.node === at) {
        at = at.nextElementSibling;
        old.node.replaceWith(node);
      } else list.insertBefore(node, at);
      nodes.set(message.id, { message, node });
      before = message;
    }
    while (at !== null && at !== view.dots) {
      const next: Element | null = at.nextElementSibling;
      at.remove();
      at = next;
    }
    this.#nodes = nodes;
    const last = nodes.get(messages.at(-1)?.id ?? "")?.node;
    if (isNew && last !== undefined && (isNearEnd || isFirst || before?.role === "user")) {
      // A tall answer is read from its top.
      const isTall = before?.role === "assistant" && last.offsetHeight > log.clientHeight;
      log.scrollTop = isTall && !isFirst ? last.offsetTop - NEAR_END_PX / 4 : log.scrollHeight;
    } else if (isNearEnd) log.scrollTop = log.scrollHeight;
    // Only after the history is in: screen readers would read all of it out.
    if (status !== "loading") log.setAttribute("role", "log");
  }

  #createMessage(message: ChatMessage, isFirstOfRole: boolean): HTMLElement {
    const { role, parts, metadata } = message;
    const isUser = role === "user";
    const texts = this.#texts();
    const name = isUser ? undefined : (metadata?.name ?? this.getAttribute("bot-name"));
    const node = create("div", { class: `message ${role}`, part: `message ${role}` });
    if (metadata?.isPending === true) node.classList.add("pending");
    if (name && isFirstOfRole) node.append(create("span", { class: "name", part: "name" }, name));
    else node.append(create("span", { class: "hidden" }, isUser ? texts.you : texts.bot));
    const bubble = create("div", { class: "bubble", part: `bubble ${role}-bubble` });
    for (const { text } of parts) {
      const isMarkdown = !isUser && this.getAttribute("markdown") !== "off";
      const render = this.#renderText ?? (isMarkdown ? renderMarkdown : createText);
      bubble.append(render(text, message));
      bubble.dir = "auto";
    }
    node.append(bubble);
    return node;
  }

  #renderStatus(): void {
    const view = this.#view;
    if (view === undefined) return;
    const { status, error, pending } = this.chat.getSnapshot();
    const { text, seconds } = this.#describe();
    if (view.statusText.textContent !== text) view.statusText.textContent = text;
    // Not read out: it changes each second.
    view.seconds.textContent = seconds;
    view.status.classList.toggle("failed", error !== undefined);
    view.status.hidden = text === "";
    view.retry.hidden =
      error === undefined || (pending === undefined && this.chat.messages.length > 0);
    view.discard.hidden = error === undefined || pending === undefined;
    view.newChat.hidden = status !== "ended" && error?.code !== "chat_not_found";
    view.actions.hidden = view.retry.hidden && view.discard.hidden && view.newChat.hidden;
    view.form.hidden = status === "ended";
    view.send.disabled = !this.#canSend() || view.input.value.trim() === "";
  }

  /** The text of the status line, and the time until the next try. */
  #describe(): { readonly text: string; readonly seconds: string } {
    const texts = this.#texts();
    const { status, error, pending } = this.chat.getSnapshot();
    if (status === "ended") return { text: texts.ended, seconds: "" };
    if (status === "loading") return { text: texts.loading, seconds: "" };
    if (error !== undefined) {
      const isUnknown = pending !== undefined && error.sent === "unknown";
      const own = isUnknown && error.code !== "session_required" ? texts.unknown : undefined;
      const ended = error.code === "chat_ended" ? texts.ended : undefined;
      return { text: own ?? ended ?? texts.errors[error.code] ?? texts.failed, seconds: "" };
    }
    if (pending === undefined) return { text: "", seconds: "" };
    const { retry, sinceMs } = pending;
    const now = Date.now();
    if (retry !== undefined && retry.reason !== "running" && retry.atMs > now) {
      const { code, status: httpStatus } = retry.reason;
      const seconds = texts.seconds(Math.ceil((retry.atMs - now) / 1000));
      if (code === "rate_limited") return { text: texts.rateLimited, seconds };
      const isBusy = code !== "not_a_problem" && httpStatus >= 400 && httpStatus !== 504;
      return { text: isBusy ? texts.busy : texts.reconnecting, seconds };
    }
    const ms = now - sinceMs;
    const isSlow = ms >= VERY_SLOW_MS ? texts.verySlow : texts.slow;
    return { text: ms >= SLOW_MS ? isSlow : texts.sending, seconds: "" };
  }
}
