/** The rights of Redis users as `docs/redis.md` gives them, so that the page is what is tested. */
import { readFileSync } from "node:fs";

const page = readFileSync(new URL("../../docs/redis.md", import.meta.url), "utf8");

/** The rules of the page's `ACL SETUSER` line for this user, without its password. */
export function readRules(user: string): string[] {
  const rules = new RegExp(`^ACL SETUSER ${user} on >\\S+ (.+)$`, "m").exec(page)?.[1];
  if (rules === undefined) throw new Error(`docs/redis.md has no user ${user}`);
  return rules.split(" ");
}
