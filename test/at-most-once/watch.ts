/** Checks the invariants of all histories, and counts the outcomes. */
import type { Post } from "./upstream-model.ts";
import type { Attempt, Told } from "./world.ts";

/** How long a key is remembered by contract, in milliseconds: 24 h. */
const KEPT_MS = 86_400_000;

/** Statuses that an answer can have in the histories. */
const STATUSES: ReadonlySet<number> = new Set([200, 201, 202, 404, 409, 422, 502, 503, 504]);

export class Watch {
  readonly violations: string[] = [];
  /** Log of the events. The same steps give the same log on each state. */
  readonly lines: string[] = [];
  readonly #posts: { readonly attempt: Attempt; readonly post: Post }[] = [];
  /** Answers that were given again, by message. */
  readonly #replays = new Map<string, string>();
  /** The body of the first 201 with the answer to each message. */
  readonly #bodies = new Map<string, string>();
  /** The first answer about each message. */
  readonly #firsts = new Map<string, Set<string>>();

  started({ id, asked, instance }: Attempt): void {
    const { do: what, chatId, subject, content, key, prefer } = asked;
    const wait = prefer === undefined ? "" : ` wait ${prefer}`;
    const said = what === "send" ? ` ${JSON.stringify(content)} key ${key ?? "none"}${wait}` : "";
    this.note(`${id}: ${subject} at ${instance.slot} asks to ${what} ${chatId}${said}`);
  }

  note(line: string): void {
    this.lines.push(line);
  }

  /** Called when a message arrives upstream, whether it is taken or not. */
  posted(attempt: Attempt, post: Post): void {
    this.note(`${attempt.id}: post ${post.label}`);
    for (const earlier of this.#posts) {
      if (this.#isSameMessage(earlier.attempt, attempt) && !earlier.post.disclaimed) {
        this.#violated(`${post.label} is ${earlier.post.label} sent again`);
      }
      const besides = earlier.post.chatId === post.chatId && earlier.post.reply !== undefined;
      const live = [earlier.attempt, attempt].every(
        ({ told, running, lapsed }) => (told === undefined || running) && !lapsed,
      );
      if (besides && live) {
        this.#violated(`${post.label} is in flight besides ${earlier.post.label}`);
      }
    }
    this.#posts.push({ attempt, post });
  }

  told(attempt: Attempt, told: Told): void {
    if (told.kind === "cut") {
      this.note(`${attempt.id}: cut`);
      return;
    }
    const { status, code, replayed, recovered, body } = told;
    const how = replayed ? " replayed" : recovered ? " recovered" : "";
    this.note(
      `${attempt.id}: ${status} ${code ?? body.replace("More. ".repeat(25), "").slice(0, 120)}${how}`,
    );
    if (!STATUSES.has(status)) this.#violated(`${attempt.id} was answered ${status}`);
    if (attempt.asked.do !== "send") return;
    const isTold = status === 202 || code === "request_in_progress";
    if (status === 202 && attempt.asked.prefer === undefined) {
      this.#violated(`${attempt.id} was answered 202 without Prefer`);
    }
    if (!isTold && code !== "idempotency_key_reused") {
      this.#checkAlone(attempt);
    }
    if (status === 201) this.#checkAnswer(attempt, body, replayed);
    if (replayed) this.#checkReplay(attempt, status === 201 ? body : `${status} ${code ?? ""}`);
  }

  /** Checks that other requests about a message are told that it is in flight, while it is. */
  #checkAlone(attempt: Attempt): void {
    const inFlight = this.#posts.find(
      (sent) =>
        sent.attempt !== attempt &&
        sent.post.reply !== undefined &&
        (sent.attempt.told === undefined || sent.attempt.running) &&
        !sent.attempt.lapsed &&
        this.#isSameMessage(sent.attempt, attempt) &&
        sent.attempt.admittedAtMs <= attempt.admittedAtMs,
    );
    if (inFlight !== undefined) {
      this.#violated(`${attempt.id} was not told that ${inFlight.post.label} is in flight`);
    }
  }

  #checkAnswer(attempt: Attempt, body: string, replayed: boolean): void {
    const named = [...body.matchAll(/"name":"answer to ([^"]+)"/g)].map(([, label = ""]) => label);
    const [label = "", ...others] = new Set(named);
    const answered = this.#posts.find(({ post }) => post.label === label);
    if (others.length > 0 || answered === undefined) {
      this.#violated(`${attempt.id} was given the answers to ${JSON.stringify(named)}`);
      return;
    }
    const own = this.#posts.filter((sent) => sent.attempt === attempt);
    const rightful =
      answered.attempt === attempt ||
      (own.every(({ post }) => post.disclaimed) &&
        attempt.asked.key !== undefined &&
        keyOf(answered.attempt) === keyOf(attempt));
    if (!rightful || answered.post.content !== attempt.asked.content) {
      this.#violated(`${attempt.id} was given the answer to ${label}`);
    }
    // Other styles of answers have entries in the transcript that the reply does not have.
    const first = this.#bodies.get(label) ?? body;
    this.#bodies.set(label, first);
    if (answered.post.style === "plain" && first !== body) {
      this.#violated(`${attempt.id} was given another body of ${label} than earlier requests`);
    }
    const firsts = this.#firsts.get(label) ?? new Set();
    if (!replayed) this.#firsts.set(label, firsts.add(body));
    else if (firsts.size > 0 && !firsts.has(body)) {
      this.#violated(`${attempt.id} was told of ${label} what nobody was told first`);
    }
  }

  #checkReplay(attempt: Attempt, said: string): void {
    const of = this.#posts.findLast(
      (sent) => keyOf(sent.attempt) === keyOf(attempt) && !sent.post.disclaimed,
    );
    if (of === undefined) {
      this.#violated(`${attempt.id} replays what never was`);
      return;
    }
    const before = this.#replays.get(of.post.label) ?? said;
    if (before !== said) this.#violated(`${attempt.id} replays something else than before`);
    this.#replays.set(of.post.label, said);
  }

  /**
   * Tells whether two requests are about one message: the same request, or the same remembered key.
   */
  #isSameMessage(one: Attempt, other: Attempt): boolean {
    if (one === other) return true;
    if (one.asked.key === undefined || keyOf(one) !== keyOf(other)) return false;
    return Math.abs(one.admittedAtMs - other.admittedAtMs) < KEPT_MS;
  }

  #violated(what: string): void {
    this.note(`VIOLATED: ${what}`);
    this.violations.push(what);
  }

  expect(promise: boolean, otherwise: string): void {
    if (!promise) this.#violated(otherwise);
  }
}

/** Names a key. An idempotency key belongs to one subject and one chat. */
export function keyOf({ asked: { subject, chatId, key } }: Attempt): string | undefined {
  return key === undefined ? undefined : `${subject} ${chatId} ${key}`;
}
