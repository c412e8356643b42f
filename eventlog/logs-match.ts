/**
 * A look into one chunk: the lines in it that are wanted. Text and patterns are looked for in threads of their own, which this
 * process shares among all who search: what one looks for holds up nobody else.
 */
import type { LogMatch } from "./logs.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import { finderOf, MatchRefused } from "./logs-find.ts";
import { LEVELS } from "./logs-level.ts";
import { hasLevel, Lines } from "./logs-lines.ts";
import { type Found, foundIn, type LookAt } from "./logs-look.ts";
import { Searching } from "./logs-threads.ts";

/** Wanted lines of a chunk, unless it cannot have any. */
export interface Matcher {
  /** Whether a chunk with these levels (of its head) can have any. */
  may(levels: number): boolean;
  /** @throws Error when the chunk is damaged */
  look(data: Uint8Array, at: LookAt): Promise<Found>;
  /** What has not begun is not done any more. */
  end(): void;
}

const FIXES = {
  q: "Look for part of one line.",
  regex: "Patterns are in the syntax of RE2: no look-around, no back-references; `(?i)` in front for any case.",
} as const;

/** @throws LogQueryRefused */
export function matcherOf({ level, q, regex }: LogMatch): Matcher {
  const match: LogMatch = {
    ...(level === undefined ? {} : { level }),
    ...(q === undefined ? {} : { q }),
    ...(regex === undefined ? {} : { regex }),
  };
  const least = level === undefined ? 0 : LEVELS.indexOf(level);
  const may = (levels: number) => hasLevel(levels, least);
  try {
    const find = finderOf(match);
    if (q === undefined && regex === undefined) {
      const look = async (data: Uint8Array, at: LookAt) => foundIn(await Lines.unpack(data, at.count), find, at);
      return { may, look, end: () => {} };
    }
  } catch (error) {
    if (!(error instanceof MatchRefused)) throw error;
    throw new LogQueryRefused({ field: error.field, reason: error.message, fix: FIXES[error.field] });
  }
  const searching = new Searching(match);
  return { may, look: (data, at) => searching.look(data, at), end: () => searching.end() };
}
