/** What an aggregate remembers of the commands that were carried out on it, so that a repeat is answered as the first try was. */

/** How long a command that its client can repeat is remembered, and how many of them at the most. */
export const REMEMBER_MS = 24 * 3_600_000;
const REMEMBER_MOST = 10_000;
/** Of commands that nobody outside can repeat: enough for a writer here to find its own after an answer that never came. */
const PASSING_MOST = 64;

/** Begins the id of a command made anew for each request: without an Idempotency-Key no client can name it again. */
export const PASSING = "cmd_";

export interface Remembered {
  readonly digest: string;
  readonly seq: number;
  readonly version: number;
  /** Milliseconds since 1970. */
  readonly time: number;
}

/** Shared by all states of one aggregate and added to in place: that an older state knows of a later command does no harm. */
export class RememberedCommands {
  readonly #repeatable = new Map<string, Remembered>();
  readonly #passing = new Map<string, Remembered>();

  constructor(entries: Iterable<readonly [string, Remembered]> = []) {
    for (const [id, command] of entries) this.#of(id).set(id, command);
  }

  #of(id: string): Map<string, Remembered> {
    return id.startsWith(PASSING) ? this.#passing : this.#repeatable;
  }

  get(id: string): Remembered | undefined {
    return this.#of(id).get(id);
  }

  add(id: string, command: Remembered): void {
    if (id.startsWith(PASSING)) {
      this.#passing.set(id, command);
      if (this.#passing.size > PASSING_MOST) this.#passing.delete(this.#passing.keys().next().value!);
      return;
    }
    this.#repeatable.set(id, command);
    for (const [oldest, { time }] of this.#repeatable) {
      if (this.#repeatable.size <= REMEMBER_MOST && time > command.time - REMEMBER_MS) break;
      this.#repeatable.delete(oldest);
    }
  }

  get size(): number {
    return this.#repeatable.size + this.#passing.size;
  }

  *[Symbol.iterator](): Iterator<readonly [string, Remembered]> {
    yield* this.#repeatable;
    yield* this.#passing;
  }
}
