/** Agreement between the tabs and the stores of one browser. Without it the service decides alone. */

/** A tab that is frozen can hold its lock for long. After this time, in ms, it is not waited for. */
const LOCK_MS = 30_000;
const CHANNEL = "uponai-chat";

/** Runs the task once, while no other tab runs one of this chat. */
export async function withLock<Result>(
  chatId: string,
  task: () => Promise<Result>,
): Promise<Result> {
  let running: Promise<Result> | undefined;
  const run = () => (running ??= task());
  try {
    const { locks } = navigator;
    await locks.request(`${CHANNEL}:${chatId}`, { signal: AbortSignal.timeout(LOCK_MS) }, run);
  } catch {
    // There are no locks here, or this one was not had in time; or the task has failed.
  }
  return run();
}

/**
 * Opens the channel on which stores tell one another the id of a chat that has changed. It brings
 * nothing back to the store that has sent it. undefined where there are no channels.
 */
export function openChannel(onChange: (chatId: unknown) => void): BroadcastChannel | undefined {
  try {
    // Only for pages: on Node an open channel would keep the process alive.
    if (typeof document === "undefined") return undefined;
    const channel = new BroadcastChannel(CHANNEL);
    channel.addEventListener("message", ({ data }: MessageEvent<unknown>) => onChange(data));
    return channel;
  } catch {
    return undefined;
  }
}

const turns = new Map<string, Promise<unknown>>();

/** Runs the tasks of one name on this page one after the other. */
export function inTurn<Result>(name: string, task: () => Promise<Result>): Promise<Result> {
  const run = () => task();
  const running = (turns.get(name) ?? Promise.resolve()).then(run, run);
  turns.set(name, running);
  return running;
}

/**
 * Calls `onShown` each time the page is shown again, also from the browser's history. Returns the
 * function that ends it. Does nothing outside of pages.
 */
export function onWake(onShown: () => void): () => void {
  const listening = new AbortController();
  if (typeof document !== "undefined") {
    const options = { signal: listening.signal };
    addEventListener("pageshow", ({ persisted }) => persisted && onShown(), options);
    document.addEventListener("visibilitychange", () => document.hidden || onShown(), options);
  }
  return () => listening.abort();
}
