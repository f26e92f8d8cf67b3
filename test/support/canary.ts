/**
 * Leak check of all tests. Each secret of the tests contains the word "canary". Log lines of
 * services that tests start, and answers that pass through `sendMessage`, must not contain it.
 */
export function expectNoCanary(text: string): void {
  const at = text.indexOf("canary");
  if (at !== -1)
    throw new Error(`a secret came out: …${text.slice(Math.max(at - 80, 0), at + 40)}…`);
}
