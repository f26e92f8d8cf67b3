/** The package `uponai-bff`: the service inside a Node server of your own. */
export type { ConfigProblem } from "./config/config.ts";
export {
  type Bff,
  type BffOptions,
  type Connection,
  createBff,
  type Settings,
  SettingsError,
} from "./platform/node/mount.ts";
