/** Rules of owning a chat that this service has started. `lua/own.ts` has the same in Lua. */
import type { KeySpace } from "../key-space.ts";
import { NO_STATE } from "../records.ts";
import type { StateSettings } from "../state-settings.ts";
import { readOrImportChat, writeChat } from "./chat-rules.ts";
import type { Admitted } from "./settle.ts";

/** Writes down who started a chat; false where another subject owns it. */
export function ownChat(
  space: KeySpace,
  nowUs: number,
  { chatKey, subjectKey }: Pick<Admitted, "chatKey" | "subjectKey">,
  { state, stamped }: { readonly state: string; readonly stamped: boolean },
  { ownerKeptUs }: StateSettings,
): boolean {
  const chat = readOrImportChat(space, nowUs, chatKey);
  const { owner } = chat;
  const foreign = owner !== undefined && owner.subjectKey !== subjectKey;
  if (foreign && (owner.kind === "s" || (owner.kind === "f" && !stamped))) return false;
  chat.owner = { kind: "s", subjectKey, endUs: nowUs + ownerKeptUs, uses: 1 };
  const unused = chat.sends === 0 && chat.doubtfulUntilUs <= nowUs;
  if (unused && chat.state === NO_STATE) chat.state = state;
  writeChat(space, nowUs, chatKey, chat, ownerKeptUs);
  return true;
}
