/**
 * Every secret of the tests has "canary" in it. No log line of any service that a test starts, and
 * no answer that passes through `sendMessage`, may hold the word: checked on each, in every test.
 */
export function expectNoCanary(text: string): void {
  const at = text.indexOf("canary");
  if (at !== -1)
    throw new Error(`a secret came out: …${text.slice(Math.max(at - 80, 0), at + 40)}…`);
}
