/**
 * Catches SIGTERM and SIGINT from the start of the process. It has no imports, so that it runs
 * before other modules are loaded: a process with id 1, as in a container, ignores signals without
 * a handler.
 */
export type StopSignal = "SIGTERM" | "SIGINT";

export interface StopSignals {
  /** Sets the handler of all further signals, and calls it for those that arrived before. */
  handle(handler: (signal: StopSignal) => void): void;
}

/** Starts to catch signals. They are kept until `handle` is called. */
export function catchStopSignals(): StopSignals {
  const early: StopSignal[] = [];
  let current = (signal: StopSignal): void => void early.push(signal);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => current(signal));
  }
  return {
    handle: (handler) => {
      current = handler;
      for (const signal of early.splice(0)) handler(signal);
    },
  };
}
