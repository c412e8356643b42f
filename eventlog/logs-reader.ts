/**
 * Lines of several sources, merged by time. A sweep over their chunks: always the one next whose lines may be the next wanted;
 * what has been found is final as soon as no chunk that is left can have anything before it.
 */
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import type { LogLine, LogPage, LogQuery, LogSource } from "./logs.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import { CUT, GAP, levelOfMark, STDERR } from "./logs-lines.ts";
import type { Found } from "./logs-look.ts";
import { type Matcher, matcherOf } from "./logs-match.ts";
import { Pace } from "./logs-pace.ts";
import { type Direction, type Look, subjectsOf, type Walk, walksOf } from "./logs-sources.ts";
import { placeOf } from "./logs-stream.ts";

const DEADLINE_MS = 5_000;
const LIMIT_MOST = 10_000;

/** Where a line stands in the order of all lines. */
interface Rank {
  readonly time: number;
  readonly seq: number;
  readonly index: number;
}

interface Hit extends Rank {
  readonly line: LogLine;
}

const compare = (a: Rank, b: Rank): number => a.time - b.time || a.seq - b.seq || a.index - b.index;

const CURSOR = /^([no])(-?\d{1,16})\.(\d{1,16})\.(\d{1,16})$/;
const FARTHEST = Number.MAX_SAFE_INTEGER;

const writeCursor = (order: Direction, { time, seq, index }: Rank): string =>
  Buffer.from(`${order[0]}${time}.${seq}.${index}`).toString("base64url");

/** @throws LogQueryRefused */
function readCursor(order: Direction, text: string): Rank {
  const found = CURSOR.exec(Buffer.from(text, "base64url").toString("latin1"));
  if (found === null || found[1] !== order[0]) {
    throw new LogQueryRefused({
      field: "after",
      reason: "it is no cursor of such a query",
      fix: "Send `nextCursor` of the page before, with the same query.",
    });
  }
  return { time: Number(found[2]), seq: Number(found[3]), index: Number(found[4]) };
}

/** @param n which of those that were found */
export function lineOf({ index, time, mark, text }: Found, n: number, seq: number, from: LogSource): LogLine {
  const flags = mark[n]!;
  return {
    time: time[n]!,
    level: levelOfMark(flags),
    text: text[n]!,
    stderr: (flags & STDERR) !== 0,
    cut: (flags & CUT) !== 0,
    gap: (flags & GAP) !== 0,
    from,
    position: placeOf(seq, index[n]!),
  };
}

/** What a look has found. @throws LogUnavailable when the chunk is damaged, or the threads are gone */
export async function foundOf(look: Promise<Found>): Promise<Found> {
  try {
    return await look;
  } catch (error) {
    throw new LogUnavailable({ what: "log lines", cause: error });
  }
}

/** @throws LogUnavailable, LogQueryRefused */
export async function readLogs(nats: Nats, query: LogQuery): Promise<LogPage> {
  const matcher = matcherOf(query);
  if (!(query.limit >= 1 && query.limit <= LIMIT_MOST)) {
    throw new LogQueryRefused({
      field: "limit",
      reason: "it is out of range",
      fix: `Ask for 1 to ${LIMIT_MOST} lines.`,
    });
  }
  const after = query.after === undefined ? undefined : readCursor(query.order, query.after);
  const oldest = query.order === "oldest";
  const from = Math.max(query.since ?? 0, oldest ? (after?.time ?? 0) : 0);
  const to = Math.min((query.until ?? FARTHEST) - 1, oldest ? FARTHEST : (after?.time ?? FARTHEST));
  if (from > to) return { lines: [], next: undefined, reached: undefined };
  const range = { from, to, after };
  try {
    const subjects = await subjectsOf(nats, query.of);
    const walks = await walksOf(nats, subjects, query.order, range, lookOf(matcher, query, range));
    return await new Sweep(query, range).run(walks);
  } finally {
    matcher.end();
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
  /** Only what stands behind it in the order asked for. */
  readonly after: Rank | undefined;
}

/** Looks into a chunk for what can still be on the page. */
function lookOf(matcher: Matcher, { limit, order }: LogQuery, { from, to, after }: Range): Look {
  const newest = order === "newest";
  return (seq, head, data) => {
    if (head.last < from || head.first > to || !matcher.may(head.levels)) return undefined;
    const at = { count: head.count, from, to, first: 0, end: head.count, most: limit + 1, newest };
    if (after === undefined) return matcher.look(data, at);
    // Of its own chunk what stands behind the line; of others at the same time, what comes after it in the stream.
    if (seq === after.seq) {
      return matcher.look(data, newest ? { ...at, end: after.index } : { ...at, first: after.index + 1 });
    }
    if (newest) return matcher.look(data, seq < after.seq ? at : { ...at, to: Math.min(to, after.time - 1) });
    return matcher.look(data, seq > after.seq ? at : { ...at, from: Math.max(from, after.time + 1) });
  };
}

class Sweep {
  readonly #query: LogQuery;
  readonly #range: Range;
  readonly #sign: 1 | -1;
  readonly #began = performance.now();
  readonly #pace = new Pace();
  #hits: Hit[] = [];
  #isSorted = true;

  constructor(query: LogQuery, range: Range) {
    this.#query = query;
    this.#range = range;
    this.#sign = query.order === "oldest" ? 1 : -1;
  }

  async run(walks: ReadonlyArray<Walk>): Promise<LogPage> {
    const { limit, signal } = this.#query;
    const deadline = this.#began + (this.#query.deadlineMs ?? DEADLINE_MS);
    let left = [...walks];
    while (left.length > 0) {
      signal?.throwIfAborted();
      const next = this.#foremost(left);
      const { bound } = next;
      if (this.#isOutside(bound)) {
        left = left.filter((walk) => walk !== next);
        continue;
      }
      if (this.#isFull(limit, bound)) break;
      // It gets somewhere in any case, so that pages do not stand still.
      if (performance.now() > deadline && this.#isPast(bound)) return this.#page(limit, bound);
      const chunk = await next.take();
      if (chunk === undefined) left = left.filter((walk) => walk !== next);
      else {
        const look = chunk.found();
        if (look !== undefined) this.#take(await foundOf(look), chunk.seq, next.from);
      }
      await this.#pace.breathe();
    }
    return this.#page(limit, undefined, left.length > 0);
  }

  #foremost(walks: ReadonlyArray<Walk>): Walk {
    let best = walks[0]!;
    for (const walk of walks) if ((walk.bound - best.bound) * this.#sign < 0) best = walk;
    return best;
  }

  #isOutside(bound: number): boolean {
    return this.#sign > 0 ? bound > this.#range.to : bound < this.#range.from;
  }

  #isPast(bound: number): boolean {
    return this.#sign > 0 ? bound > this.#range.from + 1 : bound < this.#range.to - 1;
  }

  #take(found: Found, seq: number, from: LogSource): void {
    const { limit } = this.#query;
    // Of one chunk they come in order, and no more than a page: what is more is found again by the next.
    for (let n = 0; n < found.index.length; n++) {
      const rank: Rank = { time: found.time[n]!, seq, index: found.index[n]! };
      this.#hits.push({ ...rank, line: lineOf(found, n, seq, from) });
    }
    if (found.index.length > 0) this.#isSorted = false;
    if (this.#hits.length > 2 * limit + 2_000) {
      this.#sort();
      this.#hits.length = limit + 1;
    }
  }

  /** Whether there are enough lines that nothing left to look at can stand before. */
  #isFull(limit: number, bound: number): boolean {
    if (this.#hits.length < limit) return false;
    this.#sort();
    return (bound - this.#hits[limit - 1]!.time) * this.#sign > 0;
  }

  #sort(): void {
    if (!this.#isSorted) this.#hits.sort((a, b) => compare(a, b) * this.#sign);
    this.#isSorted = true;
  }

  /** @param bound where it had to stop; undefined: everything was looked at, or enough was found */
  #page(limit: number, bound: number | undefined, isMore = false): LogPage {
    this.#sort();
    const final = bound === undefined ? this.#hits : this.#hits.filter((hit) => (bound - hit.time) * this.#sign > 0);
    const shown = final.slice(0, limit);
    const lines = shown.map(({ line }) => line);
    const last = shown.at(-1);
    const { order } = this.#query;
    if (last !== undefined && shown.length === limit && (isMore || bound !== undefined || final.length > limit)) {
      return { lines, next: writeCursor(order, last), reached: last.time };
    }
    if (bound === undefined) return { lines, next: undefined, reached: undefined };
    const edge =
      this.#sign > 0 ? { time: bound - 1, seq: FARTHEST, index: FARTHEST } : { time: bound + 1, seq: 0, index: 0 };
    return { lines, next: writeCursor(order, edge), reached: bound };
  }
}
