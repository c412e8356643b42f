/**
 * What one source may keep of the stream. All lines together are bounded by the stream itself, which drops the oldest of them
 * whoever's they are; so that one noisy source does not push the others' out, its writer removes the source's own oldest chunks
 * first. Each chunk says how many bytes its source has stored in all, so what is kept is a difference, and the place up to which
 * to remove is found by halving.
 */
import { leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { bytesOf, readHead } from "./logs-chunk.ts";
import { LOGS } from "./logs-stream.ts";

/** Of the stream: as many sources as noisy as can be leave each other what they have. */
const PARTS = 16;
/** On a small disk a source has this much all the same. */
const LEAST_BYTES = 16 * 1024 ** 2;
/** Removed at once, so that it is done seldom: an eighth of what may be kept. */
const REMOVED_PART = 8;

/** @param maxBytes of the stream; not above 0: as much as there is */
export const shareOf = (maxBytes: number): number =>
  maxBytes > 0 ? Math.max(LEAST_BYTES, Math.floor(maxBytes / PARTS)) : Number.POSITIVE_INFINITY;

/** A chunk of the source at or after a sequence. */
interface Place {
  readonly seq: number;
  /** Stored by the source in all before this chunk. */
  readonly before: number;
}

export class Share {
  readonly #nats: Nats;
  readonly #subject: string;
  readonly #bytes: number;
  /** Stored before the first chunk that is still there, as far as known: it may have become more. */
  #gone = 0;

  /** @param bytes what the source may keep */
  constructor(nats: Nats, subject: string, bytes: number) {
    this.#nats = nats;
    this.#subject = subject;
    this.#bytes = bytes;
  }

  /**
   * Removes the oldest chunks when there are too many.
   * @param stored by the source in all, and the sequence of its last chunk
   * @returns the bytes that may be kept, when something was removed; a server that is away is asked again next time
   */
  async keep(stored: number, last: number): Promise<number | undefined> {
    if (stored - this.#gone <= this.#bytes) return undefined;
    try {
      const first = await this.#from(1);
      this.#gone = first?.before ?? stored;
      if (first === undefined || stored - this.#gone <= this.#bytes) return undefined;
      const least = stored - this.#bytes + Math.floor(this.#bytes / REMOVED_PART);
      const { seq, before } = await this.#firstWith(least, first, last);
      await this.#nats.jsm.streams.purge(LOGS, { filter: this.#subject, seq });
      this.#gone = before;
      return this.#bytes;
    } catch {
      return undefined;
    }
  }

  /** The first chunk before which at least so much was stored; the last one when there is none. */
  async #firstWith(least: number, first: Place, last: number): Promise<Place> {
    let found: Place = { seq: last, before: least };
    for (let low = first.seq + 1, high = last; low <= high; ) {
      const middle = Math.floor((low + high) / 2);
      const place = await this.#from(middle);
      if (place !== undefined && place.before < least) low = place.seq + 1;
      else {
        // What was found for a lower place stands for all up to it.
        if (place !== undefined) found = place;
        high = middle - 1;
      }
    }
    return found;
  }

  async #from(seq: number): Promise<Place | undefined> {
    const message = await leaderMessage(this.#nats, LOGS, { seq, next_by_subj: this.#subject });
    if (message === null) return undefined;
    const head = readHead(message.header);
    if (head === undefined) throw new LogUnavailable({ what: "log lines", cause: "a chunk of another release" });
    return { seq: message.seq, before: head.stored - bytesOf(message.data) };
  }
}
