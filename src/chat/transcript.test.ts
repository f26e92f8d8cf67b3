import { createHash } from "node:crypto";

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { ProviderMessage } from "./chat-provider.ts";
import {
  advanceTranscriptState,
  computeAnsweredState,
  computeTranscriptState,
  findAnswer,
} from "./transcript.ts";

const hashing = {
  digest: (text: string) => createHash("sha256").update(text).digest("base64url"),
  pseudonym: (text: string) => text,
  keyedDigest: (_key: string, text: string) => text,
};

const user = (content: string): ProviderMessage => ({ role: "user", content });
const agent = (content: string): ProviderMessage => ({ role: "assistant", content });
const BEFORE = [agent("Welcome"), user("one"), agent("to one")];
const STATE = computeTranscriptState(hashing, BEFORE);
const find = (...after: ProviderMessage[]) =>
  findAnswer(hashing, [...BEFORE, ...after], STATE, "hi");

const look = (...transcript: ProviderMessage[]) =>
  findAnswer(hashing, transcript, STATE, "hi").kind;

describe("the answer to a message", () => {
  test("is what follows it, when it is right where it must be", () => {
    expect(find(user("hi"), agent("hello"))).toEqual({
      kind: "answer",
      messages: [agent("hello")],
      closed: false,
    });
  });

  test("is all of it, up to the next message of a user", () => {
    const call = { role: "assistant", content: "", toolCalls: [{ id: "1" }] };
    const result = { role: "tool", content: "42" };
    const answer = [call, result, { content: "hello" }];
    expect(find(user("hi"), ...answer, user("hi"), agent("again"))).toEqual({
      kind: "answer",
      messages: answer,
      closed: true,
    });
  });

  test.each<[string, ProviderMessage[]]>([
    ["the message has not arrived", []],
    ["nothing follows it", [user("hi")]],
    ["a tool was called and no text follows", [user("hi"), { toolCalls: [{ id: "1" }] }]],
    ["words come with a tool call", [user("hi"), { content: "wait", toolCalls: [{ id: "1" }] }]],
    ["a tool spoke last", [user("hi"), agent("wait"), { role: "tool", content: "42" }]],
    ["the last words are empty", [user("hi"), agent("")]],
    ["the last words are null", [user("hi"), { role: "assistant", content: null }]],
  ])("may still come while %s", (_what, after) => {
    expect(find(...after)).toEqual({ kind: "not_yet" });
  });

  test.each<[string, ProviderMessage[]]>([
    ["other words are there", [user("ho"), agent("hello")]],
    ["the same words are one further", [user("ho"), agent("hello"), user("hi"), agent("hello")]],
    ["the words are the agent's", [agent("hi"), agent("hello")]],
    ["the words have no role", [{ content: "hi" }, agent("hello")]],
    ["the words differ by a space", [user("hi "), agent("hello")]],
    ["the next message follows at once", [user("hi"), user("ho"), agent("hello")]],
  ])("never comes where %s", (_what, after) => {
    expect(find(...after)).toEqual({ kind: "elsewhere" });
  });

  test("never comes where the transcript is not the one that was counted", () => {
    const after = [user("hi"), agent("hello")];
    expect(look(...BEFORE, ...after)).toBe("answer");
    expect(look(...BEFORE.slice(1), ...after)).toBe("elsewhere");
    expect(look(user("more"), ...BEFORE, ...after)).toBe("elsewhere");
    expect(look(...BEFORE.slice(0, 2), agent("changed"), ...after)).toBe("elsewhere");
    expect(look(...BEFORE.slice(0, 2), user("to one"), ...after)).toBe("elsewhere");
    expect(look(...BEFORE.slice(0, 2))).toBe("elsewhere");
    expect(look()).toBe("elsewhere");
  });

  test("to the first message of all is found in an empty transcript's successor alone", () => {
    const empty = computeTranscriptState(hashing, []);
    const after = [user("hi"), agent("hello")];
    expect(findAnswer(hashing, after, empty, "hi").kind).toBe("answer");
    expect(findAnswer(hashing, [], empty, "hi").kind).toBe("not_yet");
    expect(findAnswer(hashing, [agent("Welcome"), ...after], empty, "hi").kind).toBe("elsewhere");
  });
});

describe("a transcript state", () => {
  test("holds no word of the transcript, and fits a state's text", () => {
    expect(STATE).toEqual({ count: 3, digest: expect.stringMatching(/^[\w-]{11}$/) as unknown });
    expect(computeTranscriptState(hashing, [])).toEqual({ count: 0, digest: "none" });
  });

  test("reads an absent role as assistant and absent words as none", () => {
    expect(computeTranscriptState(hashing, [{ content: "a" }])).toEqual(
      computeTranscriptState(hashing, [agent("a")]),
    );
    expect(computeTranscriptState(hashing, [{ content: null }])).toEqual(
      computeTranscriptState(hashing, [agent("")]),
    );
    expect(computeTranscriptState(hashing, [user("a")])).not.toEqual(
      computeTranscriptState(hashing, [agent("a")]),
    );
  });

  test("after an answer counts the message with it, but not twice where the answer repeats it", () => {
    const answer = [agent("hello")];
    const after = computeTranscriptState(hashing, [...BEFORE, user("hi"), ...answer]);
    expect(advanceTranscriptState(hashing, STATE, "hi", answer)).toEqual(after);
    expect(advanceTranscriptState(hashing, STATE, "hi", [user("hi"), ...answer])).toEqual(after);
    expect(advanceTranscriptState(hashing, STATE, "hi", [user("ho"), ...answer]).count).toBe(6);
  });

  test("after an empty answer is that of the message", () => {
    expect(advanceTranscriptState(hashing, STATE, "hi", [])).toEqual(
      computeTranscriptState(hashing, [...BEFORE, user("hi")]),
    );
  });
});

const messages = fc.array(
  fc.record({
    role: fc.constantFrom("user", "assistant", "tool", undefined),
    content: fc.constantFrom("hi", "ho", "", null),
  }),
  { maxLength: 6 },
);
const answers = fc
  .array(fc.constantFrom("hi", "ho", "hello").map(agent), { minLength: 1, maxLength: 3 })
  .map((answer) => answer as readonly ProviderMessage[]);

test("a message that was answered is found, whatever was said before and is said after", () => {
  fc.assert(
    fc.property(messages, answers, messages, (before, answer, after) => {
      const state = computeTranscriptState(hashing, before);
      const transcript = [...before, user("hi"), ...answer, user("ho"), ...after];
      expect(findAnswer(hashing, transcript, state, "hi")).toEqual({
        kind: "answer",
        messages: answer,
        closed: true,
      });
    }),
  );
});

test("the state that is advanced by an answer is the state of the transcript", () => {
  fc.assert(
    fc.property(messages, answers, (before, answer) => {
      expect(
        advanceTranscriptState(hashing, computeTranscriptState(hashing, before), "hi", answer),
      ).toEqual(computeTranscriptState(hashing, [...before, user("hi"), ...answer]));
    }),
  );
});

test("no answer is ever taken from before the state, or from a message in other words", () => {
  fc.assert(
    fc.property(messages, messages, fc.nat(8), (before, transcript, count) => {
      const state = { ...computeTranscriptState(hashing, before), count };
      const finding = findAnswer(hashing, transcript, state, "hi");
      if (finding.kind !== "answer") return;
      expect(transcript[count]).toEqual(user("hi"));
      expect(transcript.slice(count + 1, count + 1 + finding.messages.length)).toEqual(
        finding.messages,
      );
      expect(finding.messages.map(({ role }) => role)).not.toContain("user");
    }),
  );
});

test("an agent that repeats itself, and lists fewer messages than the transcript has, matches in no wrong place", () => {
  const tool: ProviderMessage = { role: "assistant", content: null, toolCalls: [{ id: "t" }] };
  const first = [user("hi"), tool, tool, agent("Yes.")];
  const second = [user("hi"), agent("Yes.")];
  // The completion listed its words alone, so the count lags behind by two.
  const counted = [computeTranscriptState(hashing, BEFORE)];
  for (let sent = 0; sent < 2; sent += 1) {
    counted.push(advanceTranscriptState(hashing, counted.at(-1) ?? STATE, "hi", [agent("Yes.")]));
  }
  const finding = findAnswer(
    hashing,
    [...BEFORE, ...first, ...second],
    counted.at(-1) ?? STATE,
    "hi",
  );
  expect(finding).toEqual({ kind: "elsewhere" });
});

const learn = (...messages: ProviderMessage[]) => computeAnsweredState(hashing, messages);

describe("the state of an answered transcript", () => {
  test("is that of the transcript, if every message is answered", () => {
    expect(learn(...BEFORE)).toEqual(STATE);
    expect(learn()).toEqual(computeTranscriptState(hashing, []));
    expect(learn(agent("Welcome"))).toEqual(computeTranscriptState(hashing, [agent("Welcome")]));
    expect(computeAnsweredState(hashing, null)).toBeUndefined();
  });

  test("is none where an answer may still come: it could pass for the next message's", () => {
    const tool: ProviderMessage = { role: "assistant", content: "", toolCalls: [{ id: "t" }] };
    expect(learn(...BEFORE, user("two"))).toBeUndefined();
    expect(learn(...BEFORE, user("two"), tool)).toBeUndefined();
    expect(learn(...BEFORE, user("two"), user("three"), agent("to one of them"))).toBeUndefined();
  });
});
