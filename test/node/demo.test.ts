/** `npm run demo`: a curl command to paste, a page, the next free port, and a clean exit. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

import { expect, test } from "vitest";

const ENTRY = new URL("../../dist/demo/main.js", import.meta.url).pathname;

async function startDemo(): Promise<{ child: ChildProcess; output: () => string }> {
  const child = spawn(process.execPath, [ENTRY], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await expect.poll(() => output, { timeout: 10_000 }).toContain("Ctrl-C ends it");
  return { child, output: () => output };
}

/** The parts of the printed curl command. */
function readCurl(output: string): { url: string; token: string; body: string } {
  const url = /^curl -i (\S+) /m.exec(output)?.[1];
  const token = /'Authorization: Bearer ([^']+)'/.exec(output)?.[1];
  const body = /-d '([^']+)'/.exec(output)?.[1];
  if (url === undefined || token === undefined || body === undefined) throw new Error(output);
  return { url, token, body };
}

test("the printed command is answered 201, the page is served, and a taken port gives way to the next", async () => {
  // If another program holds the ports already, the test works as well.
  const holder = createServer();
  holder.on("error", () => undefined);
  holder.listen(8_787, "127.0.0.1");
  const { child, output } = await startDemo();
  try {
    expect(output()).toContain("Port 8787 is taken, trying 8788.");
    const { url, token: curlToken, body } = readCurl(output());
    const answer = await fetch(url, {
      method: "POST",
      headers: { Authorization: `Bearer ${curlToken}`, "Content-Type": "application/json" },
      body,
    });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toEqual({
      messages: [{ role: "assistant", content: "You said: Hello" }],
    });

    const { origin } = new URL(url);
    const page = await fetch(`${origin}/`);
    expect(page.headers.get("content-security-policy")).toContain("script-src 'self'");
    const html = await page.text();
    for (const [, path] of html.matchAll(/(?:href|src)="(\/[^"]+)"/g)) {
      expect((await fetch(`${origin}${path ?? ""}`)).status).toBe(200);
    }
    const session = await fetch(`${origin}/demo/session`, {
      method: "POST",
      body: JSON.stringify({ user: "alice" }),
    });
    const token = await session.text();
    const started = await fetch(`${origin}/chat`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
    });
    expect(started.status).toBe(201);
    // The demo adds only the files of the page. All other routes are those of the service.
    expect((await fetch(`${origin}/demo/main.ts`)).status).toBe(404);
  } finally {
    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number | null];
    holder.close();
    expect(code).toBe(0);
  }
});
