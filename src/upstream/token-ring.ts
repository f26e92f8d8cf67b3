/** Owns which of a workspace's API tokens is in use while they are rotated. */

export interface TokenRing {
  current(): string;
  /**
   * The token to try after `refused` was answered 401, remembered for the next request.
   * Undefined when there is no other.
   */
  next(refused: string): string | undefined;
}

/** @param tokens the preferred one first */
export function createTokenRing(tokens: readonly [string, ...string[]]): TokenRing {
  let token = tokens[0];
  return {
    current: () => token,
    next(refused) {
      // Another request may have moved on already: then its choice is tried.
      if (token !== refused) return token;
      const following = tokens[(tokens.indexOf(refused) + 1) % tokens.length];
      if (following === undefined || following === refused) return undefined;
      token = following;
      return token;
    },
  };
}
