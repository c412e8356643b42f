/** Long work in one process with others: lets them have their turn. */

/** Longest stretch without a break, in milliseconds. */
const SLICE_MS = 8;

export class Pace {
  #began = performance.now();

  /** To be waited for between small pieces of work. */
  breathe(): void | Promise<void> {
    if (performance.now() - this.#began < SLICE_MS) return;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.#began = performance.now();
        resolve();
      });
    });
  }
}
