/**
 * Owns the nominal types of ids that are plain strings and numbers on the wire, so that one cannot
 * be passed where another is meant. Each has exactly one parser; nothing else may cast to it.
 */
declare const brand: unique symbol;
type Branded<Value, Name extends string> = Value & { readonly [brand]: Name };

/** A chat id that matched `^[A-Za-z0-9_-]{1,128}$`; made by `parseChatId`. */
export type ChatId = Branded<string, "ChatId">;

/** A UponAI workspace id from the operator's configuration; never from a client. */
export type WorkspaceId = Branded<number, "WorkspaceId">;

/** The `sub` of a verified session token. Personal data: never logged, never a metric label. */
export type Subject = Branded<string, "Subject">;
