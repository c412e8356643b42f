/** One timer for tens of thousands of waits: a bucket for each quarter of a second. Nothing comes early; all may come a bucket late. */

const TICK_MS = 250;
/** Worked off in one go, before others get their turn. */
const CHUNK = 200;

export class Wheel {
  readonly #buckets = new Map<number, Set<() => void>>();
  readonly #timer: NodeJS.Timeout;
  readonly #onError: (error: unknown) => void;
  #at = this.#tickOf(performance.now());
  #closed = false;
  #working = false;

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
    this.#timer = setInterval(() => void this.#turn(), TICK_MS);
  }

  get waiting(): number {
    let sum = 0;
    for (const bucket of this.#buckets.values()) sum += bucket.size;
    return sum;
  }

  /** @returns takes it back */
  after(ms: number, work: () => void): () => void {
    if (this.#closed) return () => {};
    const tick = Math.max(this.#tickOf(performance.now() + ms) + 1, this.#at + 1);
    // Each wait is one of its own, though the work be the same.
    const once = () => work();
    const bucket = this.#buckets.get(tick);
    if (bucket === undefined) this.#buckets.set(tick, new Set([once]));
    else bucket.add(once);
    return () => void this.#buckets.get(tick)?.delete(once);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#buckets.clear();
  }

  #tickOf(ms: number): number {
    return Math.floor(ms / TICK_MS);
  }

  async #turn(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (const now = this.#tickOf(performance.now()); this.#at < now && !this.#closed; ) {
        this.#at += 1;
        const due = this.#buckets.get(this.#at);
        if (due === undefined) continue;
        this.#buckets.delete(this.#at);
        let done = 0;
        for (const work of due) {
          try {
            work();
          } catch (error) {
            this.#onError(error);
          }
          done += 1;
          if (done % CHUNK === 0) await new Promise((resolve) => setImmediate(resolve));
          if (this.#closed) return;
        }
      }
    } finally {
      this.#working = false;
    }
  }
}
