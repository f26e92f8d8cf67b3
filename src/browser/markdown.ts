/**
 * Renders the Markdown that agents write. It creates DOM nodes only: HTML in a message stays text,
 * and a page with strict Content Security Policy and Trusted Types can use it.
 *
 * Existing renderers were weighed: those of this size return HTML strings, and those that give a
 * tree have many times the size of the element.
 */

/** Lists and quotes deeper than this are shown flat. */
const DEPTH_MAX = 6;
const SAFE_URL = /^(?:https?:\/\/|mailto:|tel:)[^\s]+$/i;

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}>[ \t]?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:[ \t]+|$)/;
/**
 * Renders a message: paragraphs with line breaks, headings, lists, quotes, code, tables, emphasis
 * and links. Images become links. Links are https, http, mailto and tel only. The time grows
 * linearly with the text.
 */
export function renderMarkdown(text: string): DocumentFragment {
  const fragment = document.createDocumentFragment();
  renderBlocks(fragment, text.replaceAll(/\r\n?/g, "\n").split("\n"), 0);
  return fragment;
}

function add<Tag extends keyof HTMLElementTagNameMap>(
  parent: Node,
  tag: Tag,
): HTMLElementTagNameMap[Tag] {
  return parent.appendChild(document.createElement(tag));
}

function renderBlocks(parent: Node, lines: readonly string[], depth: number): void {
  let at = 0;
  const line = () => lines[at] ?? "";
  const isNested = depth < DEPTH_MAX;
  while (at < lines.length) {
    const fence = openFence(line());
    const heading = HEADING.exec(line());
    if (line().trim() === "") at += 1;
    else if (fence) {
      const [, marks = ""] = fence;
      const code: string[] = [];
      for (at += 1; at < lines.length && !isFenceEnd(line(), marks); at += 1) code.push(line());
      at += 1;
      const block = add(parent, "pre");
      // A long line scrolls. Keyboards reach it by Tab.
      block.tabIndex = 0;
      add(block, "code").textContent = code.join("\n");
    } else if (heading) {
      const [all, marks = ""] = heading;
      const title = line().slice(all.length).trim();
      renderInline(add(parent, HEADINGS[marks.length - 1] ?? "h6"), title);
      at += 1;
    } else if (RULE.test(line())) {
      add(parent, "hr");
      at += 1;
    } else if (isNested && QUOTE.test(line())) {
      const quoted: string[] = [];
      for (; QUOTE.test(line()); at += 1) quoted.push(line().replace(QUOTE, ""));
      renderBlocks(add(parent, "blockquote"), quoted, depth + 1);
    } else if (isNested && ITEM.test(line())) {
      at = renderList(parent, lines, at, depth);
    } else if (line().includes("|") && isTableRule(lines[at + 1] ?? "")) {
      at = renderTable(parent, lines, at);
    } else {
      const paragraph: string[] = [];
      for (
        paragraph.push(line().trim()), at += 1;
        line().trim() !== "" && !startsBlock(line());
        at += 1
      ) {
        paragraph.push(line().trim());
      }
      renderInline(add(parent, "p"), paragraph.join("\n"));
    }
  }
}

const HEADINGS = ["h3", "h4", "h5", "h6"] as const;

/** The marks of a fence; undefined for a line that begins with inline code. */
function openFence(line: string): RegExpExecArray | undefined {
  const fence = FENCE.exec(line) ?? undefined;
  return fence && line.includes("`", fence[0].length) ? undefined : fence;
}

function startsBlock(line: string): boolean {
  return (
    openFence(line) !== undefined ||
    [HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line))
  );
}

function isFenceEnd(line: string, marks: string): boolean {
  const text = line.trim();
  return text.startsWith(marks) && text === marks.charAt(0).repeat(text.length);
}

/** Renders the list that begins at a line; returns the number of the line after it. */
function renderList(parent: Node, lines: readonly string[], from: number, depth: number): number {
  const [, , first = ""] = ITEM.exec(lines[from] ?? "") ?? [];
  const isOrdered = /\d/.test(first);
  const list = add(parent, isOrdered ? "ol" : "ul");
  if (list instanceof HTMLOListElement) list.start = Number.parseInt(first, 10);
  const type = first.slice(-1);
  let at = from;
  while (at < lines.length) {
    const [mark, indent = "", bullet = ""] = ITEM.exec(lines[at] ?? "") ?? [];
    if (mark === undefined || bullet.slice(-1) !== type || RULE.test(lines[at] ?? "")) break;
    const item = [(lines[at] ?? "").slice(mark.length)];
    // What is indented deeper belongs to the item, and so does the text right below it.
    for (at += 1; at < lines.length; at += 1) {
      const line = lines[at] ?? "";
      const isBlank = line.trim() === "";
      const isDeeper = line.search(/[^ ]/) > indent.length;
      if (isBlank) {
        const next = lines[at + 1] ?? "";
        if (next.trim() === "" || !(next.search(/[^ ]/) > indent.length)) break;
      } else if (!isDeeper && (startsBlock(line) || lines[at - 1]?.trim() === "")) break;
      item.push(line.slice(Math.min(Math.max(line.search(/[^ ]|$/), 0), mark.length)));
    }
    renderItem(add(list, "li"), item, depth);
    while (lines[at]?.trim() === "" && ITEM.test(lines[at + 1] ?? "")) at += 1;
  }
  return at;
}

/** A paragraph that is alone in its item, or before a list, needs no space around it. */
function renderItem(item: HTMLLIElement, lines: readonly string[], depth: number): void {
  const block = lines.findIndex((line) => line.trim() === "" || startsBlock(line));
  const end = block === -1 ? lines.length : block;
  renderInline(
    item,
    lines
      .slice(0, end)
      .map((line) => line.trim())
      .join("\n"),
  );
  renderBlocks(item, lines.slice(end), depth + 1);
}

function renderTable(parent: Node, lines: readonly string[], from: number): number {
  // The frame scrolls where the table is wider than the message.
  const frame = add(parent, "div");
  frame.className = "table";
  frame.tabIndex = 0;
  const table = add(frame, "table");
  const header = splitCells(lines[from] ?? "");
  const headRow = add(add(table, "thead"), "tr");
  for (const cell of header) {
    const th = add(headRow, "th");
    th.scope = "col";
    renderInline(th, cell);
  }
  const body = add(table, "tbody");
  let at = from + 2;
  for (; (lines[at] ?? "").includes("|"); at += 1) {
    const row = add(body, "tr");
    const cells = splitCells(lines[at] ?? "");
    // No more cells than were written: a short row is cheap.
    for (const cell of cells.slice(0, header.length)) renderInline(add(row, "td"), cell);
  }
  return at;
}

function isTableRule(line: string): boolean {
  return line.includes("|") && splitCells(line).every((cell) => /^:?-+:?$/.test(cell));
}

function splitCells(line: string): string[] {
  const cells = [""];
  const text = line.trim().replace(/^\|/, "");
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charAt(at);
    if (char === "\\" && text.charAt(at + 1) === "|") {
      cells[cells.length - 1] += "|";
      at += 1;
    } else if (char === "|") cells.push("");
    else cells[cells.length - 1] += char;
  }
  if (cells.at(-1)?.trim() === "") cells.pop();
  return cells.map((cell) => cell.trim());
}

/**
 * One step of a line of text: an escape, code, a link or an image, a bare address, marks of emphasis,
 * or a line break. Each repetition ends where the next step could begin, so that no text is read
 * more than a few times.
 */
const TOKEN =
  /\\([!-/:-@[-`{-~])|(`+)|!?\[([^[\]\n]+)\]\(((?:[^\s()<>[\]]|\([^\s()<>[\]]*\))+)(?: "[^"\n]*")?\)|<((?:https?:\/\/|mailto:|tel:)[^\s<>]+)>|(https?:\/\/[^\s<>"'`|*]+)|(\*{1,3}|_{1,3}|~~)|(\n)/gi;

const EMPHASIS = [["em"], ["strong"], ["strong", "em"]] as const;

function renderInline(parent: Node, text: string, isLink = false): void {
  /** Open marks of emphasis, the innermost last. A mark without its end becomes text again. */
  const open: { readonly mark: string; readonly element: HTMLElement; readonly inner: Node }[] = [];
  /** Numbers of backticks that are not closed in the rest of the text. */
  const unclosed = new Set<number>();
  let target = parent;
  let last = 0;
  const addText = (value: string) => {
    if (value !== "") target.appendChild(new Text(value));
  };

  /** Adds a link; or `source` as text if the address is not one that is allowed. */
  const addLink = (url: string, label: string, source: string) => {
    if (isLink || !SAFE_URL.test(url) || !URL.canParse(url)) {
      addText(source);
      return;
    }
    const link = add(target, "a");
    link.href = url;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    renderInline(link, label, true);
  };

  TOKEN.lastIndex = 0;
  for (let token = TOKEN.exec(text); token !== null; token = TOKEN.exec(text)) {
    const { index } = token;
    const [all, escaped, ticks, label, url, autolink, bare, mark, lineBreak] = token;
    addText(text.slice(last, index));
    last = index + all.length;
    if (escaped !== undefined) addText(escaped);
    else if (lineBreak !== undefined) add(target, "br");
    else if (ticks !== undefined) {
      // What has no end here has none later: it is not looked for again.
      const end = unclosed.has(ticks.length) ? -1 : findTicks(text, last, ticks.length);
      if (end === -1) {
        unclosed.add(ticks.length);
        addText(ticks);
      } else {
        add(target, "code").textContent = text.slice(last, end).replace(/^ (.+) $/, "$1");
        last = end + ticks.length;
      }
    } else if (label !== undefined && url !== undefined) addLink(url, label, all);
    else if (autolink !== undefined) addLink(autolink, autolink, all);
    else if (bare !== undefined) {
      // A full stop or a bracket at the end belongs to the sentence.
      const link = bare.replace(/[.,;:!?)\]]{1,9}$/, "");
      addLink(link, link, link);
      last = index + link.length;
    } else if (mark !== undefined) {
      const before = text.charAt(index - 1);
      const after = text.charAt(last);
      const isWord = mark.startsWith("_") && /\w/.test(before) && /\w/.test(after);
      const opened = open.findLastIndex((entry) => entry.mark === mark);
      if (!isWord && opened !== -1 && /\S/.test(before)) {
        // Marks that were opened inside and have no end become text.
        for (const entry of open.splice(opened + 1)) unwrap(entry);
        const [closed] = open.splice(opened, 1);
        target = closed?.element.parentNode ?? parent;
      } else if (!isWord && /\S/.test(after) && open.length < DEPTH_MAX) {
        const tags = (mark === "~~" ? undefined : EMPHASIS[mark.length - 1]) ?? (["del"] as const);
        let element: HTMLElement | undefined;
        for (const tag of tags) {
          const made = add(target, tag);
          element ??= made;
          target = made;
        }
        if (element !== undefined) open.push({ mark, element, inner: target });
      } else addText(mark);
    }
    TOKEN.lastIndex = last;
  }
  addText(text.slice(last));
  for (const entry of open.toReversed()) unwrap(entry);
}

/** Puts the mark and the content of an element in its place. */
function unwrap({
  mark,
  element,
  inner,
}: {
  mark: string;
  element: HTMLElement;
  inner: Node;
}): void {
  element.before(mark);
  while (inner.firstChild !== null) element.before(inner.firstChild);
  element.remove();
}

function findTicks(text: string, from: number, count: number): number {
  const ticks = "`".repeat(count);
  for (let at = text.indexOf(ticks, from); at !== -1; at = text.indexOf(ticks, at)) {
    let end = at;
    while (text.charAt(end) === "`") end += 1;
    if (end - at === count) return at;
    at = end;
  }
  return -1;
}
