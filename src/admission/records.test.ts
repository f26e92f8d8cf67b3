import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import { LOCK_LEASE_US } from "./admission.ts";
import {
  formatChat,
  formatCounters,
  formatKey,
  formatState,
  isLeased,
  messageIdOf,
  NO_STATE,
  parseChat,
  parseCounters,
  parseKey,
  parseState,
  UNRESOLVED_MAX,
} from "./records.ts";

const token = fc.stringMatching(/^[A-Za-z0-9_-]{2,64}$/);
const digest = fc.stringMatching(/^[A-Za-z0-9_-]{22}$/);
const state = fc.constantFrom("-", "0:none", "12:abcdefghijk");
const messageId = fc.oneof(digest, token, fc.constant("*"));
const NOW_US = 1_700_000_000_000_000;
const timeUs = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const laterUs = fc.integer({ min: NOW_US + 1, max: Number.MAX_SAFE_INTEGER });

const chat = fc.record({
  owner: fc.option(
    fc.record({
      kind: fc.constantFrom("s" as const, "f" as const, "p" as const),
      subjectKey: digest,
      endUs: laterUs,
      uses: fc.integer({ min: 1, max: 1_000 }),
    }),
    { nil: undefined },
  ),
  sends: fc.nat(),
  state,
  doubtfulUntilUs: timeUs,
  contestedUntilUs: timeUs,
  running: fc.option(fc.record({ token, leaseEndUs: timeUs, fingerprint: digest, messageId }), {
    nil: undefined,
  }),
  unresolved: fc.array(fc.record({ fingerprint: digest, messageId, untilUs: laterUs }), {
    maxLength: UNRESOLVED_MAX,
  }),
});

describe("a chat's record", () => {
  test("that was written is the same record again", () => {
    fc.assert(
      fc.property(chat, (record) => {
        expect(parseChat(formatChat(record), NOW_US)).toEqual(record);
      }),
    );
  });

  test("is read without the owner and the unresolved messages that have ended", () => {
    fc.assert(
      fc.property(chat, (record) => {
        const { owner, unresolved } = parseChat(formatChat(record), Number.MAX_SAFE_INTEGER);
        expect(owner).toBeUndefined();
        expect(unresolved).toEqual([]);
      }),
    );
  });

  test("that is not there owns, counts and doubts nothing", () => {
    expect(parseChat(undefined, 0)).toEqual({
      owner: undefined,
      sends: 0,
      state: "-",
      doubtfulUntilUs: 0,
      contestedUntilUs: 0,
      running: undefined,
      unresolved: [],
    });
  });
});

test("a lease runs until its end, and one that ends too far ahead does not run at all", () => {
  fc.assert(
    fc.property(timeUs, (endUs) => {
      expect(isLeased(endUs, endUs - 1)).toBe(true);
      expect(isLeased(endUs, endUs)).toBe(false);
      expect(isLeased(endUs, endUs - 2 * LOCK_LEASE_US)).toBe(true);
      expect(isLeased(endUs, endUs - 2 * LOCK_LEASE_US - 1)).toBe(false);
    }),
  );
});

describe("a key's record", () => {
  test("of a message without a stored answer is the same record again", () => {
    fc.assert(
      fc.property(
        fc.record({
          kind: fc.constantFrom("pending" as const, "answered" as const),
          fingerprint: digest,
          attempt: token,
          holder: token,
          leaseEndUs: timeUs,
          state,
          code: fc.constantFrom("-", "outcome_unknown", "upstream_error"),
        }),
        (record) => {
          expect(parseKey(formatKey(record))).toEqual(record);
        },
      ),
    );
  });

  test("of a finished message is the same record again, whatever its answer", () => {
    const answer = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc.constantFrom("", " ", "p x", "f y", "a z", "\n"),
    );
    fc.assert(
      fc.property(digest, answer, (fingerprint, text) => {
        const record = { kind: "finished", fingerprint, answer: text } as const;
        expect(parseKey(formatKey(record))).toEqual(record);
      }),
    );
  });

  test("that is not there is none", () => {
    expect(parseKey(undefined)).toBeUndefined();
  });
});

test("counters that were written are the same again, and none are none", () => {
  fc.assert(
    fc.property(fc.array(timeUs, { minLength: 1, maxLength: 7 }), (counters) => {
      expect(parseCounters(formatCounters(counters))).toEqual(counters);
    }),
  );
  expect(parseCounters(undefined)).toEqual([]);
});

test("a message is known by its key, else by its request", () => {
  const message = { token: "token-1", fingerprint: "words" };
  expect(messageIdOf({ ...message, keyDigest: "key" })).toBe("key");
  expect(messageIdOf({ ...message, keyDigest: undefined })).toBe("token-1");
});

describe("a transcript state", () => {
  const digest = fc.oneof(fc.constant("none"), fc.stringMatching(/^[\w-]{11}$/));

  test("a state that was written is the same state again, and a word without spaces", () => {
    fc.assert(
      fc.property(fc.record({ count: fc.nat(), digest }), (state) => {
        const text = formatState(state);
        expect(text).toMatch(/^\S+$/);
        expect(text).not.toBe(NO_STATE);
        expect(parseState(text)).toEqual(state);
      }),
    );
  });

  test("no state is no state again", () => {
    expect(parseState(formatState(undefined))).toBeUndefined();
  });

  test.each([undefined, "", "-", "*", "3", ":a", "3:", "-1:a", "1.5:a", "a:3", " 3:a"])(
    "%j is none",
    (text) => {
      expect(parseState(text)).toBeUndefined();
    },
  );
});
