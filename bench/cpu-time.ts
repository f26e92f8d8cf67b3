/** Reads how much processor time and memory a process uses. */
import { readdirSync, readFileSync } from "node:fs";

/** Reads the processor time of all threads in microseconds; undefined where there is no /proc. */
export function readCpuUs(pid: number): number | undefined {
  const folder = `/proc/${pid}/task`;
  try {
    let ns = 0;
    for (const thread of readdirSync(folder)) {
      // The first field is the time on a processor (proc_pid_schedstat). It is finer than the ticks
      // of `stat`, which a short slot has few of.
      ns += Number(readFileSync(`${folder}/${thread}/schedstat`, "latin1").split(" ", 1)[0]);
    }
    return ns / 1_000;
  } catch {
    return undefined;
  }
}

/** Reads the resident memory of a process in bytes; undefined where there is no /proc. */
export function readResidentBytes(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024;
  } catch {
    return undefined;
  }
}
