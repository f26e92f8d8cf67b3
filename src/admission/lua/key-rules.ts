/** Rules of `rules/key-rules.ts` on the record of an idempotency key, in Lua. Comes after `RECORDS`. */
import { KEY_KEPT_US } from "../admission.ts";

export const KEY_RULES = `
-- The record of a key without a stored answer.
local function read_open(text)
  local key = parse_key(text)
  if key and key.kind == 'f' then return nil end
  return key
end
local function recall_key(text, token, fingerprint)
  if text then return nil end
  return {
    kind = 'p', fingerprint = fingerprint, attempt = token, holder = token, lease_end = 0, state = '-', code = '-',
  }
end
local function close_key(record_key, key)
  key.lease_end = 0
  rewrite(record_key, format_key(key), ${KEY_KEPT_US})
end
-- stored: the answer, or nil where it is not to be stored. spend(): spends its bytes, or says false.
local function finish_key(record_key, key, stored, spend)
  if stored and spend() then
    write(record_key, 'f ' .. key.fingerprint .. ' ' .. stored, ${KEY_KEPT_US})
    return
  end
  local was = key.kind
  key.kind, key.lease_end, key.code = 'a', 0, '-'
  if was == 'a' then rewrite(record_key, format_key(key), ${KEY_KEPT_US})
  else write(record_key, format_key(key), ${KEY_KEPT_US}) end
end
`;
