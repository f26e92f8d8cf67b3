/** What a page loads, after gzip. */
import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { bundle, gzipBytes } from "../support/browser-bundle.ts";

const KIB = 1024;
const CLIENT = 'export { createChat, createClient } from "./index.ts";';
const sizeOf = async (code: string) => gzipBytes(await bundle(code, ["react", "ai"]));

test("client and store are at most 4.5 KiB", async () => {
  expect(await sizeOf(CLIENT)).toBeLessThanOrEqual(4.5 * KIB);
});

test("the script of the element is at most 14 KiB, and names no other place to load from", () => {
  const script = readFileSync(new URL("../../dist/element.txt", import.meta.url), "utf8");
  expect(gzipBytes(script)).toBeLessThanOrEqual(14 * KIB);
  expect(script).not.toMatch(/\bimport\b\s*[({"']|innerHTML|insertAdjacentHTML|\beval\b/);
});

test.each([
  ["react", "useChat", 0.5],
  ["ai-sdk", "UponaiChatTransport", 1],
])("%s adds at most so many KiB", async (file, name, kib) => {
  const adapted = await sizeOf(`${CLIENT} export { ${name} } from "./${file}.ts";`);
  expect(adapted - (await sizeOf(CLIENT))).toBeLessThanOrEqual(kib * KIB);
});
