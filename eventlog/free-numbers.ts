/**
 * Numbers that are claims which are never given up, as those of builds: none is used twice, whoever takes it. The next free one is looked for
 * by doubling steps once, then counted on from; where another process was faster the claim says so, and it is looked for again.
 */
import type { Claim } from "@millrace/domain/decider.ts";
import type { EventLog } from "./eventlog.ts";
import { readClaim } from "./execute.ts";

export class FreeNumbers {
  readonly #log: EventLog;
  readonly #context: string;
  readonly #claimOf: (number: number) => Pick<Claim, "what" | "value">;
  /** All up to it are taken, as far as is known. */
  #taken = 0;
  #isSure = false;
  #looking: Promise<void> | undefined;

  constructor(log: EventLog, context: string, claimOf: (number: number) => Pick<Claim, "what" | "value">) {
    this.#log = log;
    this.#context = context;
    this.#claimOf = claimOf;
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
    return (await readClaim(this.#log, this.#context, this.#claimOf(number))).holder !== null;
  }
}
