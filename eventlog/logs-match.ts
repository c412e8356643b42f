/** Which lines of a chunk are wanted. Patterns are RE2's: no input makes them take more than linear time. */
import { RE2JS } from "re2js";
import type { LogMatch } from "./logs.ts";
import { hasLevel, type Lines } from "./logs-chunk.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import { LEVELS } from "./logs-level.ts";
import { withoutAnsi } from "./logs-text.ts";

const PATTERN_CHARACTERS = 512;
/** Instructions of a compiled pattern: a line of 16 kB is looked through in about a tenth of a second at the worst. */
const PATTERN_SIZE = 500;
/** The process does other things meanwhile: no longer without a break. */
const SLICE_MS = 8;

export interface Matcher {
  /** Whether a chunk with these levels (of its head) can have any. */
  may(levels: number): boolean;
  /** Indexes of the lines that are wanted, ascending, of those from `from` to before `to`. */
  find(lines: Lines, from: number, to: number): Promise<number[]>;
}

/** @throws LogQueryRefused */
export function matcherOf(match: LogMatch): Matcher {
  const least = match.level === undefined ? 0 : LEVELS.indexOf(match.level);
  const text = textMatcher(match.q);
  const pattern = match.regex === undefined ? undefined : compile(match.regex);
  return {
    may: (levels) => hasLevel(levels, least),
    async find(lines, from, to) {
      let found = text === undefined ? range(from, to) : text(lines).filter((i) => i >= from && i < to);
      if (least > 0) found = found.filter((i) => lines.atLeast(i, least));
      return pattern === undefined ? found : matching(pattern, lines, found);
    },
  };
}

function range(from: number, to: number): number[] {
  const all = new Array<number>(Math.max(0, to - from));
  for (let i = from; i < to; i++) all[i - from] = i;
  return all;
}

/** Capitals in what is looked for make it exact: most look for a word, few for its spelling. */
function textMatcher(q: string | undefined): ((lines: Lines) => number[]) | undefined {
  if (q === undefined) return undefined;
  if (q === "" || q.includes("\n")) {
    throw new LogQueryRefused({ field: "q", reason: "no line can have it", fix: "Look for part of one line." });
  }
  const exact = q !== q.toLowerCase();
  return (lines) => {
    if (exact && !lines.mayHave(q)) return [];
    const plain = withoutAnsi(lines.text);
    return linesWith(exact ? plain : plain.toLowerCase(), q);
  };
}

/** Numbers of the lines that have a text. */
function linesWith(text: string, wanted: string): number[] {
  const found: number[] = [];
  let line = 0;
  let end = -1;
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, end + 1)) {
    for (end = text.indexOf("\n", end + 1); end >= 0 && end < at; end = text.indexOf("\n", end + 1)) line++;
    found.push(line++);
    if (end < 0) break;
  }
  return found;
}

function compile(regex: string): RE2JS {
  const refuse = (reason: string) =>
    new LogQueryRefused({
      field: "regex",
      reason,
      fix: "Patterns are in the syntax of RE2: no look-around, no back-references; `(?i)` in front for any case.",
    });
  if (regex.length > PATTERN_CHARACTERS) throw refuse(`it is longer than ${PATTERN_CHARACTERS} characters`);
  let pattern: RE2JS;
  try {
    pattern = RE2JS.compile(regex);
  } catch (error) {
    throw refuse((error as Error).message.replace(/^error parsing regexp: /, ""));
  }
  if (pattern.programSize() > PATTERN_SIZE) throw refuse("it is too large: it repeats too much");
  return pattern;
}

async function matching(pattern: RE2JS, lines: Lines, candidates: ReadonlyArray<number>): Promise<number[]> {
  const found: number[] = [];
  let began = performance.now();
  for (let n = 0; n < candidates.length; n++) {
    const i = candidates[n]!;
    if (pattern.test(withoutAnsi(lines.line(i)))) found.push(i);
    if ((n & 31) === 31 && performance.now() - began > SLICE_MS) {
      await new Promise((resolve) => setImmediate(resolve));
      began = performance.now();
    }
  }
  return found;
}
