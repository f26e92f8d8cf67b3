/** Checks the path of a request target as the client sent it, before a URL parser changes it. */

// A separator, one or two dots, and a separator or the end of the path. `\`, `%2f` and `%5c` count as
// separators: the WHATWG URL parser reads `\` as `/`, and a proxy in front may decode the others.
const DOT_SEGMENT = /(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=$|[/\\]|%2f|%5c)/i;

// The URL parser removes tabs and line breaks anywhere, so that `/.<tab>./` becomes `/../`, and other
// control characters and spaces at the end. So all of them are removed before the match.
const CONTROLS_AND_SPACES = /[\0- ]/g;

/**
 * Tells whether the path of a request target has a `.` or `..` segment, plain or percent-encoded. A
 * URL parser resolves such segments (WHATWG URL section 4.4): `/chat/x/%2e%2e/abc/send` becomes
 * `/chat/abc/send`. A proxy that applies its rules to the first path would then protect the wrong
 * one. The query and the fragment are not checked.
 *
 * @param target the raw request target, in origin form (`/path?query`), absolute form
 *   (`http://host/path`) or any other text
 */
export function hasDotSegments(target: string): boolean {
  // Fast path: most paths have neither character.
  if (!target.includes(".") && !target.includes("%")) return false;
  const end = target.search(/[?#]/);
  const path = end === -1 ? target : target.slice(0, end);
  return DOT_SEGMENT.test(path.replace(CONTROLS_AND_SPACES, ""));
}
