/** The documented browser client, taken out of docs/sending.md word for word. */
import { readFileSync } from "node:fs";

export interface Answer {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly recovered: boolean;
}

export interface Pending {
  readonly chatId: string;
  readonly content: string;
  readonly key: string;
}

/** What the client exports. */
export interface MessageClient {
  readonly sendMessage: (chatId: string, content: string) => Promise<Answer>;
  readonly findPending: (chatId: string) => Pending | undefined;
  readonly resumeMessage: (chatId: string) => Promise<Answer>;
  readonly isSendKey: (event: {
    readonly key: string;
    readonly shiftKey: boolean;
    readonly isComposing: boolean;
    readonly keyCode: number;
  }) => boolean;
}

/** The text of the client in the documentation. */
export function readDocumentedClient(): string {
  const page = readFileSync(new URL("../../docs/sending.md", import.meta.url), "utf8");
  const blocks = [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, text = ""]) => text);
  const [client, ...others] = blocks.filter((text) => text.includes("export function sendMessage"));
  if (client === undefined || others.length > 0) throw new Error("the page has not one client");
  return client;
}

let loads = 0;

/** Loads the client as a page does after a reload: as a new module. */
export async function loadClient(): Promise<MessageClient> {
  loads += 1;
  const code = encodeURIComponent(readDocumentedClient());
  return (await import(`data:text/javascript,${code}#${loads}`)) as MessageClient;
}

/** What a browser has and Node has not: the storage of a tab, and events of the window. */
export interface TestBrowser {
  /** Storage of the tab, which outlives a reload. */
  readonly stored: Map<string, string>;
  /** Tells the page that the network is back. */
  readonly goOnline: () => void;
}

/**
 * Sets the globals of a browser.
 *
 * @param set sets a global until the end of the test
 * @param send sends the requests of the page, whose URLs are paths
 */
export function stubBrowser(
  set: (name: string, value: unknown) => void,
  send: (path: string, init: RequestInit & { readonly body: string }) => Promise<Response>,
): TestBrowser {
  const stored = new Map<string, string>();
  const listeners = new EventTarget();
  set("sessionStorage", {
    getItem: (name: string) => stored.get(name) ?? null,
    setItem: (name: string, value: string) => void stored.set(name, value),
    removeItem: (name: string) => void stored.delete(name),
  });
  set("addEventListener", listeners.addEventListener.bind(listeners));
  set("removeEventListener", listeners.removeEventListener.bind(listeners));
  set("fetch", send);
  return { stored, goOnline: () => void listeners.dispatchEvent(new Event("online")) };
}
