/**
 * Checks that the programs that the tests need are installed. If not, it says how to install them.
 */
import { spawnSync } from "node:child_process";

import { CHROMIUM_NAMES } from "./browser.ts";

export default function setUp(): void {
  requireProgram(["redis-server"], "redis-server", "brew install redis");
  requireProgram(["openssl"], "openssl", "brew install openssl");
  requireProgram(["nginx"], "nginx", "brew install nginx");
  requireProgram(["haproxy"], "haproxy", "brew install haproxy");
  requireProgram(["caddy"], "caddy", "brew install caddy");
  requireProgram(CHROMIUM_NAMES, "chromium", "brew install --cask chromium");
}

function requireProgram(names: readonly string[], debianPackage: string, elsewhere: string): void {
  if (names.some(isInstalled)) return;
  if (process.getuid?.() === 0 && isInstalled("apt-get")) {
    for (const args of [["update"], ["install", "-y", "--no-install-recommends", debianPackage]]) {
      spawnSync("apt-get", args, {
        stdio: "inherit",
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      });
    }
    if (names.some(isInstalled)) return;
  }
  throw new Error(
    `The tests need ${debianPackage}, which is not installed: sudo apt-get install ${debianPackage} (Debian, Ubuntu), or ${elsewhere} (macOS).`,
  );
}

function isInstalled(program: string): boolean {
  return spawnSync(program, ["--version"], { stdio: "ignore" }).error === undefined;
}
