/** Places for work under way, given in order of asking, so that nobody takes more than there are. */
export class Turns {
  readonly #most: number;
  readonly #queue: Array<() => void> = [];
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @returns false: none is free */
  tryTake(): boolean {
    if (this.#taken >= this.#most || this.#queue.length > 0) return false;
    this.#taken++;
    return true;
  }

  take(): Promise<void> {
    if (this.tryTake()) return Promise.resolve();
    return new Promise((resolve) => this.#queue.push(resolve));
  }

  give(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#taken--;
    else next();
  }

  async with<T>(work: () => Promise<T>): Promise<T> {
    await this.take();
    try {
      return await work();
    } finally {
      this.give();
    }
  }
}

/**
 * Requests under way at the same moment: so many in all, and of those only a part for receivers that failed or were slow the last
 * time. However many of them are bad, the rest is never without a place.
 */
export class Slots {
  readonly #all: Turns;
  readonly #suspects: Turns;

  constructor(all: number, suspects: number) {
    this.#all = new Turns(all);
    this.#suspects = new Turns(suspects);
  }

  /** @returns gives it back; undefined: none is free */
  tryTake(isSuspect: boolean): (() => void) | undefined {
    if (isSuspect && !this.#suspects.tryTake()) return undefined;
    if (!this.#all.tryTake()) {
      if (isSuspect) this.#suspects.give();
      return undefined;
    }
    return () => this.#give(isSuspect);
  }

  async take(isSuspect: boolean): Promise<() => void> {
    if (isSuspect) await this.#suspects.take();
    await this.#all.take();
    return () => this.#give(isSuspect);
  }

  #give(isSuspect: boolean): void {
    this.#all.give();
    if (isSuspect) this.#suspects.give();
  }
}
