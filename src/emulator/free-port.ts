// Finds a free port, for commands that people start by hand.

/** Number of further ports that are tried. */
const NEXT_PORTS_MAX = 20;

/**
 * Starts on the port `first`. Where it is taken, prints that and tries the next one.
 * Rejects with the last error when all are taken, and with any other error at once.
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
