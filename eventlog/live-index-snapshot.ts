/** Snapshots of a live index: one object in the store `INDEXES`, a cache that may vanish at any time. */
import type { Kind } from "@millrace/domain/kind.ts";
import { type ObjectStore, Objm } from "@nats-io/obj";
import type { Nats } from "./connection.ts";
import type { IndexEntry } from "./live-index.ts";

export interface IndexSnapshot {
  /** Everything up to here is in it. */
  readonly seq: number;
  readonly entries: ReadonlyArray<{ readonly kind: string; readonly entry: IndexEntry }>;
}

const STORE = "INDEXES";
/** A larger index is folded from the log instead. */
const MOST_BYTES = 128 * 1024 ** 2;

export class IndexSnapshots {
  readonly #nats: Nats;
  readonly #name: string;
  /** A snapshot of states of another shape is none. */
  readonly #shape: string;
  #store: Promise<ObjectStore> | undefined;

  constructor(nats: Nats, context: string, name: string, kinds: ReadonlyArray<Kind>) {
    this.#nats = nats;
    this.#name = `${context}.${name}`;
    this.#shape = kinds
      .map(({ kind, stateVersion }) => `${kind}.${stateVersion}`)
      .sort()
      .join(" ");
  }

  #open(): Promise<ObjectStore> {
    this.#store ??= new Objm(this.#nats.js).create(STORE, { storage: "file", replicas: this.#nats.replicas } as never);
    this.#store.catch(() => {
      this.#store = undefined;
    });
    return this.#store;
  }

  /** @returns undefined when there is none that fits */
  async read(): Promise<IndexSnapshot | undefined> {
    try {
      const store = await this.#open();
      const info = await store.info(this.#name);
      if (info === null || info.deleted || info.metadata?.shape !== this.#shape) return undefined;
      const blob = await store.getBlob(this.#name);
      return blob === null ? undefined : (JSON.parse(new TextDecoder().decode(blob)) as IndexSnapshot);
    } catch {
      return undefined; // A cache: whatever is wrong with it, the log has everything.
    }
  }

  /** Rejects when it could not be written. */
  async write(snapshot: IndexSnapshot): Promise<void> {
    const blob = new TextEncoder().encode(JSON.stringify(snapshot));
    if (blob.length > MOST_BYTES) return;
    const store = await this.#open();
    await store.putBlob({ name: this.#name, metadata: { shape: this.#shape } }, blob);
  }
}
