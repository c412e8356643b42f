/** Writing chunks: each content once, several at the same moment, bounded in memory. */
import { faultPoint } from "../faultpoint.ts";
import { type BackupKey, chunkName, wrap } from "./keys.ts";
import { chunkPath } from "./manifest.ts";
import type { Target } from "./target.ts";

/** Content of a chunk, bytes: what is larger is cut. */
export const CHUNK_BYTES = 4 * 1024 * 1024;
const AT_ONCE = 4;

/** Where content came to lie. */
export interface Kept {
  readonly name: string;
  /** Of the content. */
  readonly bytes: number;
  /** As stored; when it was there already, as the backup says that wrote it (0 when that is not known). */
  readonly stored: number;
}

export class ChunkWriter {
  readonly #target: Target;
  readonly #key: BackupKey;
  /** Chunks that a backup names: they stay at least as long as we may run. */
  readonly #known: ReadonlyMap<string, number>;
  /** Chunks that may be removed at any time. */
  readonly #doomed: ReadonlySet<string>;
  readonly #under = new Set<Promise<unknown>>();
  readonly #mine = new Map<string, Promise<number>>();
  readonly stored = { chunks: 0, bytes: 0 };
  readonly reused = { chunks: 0, bytes: 0 };

  constructor(target: Target, key: BackupKey, known: ReadonlyMap<string, number>, doomed: ReadonlySet<string>) {
    this.#target = target;
    this.#key = key;
    this.#known = known;
    this.#doomed = doomed;
  }

  /** Counts what is taken over from an earlier backup without looking at it. */
  reuse(bytes: number): void {
    this.reused.chunks++;
    this.reused.bytes += bytes;
  }

  /**
   * Begins to write, and waits only while several others are under way.
   * @returns what becomes of it, to be awaited before it is named in a manifest
   */
  async begin(content: Buffer): Promise<{ readonly kept: Promise<Kept> }> {
    while (this.#under.size >= AT_ONCE) await Promise.race(this.#under);
    const kept = this.#keep(content);
    const settled = kept.then(
      () => {},
      () => {},
    );
    this.#under.add(settled);
    void settled.then(() => this.#under.delete(settled));
    return { kept };
  }

  async #keep(content: Buffer): Promise<Kept> {
    const name = chunkName(this.#key, content);
    const bytes = content.length;
    const known = this.#known.get(name);
    if (known !== undefined && !this.#doomed.has(name)) {
      this.reuse(bytes);
      return { name, bytes, stored: known };
    }
    let mine = this.#mine.get(name);
    if (mine === undefined) {
      mine = this.#write(name, content);
      this.#mine.set(name, mine);
    }
    return { name, bytes, stored: await mine };
  }

  async #write(name: string, content: Buffer): Promise<number> {
    const wrapped = await wrap(this.#key, name, content);
    faultPoint("backup.chunk.before");
    await this.#target.put(chunkPath(name), wrapped);
    faultPoint("backup.chunk.after");
    this.stored.chunks++;
    this.stored.bytes += wrapped.length;
    return wrapped.length;
  }
}
