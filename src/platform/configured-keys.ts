/** Creates the source of the keys that verify session tokens, as the configuration names it. */
import type { Config, ConfigProblem } from "../config/config.ts";
import { variables } from "../config/variables.ts";
import {
  createPublicKeySource,
  createSecretKeySource,
  type KeySource,
} from "../session/key-source.ts";
import { createRemoteKeySource, type RemoteKeysOptions } from "../session/remote-keys.ts";

export type ConfiguredKeys =
  | { readonly kind: "keys"; readonly keys: KeySource }
  | { readonly kind: "problem"; readonly problem: ConfigProblem };

/** What a platform provides for keys behind `SESSION_JWKS_URL`. */
export interface RemoteKeyParts extends Omit<RemoteKeysOptions, "url" | "fetch"> {
  /** Called at most once, and only where keys are fetched. */
  readonly openFetch: (url: string) => RemoteKeysOptions["fetch"];
}

/**
 * Creates the key source of `SESSION_SECRET`, `SESSION_PUBLIC_KEY` or `SESSION_JWKS_URL`. It
 * fetches nothing yet.
 *
 * @returns a problem where `SESSION_PUBLIC_KEY` holds no usable public key
 */
export async function createConfiguredKeys(
  { key }: Config["session"],
  { openFetch, ...parts }: RemoteKeyParts,
): Promise<ConfiguredKeys> {
  switch (key.kind) {
    case "secret":
      return { kind: "keys", keys: await createSecretKeySource(key.secret) };
    case "public": {
      const keys = await createPublicKeySource(key.publicKey);
      return keys === undefined
        ? { kind: "problem", problem: NO_PUBLIC_KEY }
        : { kind: "keys", keys };
    }
    case "jwks": {
      const { url } = key;
      const keys = createRemoteKeySource({ ...parts, url, fetch: openFetch(url) });
      return { kind: "keys", keys };
    }
  }
}

const NO_PUBLIC_KEY: ConfigProblem = {
  variable: "SESSION_PUBLIC_KEY",
  problem: "must be a public key that can be read; a private or symmetric one is refused",
  example: variables.SESSION_PUBLIC_KEY.example,
};
