/**
 * Bytes on the disk of one node. An upload fills a file of its own, piece by piece; whole, it is renamed to the hash of its content,
 * within its organisation:
 *
 *     <root>/uploads/<id>.json   whose it is and how large it is to be; with its hash, once that is known
 *     <root>/uploads/<id>.part   what has arrived
 *     <root>/blobs/<organisation>/<sha256>
 *
 * What is told as arrived is on the disk. One process at a time works on a root; whoever comes after a crash finds all of it.
 */
import { createHash, type Hash } from "node:crypto";
import { chmod, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { hashOfFile, writePiece } from "./bytes-piece.ts";
import { makeFolder, syncFolder, writeWhole } from "./durable-files.ts";
import { faultPoint } from "./faultpoint.ts";

/** Why something cannot be done with an upload. */
export type StoreFault =
  | { readonly fault: "unknown" }
  /** Another piece has come before; `offset` is where it goes on. */
  | { readonly fault: "offset"; readonly offset: number }
  | { readonly fault: "quota"; readonly quotaBytes: number; readonly freeBytes: number }
  | { readonly fault: "too-long"; readonly offset: number }
  | { readonly fault: "checksum"; readonly offset: number }
  | { readonly fault: "taken" }
  | { readonly fault: "disk-full" };

export interface Held {
  readonly organisation: string;
  readonly bytes: number;
  /** Hexadecimal; there when all of it has arrived. */
  readonly sha256?: string;
}

export interface Checksum {
  readonly algorithm: "sha256" | "sha1";
  readonly digest: Buffer;
}

interface Entry {
  held: Held;
  /** Bytes in the file; undefined: not looked at since this process began. */
  offset: number | undefined;
  /** Of everything up to `offset`, where all of it came through this process. */
  hash: Hash | undefined;
  /** Ends the piece that is being written. */
  stop: (() => void) | undefined;
  /** What is being done with it, one after the other. */
  last: Promise<unknown>;
}

/** Where content lies below the root of a store. @throws RangeError for what is no organisation or no hash */
export function blobPath(root: string, organisation: string, sha256: string): string {
  if (!/^[a-z]{2,8}_[0-9a-z]{26}$/.test(organisation) || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw new RangeError("no organisation, or no hash");
  }
  return join(root, "blobs", organisation, sha256);
}

export class BytesStore {
  readonly #root: string;
  readonly #quotaBytes: number;
  readonly #entries = new Map<string, Entry>();

  private constructor(root: string, quotaBytes: number) {
    this.#root = root;
    this.#quotaBytes = quotaBytes;
  }

  /** @param quotaBytes what an organisation may have here, begun uploads counted whole */
  static async open(root: string, { quotaBytes }: { readonly quotaBytes: number }): Promise<BytesStore> {
    const store = new BytesStore(root, quotaBytes);
    await makeFolder(store.#uploads);
    await makeFolder(join(root, "blobs"));
    for (const name of await readdir(store.#uploads)) {
      const id = /^([a-z]{2,8}_[0-9a-z]{26})\.json$/.exec(name)?.[1];
      if (id === undefined) continue;
      const held = JSON.parse(await readFile(store.#record(id), "utf8")) as Held;
      store.#entries.set(id, fresh(held));
    }
    return store;
  }

  get #uploads(): string {
    return join(this.#root, "uploads");
  }
  #record(id: string): string {
    return join(this.#uploads, `${id}.json`);
  }
  #part(id: string): string {
    return join(this.#uploads, `${id}.part`);
  }
  blob(organisation: string, sha256: string): string {
    return blobPath(this.#root, organisation, sha256);
  }

  all(): ReadonlyArray<readonly [id: string, held: Held]> {
    return [...this.#entries].map(([id, { held }]) => [id, held]);
  }

  held(id: string): Held | undefined {
    return this.#entries.get(id)?.held;
  }

  /** When something of it was last written, in milliseconds since 1970. */
  async touchedAt(id: string): Promise<number> {
    const times = await Promise.all(
      [this.#part(id), this.#record(id)].map((path) =>
        stat(path).then(
          ({ mtimeMs }) => mtimeMs,
          () => 0,
        ),
      ),
    );
    return Math.max(...times);
  }

  /** Takes a place for an upload. Again for the same: nothing. */
  async reserve(id: string, held: Held): Promise<StoreFault | undefined> {
    const there = this.#entries.get(id);
    if (there !== undefined) {
      const same = there.held.organisation === held.organisation && there.held.bytes === held.bytes;
      return same ? undefined : { fault: "taken" };
    }
    let used = 0;
    for (const { held: other } of this.#entries.values()) {
      if (other.organisation === held.organisation) used += other.bytes;
    }
    const freeBytes = Math.max(0, this.#quotaBytes - used);
    if (held.bytes > freeBytes) return { fault: "quota", quotaBytes: this.#quotaBytes, freeBytes };
    // At once, so that two at the same moment do not both find the place free.
    this.#entries.set(id, fresh(held));
    try {
      faultPoint("bytes.reserve.before");
      await (await open(this.#part(id), "a", 0o600)).close();
      await writeWhole(this.#record(id), JSON.stringify(held));
      await syncFolder(this.#uploads);
      faultPoint("bytes.reserve.after");
    } catch (error) {
      this.#entries.delete(id);
      return diskFull(error);
    }
    return undefined;
  }

  /** How much has arrived, and lasts. */
  async offset(id: string): Promise<number | undefined> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    // Of one that is being written it is what its last piece left: what is on its way will be told.
    if (entry.offset === undefined) await this.#inTurn(entry, () => this.#measure(id, entry));
    return entry.offset;
  }

  async #measure(id: string, entry: Entry): Promise<number> {
    if (entry.offset !== undefined) return entry.offset;
    if (entry.held.sha256 !== undefined) {
      const part = await sizeOf(this.#part(id));
      entry.offset = part ?? entry.held.bytes;
      return entry.offset;
    }
    const size = (await sizeOf(this.#part(id))) ?? 0;
    if (size === 0) entry.hash = createHash("sha256");
    else {
      // What a process wrote that died lasts only when it was synced.
      const file = await open(this.#part(id), "r+");
      await file.datasync().finally(() => file.close());
    }
    entry.offset = Math.min(size, entry.held.bytes);
    return entry.offset;
  }

  /**
   * Writes a piece behind what is there. One that is being written is ended first: its sender has lost it.
   * @returns where it goes on
   */
  async append(
    id: string,
    source: Readable,
    asks: { readonly offset: number; readonly checksum?: Checksum; readonly signal: AbortSignal },
  ): Promise<{ readonly offset: number; readonly cut: boolean } | StoreFault> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return { fault: "unknown" };
    entry.stop?.();
    return this.#inTurn(entry, async () => {
      const offset = await this.#measure(id, entry);
      if (asks.offset !== offset) return { fault: "offset", offset };
      try {
        return await this.#write(id, entry, offset, source, asks);
      } catch (error) {
        entry.offset = undefined;
        entry.hash = undefined;
        return diskFull(error);
      }
    });
  }

  async #write(
    id: string,
    entry: Entry,
    offset: number,
    source: Readable,
    { checksum, signal }: { readonly checksum?: Checksum; readonly signal: AbortSignal },
  ): Promise<{ readonly offset: number; readonly cut: boolean } | StoreFault> {
    const stopping = new AbortController();
    entry.stop = () => stopping.abort();
    const before = entry.hash?.copy();
    const sum = checksum === undefined ? undefined : createHash(checksum.algorithm);
    const hashes = [entry.hash, sum].filter((hash) => hash !== undefined);
    const file = await open(this.#part(id), "r+");
    try {
      faultPoint("bytes.piece.before");
      const { bytes, how } = await writePiece(file, source, {
        offset,
        maxBytes: entry.held.bytes - offset,
        hashes,
        signal: AbortSignal.any([signal, stopping.signal]),
      });
      const refused =
        how === "more" || (checksum !== undefined && (how === "cut" || !checksum.digest.equals(sum!.digest())));
      if (refused) {
        await file.truncate(offset);
        await file.datasync();
        entry.hash = before;
        return { fault: how === "more" ? "too-long" : "checksum", offset };
      }
      await file.datasync();
      faultPoint("bytes.piece.synced");
      entry.offset = offset + bytes;
      return { offset: entry.offset, cut: how === "cut" };
    } finally {
      entry.stop = undefined;
      await file.close();
    }
  }

  /** Gives an upload that has all its bytes its place by content. Done before: says it again. */
  async finish(id: string): Promise<{ readonly sha256: string; readonly bytes: number } | StoreFault> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return { fault: "unknown" };
    return this.#inTurn(entry, async () => {
      const offset = await this.#measure(id, entry);
      const { organisation, bytes } = entry.held;
      if (offset !== bytes) return { fault: "offset", offset };
      const part = this.#part(id);
      if (entry.held.sha256 === undefined || (await sizeOf(part)) !== undefined) {
        const sha256 = entry.hash?.digest("hex") ?? (await hashOf(part));
        entry.hash = undefined;
        const held = { organisation, bytes, sha256 };
        await writeWhole(this.#record(id), JSON.stringify(held));
        const blob = this.blob(organisation, sha256);
        await makeFolder(join(this.#root, "blobs", organisation));
        await chmod(part, 0o400);
        faultPoint("bytes.store.before");
        // The same content twice is the same file.
        await rename(part, blob);
        await syncFolder(join(this.#root, "blobs", organisation));
        faultPoint("bytes.store.after");
        entry.held = held;
      }
      return { sha256: entry.held.sha256!, bytes };
    });
  }

  /** Takes an upload away; its content stays when another has the same, or when it is kept. */
  async remove(id: string, keepContent: boolean): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.stop?.();
    await this.#inTurn(entry, async () => {
      const { organisation, sha256 } = entry.held;
      if (keepContent && sha256 !== undefined) return;
      const isShared = [...this.#entries].some(
        ([other, { held }]) => other !== id && held.organisation === organisation && held.sha256 === sha256,
      );
      await rm(this.#part(id), { force: true });
      if (sha256 !== undefined && !isShared) await rm(this.blob(organisation, sha256), { force: true });
      await rm(this.#record(id), { force: true });
      this.#entries.delete(id);
    });
  }

  /** Ends what is being written, and waits until it stands. */
  async stop(): Promise<void> {
    for (const entry of this.#entries.values()) entry.stop?.();
    await Promise.all([...this.#entries.values()].map(({ last }) => last));
  }

  #inTurn<A>(entry: Entry, work: () => Promise<A>): Promise<A> {
    const done = entry.last.then(work);
    entry.last = done.catch(() => {});
    return done;
  }
}

const fresh = (held: Held): Entry => ({
  held,
  offset: undefined,
  hash: undefined,
  stop: undefined,
  last: Promise.resolve(),
});

const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    ({ size }) => size,
    () => undefined,
  );

async function hashOf(path: string): Promise<string> {
  const file = await open(path, "r");
  return hashOfFile(file).finally(() => file.close());
}

function diskFull(error: unknown): StoreFault {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") return { fault: "disk-full" };
  throw error;
}
