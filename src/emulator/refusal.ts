// The error of a request that the API refuses. It holds no token and no message content.

/** The statuses with which the emulator refuses; UponAI documents none of them. */
type RefusalStatus = 400 | 401 | 403 | 404 | 409 | 415;

/** Thrown for a request that is refused; the emulator answers it with `{"error": message}`. */
export class Refusal extends Error {
  readonly status: RefusalStatus;

  constructor(status: RefusalStatus, message: string) {
    super(message);
    this.name = "Refusal";
    this.status = status;
  }
}
