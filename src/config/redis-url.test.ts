import { describe, expect, test } from "vitest";

import { type RedisAddress, redisUrl } from "./redis-url.ts";

const node = (host: string, port = 6379) => ({ host, port });
const plain = { tls: false, credentials: {} };

const right: readonly (readonly [string, RedisAddress])[] = [
  ["redis://a.example", { ...plain, kind: "single", node: node("a.example"), database: 0 }],
  [
    "redis://127.0.0.1:7000/",
    { ...plain, kind: "single", node: node("127.0.0.1", 7000), database: 0 },
  ],
  ["redis://[::1]:7000/15", { ...plain, kind: "single", node: node("::1", 7000), database: 15 }],
  [
    "rediss://user:p%40%2Cw@a.example/2",
    {
      kind: "single",
      tls: true,
      credentials: { username: "user", password: "p@,w" },
      node: node("a.example"),
      database: 2,
    },
  ],
  [
    "redis://:pw@a.example:7000,b.example,[::1]:7002",
    {
      kind: "cluster",
      tls: false,
      credentials: { password: "pw" },
      nodes: [node("a.example", 7000), node("b.example"), node("::1", 7002)],
    },
  ],
  [
    "rediss://:pw@a.example,rediss://:pw@b.example,rediss://c.example/0",
    {
      kind: "cluster",
      tls: true,
      credentials: { password: "pw" },
      nodes: [node("a.example"), node("b.example"), node("c.example")],
    },
  ],
  [
    "rediss+cluster://one.endpoint.example",
    { kind: "cluster", tls: true, credentials: {}, nodes: [node("one.endpoint.example")] },
  ],
  [
    "redis+sentinel://a.example,b.example:7001/main",
    {
      ...plain,
      kind: "sentinel",
      sentinels: [node("a.example", 26_379), node("b.example", 7001)],
      sentinelCredentials: {},
      primaryName: "main",
      database: 0,
    },
  ],
  [
    "rediss+sentinel://user:data@a.example/my-primary.1/3?sentinelUsername=watch&sentinelPassword=a+b%26c=d",
    {
      kind: "sentinel",
      tls: true,
      credentials: { username: "user", password: "data" },
      sentinels: [node("a.example", 26_379)],
      sentinelCredentials: { username: "watch", password: "a+b&c=d" },
      primaryName: "my-primary.1",
      database: 3,
    },
  ],
];

const wrong: readonly (readonly [string, string])[] = [
  ["redis.example:6379", "redis://"],
  ["http://redis.example", "redis://"],
  ["redis+other://redis.example", "redis://"],
  ["redis://", "host"],
  ["redis://a.example,", "host"],
  ["redis://,a.example", "host"],
  ["redis://a.example:66000", "host"],
  ["redis://a.example b.example", "percent-encoded"],
  ["redis://:p,w@a.example", "comma"],
  ["redis://:p/w@a.example", "percent-encoded"],
  ["redis://:100%@a.example", "percent-encoded"],
  ["redis://a.example/abc", "database number"],
  ["redis://a.example/0/1", "database number"],
  ["redis://a.example/0#x", "fragment"],
  // An option could switch off what keeps messages from being sent twice.
  ["redis://a.example?enableOfflineQueue=true", "query"],
  ["redis://a.example,b.example?db=1", "query"],
  ["redis://a.example,b.example/1", "only number 0"],
  ["redis+cluster://a.example/1", "only number 0"],
  ["redis://:one@a.example,:two@b.example", "same user and password"],
  ["redis://a.example,:two@b.example", "same user and password"],
  // One of the two would get the password unencrypted.
  ["rediss://:pw@a.example,redis://b.example", "one scheme"],
  ["redis+sentinel://a.example,b.example", "name the primary"],
  ["redis+sentinel://a.example/", "name the primary"],
  ["redis+sentinel://a.example/main/x", "name the primary"],
  ["redis+sentinel://a.example/main?role=slave", "sentinelUsername"],
  ["redis+sentinel://a.example/main?sentinelPassword=a&sentinelPassword=b", "sentinelUsername"],
  ["redis+sentinel://a.example/main?sentinelPassword=100%", "percent-encoded"],
];

describe("REDIS_URL", () => {
  test.each(right)("%s is read", (text, address) => {
    expect(redisUrl.parse(text)).toEqual(address);
  });

  test.each(wrong)("%s is refused, and it says why", (text, why) => {
    const result = redisUrl.safeParse(text);
    expect(result.error?.issues.map(({ message }) => message)).toEqual([
      expect.stringContaining(why),
    ]);
  });
});
