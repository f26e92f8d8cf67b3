/** Makes sure that what the tests start is on this machine, or says in one line how to get it. */
import { spawnSync } from "node:child_process";

export default function setUp(): void {
  requireProgram("redis-server", "redis-server");
}

function requireProgram(program: string, debianPackage: string): void {
  if (isInstalled(program)) return;
  if (process.getuid?.() === 0 && isInstalled("apt-get")) {
    for (const args of [["update"], ["install", "-y", "--no-install-recommends", debianPackage]]) {
      spawnSync("apt-get", args, {
        stdio: "inherit",
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      });
    }
    if (isInstalled(program)) return;
  }
  throw new Error(
    `The tests start ${program}, which is not installed: sudo apt-get install ${debianPackage} (Debian, Ubuntu) or brew install redis (macOS).`,
  );
}

function isInstalled(program: string): boolean {
  return spawnSync(program, ["--version"], { stdio: "ignore" }).error === undefined;
}
