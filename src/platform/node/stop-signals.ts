/**
 * Catches SIGTERM and SIGINT from the first moment. It imports nothing, so that it is there before
 * anything is loaded: a process with id 1 (a container's) ignores a signal that it has no handler for.
 */
export type StopSignal = "SIGTERM" | "SIGINT";

export interface StopSignals {
  /** Hands over all further signals, and first those that came while nobody handled them. */
  handle(handler: (signal: StopSignal) => void): void;
}

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
