/** Owns the knowledge of which connections are owed an answer. */
import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

import { endBody } from "./request-source.ts";

export interface OpenResponses {
  add(socket: Duplex, response: ServerResponse): void;
  /** Makes every open answer the last of its connection. */
  stopKeepingAlive(): void;
  /**
   * Ends a connection once the answers it is owed are out. Nothing more can be read from it: a
   * request whose body is not all here is told so, by its `aborted` event.
   *
   * @returns false when it is owed none, and was left as it is
   */
  endAfterAnswers(socket: Duplex): boolean;
  /** Resolves when no answer is open. */
  allFinished(): Promise<void>;
}

export function createOpenResponses(): OpenResponses {
  const open = new Map<ServerResponse, Duplex>();
  let waiting: (() => void)[] = [];
  return {
    add(socket, response) {
      open.set(response, socket);
      response.once("close", () => {
        open.delete(response);
        if (open.size > 0) return;
        for (const resolve of waiting) resolve();
        waiting = [];
      });
    },
    stopKeepingAlive() {
      for (const response of open.keys()) response.shouldKeepAlive = false;
    },
    endAfterAnswers(socket) {
      let owed = false;
      for (const [response, its] of open) {
        if (its !== socket) continue;
        owed = true;
        response.shouldKeepAlive = false;
        response.once("finish", () => socket.end());
        if (!response.req.complete) endBody(response.req);
      }
      return owed;
    },
    allFinished: () =>
      new Promise((resolve) => {
        if (open.size === 0) resolve();
        else waiting.push(resolve);
      }),
  };
}
