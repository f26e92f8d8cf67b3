/**
 * Branded (nominal) types of ids that are plain strings and numbers on the wire. The compiler then
 * refuses one id in place of another. Each type has exactly one parser; only that parser casts to
 * it.
 */
declare const brand: unique symbol;
type Branded<Value, Name extends string> = Value & { readonly [brand]: Name };

/** A chat id that matches `^[A-Za-z0-9_-]{1,128}$`, created by `parseChatId`. */
export type ChatId = Branded<string, "ChatId">;

/** A UponAI workspace id from the operator's configuration. It never comes from a client. */
export type WorkspaceId = Branded<number, "WorkspaceId">;

/** The `sub` claim of a verified session. Personal data: never logged, never a metric label. */
export type Subject = Branded<string, "Subject">;
