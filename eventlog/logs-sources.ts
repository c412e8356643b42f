/**
 * The chunks of one source, one after the other, either way. Times of a source never go back, so where a time lies is found from
 * the last chunk that had arrived by then, and a few steps from there: no clock has to agree with another.
 */
import type { StoredMsg } from "@nats-io/jetstream";
import { isNotFound, type Nats } from "./connection.ts";
import { type DirectMessage, readBatch } from "./direct.ts";
import { LogUnavailable } from "./failures.ts";
import type { LogFilter, LogSource } from "./logs.ts";
import { type ChunkHead, readHead } from "./logs-chunk.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import type { Found } from "./logs-look.ts";
import { filterSubject, LOGS, parseSource } from "./logs-stream.ts";

/** Sources that one query looks at. */
const SOURCES_MOST = 4_096;
/** Subjects of one request: the server takes 1,024. */
const TOGETHER = 256;
const LOOKED_AHEAD = 6;
/** Of one request for chunks of a source. */
const PAGE_CHUNKS = 16;
const PAGE_BYTES = 2 * 1024 ** 2;
const LEAST_PAGE_BYTES = 64 * 1024;
/** Of all sources that are read at once. */
const PAGES_BYTES = 64 * 1024 ** 2;

/** Looks into a chunk; undefined: it cannot have what is wanted. */
export type Look = (seq: number, head: ChunkHead, data: Uint8Array) => Promise<Found> | undefined;

export interface Chunk {
  readonly seq: number;
  readonly head: ChunkHead;
  /** Looked at once, however often it is asked for. */
  found(): Promise<Found> | undefined;
}

type Message = Pick<DirectMessage, "seq" | "headers" | "data">;

function chunkOf({ seq, headers, data }: Message, look: Look): Chunk | undefined {
  const head = readHead(headers);
  if (head === undefined) return undefined;
  let looked: { readonly found: Promise<Found> | undefined } | undefined;
  return {
    seq,
    head,
    found() {
      if (looked === undefined) {
        looked = { found: look(seq, head, data) };
        // It may be looked at ahead, and never asked for.
        looked.found?.catch(() => {});
      }
      return looked.found;
    },
  };
}

/** Subjects that exist under filters. @throws LogUnavailable, LogQueryRefused */
export async function subjectsOf(nats: Nats, of: ReadonlyArray<LogFilter>): Promise<string[]> {
  const found = new Set<string>();
  for (const filter of of) {
    try {
      const { state } = await nats.jsm.streams.info(LOGS, { subjects_filter: filterSubject(filter) });
      for (const subject of Object.keys(state.subjects ?? {})) found.add(subject);
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
    if (found.size > SOURCES_MOST) {
      throw new LogQueryRefused({
        field: "of",
        reason: `there are more than ${SOURCES_MOST} sources`,
        fix: "Ask for one deployment, or for fewer applications.",
      });
    }
  }
  return [...found];
}

/** What all walks of one query share. */
interface Reading {
  readonly nats: Nats;
  readonly look: Look;
  readonly pageBytes: number;
}

/** The last chunk of each subject, as of a time; those that had none are left out. @throws LogUnavailable */
async function lastOf(
  { nats, look }: Reading,
  subjects: ReadonlyArray<string>,
  upToTime?: number,
): Promise<Map<string, Chunk>> {
  const found = new Map<string, Chunk>();
  for (let i = 0; i < subjects.length; i += TOGETHER) {
    const multi_last = subjects.slice(i, i + TOGETHER);
    const bound = upToTime === undefined ? {} : { up_to_time: new Date(upToTime).toISOString() };
    const { messages } = await readBatch(nats, LOGS, { multi_last, batch: TOGETHER, ...bound } as never);
    for (const message of messages) {
      const chunk = chunkOf(message, look);
      if (chunk !== undefined) found.set(message.subject, chunk);
    }
  }
  return found;
}

/** Where a walk begins: a time, and of a page after another the place of the last line that was shown. */
export type Direction = "newest" | "oldest";

/** Chunks of a source that may have lines from a time on (or, newest first, up to a time), in the direction asked for. */
export abstract class Walk {
  readonly from: LogSource;
  protected readonly reading: Reading;
  protected readonly subject: string;
  /** No line of a chunk that has not been taken lies beyond: earlier, or newest first later. */
  abstract bound: number;

  constructor(reading: Reading, subject: string) {
    this.reading = reading;
    this.subject = subject;
    this.from = parseSource(subject);
  }

  /** @returns undefined at the end @throws LogUnavailable */
  abstract take(): Promise<Chunk | undefined>;
}

class Forward extends Walk {
  bound: number;
  #next: number;
  #queue: Chunk[] = [];
  #page: Promise<Chunk[]> | undefined;
  #isEnd = false;

  /** @param seq the first that may be wanted */
  constructor(reading: Reading, subject: string, seq: number, bound: number) {
    super(reading, subject);
    this.#next = seq;
    this.bound = bound;
  }

  async take(): Promise<Chunk | undefined> {
    if (this.#queue.length === 0) this.#queue = await this.#fetch();
    const chunk = this.#queue.shift();
    if (this.#queue.length <= 2 * LOOKED_AHEAD && !this.#isEnd) this.#page ??= this.#fetchPage();
    chunk?.found();
    for (const ahead of this.#queue.slice(0, LOOKED_AHEAD)) ahead.found();
    if (chunk !== undefined) this.bound = chunk.head.last;
    return chunk;
  }

  async #fetch(): Promise<Chunk[]> {
    while (!this.#isEnd) {
      const chunks = await (this.#page ?? this.#fetchPage());
      this.#page = undefined;
      if (chunks.length > 0) return chunks;
    }
    return [];
  }

  async #fetchPage(): Promise<Chunk[]> {
    const { nats, look, pageBytes } = this.reading;
    const size = { batch: PAGE_CHUNKS, max_bytes: pageBytes };
    const page = readBatch(nats, LOGS, { seq: this.#next, next_by_subj: this.subject, ...size });
    // Fetched ahead: whoever asks for it is told.
    page.catch(() => {});
    const { messages } = await page;
    if (messages.length === 0) this.#isEnd = true;
    else this.#next = messages[messages.length - 1]!.seq + 1;
    return messages.flatMap((message) => chunkOf(message, look) ?? []);
  }
}

class Backward extends Walk {
  bound: number;
  #current: Chunk | undefined;
  #isFirst = true;
  #ahead = 2;
  readonly #fetched = new Map<number, Promise<Chunk | undefined>>();

  constructor(reading: Reading, start: Chunk, subject: string) {
    super(reading, subject);
    this.#current = start;
    this.bound = start.head.last;
  }

  async take(): Promise<Chunk | undefined> {
    if (this.#isFirst) this.#isFirst = false;
    else if (this.#current !== undefined) this.#current = await this.#previous(this.#current.head.before);
    if (this.#current !== undefined) this.bound = this.#current.head.first;
    return this.#current;
  }

  async #previous(before: ReadonlyArray<number>): Promise<Chunk | undefined> {
    const seq = before[0];
    if (seq === undefined) return undefined;
    if (!this.#fetched.has(seq)) {
      this.#fetched.clear();
      for (const one of before.slice(0, this.#ahead)) {
        const chunk = chunkAt(this.reading, one);
        chunk.catch(() => {});
        this.#fetched.set(one, chunk);
      }
      this.#ahead = before.length;
    }
    const chunk = await this.#fetched.get(seq);
    for (const ahead of before.slice(1, LOOKED_AHEAD)) {
      void this.#fetched.get(ahead)?.then(
        (next) => void next?.found(),
        () => {},
      );
    }
    return chunk;
  }
}

/** @returns undefined when it is no longer there @throws LogUnavailable */
async function chunkAt({ nats, look }: Reading, seq: number): Promise<Chunk | undefined> {
  try {
    const message = await nats.jsm.direct.getMessage(LOGS, { seq });
    if (message === null) return undefined;
    const { header, data } = message as StoredMsg;
    return chunkOf({ seq, headers: header, data }, look);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

/**
 * Walks over the sources that may have lines in the range, each where it begins.
 * @param from the earliest time wanted, oldest first; @param to the latest (inclusive), newest first
 */
export async function walksOf(
  nats: Nats,
  subjects: ReadonlyArray<string>,
  order: Direction,
  { from, to }: { readonly from: number; readonly to: number },
  look: Look,
): Promise<Walk[]> {
  const share = Math.floor(PAGES_BYTES / Math.max(1, subjects.length));
  const pageBytes = Math.min(PAGE_BYTES, Math.max(LEAST_PAGE_BYTES, share));
  const reading: Reading = { nats, look, pageBytes };
  const last = await lastOf(reading, subjects);
  const wanted = [...last].filter(([, chunk]) => chunk.head.last >= from);
  return order === "oldest" ? forwards(reading, wanted, from) : backwards(reading, wanted, to);
}

async function forwards(reading: Reading, wanted: ReadonlyArray<[string, Chunk]>, from: number): Promise<Walk[]> {
  if (from <= 0) return wanted.map(([subject]) => new Forward(reading, subject, 1, 0));
  const names = wanted.map(([subject]) => subject);
  const then = await lastOf(reading, names, from);
  return Promise.all(
    names.map(async (subject) => {
      let start = then.get(subject);
      if (start === undefined) return new Forward(reading, subject, 1, from);
      // Usually at once: what had arrived by then was not written after then, but for clocks that differ.
      while (start.head.last >= from) {
        const earlier: Chunk | undefined =
          start.head.before[0] === undefined ? undefined : await chunkAt(reading, start.head.before[0]);
        if (earlier === undefined) return new Forward(reading, subject, start.seq, from);
        start = earlier;
      }
      return new Forward(reading, subject, start.seq + 1, from);
    }),
  );
}

async function backwards(reading: Reading, wanted: ReadonlyArray<[string, Chunk]>, to: number): Promise<Walk[]> {
  const late = wanted.filter(([, chunk]) => chunk.head.first > to).map(([subject]) => subject);
  const then = late.length === 0 ? new Map<string, Chunk>() : await lastOf(reading, late, to);
  const walks = await Promise.all(
    wanted.map(async ([subject, newest]) => {
      if (newest.head.first <= to) return new Backward(reading, newest, subject);
      // What was written by then may have arrived later, of a collector that had been away.
      let start = then.get(subject);
      const onward = new Forward(reading, subject, (start?.seq ?? 0) + 1, 0);
      for (let next = await onward.take(); next !== undefined && next.head.first <= to; next = await onward.take()) {
        start = next;
      }
      return start === undefined || start.head.first > to ? undefined : new Backward(reading, start, subject);
    }),
  );
  return walks.filter((walk) => walk !== undefined);
}
