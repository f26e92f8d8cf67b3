/** Agreement between the tabs of one browser. Without these interfaces the service decides alone. */

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
