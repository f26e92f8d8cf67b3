/**
 * Owns what belongs to one request on Workers: a socket or a timer that one request made must not be
 * used by another, so the parts that are made once per isolate find here what is theirs for now.
 */
import { AsyncLocalStorage } from "node:async_hooks";

export interface RequestScope {
  /** Lets work go on after the answer; the platform ends it half a minute later at the latest. */
  waitUntil(work: Promise<unknown>): void;
  /** Adds what ends once the request is answered and its work done. */
  onEnd(end: () => void | Promise<void>): void;
  /** What one part keeps for this request; made by the first who asks for it. */
  keep<Part>(owner: object, create: () => Part): Part;
}

const scopes = new AsyncLocalStorage<RequestScope>();

/** The scope of the request that the caller works for. */
export function currentScope(): RequestScope {
  const scope = scopes.getStore();
  if (scope === undefined) throw new Error("there is no request");
  return scope;
}

/**
 * Runs one request in a scope of its own. It is worked on to its end even when its client leaves.
 *
 * @param waitUntil the platform's own
 */
export function runInScope<Result>(
  waitUntil: (work: Promise<unknown>) => void,
  work: () => Promise<Result>,
): Promise<Result> {
  const ends: (() => void | Promise<void>)[] = [];
  const parts = new Map<object, unknown>();
  const scope: RequestScope = {
    waitUntil,
    onEnd: (end) => void ends.push(end),
    keep<Part>(owner: object, create: () => Part): Part {
      if (!parts.has(owner)) parts.set(owner, create());
      // Each owner keeps parts of one type, under an object that only it has.
      return parts.get(owner) as Part; // oxlint-disable-line typescript/no-unsafe-type-assertion
    },
  };
  const working = scopes.run(scope, work);
  const ended = async () => {
    for (const end of ends) await end();
  };
  waitUntil(working.then(ended, ended));
  return working;
}
