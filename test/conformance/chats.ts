/** Contract suite: ownership of chats; starting, reading and ending a chat. */
import { describe, expect, test } from "vitest";

import { bearer, type Fixture, readCode } from "./runtime.ts";

interface ChatBody {
  readonly chatId: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

export function describeChats(use: () => Fixture): void {
  const start = async (claims: Record<string, unknown>, body?: unknown) =>
    use().ask("/chat", {
      method: "POST",
      headers: { ...(await bearer(claims)), "Content-Type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const act = async (claims: Record<string, unknown>, method: string, path: string) =>
    use().ask(path, { method, headers: await bearer(claims) });

  describe("a chat", () => {
    test("is started, used, read and ended by its owner, and by no other subject", async () => {
      const owner = { sub: "starter", workspace: "staffed" };
      const other = { sub: "stranger", workspace: "staffed" };
      const started = await start(owner, { metadata: { page: "/pricing" } });
      expect(started.status).toBe(201);
      const { chatId } = (await started.json()) as ChatBody;
      expect(started.headers.get("location")).toBe(`/chat/${chatId}`);
      expect((await use().send({ claims: owner, chatId, content: "hello" })).status).toBe(201);

      const read = await act(owner, "GET", `/chat/${chatId}`);
      expect(read.status).toBe(200);
      const chat = (await read.json()) as ChatBody;
      expect(Object.keys(chat).toSorted()).toEqual([
        "chatId",
        "endedAt",
        "messages",
        "startedAt",
        "status",
      ]);
      expect(chat.messages.map(({ content }) => content)).toContain("hello");

      for (const denied of [
        await use().send({ claims: other, chatId }),
        await act(other, "GET", `/chat/${chatId}`),
        await act(other, "POST", `/chat/${chatId}/end`),
      ]) {
        expect(denied.status).toBe(404);
        expect(await readCode(denied)).toBe("chat_not_found");
      }
      expect((await act(owner, "POST", `/chat/${chatId}/end`)).status).toBe(204);
      expect((await act(owner, "POST", `/chat/${chatId}/end`)).status).toBe(204);
      const late = await use().send({ claims: owner, chatId });
      expect([late.status, await readCode(late)]).toEqual([409, "chat_ended"]);
    });

    test("cannot be started where the workspace has no agent, nor with members of ours", async () => {
      expect((await start({ sub: "nobody" })).status).toBe(404);
      const staffed = { sub: "curious", workspace: "staffed" };
      expect((await start(staffed, { workspaceId: 43 })).status).toBe(400);
      expect((await start(staffed, { agentId: "other" })).status).toBe(400);
      expect((await start(staffed)).status).toBe(201);
    });

    test("is started with the names that the operator lists, and with the session's own variables", async () => {
      const { ask, emulator } = use();
      const session = {
        sub: "planner",
        workspace: "staffed",
        sid: "p-1",
        profile: { plan: "free" },
      };
      const swapped = await ask("/session", { method: "POST", headers: await bearer(session) });
      expect(swapped.status).toBe(201);
      const setCookie = swapped.headers.get("set-cookie") ?? "";
      const cookie = { Cookie: setCookie.slice(0, setCookie.indexOf(";")) };
      for (const credentials of [
        await bearer(session),
        { ...cookie, "Sec-Fetch-Site": "same-origin" },
      ]) {
        const post = (body: string) =>
          ask("/chat", {
            method: "POST",
            headers: { ...credentials, "Content-Type": "application/json" },
            body,
          });
        const started = await post('{"metadata":{"page":"/"},"variables":{"language":"de"}}');
        expect(started.status).toBe(201);
        expect(JSON.parse(emulator.requests().at(-1)?.body ?? "")).toMatchObject({
          metadata: { page: "/", uponai_bff_owner: expect.any(String) },
          uponai_dynamic_variables: { language: "de", plan: "free" },
        });
        const before = emulator.requests().length;
        for (const [body, pointer] of [
          ['{"variables":{"plan":"gold"}}', "/variables/plan"],
          ['{"metadata":{"campaign":"x"}}', "/metadata/campaign"],
          ['{"metadata":{"uponai_bff_owner":"x"}}', "/metadata/uponai_bff_owner"],
        ] as const) {
          const refused = await post(body);
          expect(refused.status).toBe(400);
          expect(await refused.json()).toMatchObject({
            code: "invalid_request",
            errors: [{ pointer, detail: expect.any(String) }],
          });
        }
        expect(emulator.requests()).toHaveLength(before);
      }
    });

    test("is not started with numbers that would change on the way", async () => {
      const { ask, emulator } = use();
      const headers = {
        ...(await bearer({ sub: "counter", workspace: "staffed" })),
        "Content-Type": "application/json",
      };
      const post = (number: string) =>
        ask("/chat", { method: "POST", headers, body: `{"metadata":{"page":[${number}]}}` });
      const before = emulator.requests().length;
      for (const number of ["10000000000000001", "1e400", "1e-400", "0.12345678901234567890"]) {
        const refused = await post(number);
        expect(refused.status).toBe(400);
        expect(await refused.json()).toMatchObject({ errors: [{ pointer: "/metadata/page/0" }] });
      }
      expect(emulator.requests()).toHaveLength(before);
      expect((await post("0.1,-2.50,1e3,9007199254740991")).status).toBe(201);
      expect(JSON.parse(emulator.requests().at(-1)?.body ?? "")).toMatchObject({
        metadata: { page: [0.1, -2.5, 1_000, 9_007_199_254_740_991] },
      });
    });

    test("is its first user's; to others it is as if there were none", async () => {
      const chatId = use().createChat();
      expect((await use().send({ sub: "first", chatId })).status).toBe(201);
      const before = use().emulator.requests().length;
      const denied = await use().send({ sub: "second", chatId });
      expect(denied.status).toBe(404);
      expect(use().emulator.requests()).toHaveLength(before);
      const missing = await use().send({ sub: "second-again", chatId: "there-is-none" });
      const [one, two] = [await denied.json(), await missing.json()] as Record<string, unknown>[];
      expect({ ...one, instance: "" }).toEqual({ ...two, instance: "" });
      expect([...denied.headers.keys()]).toEqual([...missing.headers.keys()]);
    });

    test("can be used by a session whose token lists it, which is confined to it", async () => {
      const [mine, foreign] = [use().createChat(), use().createChat()];
      const claims = { chats: [mine] };
      expect((await use().send({ sub: "listed", claims, chatId: mine })).status).toBe(201);
      expect((await use().send({ sub: "listed", claims, chatId: foreign })).status).toBe(404);
    });
  });
}
