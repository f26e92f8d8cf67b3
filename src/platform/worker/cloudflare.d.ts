/**
 * Owns the types of Cloudflare's own modules, as far as they are used here. The published set
 * declares `fetch`, `Request` and the like once more, against Node's in the same program.
 */
declare module "cloudflare:workers" {
  export abstract class DurableObject {
    protected readonly ctx: DurableObjectState;
    constructor(ctx: DurableObjectState, env: unknown);
  }

  export interface DurableObjectState {
    readonly storage: {
      readonly sql: SqlStorage;
      /** All of it or, when it throws, nothing. */
      transactionSync<Result>(work: () => Result): Result;
      getAlarm(): Promise<number | null>;
      /** @param atMs milliseconds since the epoch */
      setAlarm(atMs: number): Promise<void>;
      /** Empties the storage, tables included: an object without any costs nothing. */
      deleteAll(): Promise<void>;
    };
    /** Ends the object in memory; the next call makes it anew from its storage. */
    abort(reason: string): void;
  }

  export interface SqlStorage {
    exec(
      query: string,
      ...bindings: readonly (string | number | null)[]
    ): Iterable<Readonly<Record<string, unknown>>>;
  }
}
