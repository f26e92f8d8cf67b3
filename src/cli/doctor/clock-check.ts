/** Checks the clocks of other machines, which decide when tokens and stored times expire. */
import { CLOCK_TOLERANCE_SECONDS } from "../../session/verify-token.ts";
import type { Finding } from "./finding.ts";

/** Smaller differences cannot be measured by a `Date` header, which has whole seconds. */
const SAME_CLOCK_MS = 2_000;

/**
 * Compares the clock of this machine with another one.
 *
 * @param other the other machine, as a noun, such as "Redis"
 * @param skewMs how far its clock is ahead of this machine's, in milliseconds
 */
export function checkClock(other: string, skewMs: number): Finding {
  const check = "clock";
  const seconds = Math.round(Math.abs(skewMs) / 1_000);
  if (Math.abs(skewMs) <= SAME_CLOCK_MS) {
    return { check, status: "ok", detail: `the clocks of this machine and ${other} agree` };
  }
  return {
    check,
    status: seconds > CLOCK_TOLERANCE_SECONDS ? "fail" : "warn",
    detail: `the clock of ${other} is ${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} the clock of this machine; the service tolerates ${CLOCK_TOLERANCE_SECONDS} s`,
    action: "Synchronize both clocks with NTP.",
  };
}
