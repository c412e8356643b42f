/**
 * Small artefacts in JetStream's object store: bytes that are named by their SHA-256, per organisation, so that the same content
 * lies there once, and what the log refers to never changes. Nothing is held here but the chunk on its way.
 */
import { type ObjectStore, Objm } from "@nats-io/obj";
import { nuid } from "@nats-io/transport-node";
import { leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import {
  COMING,
  chunksOf,
  nameOf,
  placeOf,
  type Reserved,
  readKept,
  STORE,
  STREAM,
  Tally,
  writeKept,
} from "./objects-kept.ts";

export interface Content {
  /** In hexadecimal digits. */
  readonly sha256: string;
  readonly bytes: number;
}

/** Content that is there, and can be read. */
export interface Found {
  readonly bytes: number;
  /** What its chunks are called in the stream. */
  readonly subject: string;
}

const CHUNK_BYTES = 128 * 1024;
/** How long a chunk may take until the server has it. */
const TIMEOUT_MS = 10_000;

/** The store tells the digest as `SHA-256=` and base 64 for URLs. */
const hexOf = (digest: string): string => Buffer.from(digest.slice("SHA-256=".length), "base64url").toString("hex");

/** Keeps what is wrong with the source apart from what is wrong with the store. */
class Source {
  failure: { readonly error: unknown } | undefined;

  async *of(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* bytes;
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}

/** How long it may take until everything that is there has been counted once. */
const COUNT_MS = 10_000;

export class Objects {
  readonly #nats: Nats;
  #store: Promise<ObjectStore> | undefined;
  #tally: Tally | undefined;

  constructor(nats: Nats) {
    this.#nats = nats;
  }

  #open(): Promise<ObjectStore> {
    this.#store ??= new Objm(this.#nats.js).create(STORE, { storage: "file", replicas: this.#nats.replicas } as never);
    this.#store.catch(() => {
      this.#store = undefined;
    });
    return this.#store;
  }

  /**
   * Sets room aside for what is about to come.
   * @param quotaBytes what an organisation may have; what other processes are just taking in is not counted yet
   * @returns gives back what was set aside; a number: so many bytes are free, which are too few
   * @throws LogUnavailable
   */
  async room(organisation: string, bytes: number, quotaBytes: number): Promise<Reserved | number> {
    await this.#open().catch((cause: unknown) => {
      throw new LogUnavailable({ what: "object store", cause });
    });
    this.#tally ??= new Tally(this.#nats);
    return this.#tally.reserve(organisation, bytes, quotaBytes, COUNT_MS);
  }

  /**
   * Keeps all of it, under a name of its own first, since nobody knows the hash before the end.
   * @throws LogUnavailable, and what the source throws; nothing is kept then
   */
  async put(organisation: string, bytes: AsyncIterable<Uint8Array>): Promise<Content> {
    const source = new Source();
    try {
      const store = await this.#open();
      const coming = `${COMING}${nuid.next()}`;
      const meta = { name: coming, options: { max_chunk_size: CHUNK_BYTES } };
      const {
        digest,
        size,
        nuid: id,
      } = await store.put(meta, ReadableStream.from(source.of(bytes)) as never, {
        timeout: TIMEOUT_MS,
      });
      const sha256 = hexOf(digest);
      if (!(await named(this.#nats, coming, nameOf(organisation, sha256)))) {
        await this.#nats.jsm.streams.purge(STREAM, { filter: chunksOf(id) });
      }
      await this.#nats.jsm.streams.purge(STREAM, { filter: placeOf(coming) });
      return { sha256, bytes: size };
    } catch (cause) {
      if (source.failure !== undefined) throw source.failure.error;
      throw new LogUnavailable({ what: "object store", cause });
    }
  }

  /** @returns undefined when there is no such content @throws LogUnavailable */
  async find(organisation: string, sha256: string): Promise<Found | undefined> {
    try {
      const info = await (await this.#open()).info(nameOf(organisation, sha256));
      if (info === null || info.deleted) return undefined;
      return { bytes: info.size, subject: chunksOf(info.nuid) };
    } catch (cause) {
      throw new LogUnavailable({ what: "object store", cause });
    }
  }

  /** One part of it, both ends inclusive, as fast as it is taken. @throws LogUnavailable, also where chunks are missing */
  async *read({ subject }: Found, { first, last }: { first: number; last: number }): AsyncGenerator<Uint8Array> {
    let seq = 1;
    for (let at = 0; at <= last; ) {
      const message = await leaderMessage(this.#nats, STREAM, { seq, next_by_subj: subject });
      if (message === null)
        throw new LogUnavailable({ what: "object store", cause: new Error(`${subject} ends at ${at}`) });
      const { data } = message;
      if (at + data.length > first) yield data.subarray(Math.max(0, first - at), last + 1 - at);
      at += data.length;
      seq = message.seq + 1;
    }
  }
}

/** How often somebody may be faster. */
const TRIES = 20;

/**
 * Gives it the name of its content; what has that name already is written anew, so that no sweep takes it before the log names it.
 * @returns false where that was there already
 */
async function named(nats: Nats, coming: string, name: string): Promise<boolean> {
  const mine = (await readKept(nats, coming))!.record;
  for (let tries = 0; tries < TRIES; tries++) {
    const there = await readKept(nats, name);
    const isThere = there !== undefined && !there.record.deleted;
    if (await writeKept(nats, isThere ? there.record : { ...mine, name }, there?.seq ?? 0)) return !isThere;
  }
  throw new Error(`${name} does not stand still`);
}
