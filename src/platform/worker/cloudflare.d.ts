/**
 * Types of Cloudflare's modules, as far as the service uses them. The published types cannot be
 * used: they declare `fetch`, `Request` and others globally, which conflicts with Node's types.
 */
declare module "cloudflare:workers" {
  export abstract class DurableObject {
    protected readonly ctx: DurableObjectState;
    constructor(ctx: DurableObjectState, env: unknown);
  }

  export interface DurableObjectState {
    readonly storage: {
      readonly sql: SqlStorage;
      /** Runs `work` in a transaction. When `work` throws, nothing is written. */
      transactionSync<Result>(work: () => Result): Result;
      getAlarm(): Promise<number | null>;
      /** @param atMs milliseconds since the epoch */
      setAlarm(atMs: number): Promise<void>;
      /** Deletes all data and tables. An object without storage costs nothing. */
      deleteAll(): Promise<void>;
    };
    /** Ends the object in memory. The next call creates it again from its storage. */
    abort(reason: string): void;
  }

  export interface SqlStorage {
    exec(
      query: string,
      ...bindings: readonly (string | number | null)[]
    ): Iterable<Readonly<Record<string, unknown>>>;
  }
}
