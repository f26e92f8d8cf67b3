/** Contract suite: rate limits. */
import { describe, expect, test } from "vitest";

import { type Fixture, readCode, TIGHT } from "./runtime.ts";

export function describeLimits(use: () => Fixture): void {
  describe("limits", () => {
    test("are reported, refuse requests, and spend nothing on refused ones", async () => {
      const { send, createChat } = use();
      const chatId = createChat(TIGHT);
      const ask = () =>
        send({ sub: "spender", claims: { workspace: "tight" }, chatId, address: "192.0.2.7" });
      const first = await ask();
      expect(first.status).toBe(201);
      expect(first.headers.get("ratelimit-policy")).toBe('"session";q=2;w=3600, "ip";q=120;w=60');
      expect(first.headers.get("ratelimit")).toMatch(/^"session";r=1;t=1800, "ip";r=119;t=1$/);
      expect((await ask()).status).toBe(201);
      const refused = await ask();
      expect(refused.status).toBe(429);
      const retryAfter = Number(refused.headers.get("retry-after"));
      expect(retryAfter).toBeGreaterThanOrEqual(1_795);
      expect(retryAfter).toBeLessThanOrEqual(1_800);
      expect(await refused.json()).toMatchObject({
        code: "rate_limited",
        "violated-policies": ["session"],
      });
      const other = await send({
        sub: "other",
        claims: { workspace: "tight" },
        chatId: createChat(TIGHT),
      });
      expect(other.headers.get("ratelimit")).toContain('"session";r=1');
    });

    test("hold exactly under parallel messages: of forty, twenty are admitted", async () => {
      const { send } = use();
      const answers = await Promise.all(
        Array.from({ length: 40 }, () => send({ sub: "crowd", address: "192.0.2.8" })),
      );
      const statuses = answers.map(({ status }) => status);
      expect(statuses.filter((status) => status === 201)).toHaveLength(20);
      expect(statuses.filter((status) => status === 429)).toHaveLength(20);
    });

    test("count addresses: IPv6 by its /64", async () => {
      const { send } = use();
      const from = async (address: string, sub: string) =>
        (await send({ sub, address })).headers.get("ratelimit");
      expect(await from("2001:db8:1:2::1", "six-1")).toContain('"ip";r=119');
      expect(await from("2001:db8:1:2:ffff::2", "six-2")).toContain('"ip";r=118');
      expect(await from("2001:db8:1:3::1", "six-3")).toContain('"ip";r=119');
    });
  });

  test("stored answers are given again up to their limit, and no other request pays for it", async () => {
    const { send, createChat } = use();
    const message = {
      sub: "replayer",
      claims: { workspace: "tight" },
      chatId: createChat(TIGHT),
      headers: { "Idempotency-Key": "replayed" },
      address: "192.0.2.11",
    };
    expect((await send(message)).status).toBe(201);
    for (let count = 0; count < 2; count += 1) {
      const again = await send(message);
      expect([again.status, again.headers.get("idempotency-replayed")]).toEqual([201, "true"]);
    }
    const refused = await send(message);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("ratelimit-policy")).toBe('"replays";q=2;w=3600');
    const retryAfter = Number(refused.headers.get("retry-after"));
    expect(retryAfter).toBeGreaterThanOrEqual(1_790);
    expect(retryAfter).toBeLessThanOrEqual(1_800);
    expect(await refused.json()).toMatchObject({
      code: "rate_limited",
      "violated-policies": ["replays"],
    });
    // A new message spends only its own limits.
    const fresh = await send({ ...message, headers: { "Idempotency-Key": "new" } });
    expect(fresh.status).toBe(201);
  });

  test("wrong credentials are 401 up to their limit and 429 past it; a right one is served", async () => {
    const wrong = { headers: { Authorization: "Bearer a.b.c" }, address: "192.0.2.9" };
    for (let count = 0; count < 3; count += 1) expect((await use().send(wrong)).status).toBe(401);
    const limited = await use().send(wrong);
    expect(limited.status).toBe(429);
    expect(await readCode(limited)).toBe("rate_limited");
    expect((await use().send({ sub: "right", address: wrong.address })).status).toBe(201);
    expect((await use().send({ ...wrong, address: "192.0.2.10" })).status).toBe(401);
  });
}
