/**
 * Contract of chat access: owners and claims, refusals that reveal nothing, and the owner's stamp.
 */
import { createHash } from "node:crypto";

import { beforeEach, describe, expect, test } from "vitest";

import { createTestApp, readProblem, type TestApp, type TestAsk } from "../support/app-fixture.ts";
import {
  createScriptedChats,
  LOST,
  NOT_SENT,
  replyWith,
  type ScriptedChats,
  TIMEOUT,
} from "../support/scripted-chats.ts";

const AGENT = { UPONAI_AGENT_ID: "agent-1", CHAT_METADATA: "page" };
const DAY_MS = 86_400_000;

let upstream: ScriptedChats;
let app: TestApp;

beforeEach(async () => {
  upstream = createScriptedChats("chat-1");
  app = await open();
});

/**
 * Starts a service in front of the chats. Its state is empty unless it shares that of another one.
 */
function open(environment: Record<string, string> = {}, beside?: TestApp): Promise<TestApp> {
  return createTestApp({
    environment: { ...AGENT, ...environment },
    upstream: upstream.answer,
    ...(beside === undefined ? {} : { beside }),
  });
}

const ROUTES = ["send", "send with a key", "read", "end"] as const;
type RouteName = (typeof ROUTES)[number];

const STATUS: Record<RouteName, number> = {
  send: 201,
  "send with a key": 201,
  read: 200,
  end: 204,
};

interface Use extends Pick<TestAsk, "sub" | "headers"> {
  readonly chatId?: string;
  /** The token's chats claim. */
  readonly chats?: unknown;
}

function use(app: TestApp, route: RouteName, options: Use = {}): Promise<Response> {
  const { sub = "alice", chatId = "chat-1", chats, headers = {} } = options;
  const who = { sub, ...(chats === undefined ? {} : { claims: { chats } }) };
  switch (route) {
    case "send":
      return app.send({ ...who, chatId, headers });
    case "send with a key":
      return app.send({ ...who, chatId, headers: { "Idempotency-Key": "key-1", ...headers } });
    case "read":
      return app.ask(`GET /chat/${chatId}`, { ...who, headers });
    case "end":
      return app.ask(`POST /chat/${chatId}/end`, { ...who, headers });
  }
}

async function start(app: TestApp, sub = "alice"): Promise<string> {
  const answer = await app.ask("POST /chat", { sub });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { chatId: string }).chatId;
}

async function expectNotFound(answer: Response): Promise<void> {
  expect(answer.status).toBe(404);
  expect((await readProblem(answer))["code"]).toBe("chat_not_found");
}

/** Measures how long a refusal takes, in milliseconds. */
async function timed(route: RouteName, chatId: string): Promise<number> {
  const startedMs = app.clock.monotonicMs();
  await expectNotFound(await use(app, route, { chatId }));
  return app.clock.monotonicMs() - startedMs;
}

/** Number of UponAI calls that change a chat. */
const effects = () => upstream.count("complete") + upstream.count("end");

describe("a session may use a chat by the operator's rule, the claim of its token, and its owner", () => {
  const MODES = ["first-use", "claim", "workspace"] as const;
  const CLAIMS = {
    "no claim": undefined,
    "a claim with it": ["chat-0", "CHAT"],
    "a claim with others": ["chat-0", "chat-9"],
    "an empty claim": [],
    "a claim that is a text": "CHAT",
    "a claim that is null": null,
    "a claim with a number in it": ["CHAT", 7],
    "a claim that is an object": { CHAT: true },
  } as const;
  const OWNERS = ["nobody", "me, first", "me, started", "other, first", "other, started"] as const;

  /** The rule of the contract, implemented a second time. */
  function isAllowed(
    mode: (typeof MODES)[number],
    claim: keyof typeof CLAIMS,
    owner: (typeof OWNERS)[number],
  ): boolean {
    const started = owner === "me, started";
    if (claim === "a claim with it") return true;
    if (claim !== "no claim") return started;
    if (mode === "workspace") return true;
    if (mode === "claim") return started;
    return owner === "nobody" || owner.startsWith("me");
  }

  const combinations = MODES.flatMap((mode) =>
    (Object.keys(CLAIMS) as (keyof typeof CLAIMS)[]).flatMap((claim) =>
      OWNERS.map((owner) => ({ mode, claim, owner })),
    ),
  );

  test.each(combinations)("$mode, $claim, owner: $owner", async ({ mode, claim, owner }) => {
    const allowed = isAllowed(mode, claim, owner);
    for (const route of ROUTES) {
      upstream = createScriptedChats("chat-1");
      const before = await open();
      const sub = owner.startsWith("me") ? "alice" : "bob";
      let chatId = "chat-1";
      if (owner.endsWith("started")) chatId = await start(before, sub);
      else if (owner !== "nobody") {
        expect((await use(before, "read", { sub })).status).toBe(200);
      }
      const app = await open({ CHAT_ACCESS: mode }, before);
      const chats: unknown = JSON.parse(
        JSON.stringify(CLAIMS[claim] ?? null).replaceAll("CHAT", chatId),
      );
      const answer = await use(app, route, {
        chatId,
        ...(claim === "no claim" ? {} : { chats }),
      });
      if (allowed) expect(answer.status).toBe(STATUS[route]);
      else await expectNotFound(answer);
      expect(effects()).toBe(allowed && route !== "read" ? 1 : 0);
      expect(answer.headers.get("ratelimit")).toMatch(/"session";r=\d+/);
    }
  });

  test("in another workspace the same chat id is another chat", async () => {
    const environment = { WORKSPACES: '{"acme":42,"globex":43}' };
    app = await open(environment);
    const send = (sub: string, workspace: string) => app.send({ sub, claims: { workspace } });
    expect((await send("alice", "acme")).status).toBe(201);
    expect((await send("bob", "globex")).status).toBe(201);
    await expectNotFound(await send("bob", "acme"));
    await expectNotFound(await send("alice", "globex"));
  });

  test("the same subject is the same owner by any of its sessions", async () => {
    expect((await app.send({ claims: { sid: "one" } })).status).toBe(201);
    expect((await app.send({ claims: { sid: "two" } })).status).toBe(201);
  });
});

describe("a chat of another subject and one that does not exist get the same answer", () => {
  const combinations = (["first-use", "claim", "workspace"] as const).flatMap((mode) =>
    [undefined, ["chat-0"]].flatMap((chats) =>
      ROUTES.map((route) => ({ mode, chats, route, agent: true })),
    ),
  );

  /** All of a refusal that a client can see. */
  async function look(chatId: string, { mode, chats, route }: (typeof combinations)[number]) {
    upstream = createScriptedChats("chat-1");
    // UponAI takes some time to answer that the chat does not exist.
    for (const operation of ["get", "complete", "end"] as const) {
      upstream.always(operation, async (usual) => {
        const reply = usual();
        app.clock.advanceMs(40);
        return Promise.resolve(reply);
      });
    }
    const before = await open();
    const app = await open({ CHAT_ACCESS: mode }, before);
    await start(before, "bob");
    await use(before, "read", { sub: "bob" });
    const answer = await use(app, route, {
      chatId,
      headers: { "X-Request-Id": "same" },
      ...(chats === undefined ? {} : { chats }),
    });
    return {
      status: answer.status,
      headers: [...answer.headers],
      body: await answer.text(),
    };
  }

  test.each(combinations)("$mode, claim $chats, $route", async (combination) => {
    const absent = await look("chat-of-nobody", combination);
    expect(absent.status).toBe(404);
    expect(absent.headers.map(([name]) => name)).toEqual(
      expect.arrayContaining(["ratelimit", "ratelimit-policy", "x-request-id"]),
    );
    if (combination.mode === "workspace" && combination.chats === undefined) return;
    expect(await look("chat-1", combination)).toEqual(absent);
    expect(await look("started-1", combination)).toEqual(absent);
  });

  describe("and take the same time", () => {
    const CALL_MS = { get: 100, complete: 300, end: 70 } as const;
    const worlds = ([AGENT, {}] as const).flatMap((agent) =>
      (["first-use", "claim"] as const).flatMap((mode) =>
        ROUTES.map((route) => ({ agent, mode, route })),
      ),
    );

    const isTimed = (operation: string): operation is keyof typeof CALL_MS =>
      Object.hasOwn(CALL_MS, operation);

    /** A new instance without measured delays, a slow UponAI, and a chat of bob. */
    async function openSlow(environment: Record<string, string>): Promise<void> {
      upstream = createScriptedChats();
      const before = await open();
      expect(await start(before, "bob")).toBe("started-1");
      app = await createTestApp({ environment, upstream: upstream.answer, beside: before });
      for (const operation of ["get", "complete", "end"] as const) {
        upstream.always(operation, (usual) => {
          app.clock.advanceMs(CALL_MS[operation]);
          return usual();
        });
      }
    }

    /** Returns the UponAI calls that an action makes. */
    async function callsOf(run: () => Promise<unknown>): Promise<number[]> {
      const first = upstream.calls.length;
      await run();
      return upstream.calls
        .slice(first)
        .map(({ operation }) => (isTimed(operation) ? CALL_MS[operation] : Number.NaN));
    }

    test.each(worlds)("by $route, $mode, $agent", async ({ agent, mode, route }) => {
      await openSlow({ CHAT_ACCESS: mode, ...agent });
      let absentMs = 0;
      const made = await callsOf(async () => {
        absentMs = await timed(route, "chat-of-nobody");
      });
      expect(absentMs).toBe(made.reduce((sum, ms) => sum + ms, 0));
      // Requests of other kinds, such as those with a key, have a delay of their own.
      for (const [index, other] of ROUTES.entries()) await timed(other, `absent-${index}`);
      const calls = await callsOf(async () => {
        expect(await timed(route, "started-1")).toBe(absentMs);
      });
      expect(calls).toEqual([]);
    });

    test.each(worlds)(
      "by $route, $mode, $agent, before anything was measured: 150 ms for each call",
      async ({ agent, mode, route }) => {
        await openSlow({ CHAT_ACCESS: mode, ...agent });
        const foreignMs = await timed(route, "started-1");
        const made = await callsOf(() => timed(route, "chat-of-nobody"));
        expect(foreignMs).toBe(made.length * 150);
      },
    );

    test.each(ROUTES)(
      "by %s that finds another's stamp, where the state lost the owner",
      async (route) => {
        await openSlow(AGENT);
        upstream.add("lost-1", upstream.chats.get("started-1") ?? {});
        const absentMs = await timed(route, "chat-of-nobody");
        const made = await callsOf(async () => {
          expect(await timed(route, "lost-1")).toBe(absentMs);
        });
        expect(made).toEqual([CALL_MS.get]);
      },
    );

    test("by a look-up of a chat that another request is just using for the first time", async () => {
      await openSlow(AGENT);
      const absentMs = await timed("send with a key", "chat-of-nobody");
      const looked = Promise.withResolvers<undefined>();
      upstream.add("chat-2");
      upstream.next("get", async (usual) => {
        await looked.promise;
        return usual();
      });
      const claiming = use(app, "send", { sub: "bob", chatId: "chat-2" });
      await expect.poll(() => upstream.calls.at(-1)?.operation).toBe("get");
      expect(await timed("send with a key", "chat-2")).toBe(absentMs);
      looked.resolve(undefined);
      expect((await claiming).status).toBe(201);
    });

    test("by UponAI's delay in this workspace, independent of other workspaces", async () => {
      await openSlow({ WORKSPACES: '{"acme":42,"globex":43}', LIMIT_IP: "off" });
      const denied = async (workspace: string) => {
        const claims = { workspace };
        upstream.add("chat-1");
        expect((await app.send({ sub: "bob", claims })).status).toBe(201);
        const startedMs = app.clock.monotonicMs();
        await expectNotFound(await app.send({ claims }));
        return app.clock.monotonicMs() - startedMs;
      };
      upstream.always("complete", (usual) => {
        app.clock.advanceMs(1_900);
        return usual();
      });
      const slow = { workspace: "acme" };
      await expectNotFound(await app.send({ claims: slow, chatId: "chat-of-nobody" }));
      expect(await denied("acme")).toBe(1_900);
      expect(await denied("globex")).toBe(150);
    });

    test("for two seconds at most", async () => {
      await openSlow({});
      upstream.always("complete", (usual) => {
        app.clock.advanceMs(9_000);
        return usual();
      });
      expect(await timed("send", "chat-of-nobody")).toBe(9_000);
      expect(await timed("send", "started-1")).toBe(2_000);
    });
  });
});

describe("a refusal", () => {
  test.each(ROUTES)(
    "of %s spends the limits, so that ids cannot be guessed for free",
    async (route) => {
      for (const chatId of ["chat-1", "chat-of-nobody"]) {
        upstream = createScriptedChats("chat-1");
        app = await open({ LIMIT_SESSION: "2/1m", LIMIT_IP: "4/1m" });
        await use(app, "read", { sub: "bob" });
        for (const remaining of [1, 0]) {
          const answer = await use(app, route, { chatId });
          expect(answer.status).toBe(404);
          expect(answer.headers.get("ratelimit")).toContain(`"session";r=${remaining};`);
          expect(answer.headers.get("ratelimit")).toContain(`"ip";r=${remaining + 1};`);
        }
        const refused = await use(app, route, { chatId });
        expect(refused.status).toBe(429);
        expect((await use(app, "read", { sub: "bob" })).status).toBe(200);
      }
    },
  );

  test("does not tell whether the owner is being answered just now", async () => {
    const answered = Promise.withResolvers<undefined>();
    upstream.next("complete", async (usual) => {
      await answered.promise;
      return usual();
    });
    const sending = app.send({ sub: "bob" });
    await expect.poll(() => upstream.count("complete")).toBe(1);
    await expectNotFound(await app.send());
    answered.resolve(undefined);
    expect((await sending).status).toBe(201);
  });

  test("neither takes the owner's answers nor tells that a key was used", async () => {
    const headers = { "Idempotency-Key": "key-1" };
    await app.send({ sub: "bob", headers });
    await expectNotFound(await app.send({ headers }));
    await expectNotFound(await app.send({ headers, body: '{"content":"other"}' }));
    const again = await app.send({ sub: "bob", headers });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
  });

  test("is checked before stored answers: a subject that lost its chat gets none", async () => {
    await app.send({ sub: "bob" });
    expect((await use(app, "send with a key", { chats: ["chat-1"] })).status).toBe(201);
    await expectNotFound(await use(app, "send with a key"));
    const again = await use(app, "send with a key", { chats: ["chat-1"] });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
  });

  test("is not kept for the key: the chat may become the caller's later", async () => {
    await app.send({ sub: "bob" });
    await expectNotFound(await use(app, "send with a key"));
    const claimed = await use(app, "send with a key", { chats: ["chat-1"] });
    expect(claimed.status).toBe(201);
    expect(claimed.headers.get("idempotency-replayed")).toBeNull();
  });
});

describe("the first use", () => {
  test.each(ROUTES)("by %s makes the subject the owner", async (route) => {
    expect((await use(app, route)).status).toBe(STATUS[route]);
    await expectNotFound(await use(app, "read", { sub: "bob" }));
    expect((await use(app, "read")).status).toBe(200);
  });

  test.each(ROUTES)("by %s of a chat that does not exist makes no owner", async (route) => {
    await expectNotFound(await use(app, route, { chatId: "later" }));
    upstream.add("later");
    expect((await use(app, "send", { sub: "bob", chatId: "later" })).status).toBe(201);
    await expectNotFound(await use(app, route, { chatId: "later" }));
  });

  test.each([AGENT, {}])("by fifty at once has one winner (%j)", async (environment) => {
    upstream = createScriptedChats("chat-1");
    app = await createTestApp({
      environment,
      upstream: async (request) => {
        await new Promise(setImmediate);
        return upstream.answer(request);
      },
    });
    const subs = Array.from({ length: 50 }, (_, index) => `subject-${index}`);
    const answers = await Promise.all(
      subs.map((sub, index) => use(app, ROUTES[index % 3] ?? "send", { sub })),
    );
    const winners = subs.filter((_, index) => answers[index]?.ok === true);
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 404)).toHaveLength(49);
    for (const sub of subs.slice(0, 9)) {
      const { status } = await use(app, "read", { sub });
      expect(status).toBe(winners.includes(sub) ? 200 : 404);
    }
  });

  test.each(["read", "end"] as const)(
    "by a message is not undone by a %s that fails meanwhile",
    async (route) => {
      const answered = Promise.withResolvers<undefined>();
      upstream.next("complete", async (usual) => {
        await answered.promise;
        return usual();
      });
      const sending = use(app, "send");
      await expect.poll(() => upstream.count("complete")).toBe(1);
      upstream.next("get", replyWith(429));
      expect((await use(app, route)).status).toBe(503);
      await expectNotFound(await use(app, "read", { sub: "bob" }));
      answered.resolve(undefined);
      expect((await sending).status).toBe(201);
      await expectNotFound(await use(app, "read", { sub: "bob" }));
      expect((await use(app, "read")).status).toBe(200);
    },
  );

  test("of a request refused by a limit makes no owner", async () => {
    app = await open({ LIMIT_SESSION: "1/1h" });
    await use(app, "read", { chatId: "chat-of-nobody" });
    expect((await use(app, "send")).status).toBe(429);
    expect((await use(app, "send", { sub: "bob" })).status).toBe(201);
  });

  test("of a chat in the claim makes the subject its owner as well", async () => {
    expect((await use(app, "send", { chats: ["chat-1"] })).status).toBe(201);
    await expectNotFound(await use(app, "send", { sub: "bob" }));
    expect((await use(app, "send", { sub: "carol", chats: ["chat-1"] })).status).toBe(201);
    expect((await use(app, "send")).status).toBe(201);
  });

  test("is none under CHAT_ACCESS=claim or workspace", async () => {
    for (const CHAT_ACCESS of ["claim", "workspace"]) {
      const app = await open({ CHAT_ACCESS });
      await use(app, "send", { chats: ["chat-1"] });
      await use(app, "send", { sub: "bob" });
      const beside = await open({}, app);
      expect((await use(beside, "send", { sub: "carol" })).status).toBe(201);
    }
  });
});

describe("an owner", () => {
  /** Claims of sessions that do not expire during a test. */
  const lasting = { exp: 4_000_000_000 };
  const send = (sub: string) => app.send({ sub, claims: lasting });

  test("stays so for 30 days since the last use, and no longer", async () => {
    await send("alice");
    app.clock.advanceMs(29 * DAY_MS);
    await expectNotFound(await send("bob"));
    expect((await send("alice")).status).toBe(201);
    app.clock.advanceMs(30 * DAY_MS - 1);
    await expectNotFound(await send("bob"));
    app.clock.advanceMs(1);
    expect((await send("bob")).status).toBe(201);
    await expectNotFound(await send("alice"));
  });

  test("stays so for as long as the operator says", async () => {
    app = await open({ CHAT_OWNER_TTL: "2d" });
    await send("alice");
    app.clock.advanceMs(2 * DAY_MS - 1);
    expect((await app.ask("GET /chat/chat-1", { claims: lasting })).status).toBe(200);
    app.clock.advanceMs(2 * DAY_MS - 1);
    await expectNotFound(await send("bob"));
    app.clock.advanceMs(1);
    expect((await send("bob")).status).toBe(201);
  });

  test("of a started chat is found again by its stamp afterwards", async () => {
    const chatId = await start(app);
    app.clock.advanceMs(31 * DAY_MS);
    const claims = lasting;
    await expectNotFound(await app.send({ sub: "bob", chatId, claims }));
    expect((await app.send({ chatId, claims })).status).toBe(201);
  });
});

describe("after the state was lost", () => {
  test.each([
    ["claim", undefined],
    ["first-use", []],
    ["first-use", ["chat-0"]],
    ["workspace", []],
  ])("CHAT_ACCESS=%s, chats %j: a started chat is its starter's again", async (mode, chats) => {
    for (const route of ROUTES) {
      upstream = createScriptedChats();
      const chatId = await start(await open());
      const options = { chatId, ...(chats === undefined ? {} : { chats }) };
      app = await open({ CHAT_ACCESS: mode, LIMIT_SESSION: "9/1m" });
      await expectNotFound(await use(app, route, { ...options, sub: "bob" }));
      expect(effects()).toBe(0);
      const answer = await use(app, route, options);
      expect(answer.status).toBe(STATUS[route]);
      // The look-up was part of the request.
      expect(answer.headers.get("ratelimit")).toContain('"session";r=8;');
      await expectNotFound(await use(app, route, { ...options, sub: "bob" }));
      // The owner is known again: there is no second look-up.
      const looks = upstream.count("get");
      expect((await use(app, "read", options)).status).toBe(200);
      expect(upstream.count("get")).toBe(looks + 1);
    }
  });

  test.each(ROUTES)("%s of another's started chat is no first use", async (route) => {
    const chatId = await start(app);
    app = await open();
    await expectNotFound(await use(app, route, { chatId, sub: "bob" }));
    expect(effects()).toBe(0);
    expect((await use(app, route, { chatId })).status).toBe(STATUS[route]);
    await expectNotFound(await use(app, "read", { chatId, sub: "bob" }));
  });

  test.each(ROUTES)("%s of the own started chat restores its owner, as started", async (route) => {
    const chatId = await start(app);
    app = await open();
    expect((await use(app, route, { chatId })).status).toBe(STATUS[route]);
    // The chat counts as started, not as first used: a confined token may use it too, without a
    // look-up.
    const looks = upstream.count("get");
    expect((await use(app, "read", { chatId, chats: [] })).status).toBe(200);
    expect(upstream.count("get")).toBe(looks + 1);
  });

  test("a chat that was not started here is subject to the operator's rule", async () => {
    for (const metadata of [undefined, null, {}, { uponai_bff_owner: null }]) {
      upstream = createScriptedChats();
      upstream.add("chat-1", { metadata });
      expect((await use(await open(), "send")).status).toBe(201);
      await expectNotFound(await use(await open({ CHAT_ACCESS: "claim" }), "send"));
      await expectNotFound(await use(await open(), "send", { chats: [] }));
    }
  });

  test("a stamp that this deployment did not sign opens nothing", async () => {
    const plain = createHash("sha256").update("chat owner 42 alice").digest("base64url");
    for (const stamp of ["", "alice", "a".repeat(43), plain, 7, true, ["alice"], {}]) {
      upstream = createScriptedChats();
      upstream.add("chat-1", { metadata: { uponai_bff_owner: stamp } });
      await expectNotFound(await use(await open(), "send"));
      await expectNotFound(await use(await open({ CHAT_ACCESS: "claim" }), "read"));
      expect(effects()).toBe(0);
    }
  });

  test("a workspace without an agent started none, and asks UponAI for no stamp", async () => {
    app = await createTestApp({
      environment: { CHAT_ACCESS: "claim" },
      upstream: upstream.answer,
    });
    for (const route of ROUTES) await expectNotFound(await use(app, route));
    expect(upstream.calls).toEqual([]);
  });

  test("a failed look-up is answered as a failure, and decides nothing", async () => {
    const chatId = await start(app);
    for (const CHAT_ACCESS of ["claim", "first-use"]) {
      app = await open({ CHAT_ACCESS });
      upstream.next("get", replyWith(429, "", "9"));
      const answer = await use(app, "send", { chatId });
      expect(answer.status).toBe(503);
      expect(answer.headers.get("retry-after")).toBe("9");
      expect((await use(app, "send", { chatId })).status).toBe(201);
    }
  });

  test.each(ROUTES.flatMap((one) => ROUTES.map((other) => [one, other] as const)))(
    "%s and %s at once by another subject are denied until the owner's stamp was read",
    async (one, other) => {
      const chatId = await start(app);
      upstream.chats.get(chatId)?.messages.push({ role: "user", content: "my secret" });
      app = await open();
      // Both are admitted before one of them is answered.
      const looked = Promise.withResolvers<undefined>();
      upstream.always("get", async (usual) => {
        await looked.promise;
        return usual();
      });
      const asking = [one, other].map((route) => use(app, route, { chatId, sub: "bob" }));
      await expect.poll(() => upstream.count("get")).toBeGreaterThan(0);
      looked.resolve(undefined);
      const answers = await Promise.all(asking);
      for (const answer of answers) {
        expect([404, 409]).toContain(answer.status);
        expect(await answer.text()).not.toContain("my secret");
      }
      expect(effects()).toBe(0);
      expect((await use(app, "read", { chatId })).status).toBe(200);
    },
  );

  const unread = [replyWith(429), replyWith(500), LOST, TIMEOUT, NOT_SENT];
  test.each(ROUTES.flatMap((route) => unread.map((reply) => ({ route, reply }))))(
    "$route by another subject whose look-up failed ($reply.kind $reply.status) leaves no owner",
    async ({ route, reply }) => {
      const chatId = await start(app);
      for (const next of ROUTES) {
        app = await open();
        upstream.always("get", reply);
        const failed = await use(app, route, { chatId, sub: "bob" });
        expect(failed.status).toBeGreaterThanOrEqual(500);
        upstream.always("get", undefined);
        await expectNotFound(await use(app, next, { chatId, sub: "bob" }));
        expect(effects()).toBe(0);
        expect((await use(app, "read", { chatId })).status).toBe(200);
      }
    },
  );

  test.each(ROUTES)(
    "%s by the owner is served while a look-up by another subject is in progress",
    async (route) => {
      const chatId = await start(app);
      app = await open();
      const looked = Promise.withResolvers<undefined>();
      upstream.next("get", async (usual) => {
        await looked.promise;
        return usual();
      });
      const strange = use(app, "read", { chatId, sub: "bob" });
      await expect.poll(() => upstream.count("get")).toBe(1);
      expect((await use(app, route, { chatId })).status).toBe(STATUS[route]);
      looked.resolve(undefined);
      await expectNotFound(await strange);
      expect((await use(app, "read", { chatId, chats: [] })).status).toBe(200);
    },
  );

  test.each(ROUTES)(
    "%s of another's started chat that the token lists is allowed, and owns nothing",
    async (route) => {
      const chatId = await start(app);
      app = await open();
      const listed = { chatId, sub: "bob", chats: [chatId] };
      expect((await use(app, route, listed)).status).toBe(STATUS[route]);
      expect((await use(app, "read", listed)).status).toBe(200);
      await expectNotFound(await use(app, "read", { chatId, sub: "bob" }));
      expect((await use(app, "read", { chatId, chats: [] })).status).toBe(200);
    },
  );
});

function stampOf(chatId: string): unknown {
  return Reflect.get(Object(upstream.chats.get(chatId)?.metadata), "uponai_bff_owner");
}

describe("the stamp", () => {
  test("goes upstream with the client's metadata, and comes back to no browser", async () => {
    await app.ask("POST /chat", {
      body: '{"metadata":{"page":"/prices"}}',
      headers: { "Content-Type": "application/json" },
    });
    expect(upstream.chats.get("started-1")?.metadata).toEqual({
      page: "/prices",
      uponai_bff_owner: expect.stringMatching(/^[\w-]{43}$/),
    });
    const text = await (await use(app, "read", { chatId: "started-1" })).text();
    expect(text).not.toContain(String(stampOf("started-1")));
    expect(text).not.toContain("prices");
  });

  test("is one of subject, workspace and token, and no hash that others could make", async () => {
    const chats = [await start(app), await start(app), await start(app, "bob")];
    const otherToken = await open({ UPONAI_API_TOKEN: "another-canary-token" });
    const otherWorkspace = await open({ UPONAI_WORKSPACE_ID: "43" });
    chats.push(await start(otherToken), await start(otherWorkspace));
    const [first, same, ...others] = chats.map(stampOf);
    expect(same).toBe(first);
    expect(new Set([first, ...others]).size).toBe(4);
    for (const text of ["alice", "42 alice", "chat owner 42 alice", "42:alice", '[42,"alice"]']) {
      for (const encoding of ["hex", "base64", "base64url"] as const) {
        expect(first).not.toBe(createHash("sha256").update(text).digest(encoding));
      }
    }
  });

  test("outlives the rotation of tokens as long as the old one is listed", async () => {
    const chatId = await start(await open({ UPONAI_API_TOKEN: "old-canary" }));
    const rotating = await open({
      CHAT_ACCESS: "claim",
      UPONAI_API_TOKEN: "new-canary,old-canary",
    });
    expect((await use(rotating, "read", { chatId })).status).toBe(200);
    const rotated = await open({ CHAT_ACCESS: "claim", UPONAI_API_TOKEN: "new-canary" });
    await expectNotFound(await use(rotated, "read", { chatId }));
    // Without the old token the stamp cannot be verified, so the chat is not given to a first user
    // either.
    const open2 = await open({ UPONAI_API_TOKEN: "new-canary" });
    for (const sub of ["alice", "bob"])
      await expectNotFound(await use(open2, "send", { chatId, sub }));
  });
});
