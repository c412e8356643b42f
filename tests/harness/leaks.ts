/** Which processes come from a test file: its mark is in the environment, which all descendants inherit. */
import { readFileSync } from "node:fs";

/** Whether the process was started with this mark. Linux only; elsewhere always false. */
export function belongsTo(pid: number, mark: string): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
    return environment.split("\0").includes(`MILLRACE_TEST_MARK=${mark}`);
  } catch {
    return false;
  }
}
