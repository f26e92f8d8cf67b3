// Owns the search for a port that can be listened on, for commands that people start by hand.

/** How many further ports are tried; more taken ones in a row are hardly an accident. */
const NEXT_PORTS_MAX = 20;

/**
 * Starts on `first` or, where that is taken, says so and tries the next.
 * Rejects with the last error when none of them is free, and with any other error at once.
 */
export async function startOnFreePort<Running>(
  first: number,
  start: (port: number) => Promise<Running>,
): Promise<Running> {
  for (let port = first; ; port += 1) {
    try {
      return await start(port);
    } catch (error) {
      const taken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
      if (!taken || port >= Math.min(first + NEXT_PORTS_MAX, 65_535)) throw error;
      console.log(`Port ${port} is taken, trying ${port + 1}.`);
    }
  }
}
