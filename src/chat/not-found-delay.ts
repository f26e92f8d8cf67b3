/**
 * Estimates how long "no such chat" takes. A chat of another owner is refused without asking UponAI,
 * and a quick refusal would tell that the chat exists. So it is delayed by the time that the calls of
 * this very request would have taken.
 */
import type { UpstreamAccount } from "../upstream/circuits.ts";

/**
 * A call that a request makes into a chat that UponAI does not have. `look` reads the chat before the
 * request's own call; `read`, `complete` and `end` are that call.
 */
export type AbsentCall = "look" | "read" | "complete" | "end";

/** What is measured belongs to one account: a slow workspace does not slow down another. */
export interface NotFoundDelay {
  /**
   * Records how long a request took to learn from UponAI that there is no such chat.
   *
   * @param calls the calls that it made, in order
   * @param ms milliseconds from admission to the answer
   */
  recordRequest(account: UpstreamAccount, calls: readonly AbsentCall[], ms: number): void;
  /** Records how long UponAI took to read or end any chat, in milliseconds. */
  recordCall(account: UpstreamAccount, ms: number): void;
  /**
   * How long a request with these calls takes in a chat that does not exist, in milliseconds from
   * admission; 0 to 2,000. A random time between two random ones of the last sixteen such requests;
   * before the first one, the same of the last sixteen calls, for each call that it would make; before
   * the first call, 150 ms for each.
   */
  estimate(account: UpstreamAccount, calls: readonly AbsentCall[]): number;
}

/** More than one: equal times would tell a refusal of our own from UponAI's. */
const SAMPLES_MAX = 16;

/** A delayed request holds a place among the requests in flight: a slow UponAI must not fill them. */
const DELAY_MS_MAX = 2_000;

/** A call over the public internet to a service that reads its database, in milliseconds. */
const FIRST_ESTIMATE_MS = 150;

interface AccountSamples {
  readonly calls: Samples;
  /** By the calls that the request made. */
  readonly requests: Map<string, Samples>;
}

/** @param random a number from 0 up to but not including 1 */
export function createNotFoundDelay(random: () => number = Math.random): NotFoundDelay {
  const accounts = new WeakMap<UpstreamAccount, AccountSamples>();

  const samplesOf = (account: UpstreamAccount): AccountSamples => {
    const known = accounts.get(account);
    if (known !== undefined) return known;
    const samples = { calls: createSamples(random), requests: new Map() };
    accounts.set(account, samples);
    return samples;
  };

  return {
    recordRequest(account, calls, ms) {
      const { requests } = samplesOf(account);
      const kind = calls.join();
      const samples = requests.get(kind) ?? createSamples(random);
      requests.set(kind, samples);
      samples.add(ms);
    },
    recordCall(account, ms) {
      samplesOf(account).calls.add(ms);
    },
    estimate(account, calls) {
      const samples = samplesOf(account);
      let ms = samples.requests.get(calls.join())?.draw();
      if (ms === undefined) {
        ms = calls.reduce((sum) => sum + (samples.calls.draw() ?? FIRST_ESTIMATE_MS), 0);
      }
      return Math.min(ms, DELAY_MS_MAX);
    },
  };
}

interface Samples {
  add(ms: number): void;
  /** A random time between two of the last sixteen; undefined without any. */
  draw(): number | undefined;
}

/**
 * Recorded times are never given back as they are: a client that has timed its own requests for absent
 * chats would recognise them, and their order.
 */
function createSamples(random: () => number): Samples {
  const times: number[] = [];
  let written = 0;
  const pick = () => times[Math.floor(random() * times.length)];
  return {
    add(ms) {
      times[written % SAMPLES_MAX] = ms;
      written += 1;
    },
    draw() {
      const [one, other] = [pick(), pick()];
      return one === undefined || other === undefined ? undefined : one + (other - one) * random();
    },
  };
}
