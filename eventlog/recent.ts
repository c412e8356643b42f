/** What was used last, bounded by number and by weight: what a process remembers must not add up. */
export class Recent<V extends { readonly bytes: number }> {
  readonly #most: number;
  readonly #mostBytes: number;
  /** Oldest first. */
  readonly #entries = new Map<string, V>();
  #bytes = 0;

  constructor(most: number, mostBytes: number) {
    this.#most = most;
    this.#mostBytes = mostBytes;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  get(name: string): V | undefined {
    return this.#entries.get(name);
  }

  /** The newest now. Nothing goes before `trim`. */
  set(name: string, value: V): void {
    this.delete(name);
    this.#entries.set(name, value);
    this.#bytes += value.bytes;
  }

  /** Lets go of the oldest, as many as it takes; the newest stays, however heavy. */
  trim(): void {
    for (const oldest of this.#entries.keys()) {
      const { size } = this.#entries;
      if (size === 1 || (size <= this.#most && this.#bytes <= this.#mostBytes)) return;
      this.delete(oldest);
    }
  }

  delete(name: string): void {
    this.#bytes -= this.#entries.get(name)?.bytes ?? 0;
    this.#entries.delete(name);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }
}
