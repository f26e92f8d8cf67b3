/**
 * Reads the rights of Redis users from `docs/redis.md`, so that the tests check the documented
 * rules.
 */
import { readFileSync } from "node:fs";

const page = readFileSync(new URL("../../docs/redis.md", import.meta.url), "utf8");

/** Rules of the `ACL SETUSER` line for this user in the docs, without its password. */
export function readRules(user: string): string[] {
  const rules = new RegExp(`^ACL SETUSER ${user} on >\\S+ (.+)$`, "m").exec(page)?.[1];
  if (rules === undefined) throw new Error(`docs/redis.md has no user ${user}`);
  return rules.split(" ");
}
