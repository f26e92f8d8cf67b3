/**
 * Generators of the steps of a history. Contents, chats and keys are few, so that they repeat
 * often.
 */
import * as fc from "fast-check";

import { type Accident, befall, type Point } from "./instance.ts";
import {
  isNeverTaken,
  type Heard,
  type Look,
  type PostScript,
  type Style,
  type Taken,
} from "./upstream-model.ts";
import { type Asked, SLOTS, SUBJECTS, type World } from "./world.ts";

/** A step of a history. fast-check's model is unused: the `World` is both model and system. */
class Step implements fc.AsyncCommand<World, World> {
  readonly #name: string;
  readonly #applies: (world: World) => boolean;
  readonly #take: (world: World) => Promise<void> | void;
  constructor(
    name: string,
    applies: (world: World) => boolean,
    take: (world: World) => Promise<void> | void,
  ) {
    this.#name = name;
    this.#applies = applies;
    this.#take = take;
  }
  check(world: World): boolean {
    return this.#applies(world);
  }
  async run(_: World, world: World): Promise<void> {
    world.watch.note(`-- ${this.#name}`);
    await this.#take(world);
    await world.quiet();
    if (world.watch.violations.length > 0) throw new Error(describe(world));
  }
  toString(): string {
    return this.#name;
  }
}

export function describe(world: World): string {
  return `${world.watch.violations.join("; ")}\n${world.watch.lines.join("\n")}`;
}

const always = () => true;
const slot = fc.nat(SLOTS - 1);
const index = fc.nat(7);

const style = fc.constantFrom<Style>("plain", "plain", "tool", "two-tools", "tool-listed", "echo");
const taken = fc.constantFrom<Taken>("at-once", "at-once", "answer-later", "later", "never");
const heard = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Heard>("answer") },
  { weight: 6, arbitrary: fc.constantFrom<Heard>("nothing", "lost") },
  { weight: 2, arbitrary: fc.constantFrom<Heard>("500", "503", "garbage") },
  {
    weight: 2,
    arbitrary: fc.constantFrom<Heard>(
      "429",
      "503-wait",
      "404",
      "403",
      "409",
      "unreachable",
      "unsent",
    ),
  },
);
const post: fc.Arbitrary<PostScript> = fc.record({ heard, taken, style });
const focusedLooks = fc.constantFrom<Look[]>([], [], [], ["seen", "stale"], ["stale"], ["500"]);
/** Mostly posts whose answer is lost and whose message is taken. */
const focusedPost: fc.Arbitrary<PostScript> = fc.record({
  heard: fc.constantFrom<Heard>("answer", "nothing", "nothing", "lost", "lost"),
  taken: fc.constantFrom<Taken>("at-once", "answer-later", "later", "later", "never"),
  style: fc.constantFrom<Style>("plain", "plain", "plain", "plain", "tool", "two-tools"),
});
const looks = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Look[]>([]) },
  {
    weight: 2,
    arbitrary: fc.array(fc.constantFrom<Look>("seen", "stale", "500", "404", "hangs"), {
      maxLength: 4,
    }),
  },
);

/** Chooses a message: a new one, or one that resembles an earlier one. */
interface Choice {
  readonly again: number | undefined;
  readonly otherWords: boolean;
  readonly slot: number;
  readonly subject: (typeof SUBJECTS)[number];
  readonly chat: number;
  readonly words: string;
  readonly keyed: "fresh" | "none" | "first" | "second";
  readonly prefer: Asked["prefer"];
  readonly post: PostScript;
  readonly looks: readonly Look[];
  readonly unheard: Asked["unheard"];
}

/** @param one true if all messages have one subject, one chat and the same content */
function chooseMessage(one: boolean): fc.Arbitrary<Choice> {
  return fc.record({
    again: fc.option(fc.constantFrom(0, 0, 0, 1, 1, 2, 3, 7), { nil: undefined, freq: 1 }),
    otherWords: one ? fc.constant(false) : fc.integer({ min: 0, max: 9 }).map((die) => die === 0),
    slot,
    subject: one ? fc.constant(SUBJECTS[0]) : fc.constantFrom(...SUBJECTS, SUBJECTS[0]),
    chat: one ? fc.constant(0) : fc.constantFrom(0, 0, 0, 1),
    words: one
      ? fc.constantFrom("hi", "hi", "hi", "hi", "hi", "ok")
      : fc.constantFrom("hi", "hi", "ok"),
    keyed: one
      ? fc.constantFrom("fresh", "fresh", "fresh", "none")
      : fc.constantFrom("fresh", "fresh", "fresh", "fresh", "none", "none", "first", "second"),
    prefer: fc.constantFrom(undefined, undefined, undefined, 0, 1, 5, 25, 55),
    post: one ? focusedPost : post,
    looks: one ? focusedLooks : looks,
    unheard: fc
      .integer({ min: 0, max: 19 })
      .map((die) => (die === 0 ? "heard-late" : die === 1 ? "never-heard" : undefined)),
  });
}

/** Creates the request of a choice in this world. */
function ask(world: World, chosen: Choice, nth = 0): Asked {
  const { again, otherWords, words, keyed, chat, ...rest } = chosen;
  const keyedBefore = world.attempts.filter(({ asked }) => asked.key !== undefined);
  const before =
    again === undefined
      ? undefined
      : keyedBefore[keyedBefore.length - 1 - (again % Math.max(keyedBefore.length, 1))];
  if (before !== undefined) {
    const content = otherWords ? `${before.asked.content}?` : before.asked.content;
    const { slot, prefer, post, looks, unheard } = rest;
    return { ...before.asked, content, slot, prefer, post, looks, unheard };
  }
  const fresh = `key-${world.attempts.length + 1 + nth}`;
  const key = keyed === "none" ? undefined : keyed === "fresh" ? fresh : keyed;
  return { ...rest, do: "send", content: words, chatId: `chat-${world.chat + chat}`, key };
}

function describeChoice({
  again,
  otherWords,
  slot,
  subject,
  chat,
  words,
  keyed,
  prefer,
  post,
  looks,
  unheard,
}: Choice) {
  const what =
    again === undefined
      ? `${subject} "${words}" into chat-${chat} (key: ${keyed})`
      : `message ${again} before this${otherWords ? ", in other words" : ""}`;
  const wait = prefer === undefined ? "" : `, wait ${prefer} s`;
  return `${what} at ${slot}${wait}; hears ${post.heard}, taken ${post.taken}, ${post.style} [${looks.join()}]${unheard === undefined ? "" : `, admission ${unheard}`}`;
}

/**
 * After many failures in a chat no answer can be recovered, so the history moves on to a new chat.
 */
const moves = fc.constant(
  new Step("on to the next chat", always, (world) => {
    world.chat += 1;
  }),
);

/**
 * Pauses before the next message, in milliseconds. Many are long enough to finish the one before.
 */
const patient = fc.constantFrom(0, 0, 250, 5_000, 21_000, 21_000);
const impatient = fc.constantFrom(0, 0, 250);

/** @param one see `chooseMessage` */
function sendTo(one: boolean, patience: fc.Arbitrary<number>) {
  const choice = chooseMessage(one);
  const alone = fc.array(choice, { minLength: 1, maxLength: 1 });
  const together = fc.array(choice, { minLength: 2, maxLength: 3 });
  const several = fc.oneof({ weight: 6, arbitrary: alone }, { weight: 1, arbitrary: together });
  return fc.tuple(several, patience).map(([choices, patienceMs]) => {
    const sent = choices.map(describeChoice).join(" and ");
    return new Step(`send ${sent}, and ${patienceMs} ms pass`, always, async (world) => {
      await world.start(...choices.map((chosen, nth) => ask(world, chosen, nth)));
      await world.advance(patienceMs, true);
    });
  });
}

/** New messages whose answer comes with a later step. */
const slowPost: fc.Arbitrary<PostScript> = fc.record({
  heard: fc.constant<Heard>("nothing"),
  taken: fc.constantFrom<Taken>("answer-later", "later"),
  style: fc.constantFrom<Style>("plain", "plain", "plain", "tool"),
});
const slowSends = fc
  .record({ choice: chooseMessage(true), post: slowPost, prefer: fc.constantFrom(0, 1, 5, 25) })
  .map(({ choice, post, prefer }) => {
    const chosen = { ...choice, again: undefined, keyed: "fresh", unheard: undefined } as const;
    const slow = { ...chosen, post, prefer };
    return new Step(`send ${describeChoice(slow)}`, always, async (world) => {
      await world.start(ask(world, slow));
    });
  });

/** Repeats the last messages with bounded waits. */
const repeats = fc
  .record({
    back: fc.constantFrom(0, 0, 0, 1),
    slots: fc.array(slot, { minLength: 1, maxLength: 6 }),
    prefer: fc.constantFrom(0, 1, 5, 25, 55),
    post: focusedPost,
    answered: fc.boolean(),
    patienceMs: fc.constantFrom(0, 250, 1_000, 6_000, 26_000),
  })
  .map(
    ({ back, slots, prefer, post, answered, patienceMs }) =>
      new Step(
        `message ${back} before is repeated at ${slots.join()} with wait ${prefer}, ${answered ? "upstream answers all, " : ""}and ${patienceMs} ms pass`,
        (world) => world.attempts.some(({ asked }) => asked.key !== undefined),
        async (world) => {
          const keyed = world.attempts.filter(({ asked }) => asked.key !== undefined);
          const { asked } = keyed.at(-1 - back) ?? keyed[0] ?? {};
          if (asked === undefined) return;
          const again = { ...asked, prefer, post, looks: [], unheard: undefined };
          await world.start(...slots.map((slot) => Object.assign({}, again, { slot })));
          if (answered) for (const post of world.upstream.awaited()) world.upstream.finish(post);
          await world.quiet();
          await world.advance(patienceMs, true);
        },
      ),
  );

const doubles = fc.record({ choice: chooseMessage(false), slot }).map(
  ({ choice, slot }) =>
    new Step(`twice at once, also at ${slot}: ${describeChoice(choice)}`, always, async (world) => {
      const asked = ask(world, choice);
      await world.start(asked, { ...asked, slot });
    }),
);

const readerLooks = fc.constantFrom<Look[]>([], ["stale"], ["stale"], ["hangs"], ["500"]);
const reads = fc.record({ slot, looks: readerLooks, subject: fc.constantFrom(...SUBJECTS) }).map(
  ({ slot, looks, subject }) =>
    new Step(`${subject} reads at ${slot} [${looks.join()}]`, always, async (world) => {
      const post: PostScript = { heard: "answer", taken: "at-once", style: "plain" };
      const content = "";
      await world.start({
        do: "read",
        slot,
        subject,
        chatId: `chat-${world.chat}`,
        content,
        key: undefined,
        post,
        looks,
      });
    }),
);

const progress = fc.record({ index, all: fc.boolean() }).map(
  ({ index, all }) =>
    new Step(
      `upstream goes on with unfinished message ${index}${all ? ", to its end" : ""}`,
      (world) => world.upstream.unfinished().length > 0,
      ({ upstream }) => {
        const unfinished = upstream.unfinished();
        const post = unfinished[index % unfinished.length];
        if (post === undefined) return;
        upstream.progress(post);
        if (all) upstream.finish(post);
      },
    ),
);

const fails = fc
  .record({
    index,
    heard: fc.constantFrom<Exclude<Heard, "answer" | "nothing">>(
      "lost",
      "500",
      "503",
      "429",
      "409",
    ),
  })
  .map(
    ({ index, heard }) =>
      new Step(
        `sender of awaited message ${index} hears ${heard}`,
        (world) => world.upstream.awaited().length > 0,
        ({ upstream }) => {
          const awaited = upstream.awaited();
          const post = awaited[index % awaited.length];
          if (post === undefined) return;
          // No model reply says "not taken" of a message that was taken.
          const denied = isNeverTaken(heard) && post.stage !== "adrift" && post.stage !== "gone";
          upstream.tell(post, denied ? "lost" : heard);
        },
      ),
  );

const waits = fc
  .record({
    ms: fc.constantFrom(250, 1_000, 2_000, 5_000, 8_000, 16_000, 21_000, 61_000),
    renewals: fc.constantFrom(true, true, true, false),
  })
  .map(
    ({ ms, renewals }) =>
      new Step(`${ms} ms pass${renewals ? "" : ", and no lease is renewed"}`, always, (world) =>
        world.advance(ms, renewals),
      ),
  );

/** Time passes in which a lease runs out or is renewed. */
const lapses = fc
  .record({ ms: fc.constantFrom(5_000, 16_000), renewals: fc.boolean() })
  .map(
    ({ ms, renewals }) =>
      new Step(`${ms} ms pass${renewals ? "" : ", and no lease is renewed"}`, always, (world) =>
        world.advance(ms, renewals),
      ),
  );

/** Longest time that an instance can stall, in milliseconds. After it the instance is ended. */
const LONGEST_STALL_MS = 3_600_000;

const days = fc.constantFrom(3_600_000, 43_200_000, 86_385_000, 86_400_000, 90_000_000).map(
  (ms) =>
    new Step(`${ms / 3_600_000} h pass`, always, async (world) => {
      await world.advance(ms - LONGEST_STALL_MS, true);
      world.endStalls();
      await world.advance(LONGEST_STALL_MS, true);
      world.endStalls();
    }),
);

const accidents = fc.record({ slot, accident: fc.constantFrom<Accident>("stall", "crash") }).map(
  ({ slot, accident }) =>
    new Step(
      `instance ${slot}: ${accident}`,
      (world) => world.instance(slot).health === "well",
      (world) => befall(world.instance(slot), accident),
    ),
);

const point = fc.constantFrom<Point>(
  "before-admit",
  "after-admit",
  "before-upstream",
  "after-upstream",
  "before-settle",
  "after-settle",
  "before-answer",
);
const ambushes = fc
  .record({ slot, point, accident: fc.constantFrom<Accident>("stall", "crash") })
  .map(
    ({ slot, point, accident }) =>
      new Step(`instance ${slot} will ${accident} ${point}`, always, (world) => {
        world.instance(slot).ambush = { point, accident };
      }),
  );

const resumes = slot.map(
  (slot) =>
    new Step(
      `instance ${slot} goes on`,
      (world) => world.instance(slot).health === "stalled",
      (world) => world.resume(slot),
    ),
);

const drains = slot.map(
  (slot) => new Step(`instance ${slot} drains, or no more`, always, (world) => world.drain(slot)),
);

const hangUps = index.map(
  (index) =>
    new Step(
      `client ${index} hangs up`,
      (world) => world.active().length > 0,
      (world) => {
        const active = world.active();
        active[index % active.length]?.client.abort();
      },
    ),
);

function often<Value>(weight: number, arbitrary: fc.Arbitrary<Value>): fc.Arbitrary<Value>[] {
  return Array.from({ length: weight }, () => arbitrary);
}

/**
 * Generates a history of at most so many steps. Some histories use all kinds of steps. Others use
 * few kinds, so that rare combinations occur more often.
 */
export function histories(stepsMax: number) {
  const limits = { maxCommands: stepsMax, size: "max" } as const;
  const sends = sendTo(false, patient);
  const focused = sendTo(true, patient);
  const hasty = sendTo(true, impatient);
  const everything = fc.commands(
    [
      ...often(9, sends),
      ...often(2, doubles),
      reads,
      ...often(5, progress),
      ...often(2, fails),
      ...often(5, waits),
      days,
      accidents,
      ...often(2, ambushes),
      ...often(3, resumes),
      drains,
      hangUps,
    ],
    limits,
  );
  const doubts = fc.commands(
    [...often(6, focused), ...often(3, progress), fails, waits, moves],
    limits,
  );
  const leases = fc.commands(
    [
      ...often(5, hasty),
      ...often(2, progress),
      ...often(3, lapses),
      accidents,
      ...often(2, resumes),
      ...often(2, ambushes),
    ],
    limits,
  );
  const readers = fc.commands(
    [...often(4, focused), ...often(2, reads), progress, waits, moves],
    limits,
  );
  const patience = fc.commands(
    [
      hasty,
      ...often(2, slowSends),
      ...often(4, repeats),
      ...often(2, progress),
      fails,
      ...often(2, lapses),
      accidents,
      ...often(2, resumes),
      ambushes,
      drains,
      hangUps,
    ],
    limits,
  );
  return fc.oneof(everything, doubts, leases, readers, patience);
}

const WELL: PostScript = { heard: "answer", taken: "at-once", style: "plain" };

/** Final checks: no key is stuck, and earlier answers about it still hold. */
export async function conclude(world: World): Promise<void> {
  world.watch.note("-- everything comes to its end");
  await world.settle();
  await world.advance(16_000, true);
  await retryAll(world);
  for (const post of world.upstream.unfinished()) world.upstream.finish(post);
  await retryAll(world);
  if (world.watch.violations.length > 0) throw new Error(describe(world));
}

async function retryAll(world: World): Promise<void> {
  const latest = new Map<string, Asked>();
  for (const { asked } of world.attempts) {
    if (asked.key !== undefined) latest.set(`${asked.subject} ${asked.chatId} ${asked.key}`, asked);
  }
  for (const asked of latest.values()) {
    const [attempt] = await world.start({
      ...asked,
      slot: 0,
      prefer: undefined,
      post: WELL,
      looks: [],
      unheard: undefined,
    });
    if (attempt === undefined) throw new Error("nothing was started");
    while (attempt.told === undefined) await world.advance(1_000, true);
    const { told } = attempt;
    if (told.kind === "cut") throw new Error("nothing is cut any more");
    const final =
      told.status === 201 ||
      told.replayed ||
      told.code === "outcome_unknown" ||
      told.code === "idempotency_key_reused";
    world.watch.expect(final, `${attempt.id}: the key ${asked.key ?? ""} is stuck`);
  }
}
