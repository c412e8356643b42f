/** Goes through a source with a few steps made ahead, so that what takes time for one is done while others are used. */
export class Ahead<A, B> implements AsyncIterable<{ readonly one: A; readonly made: B }> {
  readonly #ready: { readonly one: A; readonly made: B }[] = [];
  readonly #source: AsyncIterable<A>;
  readonly #most: number;
  readonly #make: (one: A) => B;
  #failure: { readonly error: unknown } | undefined;
  #isEnd = false;
  #changed = Promise.withResolvers<void>();

  /** @param most how many are made before they are asked for; `make` does not throw */
  constructor(source: AsyncIterable<A>, most: number, make: (one: A) => B) {
    this.#source = source;
    this.#most = most;
    this.#make = make;
    void this.#fill();
  }

  /** Makes no more. The source itself is for its owner to end. */
  end(): void {
    this.#isEnd = true;
    this.#tell();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<{ readonly one: A; readonly made: B }, void, undefined> {
    for (;;) {
      const next = this.#ready.shift();
      if (next !== undefined) {
        this.#tell();
        yield next;
      } else if (this.#failure !== undefined) throw this.#failure.error;
      else if (this.#isEnd) return;
      else await this.#changed.promise;
    }
  }

  async #fill(): Promise<void> {
    try {
      for await (const one of this.#source) {
        if (this.#isEnd) return;
        this.#ready.push({ one, made: this.#make(one) });
        this.#tell();
        while (this.#ready.length >= this.#most && !this.#isEnd) await this.#changed.promise;
      }
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.end();
    }
  }

  #tell(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve();
  }
}
