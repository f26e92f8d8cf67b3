import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  formatLock,
  formatRecord,
  formatTally,
  holdsLock,
  isLockOf,
  markerOf,
  parseRecord,
  parseTally,
} from "./records.ts";

const token = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const digest = fc.stringMatching(/^[A-Za-z0-9_-]{22}$/);
const mark = fc.constantFrom("-", "0:none", "12:abcdefghijk");
const timeUs = fc.nat({ max: Number.MAX_SAFE_INTEGER });

describe("a lock", () => {
  test("is its holder's, for as long as it says", () => {
    fc.assert(
      fc.property(token, token, timeUs, (holder, other, endUs) => {
        const text = formatLock(holder, endUs);
        expect(isLockOf(text, holder)).toBe(true);
        expect(isLockOf(text, other)).toBe(other === holder);
        expect(holdsLock(text, endUs - 1)).toBe(true);
        expect(holdsLock(text, endUs)).toBe(false);
      }),
    );
  });

  test("that is not there is nobody's", () => {
    expect(isLockOf(undefined, "token")).toBe(false);
    expect(holdsLock(undefined, 0)).toBe(false);
  });

  test("of a longer token is not that of its beginning", () => {
    expect(isLockOf(formatLock("token-12", 1), "token-1")).toBe(false);
  });
});

describe("a tally", () => {
  test("that was written is the same tally again", () => {
    fc.assert(
      fc.property(
        fc.record({
          sends: fc.nat(),
          mark: fc.oneof(mark, fc.constant("*")),
          doubtfulUntilUs: timeUs,
        }),
        (tally) => {
          expect(parseTally(formatTally(tally))).toEqual(tally);
        },
      ),
    );
  });

  test("that is not there counts nothing and knows nothing", () => {
    expect(parseTally(undefined)).toEqual({ sends: 0, mark: "-", doubtfulUntilUs: 0 });
    expect(parseTally("")).toEqual({ sends: 0, mark: "-", doubtfulUntilUs: 0 });
  });
});

describe("a key's record", () => {
  test("of a message under way is the same record again", () => {
    fc.assert(
      fc.property(
        fc.record({
          kind: fc.constant("pending" as const),
          fingerprint: digest,
          attempt: token,
          holder: token,
          leaseEndUs: timeUs,
          mark,
          code: fc.constantFrom("-", "outcome_unknown", "upstream_error"),
        }),
        (record) => {
          expect(parseRecord(formatRecord(record))).toEqual(record);
        },
      ),
    );
  });

  test("of a finished message is the same record again, whatever its answer", () => {
    const answer = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.json(),
      fc.constantFrom("", " ", "p x", "f y", "\n"),
    );
    fc.assert(
      fc.property(digest, answer, (fingerprint, text) => {
        const record = { kind: "finished", fingerprint, answer: text } as const;
        expect(parseRecord(formatRecord(record))).toEqual(record);
      }),
    );
  });

  test("that is not there is none", () => {
    expect(parseRecord(undefined)).toBeUndefined();
  });
});

test("a message is known by its key, else by its request", () => {
  const message = { token: "token-1", fingerprint: "words" };
  expect(markerOf({ ...message, keyDigest: "key" })).toBe("key");
  expect(markerOf({ ...message, keyDigest: undefined })).toBe("token-1");
});
