/** How long a device that does not answer is left alone. */
import { DeviceFailure, failure } from "./failures.ts";

const FIRST_MS = 1_000;
const LONGEST_MS = 300_000;

/**
 * Full jitter: anything up to 1 s, 2 s, 4 s … 300 s, so that devices which went together do not come together.
 * @param failures in a row, from 1 @param chance 0 to 1
 */
export const backoffMs = (failures: number, chance: number): number =>
  Math.ceil(chance * Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 20)));

const OPENS_AFTER = 5;
const OPEN_FIRST_MS = 5_000;
const OPEN_MOST_MS = 60_000;

/**
 * After five calls in a row that nobody answered, further ones are told so at once, but for one now and then that looks: who waits for a
 * dead device holds up nobody, and nothing piles up before one that is coming back.
 */
export class Breaker {
  #failures = 0;
  #openUntil = 0;

  /** @throws DeviceFailure unreachable, and what `work` throws */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    if (this.#openUntil > 0 && performance.now() < this.#openUntil) {
      const ms = Math.ceil(this.#openUntil - performance.now());
      throw failure("unreachable", `It did not answer ${this.#failures} times.`, { again: { when: "after", ms } });
    }
    try {
      const done = await work();
      this.#failures = 0;
      return done;
    } catch (error) {
      this.#learn(error);
      throw error;
    }
  }

  /** It was heard of: the next call goes. */
  reset(): void {
    this.#failures = 0;
    this.#openUntil = 0;
  }

  #learn(error: unknown): void {
    if (!(error instanceof DeviceFailure) || (error.kind !== "unreachable" && error.kind !== "timeout")) {
      this.#failures = 0;
      return;
    }
    this.#failures += 1;
    if (this.#failures < OPENS_AFTER) return;
    const ms = Math.min(OPEN_MOST_MS, OPEN_FIRST_MS * 2 ** Math.min(this.#failures - OPENS_AFTER, 10));
    this.#openUntil = performance.now() + ms;
  }
}
