/** The command `uponai-bff` as a process: its output on each stream and its exit codes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { base64url, decodeJwt, decodeProtectedHeader, importJWK, jwtVerify } from "jose";
import { afterAll, describe, expect, test } from "vitest";

import { startEmulator } from "../../src/emulator/listen.ts";
import { CLI, runCli as run } from "../support/cli.ts";
import { sessionEnvironment, sessionSecret } from "../support/session-tokens.ts";

const folder = mkdtempSync(path.join(tmpdir(), "uponai-bff-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("help", () => {
  test.each([[[]], [["--help"]], [["-h"]]])("%j lists the commands", async (args) => {
    const { code, stdout, stderr } = await run(args);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    for (const command of ["init", "emulator", "start", "doctor", "token", "keys", "revoke"])
      expect(stdout).toContain(`  ${command} `);
  });

  test.each(["init", "emulator", "start", "doctor", "token", "keys", "revoke"])(
    "%s has its own, and does nothing else",
    async (command) => {
      const { code, stdout } = await run([command, "--help"]);
      expect(code).toBe(0);
      expect(stdout).toContain(`Usage: uponai-bff ${command}`);
    },
  );

  test.each([
    [["fly"], 'there is no command "fly"'],
    [["start", "now"], "start takes no arguments"],
    [["token", "--subject", "a"], "Unknown option"],
    [["token"], "--sub is required"],
    [["token", "--sub", "a", "--ttl", "soon"], "--ttl must be"],
    [["token", "--sub", "a", "--ttl", "99999999d"], "--ttl must be"],
    [["keys"], "keys cookie, or keys pair"],
    [["keys", "cookie", "two"], 'unexpected argument "two"'],
    [["keys", "pair", "--alg", "none"], "--alg must be one of"],
    [["revoke"], "--subject SUBJECT, or --all"],
    [["revoke", "--all", "--subject", "a"], "--subject SUBJECT, or --all"],
    [["revoke", "--all", "--for", "0d"], "--for must be"],
    [["doctor", "--fix"], "Unknown option"],
    [["__proto__"], "there is no command"],
  ])("%j is a usage error on standard error, with exit code 2", async (args, message) => {
    const { code, stdout, stderr } = await run(args, sessionEnvironment());
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(message);
    expect(stderr).not.toContain("    at ");
  });
});

describe("init", () => {
  const home = mkdtempSync(path.join(tmpdir(), "uponai-bff-init-"));
  const file = path.join(home, ".env");
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  test("writes a file for its owner only, with keys of its own, and never overwrites one", async () => {
    expect((await run(["init", "now"], {}, home)).code).toBe(2);
    const { code, stdout } = await run(["init"], {}, home);
    expect(code).toBe(0);
    expect(stdout).toContain("doctor");
    const text = readFileSync(file, "utf8");
    const secret = /^SESSION_SECRET=(.+)$/m.exec(text)?.[1] ?? "";
    expect(secret).toHaveLength(64);
    expect(stdout).not.toContain(secret);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const again = await run(["init"], {}, home);
    expect(again).toMatchObject({ code: 1, stdout: "" });
    expect(again.stderr).toContain("exists already");
    expect(readFileSync(file, "utf8")).toBe(text);
  });

  test("makes settings that the other commands read, after those of the environment", async () => {
    const emulator = await startEmulator({
      tokens: { "demo-token": [42] },
      agents: { 42: ["demo-agent"] },
    });
    try {
      const environment = { UPONAI_BASE_URL: emulator.url };
      const doctor = await run(["doctor"], environment, home);
      expect([doctor.code, doctor.stderr]).toEqual([0, ""]);
      const token = await run(["token", "--sub", "me"], {}, home);
      expect(decodeJwt(token.stdout.trim())).toMatchObject({ sub: "me", aud: "uponai-bff" });
      const other = await run(["token", "--sub", "me"], { SESSION_AUDIENCE: "other" }, home);
      expect(decodeJwt(other.stdout.trim())).toMatchObject({ aud: "other" });
    } finally {
      await emulator.close();
    }
  });

  test("a file that cannot be read stops a command with one line", async () => {
    const blocked = path.join(home, "blocked");
    mkdirSync(path.join(blocked, ".env"), { recursive: true });
    const { code, stdout, stderr } = await run(["keys", "cookie"], {}, blocked);
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^uponai-bff: \.env cannot be read: \w+\n$/);
  });
});

test("emulator runs the stand-in for UponAI until it is ended", async () => {
  const child = spawn(process.execPath, [CLI, "emulator", "--port", "0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
  const url = /UponAI emulator: (\S+)/.exec(text)?.[1] ?? "";
  expect(await (await fetch(`${url}/emulator/messages`)).json()).toEqual({ messages: [] });
  child.kill("SIGINT");
  await once(child, "exit");
});

describe("token", () => {
  test("mints tokens that the service accepts, with the requested claims", async () => {
    const { code, stdout } = await run(
      [
        "token",
        "--sub",
        "alice",
        "--workspace",
        "acme",
        "--chats",
        "a,b",
        "--ttl",
        "15m",
        "--sid",
        "s1",
      ],
      { ...sessionEnvironment(), SESSION_WORKSPACE_CLAIM: "org" },
    );
    expect(code).toBe(0);
    const { SESSION_ISSUER, SESSION_AUDIENCE } = sessionEnvironment();
    const { payload } = await jwtVerify(stdout.trim(), new TextEncoder().encode(sessionSecret), {
      issuer: SESSION_ISSUER ?? "",
      audience: SESSION_AUDIENCE ?? "",
      algorithms: ["HS256"],
    });
    expect(payload).toMatchObject({ sub: "alice", org: "acme", chats: ["a", "b"], sid: "s1" });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBeGreaterThanOrEqual(899);
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBeLessThanOrEqual(901);
  });

  test("reads its variables as the service does: without stray characters", async () => {
    const { SESSION_ISSUER = "", SESSION_AUDIENCE = "" } = sessionEnvironment();
    const { stdout } = await run(["token", "--sub", "alice", "--workspace", "acme"], {
      SESSION_SECRET: `${sessionSecret}\n`,
      SESSION_ISSUER: `"${SESSION_ISSUER}"`,
      SESSION_AUDIENCE: `${SESSION_AUDIENCE}\r\n`,
      SESSION_WORKSPACE_CLAIM: "'org'",
    });
    const { payload } = await jwtVerify(stdout.trim(), new TextEncoder().encode(sessionSecret), {
      issuer: SESSION_ISSUER,
      audience: SESSION_AUDIENCE,
    });
    expect(payload).toMatchObject({ org: "acme" });
  });

  test("reads the secret from a file, and signs with a private key where one is named", async () => {
    const secretFile = path.join(folder, "secret");
    writeFileSync(secretFile, `${sessionSecret}\n`);
    const { SESSION_SECRET: _inFile, ...rest } = sessionEnvironment();
    const fromFile = await run(["token", "--sub", "a", "--workspace", "acme"], {
      ...rest,
      SESSION_SECRET_FILE: secretFile,
    });
    // Where SESSION_WORKSPACE_CLAIM is unset, the claim has the documented default.
    expect(decodeJwt(fromFile.stdout.trim())).toMatchObject({ sub: "a", workspace: "acme" });

    const pair = JSON.parse((await run(["keys", "pair"])).stdout) as {
      privateKey: string;
      jwk: object;
    };
    const keyFile = path.join(folder, "private.pem");
    writeFileSync(keyFile, pair.privateKey);
    chmodSync(keyFile, 0o600);
    const { stdout } = await run(
      ["token", "--sub", "a", "--private-key", keyFile, "--kid", "one"],
      rest,
    );
    expect(decodeProtectedHeader(stdout.trim())).toEqual({ alg: "ES256", kid: "one" });
    await jwtVerify(stdout.trim(), await importJWK(pair.jwk, "ES256"));
  });

  test.each([
    [{}, "SESSION_ISSUER is not set"],
    [
      { ...sessionEnvironment(), SESSION_SECRET: "short" },
      "SESSION_SECRET must be at least 32 bytes",
    ],
    [{ ...sessionEnvironment(), SESSION_SECRET: "" }, "SESSION_SECRET is not set"],
    // The service would refuse to start with this value.
    [
      { ...sessionEnvironment(), SESSION_AUDIENCE: "two\nlines" },
      "SESSION_AUDIENCE must be text of 1 to 1000 characters in one line",
    ],
  ])(
    "that cannot be minted is said in one line, with exit code 1 (%#)",
    async (environment, message) => {
      const { code, stdout, stderr } = await run(["token", "--sub", "a"], environment);
      expect(code).toBe(1);
      expect(stdout).toBe("");
      expect(stderr).toBe(`uponai-bff: ${message}\n`);
    },
  );
});

describe("keys", () => {
  test("makes cookie keys of 32 bytes, each time another", async () => {
    const keys = await Promise.all([run(["keys", "cookie"]), run(["keys", "cookie"])]);
    const decoded = keys.map(({ stdout }) => base64url.decode(stdout.trim()));
    expect(decoded.map(({ byteLength }) => byteLength)).toEqual([32, 32]);
    expect(keys[0].stdout).not.toBe(keys[1].stdout);
  });

  test.each(["ES256", "ES384", "RS256", "PS256", "EdDSA"])(
    "creates a key pair for %s whose public part contains no private member",
    async (alg) => {
      const { code, stdout } = await run(["keys", "pair", "--alg", alg]);
      expect(code).toBe(0);
      const pair = JSON.parse(stdout) as {
        privateKey: string;
        publicKey: string;
        jwk: Record<string, unknown>;
      };
      expect(pair.privateKey).toContain("BEGIN PRIVATE KEY");
      expect(pair.publicKey).toContain("BEGIN PUBLIC KEY");
      expect(pair.jwk).toMatchObject({ alg, use: "sig", kid: expect.any(String) });
      expect(pair.jwk).not.toHaveProperty("d");
    },
  );
});

describe("revoke", () => {
  const base = { ...sessionEnvironment(), UPONAI_API_TOKEN: "token", UPONAI_WORKSPACE_ID: "42" };

  test("reports that it cannot reach the in-process state of the service", async () => {
    const { code, stderr } = await run(["revoke", "--all"], base);
    expect(code).toBe(1);
    expect(stderr).toContain("in its own process");
  });

  test("reports configuration errors without secrets", async () => {
    const { code, stderr } = await run(["revoke", "--all"], {
      ...base,
      SESSION_SECRET: "short-canary",
    });
    expect(code).toBe(1);
    expect(stderr).toContain("SESSION_SECRET must be at least 32 bytes");
    expect(stderr).not.toContain("canary");
  });
});

// npx and npm's links execute the file itself. The compiler writes it without execute permission.
test("the build makes the command executable", async () => {
  const child = spawn(CLI, ["--help"], {
    env: { PATH: `${path.dirname(process.execPath)}${path.delimiter}${process.env["PATH"]}` },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  const [code] = (await once(child, "close")) as [number | null];
  expect(code).toBe(0);
  expect(stdout).toContain("Usage: uponai-bff COMMAND");
});

test("the package names the command, and its file says which program runs it", () => {
  const { bin } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  ) as {
    bin: Record<string, string>;
  };
  expect(bin).toEqual({ "uponai-bff": "dist/cli/main.js" });
  expect(readFileSync(CLI, "utf8").startsWith("#!/usr/bin/env node\n")).toBe(true);
});
