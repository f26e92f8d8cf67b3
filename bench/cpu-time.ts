/** Reads how much processor time a process and its threads have used. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const ticksPerSecond =
  Number(spawnSync("getconf", ["CLK_TCK"], { encoding: "utf8" }).stdout) || 100;

/** Reads user and system time in microseconds; undefined where the system has no /proc. */
export function readCpuUs(pid: number): number | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The second field is the program's name in parentheses and may hold spaces; utime and stime are
  // the fields 14 and 15 (proc_pid_stat(5)), so 12th and 13th after it.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / ticksPerSecond;
}
