/**
 * Keeps log files small. The processes hold their file open for appending, so it is copied and cut rather than moved:
 * a line written in the moment between the two may be lost, the processes need to know nothing.
 */
import { copyFileSync, existsSync, renameSync, statSync, truncateSync } from "node:fs";

const keep = 3;

export class LogRotation {
  private readonly bytes: number;
  private readonly files = new Set<string>();
  private readonly timer: NodeJS.Timeout;

  /** @param bytes from which size on a file is moved on to `.1`, that to `.2`, that to `.3`. */
  constructor(bytes: number, everyMs = 10_000) {
    this.bytes = bytes;
    this.timer = setInterval(() => this.check(), everyMs);
    this.timer.unref();
  }

  watch(file: string): void {
    this.files.add(file);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Rotates what is too large now. */
  check(): void {
    for (const file of this.files) {
      if (!existsSync(file) || statSync(file).size < this.bytes) continue;
      for (let number = keep - 1; number >= 1; number--) {
        if (existsSync(`${file}.${number}`)) renameSync(`${file}.${number}`, `${file}.${number + 1}`);
      }
      copyFileSync(file, `${file}.1`);
      truncateSync(file, 0);
    }
  }
}
