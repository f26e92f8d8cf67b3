/** The container files, as far as they can be tested without a container engine. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { variableNames } from "../../src/config/variables.ts";
import { bffEnvironment } from "../support/bff-fixture.ts";
import { type BffProcess, startBff } from "../support/bff-process.ts";
import { findFreePort } from "../support/ports.ts";

const root = new URL("../../", import.meta.url);
const dockerfile = readFileSync(new URL("Dockerfile", root), "utf8");
const compose = readFileSync(new URL("docker-compose.yml", root), "utf8");
/** The last stage of the Dockerfile: the one that is built by default. */
const service = dockerfile.slice(dockerfile.lastIndexOf("\nFROM "));

const [, healthcheck = ""] = /HEALTHCHECK [\s\S]*?"(dist\/[^"]+)"/.exec(service) ?? [];

describe("the image", () => {
  test("starts and health-checks the files that the build creates", () => {
    const [, started = ""] = /\nCMD \["(dist\/[^"]+)"\]/.exec(service) ?? [];
    expect(started).toBe("dist/platform/node.js");
    for (const file of [started, healthcheck]) {
      expect(file).not.toBe("");
      expect(existsSync(new URL(file, root)), file).toBe(true);
    }
  });

  test("comes from a base without root, with runtime dependencies by the lock file alone", () => {
    expect(service).toMatch(/^\nFROM gcr\.io\/distroless\/nodejs24-debian13:nonroot /);
    expect(service).not.toMatch(/\n(?:RUN|USER|ADD) /);
    expect(service).toContain("COPY --from=dependencies /build/node_modules");
    const [, dependencies = ""] = /AS dependencies\n([\s\S]*?)\nFROM /.exec(dockerfile) ?? [];
    expect(dependencies).toContain("RUN npm ci --omit=dev");
  });
});

describe("the compose file", () => {
  test("gives only variables that exist, and secrets as files that it declares", () => {
    const names = [...compose.matchAll(/^ {6}([A-Z_]+): /gm)].map(([, name]) => name ?? "");
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(variableNames).toContain(name.replace(/_FILE$/, ""));
    for (const [, secret] of compose.matchAll(/\/run\/secrets\/([a-z_]+)/g)) {
      expect(compose).toContain(`\n  ${secret}:\n    file: ./secrets/${secret}\n`);
    }
    expect(readFileSync(new URL(".gitignore", root), "utf8")).toContain("\nsecrets/\n");
  });
});

async function check(given: Record<string, string>): Promise<number | null> {
  const child = spawn(process.execPath, [new URL(healthcheck, root).pathname], {
    env: { PATH: process.env["PATH"], ...given },
    stdio: "ignore",
  });
  const [code] = (await once(child, "exit")) as [number | null];
  return code;
}

describe("the health check", () => {
  test("asks below the base path, but not where a proxy removes it", async () => {
    const own = { ...bffEnvironment("http://127.0.0.1:9"), BASE_PATH: "/api/chat" };
    for (const BASE_PATH_STRIPPED of ["false", "true"]) {
      const given = { ...own, PORT: String(await findFreePort()), BASE_PATH_STRIPPED };
      const service = await startBff(given);
      expect(await check(given)).toBe(0);
      await service.stop();
    }
  });

  let port: number;
  let environment: Record<string, string>;
  let bff: BffProcess | undefined;
  beforeAll(async () => {
    port = await findFreePort();
    environment = { ...bffEnvironment("http://127.0.0.1:9"), HOST: "0.0.0.0", PORT: String(port) };
  });
  afterAll(async () => {
    await bff?.stop();
  });

  test("fails while the service does not answer, and passes when it does, on any address", async () => {
    expect(await check(environment)).toBe(1);
    bff = await startBff(environment);
    expect(await check(environment)).toBe(0);
    expect(await check({ ...environment, HOST: "127.0.0.1" })).toBe(0);
  });

  test("reaches a service that listens on IPv6, whichever way its address is written", async () => {
    const free = String(await findFreePort());
    const ipv6 = { ...environment, HOST: "[::1]", PORT: free };
    const other = await startBff(ipv6);
    try {
      for (const HOST of ["[::1]", "::1", "[::]", "::"]) {
        expect(await check({ ...ipv6, HOST }), HOST).toBe(0);
      }
    } finally {
      await other.stop();
    }
  });

  test("fails where the configuration is wrong: then no service can run", async () => {
    expect(await check({ ...environment, SESSION_ISSUER: "" })).toBe(1);
  });
});
