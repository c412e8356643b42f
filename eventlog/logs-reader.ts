/**
 * Lines of several sources, merged by time. A sweep over their chunks: always the one next whose lines may be the next wanted;
 * what has been found is final as soon as no chunk that is left can have anything before it.
 */
import type { Nats } from "./connection.ts";
import type { LogLine, LogPage, LogQuery, LogSource } from "./logs.ts";
import type { Lines } from "./logs-chunk.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import { type Matcher, matcherOf } from "./logs-match.ts";
import { type Direction, subjectsOf, type Walk, walksOf } from "./logs-sources.ts";
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

/** @param text the line's; of few lines of a chunk a copy, or they would keep all of it in memory */
export const lineOf = (lines: Lines, i: number, seq: number, from: LogSource, text: string): LogLine => ({
  time: lines.time(i),
  level: lines.level(i),
  text,
  stderr: lines.stderr(i),
  cut: lines.cut(i),
  gap: lines.gap(i),
  from,
  position: placeOf(seq, i),
});

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
  const walks = await walksOf(nats, await subjectsOf(nats, query.of), query.order, { from, to });
  return new Sweep(query, matcher, { from, to, after }).run(walks);
}

interface Range {
  readonly from: number;
  readonly to: number;
  /** Only what stands behind it in the order asked for. */
  readonly after: Rank | undefined;
}

class Sweep {
  readonly #query: LogQuery;
  readonly #matcher: Matcher;
  readonly #range: Range;
  readonly #sign: 1 | -1;
  readonly #began = performance.now();
  #hits: Hit[] = [];
  #isSorted = true;

  constructor(query: LogQuery, matcher: Matcher, range: Range) {
    this.#query = query;
    this.#matcher = matcher;
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
      else if (this.#mayHave(chunk.head)) await this.#look(await chunk.lines(), chunk.seq, next.from);
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

  #mayHave(head: { readonly first: number; readonly last: number; readonly levels: number }): boolean {
    return head.last >= this.#range.from && head.first <= this.#range.to && this.#matcher.may(head.levels);
  }

  async #look(lines: Lines, seq: number, from: LogSource): Promise<void> {
    const { after, from: least, to: most } = this.#range;
    const first = firstFrom(lines, least);
    const { limit } = this.#query;
    const found = await this.#matcher.find(lines, first, firstFrom(lines, most + 1));
    if (this.#sign < 0) found.reverse();
    const isFew = Math.min(found.length, limit) < lines.count / 4;
    let taken = 0;
    for (const index of found) {
      const rank: Rank = { time: lines.time(index), seq, index };
      if (after !== undefined && compare(rank, after) * this.#sign <= 0) continue;
      const text = isFew ? lines.copy(index) : lines.line(index);
      this.#hits.push({ ...rank, line: lineOf(lines, index, seq, from, text) });
      // Of one chunk they come in order: what is more than a page is found again by the next.
      if (++taken > limit) break;
    }
    this.#isSorted = false;
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

/** The first line at or after a time; the count when there is none. */
function firstFrom(lines: Lines, time: number): number {
  let low = 0;
  let high = lines.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines.time(middle) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
