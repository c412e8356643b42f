/** What is asked of one chunk and what is found in it, as it goes between threads. */
import type { Finder } from "./logs-find.ts";
import type { Lines } from "./logs-lines.ts";

export interface LookAt {
  /** Lines of the chunk. */
  readonly count: number;
  /** Times, both inclusive. */
  readonly from: number;
  readonly to: number;
  /** Indexes of the lines that come into question: from the first to before the second. */
  readonly first: number;
  readonly end: number;
  /** So many at the most: of the first ones, or of the last. */
  readonly most: number;
  readonly newest: boolean;
}

/** Lines, ascending: one in each column. */
export interface Found {
  readonly index: ReadonlyArray<number>;
  readonly time: ReadonlyArray<number>;
  /** Level and flags, as in the chunk. */
  readonly mark: ReadonlyArray<number>;
  readonly text: ReadonlyArray<string>;
}

export function foundIn(lines: Lines, find: Finder, { from, to, first, end, most, newest }: LookAt): Found {
  const begin = Math.max(first, lines.firstFrom(from));
  const stop = Math.min(end, lines.count, lines.firstFrom(to + 1));
  const all = begin < stop ? find(lines, begin, stop) : [];
  const index = all.length <= most ? all : newest ? all.slice(-most) : all.slice(0, most);
  // A few of them must not keep all of the others in memory.
  const isFew = index.length < lines.count / 4;
  const { length } = index;
  const time = new Array<number>(length);
  const mark = new Array<number>(length);
  const text = new Array<string>(length);
  for (let n = 0; n < length; n++) {
    const i = index[n]!;
    time[n] = lines.time(i);
    mark[n] = lines.mark(i);
    text[n] = lines.line(i, isFew);
  }
  return { index, time, mark, text };
}
