/**
 * Named places at which a test can end the process as a power cut would: `MILLRACE_DIE_AT=<name>:<nth>` sends SIGKILL
 * when the place is passed for the nth time (1 when left out). With `MILLRACE_DIE_BY=SIGSTOP` it freezes there instead, as a
 * machine does that sleeps. Without the variable it costs one comparison.
 */
const [place, nth] = (process.env.MILLRACE_DIE_AT ?? "").split(":");
const signal = process.env.MILLRACE_DIE_BY === "SIGSTOP" ? "SIGSTOP" : "SIGKILL";
let left = Number(nth ?? 1);

export function faultPoint(name: string): void {
  if (place !== name || --left !== 0) return;
  process.kill(process.pid, signal);
}
