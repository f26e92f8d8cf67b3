/**
 * Check of the Node version. Versions that are too old must be able to run this file, so it has no
 * imports and uses only old syntax.
 */

/** The same as `engines` in package.json. */
const MAJOR_MIN = 22;
const MINOR_MIN = 19;

/** EX_CONFIG of sysexits.h: a restart does not help. */
export const EXIT_UNSUPPORTED_NODE = 78;

/**
 * Describes the problem where this version of Node is too old.
 *
 * @param version as in `process.versions.node`, such as `22.19.0`
 * @returns the text for the log; undefined where the version is supported
 */
export function describeOldNode(version: string): string | undefined {
  const numbers = version.split(".").map(Number);
  const major = numbers[0] === undefined ? 0 : numbers[0];
  const minor = numbers[1] === undefined ? 0 : numbers[1];
  if (major > MAJOR_MIN || (major === MAJOR_MIN && minor >= MINOR_MIN)) return undefined;
  return `uponai-bff needs Node ${MAJOR_MIN}.${MINOR_MIN} or newer, and this is Node ${version}. Install a newer Node, or run the container image.`;
}
