/**
 * Numbers of builds: each is a claim that is never given up, so none is used twice, whoever takes it. The next free one is looked for by
 * doubling steps once, then counted on from; where another gateway was faster the claim says so, and it is looked for again.
 */
import { numberClaim } from "@millrace/domain/publishing/build.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";

export class BuildNumbers {
  readonly #log: EventLog;
  /** All up to it are taken, as far as is known. */
  #taken = 0;
  #isSure = false;
  #looking: Promise<void> | undefined;

  constructor(log: EventLog) {
    this.#log = log;
  }

  /** A number that is most probably free. @throws LogUnavailable */
  async next(): Promise<number> {
    while (!this.#isSure) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
      await this.#looking;
    }
    return ++this.#taken;
  }

  /** One that was taken for free was not. */
  overtaken(): void {
    this.#isSure = false;
  }

  async #look(): Promise<void> {
    let low = this.#taken;
    let high = low + 1;
    while (await this.#isTaken(high)) {
      [low, high] = [high, high + (high - low) * 2];
    }
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (await this.#isTaken(middle)) low = middle;
      else high = middle;
    }
    this.#taken = low;
    this.#isSure = true;
  }

  async #isTaken(number: number): Promise<boolean> {
    return (await readClaim(this.#log, "publishing", numberClaim(number))).holder !== null;
  }
}
