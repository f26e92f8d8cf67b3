/** The renderer of the agent's messages in real Chromium: what it shows, and that nothing gets out. */
import {
  array,
  assert as assertProperty,
  asyncProperty,
  constantFrom,
  oneof,
  string as anyString,
} from "fast-check";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startBrowser } from "../support/browser.ts";
import { bundle } from "../support/browser-bundle.ts";

declare const render: (text: string) => DocumentFragment;

let browser: Browser;
let page: Page;

beforeAll(async () => {
  browser = await startBrowser();
  page = await browser.newPage();
  const script = await bundle(
    'import { renderMarkdown } from "./markdown.ts"; globalThis.render = renderMarkdown;',
  );
  await page.evaluate(script);
});
afterAll(() => browser.close());

/** The HTML of the rendered text, without the attributes that all links have. */
const html = (text: string) =>
  page.evaluate((source) => {
    const holder = document.createElement("div");
    holder.append(render(source));
    for (const link of holder.querySelectorAll("a")) {
      if (link.target === "_blank" && link.rel === "noopener noreferrer nofollow") {
        link.removeAttribute("target");
        link.removeAttribute("rel");
      }
    }
    return holder.innerHTML;
  }, text);

test.each([
  ["plain text", "<p>plain text</p>"],
  ["one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"],
  ["# One\n### Three\n###### Six #", "<h3>One</h3><h5>Three</h5><h6>Six #</h6>"],
  [
    "**bold** *it* __b__ _i_ ***both***",
    "<p><strong>bold</strong> <em>it</em> <strong>b</strong> <em>i</em> <strong><em>both</em></strong></p>",
  ],
  ["~~gone~~ snake_case_name 2 * 3 * 4", "<p><del>gone</del> snake_case_name 2 * 3 * 4</p>"],
  ["**open *and", "<p>**open *and</p>"],
  ["**a *b** c", "<p><strong>a *b</strong> c</p>"],
  ["`a *b* <c>` and ``x`y``", "<p><code>a *b* &lt;c&gt;</code> and <code>x`y</code></p>"],
  ["`open", "<p>`open</p>"],
  ["\\*not\\* \\\\", "<p>*not* \\</p>"],
  [
    "```js\nconst a = '<b>';\n\n# x\n```\nafter",
    "<pre tabindex=\"0\"><code>const a = '&lt;b&gt;';\n\n# x</code></pre><p>after</p>",
  ],
  ["~~~\nopen", '<pre tabindex="0"><code>open</code></pre>'],
  [
    "- a\n- b\n  - c\n  - d\n- e",
    "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>",
  ],
  ["3. a\n4. b\n\n   more\n5. c", '<ol start="3"><li>a</li><li>b<p>more</p></li><li>c</li></ol>'],
  ["text\n- a\n* b", "<p>text</p><ul><li>a</li></ul><ul><li>b</li></ul>"],
  ["> a\n> > b\nc", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>"],
  ["---\n***", "<hr><hr>"],
  [
    "a | b\n--- | :-:\n1 | `x` \\| y\n2",
    '<div class="table" tabindex="0"><table><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead><tbody><tr><td>1</td><td><code>x</code> | y</td></tr></tbody></table></div><p>2</p>',
  ],
  [
    "[a *b*](https://x.example/y_(z)) ",
    '<p><a href="https://x.example/y_(z)">a <em>b</em></a></p>',
  ],
  ["![alt](https://x.example/i.png)", '<p><a href="https://x.example/i.png">alt</a></p>'],
  [
    "see https://x.example/a, <mailto:a@x.example> (https://x.example).",
    '<p>see <a href="https://x.example/a">https://x.example/a</a>, <a href="mailto:a@x.example">mailto:a@x.example</a> (<a href="https://x.example">https://x.example</a>).</p>',
  ],
  [
    "[https://x.example](https://y.example)",
    '<p><a href="https://y.example">https://x.example</a></p>',
  ],
  ["[call](tel:+49123)", '<p><a href="tel:+49123">call</a></p>'],
  [
    "<b>raw</b> <img src=x onerror=alert(1)>",
    "<p>&lt;b&gt;raw&lt;/b&gt; &lt;img src=x onerror=alert(1)&gt;</p>",
  ],
  ["a\r\nb\rc", "<p>a<br>b<br>c</p>"],
  ["", ""],
])("%j", async (text, expected) => {
  expect(await html(text)).toBe(expected);
});

/** Renders texts and reports what is not allowed in them. */
const inspect = (texts: readonly string[]) =>
  page.evaluate((sources) => {
    const allowed: Readonly<Record<string, readonly string[]>> = {
      A: ["href", "target", "rel"],
      OL: ["start"],
      PRE: ["tabindex"],
      DIV: ["class", "tabindex"],
      TH: ["scope"],
    };
    const tags =
      /^(?:P|BR|HR|H[3-6]|UL|OL|LI|PRE|CODE|BLOCKQUOTE|EM|STRONG|DEL|A|DIV|TABLE|THEAD|TBODY|TR|TH|TD)$/;
    const found: string[] = [];
    for (const source of sources) {
      const holder = document.createElement("div");
      holder.append(render(source));
      for (const element of holder.querySelectorAll("*")) {
        if (!tags.test(element.tagName)) found.push(element.outerHTML);
        for (const { name } of element.attributes) {
          if (allowed[element.tagName]?.includes(name) !== true) found.push(element.outerHTML);
        }
        if (element instanceof HTMLAnchorElement) {
          if (!/^(?:https?|mailto|tel):/.test(element.href)) found.push(element.outerHTML);
          if (element.querySelector("a") !== null) found.push(element.outerHTML);
        }
      }
      // Letters are never lost, but for those of an address or a title that a label stands for.
      const [shown, given] = [holder.textContent, source].map((text) =>
        text.replaceAll(/[^a-z]/g, ""),
      );
      if (!/[[<`~]/.test(source) && shown !== given) {
        found.push(`lost: ${source}`);
      }
    }
    return found;
  }, texts);

describe("whatever the text", () => {
  const fragment = constantFrom(
    ..."a b c * ** *** _ __ ~~ ` `` ``` ~~~ [ ] ( ) ![ ]( < > | # ## - + 1. > \\ \n \n\n --- \" ' & ;".split(
      " ",
    ),
    " ",
    "    ",
    "\t",
    "https://x.example",
    "javascript:alert(1)",
    "[a](javascript:alert(1))",
    "[a](https://x.example)",
    "<script>",
    "onerror=",
    "| --- | --- |",
    "a | b",
  );
  const texts = array(
    oneof(
      anyString(),
      array(fragment, { maxLength: 40 }).map((parts) => parts.join("")),
    ),
    { minLength: 20, maxLength: 20 },
  );

  test("only the listed elements, attributes and addresses appear, and no letter is lost", async () => {
    await assertProperty(
      asyncProperty(texts, async (batch) => {
        expect(await inspect(batch)).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  test("attacks stay text", async () => {
    const attacks = [
      "[a](javascript:alert(1))",
      "[a](JaVaScRiPt:alert(1))",
      "[a](java\tscript:alert(1))",
      "[a](&#106;avascript:alert(1))",
      "[a](\u0001javascript:alert(1))",
      "[a](data:text/html;base64,PHNjcmlwdD4=)",
      "[a](vbscript:x)",
      "[a](//evil.example)",
      "[a](/relative)",
      "<javascript:alert(1)>",
      '[a](https://x.example "onmouseover=alert(1)")',
      '[a](https://x.example" onmouseover="alert(1))',
      "![a](javascript:alert(1))",
      "![a](https://x.example/i.png onerror=alert(1))",
      "<svg onload=alert(1)>",
      "<a href=javascript:alert(1)>x</a>",
      "```<script>alert(1)</script>```",
      "| <img src=x onerror=alert(1)> |\n| --- |",
      "https://x.example/<script>",
      "https://x.example/'onmouseover='alert(1)",
    ];
    expect(await inspect(attacks)).toEqual([]);
  });

  test("a wide table with short rows has no cells but those that were written", async () => {
    const wide = `${"a|".repeat(2_000)}\n${"-|".repeat(2_000)}\n${"|\n".repeat(2_000)}`;
    const cells = await page.evaluate(
      (source) => render(source).querySelectorAll("td, th").length,
      wide,
    );
    expect(cells).toBeGreaterThanOrEqual(2_000);
    expect(cells).toBeLessThanOrEqual(4_000);
  });

  test.each([
    "[",
    "![",
    "*a",
    "**a *b ",
    "> ",
    "- ",
    "`",
    "`` ` ",
    "|a",
    "[x](a",
    "_a",
    "\\",
    "~~a ",
    "https://",
    "<https://",
    '[x](a "',
    "1. ",
    "  ".repeat(50) + "- a\n",
    "a|b\n-|-\n",
    "#",
    "([x](y)",
    "\\`` ",
  ])(
    "200 KB of %j are rendered",
    async (part) => {
      const text = part.repeat(Math.ceil(200_000 / part.length));
      const nodes = await page.evaluate((source) => render(source).childNodes.length, text);
      expect(nodes).toBeGreaterThan(0);
    },
    5_000,
  );
});
