/** Finds the end of each HTTP answer on a kept connection. It parses only what that needs. */

export interface AnswerSeen {
  readonly status: number;
  readonly keepsAlive: boolean;
  /** The raw answer, for an error message. */
  readonly raw: Buffer;
}

const HEAD_END = "\r\n\r\n";
const CHUNKS_END = "\r\n0\r\n\r\n";

/** Takes chunks of a socket, and returns an answer when its last byte has arrived. */
export class ResponseReader {
  #held: Buffer | undefined;

  push(chunk: Buffer): AnswerSeen | undefined {
    const raw = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    if (!isComplete(raw)) {
      this.#held = raw;
      return undefined;
    }
    this.#held = undefined;
    // "HTTP/1.1 201"
    const status = Number(raw.toString("latin1", 9, 12));
    const head = raw.toString("latin1", 0, raw.indexOf(HEAD_END));
    return { status, keepsAlive: !/^connection: *close/im.test(head), raw };
  }
}

function isComplete(raw: Buffer): boolean {
  const headEnd = raw.indexOf(HEAD_END);
  if (headEnd === -1) return false;
  const head = raw.toString("latin1", 0, headEnd);
  const length = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (length !== undefined) return raw.length >= headEnd + HEAD_END.length + Number(length);
  if (/^transfer-encoding: *chunked/im.test(head)) {
    // No body here contains the end marker, and no target sends trailers.
    return raw.indexOf(CHUNKS_END, headEnd + 2) === raw.length - CHUNKS_END.length;
  }
  // Neither header: the answer has no body.
  return true;
}
