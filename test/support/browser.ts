/** Starts the installed Chromium, headless, and serves pages for it on loopback. */
import { spawnSync } from "node:child_process";
import { createServer } from "node:http";

import { type Browser, chromium } from "playwright-core";

/** Names of Chromium in distributions; the first that is installed is used. */
export const CHROMIUM_NAMES: readonly string[] = ["chromium", "chromium-browser", "google-chrome"];

export function startBrowser(): Promise<Browser> {
  const found = CHROMIUM_NAMES.map((name) =>
    spawnSync("which", [name], { encoding: "utf8" }).stdout.trim(),
  ).find((path) => path !== "");
  if (found === undefined) throw new Error("Chromium is not installed");
  return chromium.launch({
    executablePath: found,
    // No sandbox is possible as root in a container. The other flags turn off background network
    // traffic.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export interface PageServer {
  readonly port: number;
  close(): void;
}

/** Actions that a page of another origin can do without `fetch`: submit a form, show an image. */
const SCRIPT = `
function submitForm(action, fieldName, fieldValue) {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", enctype: "text/plain", action });
  const field = document.createElement("input");
  Object.assign(field, { name: fieldName, value: fieldValue });
  form.append(field);
  document.body.append(form);
  form.submit();
}
function showImage(src) {
  return new Promise((resolve) => {
    const image = new Image();
    image.addEventListener("load", () => resolve("loaded"));
    image.addEventListener("error", () => resolve("failed"));
    image.src = src;
  });
}
`;

/** Serves one page on every path. */
export function startPageServer(): Promise<PageServer> {
  const server = createServer((_request, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    response.end(`<!doctype html><title>page</title><body><script>${SCRIPT}</script>`);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      resolve({ port, close: () => void server.close() });
    });
  });
}
