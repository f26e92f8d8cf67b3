/**
 * Connects to a name that may have several addresses, as RFC 8305 ("Happy Eyeballs") describes.
 *
 * Node's own implementation gives up each address but the last after 250 ms. With a slow first
 * address and a last one that refuses, it fails at once, whatever the time limit is. Here a slow
 * address stays in the race while the next ones are tried, and one time limit holds for all
 * addresses together.
 */
import { type LookupAddress, lookup } from "node:dns";
import { connect, isIP, type Socket } from "node:net";

/**
 * Pause before the next address is tried, in milliseconds; RFC 8305 section 5 recommends 250 ms.
 */
const NEXT_ADDRESS_MS = 250;

export interface TcpTarget {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** No connection was made within the time limit. */
export class ConnectTimeout extends Error {
  readonly code = "ETIMEDOUT";

  constructor() {
    super("no connection in time");
    this.name = "ConnectTimeout";
  }
}

/**
 * Opens a TCP connection to the first address that accepts it. The limit includes name resolution.
 *
 * @param timeoutMs longest time for name resolution and all addresses together, in milliseconds
 * @throws ConnectTimeout; otherwise the error of the last address that failed, or of the resolution
 */
export function connectTcp({ host, port }: TcpTarget, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const pending = new Set<Socket>();
    let rest: LookupAddress[] = [];
    let nextTimer: NodeJS.Timeout | undefined;
    let ended = false;

    const end = (winner?: Socket): boolean => {
      if (ended) return false;
      ended = true;
      clearTimeout(limit);
      clearTimeout(nextTimer);
      if (winner !== undefined) pending.delete(winner);
      for (const socket of pending) socket.destroy();
      return true;
    };
    const limit = setTimeout(() => {
      if (end()) reject(new ConnectTimeout());
    }, timeoutMs);

    const tryNext = (): void => {
      clearTimeout(nextTimer);
      const address = rest.shift();
      if (address === undefined) return;
      const socket = connect({ host: address.address, family: address.family, port });
      pending.add(socket);
      const fail = (error: Error) => {
        pending.delete(socket);
        if (ended) return;
        if (rest.length > 0) tryNext();
        else if (pending.size === 0 && end()) reject(error);
      };
      socket.once("error", fail);
      socket.once("connect", () => {
        if (!end(socket)) return;
        socket.off("error", fail);
        resolve(socket);
      });
      if (rest.length > 0) nextTimer = setTimeout(tryNext, NEXT_ADDRESS_MS);
    };

    const begin = (addresses: readonly LookupAddress[]): void => {
      rest = alternateFamilies(addresses);
      tryNext();
    };
    const family = isIP(host);
    if (family !== 0) {
      begin([{ address: host, family }]);
      return;
    }
    lookup(host, { all: true }, (error, addresses) => {
      if (ended) return;
      if (error === null) begin(addresses);
      else if (end()) reject(error);
    });
  });
}

/**
 * Alternates IPv6 and IPv4 (RFC 8305 section 4): where one family is broken, the other is tried
 * soon.
 */
function alternateFamilies(addresses: readonly LookupAddress[]): LookupAddress[] {
  const [first] = addresses;
  const preferred = addresses.filter(({ family }) => family === first?.family);
  const others = addresses.filter(({ family }) => family !== first?.family);
  return preferred
    .flatMap((address, index) => {
      const other = others[index];
      return other === undefined ? [address] : [address, other];
    })
    .concat(others.slice(preferred.length));
}
