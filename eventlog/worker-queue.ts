/** The keyed queue of a worker: one at work in a unit, as many units as there are places, first come first served. */
import type { Logger } from "./logging.ts";
import { metrics } from "./telemetry.ts";
import type { Entry } from "./worker-entry.ts";

export interface Unit {
  readonly key: string;
  readonly waiting: Entry[];
  running: boolean;
}

export interface QueueOptions {
  /** Units at work at the same moment. */
  readonly places: number;
  readonly context: string;
  readonly logger: Logger;
  readonly run: (unit: Unit) => Promise<void>;
}

/** Units that wait for each place at the most; what is beyond is better off with another worker. */
const WAITING_PER_PLACE = 4;
const WAITING_LEAST = 4;
/** What is beyond comes again after so many times what a unit has taken of late, within these bounds: a queue of four for each place lasts longer. */
const BEYOND = { times: 2, leastMs: 50, mostMs: 2_000 } as const;
/** Units for each place that may stand aside; what is beyond waits in its place. */
const ASIDE_PER_PLACE = 16;

export class UnitQueue {
  readonly #options: QueueOptions;
  readonly #units = new Map<string, Unit>();
  /** Units with somebody waiting and nobody at work. */
  readonly #ready: Unit[] = [];
  readonly #running = new Set<Promise<void>>();
  #aside = 0;
  /** What a unit has taken of late, milliseconds. */
  #tookMs = 0;
  #ended = false;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** @returns false when the queue is full and the entry has a message that can be given to another worker */
  add(key: string, entry: Entry): boolean {
    const { places } = this.#options;
    let unit = this.#units.get(key);
    if (unit === undefined) {
      const full = this.#units.size - this.#aside >= places * (1 + WAITING_PER_PLACE) + WAITING_LEAST;
      if (full && entry.messages.length > 0) return false;
      unit = { key, waiting: [], running: false };
      this.#units.set(key, unit);
    }
    unit.waiting.push(entry);
    if (!unit.running && unit.waiting.length === 1) this.#ready.push(unit);
    this.#next();
    return true;
  }

  /**
   * Waits without a place, so that another unit has its turn. It comes back at once, even when all places are taken: what
   * is under way is not held up by what begins.
   */
  async aside<T>(wait: () => Promise<T>): Promise<T> {
    if (this.#aside >= this.#options.places * ASIDE_PER_PLACE) return wait();
    this.#aside++;
    this.#next();
    try {
      return await wait();
    } finally {
      this.#aside--;
    }
  }

  /** When what found the queue full should come again, in milliseconds. */
  get beyondMs(): number {
    const { times, leastMs, mostMs } = BEYOND;
    return Math.min(Math.max(times * this.#tookMs, leastMs), mostMs);
  }

  /** More are at work than there are places, because some came back: nobody begins something further. */
  get crowded(): boolean {
    return this.#running.size - this.#aside > this.#options.places;
  }

  /** Begins nothing more. Resolves when what is at work has ended. */
  async end(): Promise<void> {
    this.#ended = true;
    for (const unit of this.#units.values()) unit.waiting.length = 0;
    await Promise.all(this.#running);
  }

  #next(): void {
    while (!this.#ended && this.#running.size - this.#aside < this.#options.places && this.#ready.length > 0) {
      this.#start(this.#ready.shift()!);
    }
  }

  #start(unit: Unit): void {
    const { context, logger, run } = this.#options;
    const showRunning = () => metrics.workerUnderWay.set({ context }, this.#running.size);
    unit.running = true;
    const began = performance.now();
    const running: Promise<void> = run(unit)
      .catch((error: unknown) => logger.error({ err: error, unit: unit.key }, "a unit of work broke off"))
      .finally(() => {
        unit.running = false;
        this.#tookMs += (performance.now() - began - this.#tookMs) / 8;
        this.#running.delete(running);
        if (unit.waiting.length > 0) this.#ready.push(unit);
        else this.#units.delete(unit.key);
        showRunning();
        this.#next();
      });
    this.#running.add(running);
    showRunning();
  }
}
