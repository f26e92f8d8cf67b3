import { describe, expect, test } from "vitest";

import type { ChatId } from "../branded.ts";
import { resolveChatAccess } from "./admit-chat.ts";

const CHAT = "chat-1" as ChatId;

describe("without a chats claim", () => {
  test.each([
    ["first-use", "first-use"],
    ["claim", "started"],
    ["workspace", "open"],
  ] as const)("the operator's %s means %s", (mode, access) => {
    expect(resolveChatAccess(mode, undefined, CHAT)).toBe(access);
  });
});

describe("with a chats claim", () => {
  test.each([
    ["first-use", "open-first-use"],
    ["claim", "open"],
    ["workspace", "open"],
  ] as const)("under %s a listed chat is %s", (mode, access) => {
    expect(resolveChatAccess(mode, ["chat-0", "chat-1"], CHAT)).toBe(access);
  });

  test.each(["first-use", "claim", "workspace"] as const)(
    "under %s all others are those that it started",
    (mode) => {
      for (const chats of [[], ["chat-0"], ["CHAT-1"], ["chat-1 "], ["chat-10"], ["chat"], ["*"]]) {
        expect(resolveChatAccess(mode, chats, CHAT)).toBe("started");
      }
    },
  );
});
