// Owns what each fault does to a request that passed the checks. It knows no routes and no tokens, and
// it is where one sees whether a fault strikes before or after the message is taken.
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

/** A checked request that has not had any effect yet. */
export interface Call {
  readonly env: Bindings;
  /** Has the effect: a message is taken here and nowhere else. Throws the API's refusal. */
  run(): Answer;
  /** The agent closes the chat; nothing where there is none. */
  closeChat(): void;
  /** Throws ConnectionCut if the emulator ends meanwhile. */
  wait(delayMs: number | undefined): Promise<void>;
}

const BYTES_DEFAULT = 2 * 1024 * 1024;
const DRIP_EVERY_MS_DEFAULT = 100;
/** Port 9 is "discard": whoever follows the redirect finds nobody there. */
const LOCATION_DEFAULT = "http://127.0.0.1:9/";

/** Runs `call`, struck by `fault` if there is one. */
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
      // A chat that has ended refuses by itself.
      call.closeChat();
      break;
    case undefined:
      break;
    case "taken-then-delay": {
      // Written now: a chat that goes on during the delay does not change what is answered.
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
