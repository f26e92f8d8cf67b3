import { readFile } from "node:fs/promises";

/** Reads the script of the chat element; undefined where it is not built. */
export async function readElementScript(): Promise<string | undefined> {
  try {
    // The same place from src/ and from dist/.
    return await readFile(new URL("../../../dist/element.txt", import.meta.url), "utf8");
  } catch {
    return undefined;
  }
}
