/** Decides which address a request counts for, and in what form. */

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

/** Longest text that is read as an address, in characters: IPv6 in brackets with zone and port. */
const ADDRESS_CHARS_MAX = 100;

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const IPV4_WITH_PORT = /^([\d.]+):\d{1,5}$/;
const IPV6_IN_BRACKETS = /^\[([^\]]+)\](?::\d{1,5})?$/;

/**
 * One form per client: IPv4 as it is; an IPv6 address that stands for an IPv4 address (IPv4-mapped,
 * or NAT64's well-known prefix) as that; other IPv6 by its /64, which is what one customer is given.
 * Ports, brackets and zones are dropped.
 */
export function normaliseAddress(text: string): string | undefined {
  if (text.length > ADDRESS_CHARS_MAX) return undefined;
  const bare = IPV4_WITH_PORT.exec(text)?.[1] ?? IPV6_IN_BRACKETS.exec(text)?.[1] ?? text;
  if (IPV4.test(bare)) return bare;
  const [withoutZone = ""] = bare.split("%", 1);
  const groups = parseIpv6(withoutZone);
  if (groups === undefined) return undefined;
  if (holdsIpv4(groups))
    return groups
      .slice(6)
      .flatMap((group) => [group >> 8, group & 0xff])
      .join(".");
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(":")}::/64`;
}

/** RFC 4291 section 2.5.5.2: `::ffff:0:0/96`. RFC 6052 section 2.1: `64:ff9b::/96`, one NAT64 for all. */
const IPV4_PREFIXES: readonly (readonly number[])[] = [
  [0, 0, 0, 0, 0, 0xffff],
  [0x64, 0xff9b, 0, 0, 0, 0],
];

/** Whether the last 32 bits are an IPv4 address. */
function holdsIpv4(groups: readonly number[]): boolean {
  return IPV4_PREFIXES.some((prefix) => prefix.every((group, index) => groups[index] === group));
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
