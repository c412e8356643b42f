/** Bounds on how much is under way at once: of the whole process, and of one device. */
import { failure } from "./failures.ts";

/** So many at once; who comes later waits in order. After a power cut thousands of devices are connected to at the same moment. */
export class Gate {
  readonly #most: number;
  #open = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#open >= this.#most) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#open += 1;
    try {
      return await work();
    } finally {
      // The place is handed on, so that nobody who comes in this moment overtakes who waited.
      const next = this.#waiting.shift();
      if (next === undefined) this.#open -= 1;
      else next();
    }
  }
}

/** Calls that may wait for one device: more is a mistake of whoever asks. */
const QUEUE = 256;

const nothing = (): void => {};

/** One call at a time to a device, in order, with a pause between where the device needs one. */
export class Turns {
  readonly #pauseMs: number;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();
  #endedAt = Number.NEGATIVE_INFINITY;

  /** @param pauseMs between the end of one call and the beginning of the next */
  constructor(pauseMs = 0) {
    this.#pauseMs = pauseMs;
  }

  /** @throws DeviceFailure not-sent, when too many wait; and what `work` throws */
  take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= QUEUE)
      return Promise.reject(failure("not-sent", `${QUEUE} calls wait for this device already.`));
    this.#waiting += 1;
    // Mostly nobody is before it.
    const turn = this.#waiting === 1 ? this.#run(work) : this.#last.then(() => this.#run(work));
    // Whoever comes next waits for its end, and its outcome is not held in memory until then.
    this.#last = turn.then(nothing, nothing);
    return turn;
  }

  async #run<T>(work: () => Promise<T>): Promise<T> {
    try {
      if (this.#pauseMs > 0) {
        const left = this.#endedAt + this.#pauseMs - performance.now();
        if (left > 0) await new Promise((resolve) => setTimeout(resolve, Math.ceil(left)));
      }
      return await work();
    } finally {
      this.#waiting -= 1;
      if (this.#pauseMs > 0) this.#endedAt = performance.now();
    }
  }
}
