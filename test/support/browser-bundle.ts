/** Bundles of the browser package, as a web project makes them. */
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

const SOURCES = new URL("../../src/browser/", import.meta.url).pathname;

/** Bundles code that imports from `./` of the package; returns one minified ES module. */
export async function bundle(code: string, external: readonly string[] = []): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: SOURCES, loader: "tsx" },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    external: [...external],
    define: { "process.env.NODE_ENV": '"development"' },
  });
  return outputFiles[0]?.text ?? "";
}

/** Size after gzip at its best, in bytes. */
export function gzipBytes(text: string): number {
  return gzipSync(text, { level: 9 }).byteLength;
}
