/** The shadow root of `<uponai-chat>`. */
import { STYLES } from "./element-styles.ts";

/** The nodes of the element that change. */
export interface View {
  readonly frame: HTMLElement;
  readonly header: HTMLElement;
  readonly heading: HTMLElement;
  readonly log: HTMLElement;
  readonly list: HTMLElement;
  readonly empty: HTMLElement;
  readonly emptyText: HTMLElement;
  readonly earlier: HTMLButtonElement;
  readonly dots: HTMLElement;
  readonly status: HTMLElement;
  readonly statusText: HTMLElement;
  readonly seconds: HTMLElement;
  readonly actions: HTMLElement;
  readonly retry: HTMLButtonElement;
  readonly discard: HTMLButtonElement;
  readonly newChat: HTMLButtonElement;
  readonly form: HTMLFormElement;
  readonly input: HTMLTextAreaElement;
  readonly send: HTMLButtonElement;
}

/** Creates the shadow root of the element. */
export function createView(host: HTMLElement): View {
  const button = (name: string) =>
    create("button", { type: "button", class: name, part: `button ${name}` });
  const heading = create("h2", { part: "heading" });
  const header = create("header", { class: "header", part: "header" });
  header.append(create("slot", { name: "header" }, heading));
  const earlier = button("earlier");
  const emptyText = create("span");
  const empty = create("div", { class: "empty", part: "empty" });
  empty.append(create("slot", { name: "empty" }, emptyText));
  const dots = create("div", { class: "message assistant dots-row", "aria-hidden": "true" });
  dots.append(create("div", { class: "bubble dots" }, create("i"), create("i"), create("i")));
  const list = create("div", { class: "list" }, earlier, empty, dots);
  const log = create("div", { class: "log", part: "log", tabindex: "0" }, list);
  const statusText = create("span", { role: "status" });
  const seconds = create("span", { "aria-hidden": "true" });
  const status = create("div", { class: "status", part: "status" }, statusText, " ", seconds);
  const retry = button("retry");
  const discard = button("discard");
  const newChat = button("new-chat");
  const actions = create("div", { class: "actions" }, retry, discard, newChat);
  const input = create("textarea", { part: "input", rows: "1", enterkeyhint: "send" });
  const send = create("button", { type: "submit", class: "send", part: "send" }, createIcon());
  const form = create("form", { class: "composer", part: "composer" }, input, send);
  const footer = create("slot", { name: "footer" });
  const frame = create(
    "section",
    { class: "frame", part: "frame" },
    header,
    log,
    status,
    actions,
    form,
    footer,
  );
  const root = host.attachShadow({ mode: "open", delegatesFocus: true });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLES);
  root.adoptedStyleSheets = [sheet];
  root.append(frame);
  return {
    frame,
    header,
    heading,
    log,
    list,
    empty,
    emptyText,
    earlier,
    dots,
    status,
    statusText,
    seconds,
    actions,
    retry,
    discard,
    newChat,
    form,
    input,
    send,
  };
}

/** Creates an element with attributes and children. */
export function create<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Renders plain text. */
export function createText(text: string): Node {
  return new Text(text);
}

/** An arrow that points up. */
function createIcon(): SVGElement {
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M12 19V5m-6 6 6-6 6 6");
  icon.append(path);
  return icon;
}
