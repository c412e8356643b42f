/** One timer for tens of thousands of waits: a bucket for each quarter of a second. Nothing comes early; all may come a bucket late. */

const TICK_MS = 250;
/** Worked off in one go, before others get their turn. */
const CHUNK = 200;

/** Something that is to be done later. */
export class Wait {
  readonly work: () => void;
  readonly #bucket: Set<Wait>;

  constructor(work: () => void, bucket: Set<Wait>) {
    this.work = work;
    this.#bucket = bucket;
  }

  /** It is not done any more; does nothing when it was. */
  cancel(): void {
    this.#bucket.delete(this);
  }
}

export class Wheel {
  readonly #buckets = new Map<number, Set<Wait>>();
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

  after(ms: number, work: () => void): Wait {
    const tick = Math.max(this.#tickOf(performance.now() + ms) + 1, this.#at + 1);
    const bucket = this.#buckets.get(tick) ?? new Set();
    const wait = new Wait(work, bucket);
    if (this.#closed) return wait;
    if (bucket.size === 0) this.#buckets.set(tick, bucket);
    bucket.add(wait);
    return wait;
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
        for (const wait of due) {
          try {
            wait.work();
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
