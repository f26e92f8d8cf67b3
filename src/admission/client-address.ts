/** Owns which address a request counts for, and in what form. */

/**
 * The client's address for limits: the socket's, or behind proxies the entry of `X-Forwarded-For`
 * that the outermost trusted one wrote. Entries further left are the client's own words.
 *
 * @param peer address of the socket
 * @param forwardedFor the header's value, several joined by commas, or null
 * @param trustedProxies how many proxies stand in front, 0 or more
 * @returns a normalised address; the peer's where the header has too few entries or no address
 */
export function resolveClientAddress(
  peer: string,
  forwardedFor: string | null,
  trustedProxies: number,
): string {
  if (trustedProxies > 0 && forwardedFor !== null) {
    const entry = forwardedFor.split(",").at(-trustedProxies);
    const address = entry === undefined ? undefined : normaliseAddress(entry.trim());
    if (address !== undefined) return address;
  }
  return normaliseAddress(peer) ?? "unknown";
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const IPV4_WITH_PORT = /^([\d.]+):\d{1,5}$/;
const IPV6_IN_BRACKETS = /^\[([^\]]+)\](?::\d{1,5})?$/;

/**
 * One form per client: IPv4 as it is, an IPv4-mapped IPv6 address as its IPv4, other IPv6 by its
 * /64, which is what one customer is given. Ports, brackets and zones are dropped.
 */
export function normaliseAddress(text: string): string | undefined {
  const bare = IPV4_WITH_PORT.exec(text)?.[1] ?? IPV6_IN_BRACKETS.exec(text)?.[1] ?? text;
  if (IPV4.test(bare)) return bare;
  const groups = parseIpv6(bare.replace(/%.*$/, ""));
  if (groups === undefined) return undefined;
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (mapped)
    return groups
      .slice(6)
      .flatMap((group) => [group >> 8, group & 0xff])
      .join(".");
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":")}::/64`;
}

/** The eight groups of an IPv6 address; the URL parser does the reading (WHATWG URL section 3.5). */
function parseIpv6(text: string): number[] | undefined {
  // The URL parser reads more than an address: nothing but an address's own characters gets there.
  if (!/^[\da-f.]*:[\da-f:.]*$/i.test(text) || !URL.canParse(`http://[${text}]/`)) return undefined;
  const canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1);
  const [head = "", tail] = canonical.split("::");
  const headGroups = readGroups(head);
  if (tail === undefined) return headGroups;
  const tailGroups = readGroups(tail);
  const zeros = Array.from({ length: 8 - headGroups.length - tailGroups.length }, () => 0);
  return [...headGroups, ...zeros, ...tailGroups];
}

function readGroups(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
}
