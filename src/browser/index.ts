/** Typed client and chat store for uponai-bff. */
export type * from "./api.ts";
export type * from "./types.ts";
export { ChatError, type ChatErrorCode, type ChatErrorFields } from "./chat-error.ts";
export { createChat } from "./chat.ts";
export { createClient } from "./client.ts";
