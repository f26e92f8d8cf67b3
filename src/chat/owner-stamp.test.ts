import { createHmac } from "node:crypto";

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Subject, WorkspaceId } from "../branded.ts";
import { createOwnerStamp, OWNER_STAMP, readOwnerStamp, type StampedOwner } from "./owner-stamp.ts";

const hashing = {
  digest: (text: string) => text,
  pseudonym: (text: string) => text,
  keyedDigest: (key: string, text: string) =>
    createHmac("sha256", key).update(text).digest("base64url"),
};

function owner(subject = "alice", id = 42, ...apiTokens: string[]): StampedOwner {
  const [first = "token-1", ...more] = apiTokens;
  return {
    workspace: {
      id: id as WorkspaceId,
      apiTokens: [first, ...more],
      policies: [],
      replays: undefined,
      agentId: "agent-1",
    },
    subject: subject as Subject,
  };
}

const stamp = (of: StampedOwner) => ({ [OWNER_STAMP]: createOwnerStamp(hashing, of) });
const read = (metadata: Record<string, unknown> | null | undefined, by: StampedOwner) =>
  readOwnerStamp(hashing, metadata, by);

describe("a chat", () => {
  test("is whose stamp it bears", () => {
    expect(read(stamp(owner()), owner())).toBe("own");
    expect(read({ page: "/", ...stamp(owner()) }, owner())).toBe("own");
  });

  test.each([
    ["another subject", owner("bob")],
    ["another workspace", owner("alice", 43)],
    ["another token", owner("alice", 42, "token-2")],
  ])("has another owner by the stamp of %s", (_what, other) => {
    expect(read(stamp(other), owner())).toBe("foreign");
  });

  test.each([[undefined], [null], [{}], [{ [OWNER_STAMP]: null }], [{ page: "/" }]])(
    "without a stamp (%j) has no owner",
    (metadata) => {
      expect(read(metadata, owner())).toBe("none");
    },
  );

  test.each(["", "own", 7, false, true, [], {}, 0])(
    "with the stamp %j has another owner",
    (text) => {
      expect(read({ [OWNER_STAMP]: text }, owner())).toBe("foreign");
    },
  );
});

test("every listed token counts, and the first one stamps", () => {
  const old = stamp(owner("alice", 42, "old"));
  expect(read(old, owner("alice", 42, "new", "old"))).toBe("own");
  expect(read(old, owner("alice", 42, "new"))).toBe("foreign");
  expect(stamp(owner("alice", 42, "new", "old"))).toEqual(stamp(owner("alice", 42, "new")));
});

test("no two owners have the same stamp, whatever their subjects are", () => {
  const owners = fc.tuple(fc.string({ unit: "binary", minLength: 1 }), fc.integer({ min: 1 }));
  fc.assert(
    fc.property(owners, owners, ([oneSubject, oneId], [otherSubject, otherId]) => {
      const one = owner(oneSubject, oneId);
      const other = owner(otherSubject, otherId);
      // Halves of surrogate pairs are the same bytes, and no subject of a JSON text's.
      fc.pre(oneSubject.isWellFormed() && otherSubject.isWellFormed());
      const same = oneSubject === otherSubject && oneId === otherId;
      expect(read(stamp(one), other)).toBe(same ? "own" : "foreign");
    }),
  );
});
