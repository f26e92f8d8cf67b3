import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { normaliseAddress, resolveClientAddress } from "./client-address.ts";

describe("an address", () => {
  test.each([
    ["203.0.113.7", "203.0.113.7"],
    ["203.0.113.7:4711", "203.0.113.7"],
    ["::ffff:203.0.113.7", "203.0.113.7"],
    ["::FFFF:cb00:7107", "203.0.113.7"],
    ["[::ffff:203.0.113.7]:80", "203.0.113.7"],
    ["64:ff9b::203.0.113.7", "203.0.113.7"],
    ["64:FF9B::cb00:7107", "203.0.113.7"],
    ["0064:ff9b:0:0:0:0:cb00:7107", "203.0.113.7"],
    ["[64:ff9b::203.0.113.7]:4711", "203.0.113.7"],
    ["64:ff9b::203.0.113.7%eth0", "203.0.113.7"],
    // Not the well-known prefix: the network's own (RFC 8215), and others that begin alike.
    ["64:ff9b:1::203.0.113.7", "64:ff9b:1:0::/64"],
    ["64:ff9b::1:203.0.113.7", "64:ff9b:0:0::/64"],
    ["64:ff9c::203.0.113.7", "64:ff9c:0:0::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:DB8:0:0:1:2:3:4", "2001:db8:0:0::/64"],
    ["[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
  ])("%s counts as %s", (text, expected) => {
    expect(normaliseAddress(text)).toBe(expected);
  });

  test.each([
    "",
    "unknown",
    "_hidden",
    "256.1.1.1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.4.",
    "01.2.3.4",
    "0x7f.1",
    "localhost",
    "2001:db8::1::2",
    "]:[",
    "1.2.3.4, 5.6.7.8",
    "::1]/x",
    "%",
    "%%%%",
    `fe80::1%${"z".repeat(93)}`,
    "1".repeat(101),
  ])("%j is none", (text) => {
    expect(normaliseAddress(text)).toBeUndefined();
  });

  test("of any IPv4 is itself, plain, mapped or translated; of any IPv6 is its /64", () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(normaliseAddress(address)).toBe(address);
        expect(normaliseAddress(`::ffff:${address}`)).toBe(address);
        expect(normaliseAddress(`64:ff9b::${address}`)).toBe(address);
      }),
    );
    const group = fc.integer({ min: 0, max: 0xffff }).map((value) => value.toString(16));
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        fc.pre(groups[0] !== "0");
        expect(normaliseAddress(groups.join(":"))).toBe(`${groups.slice(0, 4).join(":")}::/64`);
      }),
    );
  });

  test("of any text whatever is one or none, and never throws", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const address = normaliseAddress(text);
        expect(address === undefined || /^[\da-f.:/]+$/.test(address)).toBe(true);
      }),
    );
  });
});

describe("the client's address", () => {
  const peer = "10.0.0.1";

  test("is the connection's where no proxy is trusted, whatever the client says", () => {
    expect(resolveClientAddress(peer, "203.0.113.1", 0)).toBe(peer);
  });

  test("is the entry that the outermost trusted proxy wrote, never one further left", () => {
    const header = "203.0.113.66, 203.0.113.1, 10.0.0.9";
    expect(resolveClientAddress(peer, header, 1)).toBe("10.0.0.9");
    expect(resolveClientAddress(peer, header, 2)).toBe("203.0.113.1");
  });

  test("is the connection's where the header has too few entries or no address", () => {
    expect(resolveClientAddress(peer, "203.0.113.1", 2)).toBe(peer);
    expect(resolveClientAddress(peer, null, 1)).toBe(peer);
    expect(resolveClientAddress(peer, "", 1)).toBe(peer);
    expect(resolveClientAddress(peer, "203.0.113.1, unknown", 1)).toBe(peer);
  });

  test("is one shared name where even the connection has none", () => {
    expect(resolveClientAddress("", null, 0)).toBe("unknown");
  });
});
