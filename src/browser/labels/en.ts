import type { Labels } from "./labels.ts";

/** English texts. */
export const en: Labels = {
  conversation: "Conversation",
  input: "Your message",
  placeholder: "Write a message",
  send: "Send",
  you: "You:",
  bot: "Assistant:",
  empty: "How can we help you?",
  earlier: "Show earlier messages",
  loading: "Loading the conversation…",
  sending: "Waiting for the answer…",
  slow: "This can take a minute.",
  verySlow: "Still working. You may leave this page: the answer will be here when you return.",
  rateLimited: "Many messages in a short time. Your message is sent again by itself",
  busy: "The service is busy. Your message is sent again by itself",
  reconnecting: "The connection was lost. Trying again",
  seconds: (count) => `in ${count} s`,
  ended: "This chat has ended.",
  tryAgain: "Try again",
  discard: "Discard",
  newChat: "Start a new chat",
  unknown:
    "We do not know yet whether your message has arrived. Trying again does not send it twice.",
  failed: "That did not work. Please try again later.",
  errors: {
    session_required: "Please sign in to go on. Your message is kept.",
    rate_limited: "You have sent many messages. Please wait a while.",
    chat_not_found: "This chat does not exist any more.",
    message_rejected: "This message was not accepted. Please change it.",
    invalid_request: "This message was not accepted. It may be too long.",
    content_too_large: "This message is too long. Please shorten it.",
    workspace_unmapped: "Your account has no access to this chat.",
    unreachable: "There is no connection. Please check your network.",
  },
};
