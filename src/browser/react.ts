/** React hook for a chat, and the types of `<uponai-chat>` in JSX. */
import { type DetailedHTMLProps, type HTMLAttributes, useState, useSyncExternalStore } from "react";

import { createChat } from "./chat.ts";
import type { UponaiChatElement, UponaiChatEventMap } from "./element-class.ts";
import type { Chat, ChatOptions, ChatSnapshot } from "./types.ts";

/** What `useChat` returns. */
export type UseChat = ChatSnapshot &
  Pick<Chat, "sendMessage" | "retry" | "dismiss" | "reload" | "end" | "newChat">;

/**
 * Uses one chat in a component. The options of the first render count; a `chat` of your own can be
 * shared by several components.
 *
 * @example
 * const { messages, status, sendMessage } = useChat();
 */
export function useChat(options: ChatOptions & { readonly chat?: Chat } = {}): UseChat {
  const [chat] = useState(() => options.chat ?? createChat(options));
  // A server sends no request, so its snapshot is the first of the browser.
  const snapshot = useSyncExternalStore(chat.subscribe, chat.getSnapshot, chat.getSnapshot);
  const { sendMessage, retry, dismiss, reload, end, newChat } = chat;
  return { ...snapshot, sendMessage, retry, dismiss, reload, end, newChat };
}

/** React 19 listens to `uponai-send` by `onuponai-send`, and sets properties. */
type ElementEvents = {
  readonly [Name in keyof UponaiChatEventMap as `on${Name}`]?: (
    event: UponaiChatEventMap[Name],
  ) => void;
};

type ElementProps = DetailedHTMLProps<HTMLAttributes<UponaiChatElement>, UponaiChatElement> &
  ElementEvents &
  Partial<Pick<UponaiChatElement, "chat" | "token" | "labels" | "renderText" | "disabled">> & {
    readonly "base-url"?: string;
    readonly "chat-id"?: string;
    readonly start?: "lazy" | "eager";
    readonly heading?: string;
    readonly placeholder?: string;
    readonly "bot-name"?: string;
    readonly markdown?: "on" | "off";
    readonly "send-key"?: "enter" | "mod-enter";
    readonly persist?: "on" | "off";
  };

declare module "react" {
  // oxlint-disable-next-line typescript/no-namespace -- React's types of elements are a namespace
  namespace JSX {
    interface IntrinsicElements {
      "uponai-chat": ElementProps;
    }
  }
}
