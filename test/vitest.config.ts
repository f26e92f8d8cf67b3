import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    globalSetup: ["test/support/global-setup.ts"],
    // Real servers and a real Redis start inside the tests; a cold machine needs a while for that.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // A poll ends as soon as it succeeds. The limit is high because machines can be busy.
    expect: { poll: { timeout: 10_000 } },
    restoreMocks: true,
  },
});
