// Owns the one error that means "the API says no". It carries no token and no message content, and it
// knows nothing of HTTP beyond the status.

/** The statuses with which the emulator refuses; UponAI documents none of them. */
type RefusalStatus = 400 | 401 | 403 | 404 | 409 | 415;

/** Thrown wherever a request is found wanting; `on-error.ts` turns it into `{"error": message}`. */
export class Refusal extends Error {
  readonly status: RefusalStatus;

  constructor(status: RefusalStatus, message: string) {
    super(message);
    this.name = "Refusal";
    this.status = status;
  }
}
