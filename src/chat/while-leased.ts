/** Owns keeping what was leased to a request for as long as it works, and settling it at the end. */
import type { Admission, Settlement, SettleOutcome } from "../admission/admission.ts";
import type { TranscriptState } from "../admission/transcript-state.ts";
import type { Exchange } from "../exchange.ts";
import type { ChatParts } from "./chat-parts.ts";

/** How often leases are renewed: a third of their time, so that one lost renewal is no harm. */
const RENEW_EVERY_MS = 5_000;

export interface Settled<Result> {
  readonly result: Result;
  readonly settled: SettleOutcome;
}

/** Renews what is leased, at once; the transcript's mark is told where it was learnt since. */
export type Renew = (stateBefore?: TranscriptState) => void;

/**
 * Runs `work`, which says what became of the request, and settles by it. Work that throws is a
 * defect, after which nobody knows.
 */
export async function whileLeased<Result>(
  { state, log }: ChatParts,
  exchange: Exchange,
  admission: Admission,
  work: (renew: Renew) => Promise<{ readonly result: Result; readonly settlement: Settlement }>,
): Promise<Settled<Result>> {
  let renewed: Promise<unknown> = Promise.resolve();
  const renew: Renew = (stateBefore) => {
    const renewing = state.renew(admission, stateBefore).catch(() => undefined);
    renewed = Promise.all([renewed, renewing]);
  };
  const renewal = setInterval(() => renew(), RENEW_EVERY_MS);
  const settle = async (settlement: Settlement): Promise<SettleOutcome> => {
    clearInterval(renewal);
    // One that was overtaken would take anew what is freed now, and nobody would free it again.
    await renewed;
    // Waited for: a client that has its answer may send the next message at once.
    const settled = await state.settle(admission, settlement);
    if (settled !== "settled") {
      const { requestId: reqId } = exchange;
      // Log fields keep their names.
      const { disposition: fate } = settlement;
      log.log("warn", "message was not settled", { reqId, settled, fate });
    }
    return settled;
  };
  let done: Awaited<ReturnType<typeof work>>;
  try {
    done = await work(renew);
  } catch (error) {
    const { transcriptState: stateBefore } = admission;
    await settle({ disposition: "unknown", code: "internal_error", stateBefore });
    throw error;
  }
  return { result: done.result, settled: await settle(done.settlement) };
}
