// Applies a fault to a request that has passed the checks. The order of `call.run()` and the fault
// shows whether the message is taken before the fault or not at all.
import { gzipSync } from "node:zlib";
import {
  type Answer,
  answer,
  answerHeaders,
  answerPlainly,
  answerStatus,
  withBody,
} from "./answer.ts";
import { type Bindings, ConnectionCut } from "./connection.ts";
import type { Fault } from "./faults.ts";
import { dripBody, paddedBody } from "./hostile-bodies.ts";

/** A request that has passed the checks and has not run yet. */
export interface Call {
  readonly env: Bindings;
  /** Runs the operation; only here is a message taken. Throws a Refusal. */
  run(): Answer;
  /** Closes the chat, as an agent does. Does nothing where the request has no chat. */
  closeChat(): void;
  /** Waits, in milliseconds. Throws ConnectionCut when the emulator ends or is reset meanwhile. */
  wait(delayMs: number | undefined): Promise<void>;
}

const BYTES_DEFAULT = 2 * 1024 * 1024;
const DRIP_EVERY_MS_DEFAULT = 100;
/** Port 9 ("discard"): a client that follows the redirect finds no server there. */
const LOCATION_DEFAULT = "http://127.0.0.1:9/";

/** Runs `call` with `fault`, or without one. */
export async function applyFault(call: Call, fault: Fault = {}): Promise<Response> {
  if (fault.kind !== "taken-then-delay") await call.wait(fault.delayMs);
  switch (fault.kind) {
    case "status":
      return answerStatus(fault, call.env);
    case "redirect":
      return answer(302, null, { location: fault.location ?? LOCATION_DEFAULT });
    case "reset-before":
      throw new ConnectionCut();
    case "closed":
      // `run` then refuses, because the chat has ended.
      call.closeChat();
      break;
    case undefined:
      break;
    case "taken-then-delay": {
      // Built before the delay: messages that arrive meanwhile must not change this answer.
      const answered = answerPlainly(call.run());
      await call.wait(fault.delayMs);
      return answered;
    }
    case "taken-then-status":
      call.run();
      return answerStatus(fault, call.env);
    case "reset-after":
      call.run();
      throw new ConnectionCut();
    case "garbage":
      return answer(withBody(call.run()).status, "<html>this is not JSON</html>");
    case "body": {
      const { status } = withBody(call.run());
      return answer(fault.status ?? status, fault.body, answerHeaders(fault));
    }
    case "huge": {
      const { status, text } = withBody(call.run());
      return answer(status, paddedBody(text, fault.bytes ?? BYTES_DEFAULT));
    }
    case "drip": {
      const { status, text } = withBody(call.run());
      return answer(status, dripBody(text, fault.everyMs ?? DRIP_EVERY_MS_DEFAULT));
    }
    case "gzip": {
      const { status, text } = withBody(call.run());
      const body =
        fault.bytes === undefined
          ? gzipSync(text)
          : paddedBody(text, fault.bytes).pipeThrough(new CompressionStream("gzip"));
      return answer(status, body, { "content-encoding": "gzip" });
    }
  }
  return answerPlainly(call.run());
}
