/**
 * Objects that belong to one request on Workers. A request must not use a socket or timer of
 * another request, so the parts that exist once per isolate keep such objects in the scope of the
 * request.
 */
import { AsyncLocalStorage } from "node:async_hooks";

export interface RequestScope {
  /** Lets work go on after the answer, for at most half a minute. */
  waitUntil(work: Promise<unknown>): void;
  /** The same, with the objects of this request: its work is done only when this is. */
  goOn(work: Promise<unknown>): void;
  /** Adds a function that is called when the request is answered and its work is done. */
  onEnd(end: () => void | Promise<void>): void;
  /** Returns the object of `owner` for this request; the first call creates it. */
  keep<Part>(owner: object, create: () => Part): Part;
}

const scopes = new AsyncLocalStorage<RequestScope>();

/** Returns the scope of the current request. Throws outside a request. */
export function currentScope(): RequestScope {
  const scope = scopes.getStore();
  if (scope === undefined) throw new Error("there is no request");
  return scope;
}

/**
 * Runs one request in a new scope. The work goes on to its end even when the client leaves.
 *
 * @param waitUntil Cloudflare's own function for this request
 */
export function runInScope<Result>(
  waitUntil: (work: Promise<unknown>) => void,
  work: () => Promise<Result>,
): Promise<Result> {
  const ends: (() => void | Promise<void>)[] = [];
  const parts = new Map<object, unknown>();
  const works: Promise<unknown>[] = [];
  const scope: RequestScope = {
    waitUntil,
    goOn: (work) => {
      works.push(work);
      waitUntil(work);
    },
    onEnd: (end) => void ends.push(end),
    keep<Part>(owner: object, create: () => Part): Part {
      if (!parts.has(owner)) parts.set(owner, create());
      // Each owner keeps objects of one type, under a key object that only it has.
      return parts.get(owner) as Part; // oxlint-disable-line typescript/no-unsafe-type-assertion
    },
  };
  const working = scopes.run(scope, work);
  const ended = async () => {
    await Promise.allSettled(works);
    for (const end of ends) await end();
  };
  waitUntil(working.then(ended, ended));
  return working;
}
