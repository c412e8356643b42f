/**
 * Which lines of a chunk are wanted. Looked for in the bytes as they stand, so that lines which are not wanted are never made
 * into texts. Patterns are RE2's: no input makes them take more than linear time.
 */
import { RE2JS } from "re2js";
import type { LogMatch } from "./logs.ts";
import { LEVELS } from "./logs-level.ts";
import type { Lines } from "./logs-lines.ts";
import { literalsOf } from "./logs-literals.ts";
import { withoutAnsi } from "./logs-text.ts";

const PATTERN_CHARACTERS = 512;
/** Instructions of a compiled pattern: a line of 16 kB is looked through in about a tenth of a second at the worst. */
const PATTERN_SIZE = 500;

/** What is looked for cannot be: the caller's mistake. */
export class MatchRefused extends Error {
  readonly field: "q" | "regex";
  constructor(field: "q" | "regex", reason: string) {
    super(reason);
    this.field = field;
  }
}

/** Indexes of the lines that are wanted, ascending, of those from `from` to before `to`. */
export type Finder = (lines: Lines, from: number, to: number) => number[];

/** @throws MatchRefused */
export function finderOf(match: LogMatch): Finder {
  const least = match.level === undefined ? 0 : LEVELS.indexOf(match.level);
  const text = match.q === undefined ? undefined : textFinder(match.q, match.q !== match.q.toLowerCase());
  const pattern = match.regex === undefined ? undefined : patternFilter(match.regex);
  return (lines, from, to) => {
    let found = text === undefined ? range(from, to) : within(text(lines), from, to);
    if (least > 0) found = found.filter((i) => lines.atLeast(i, least));
    return pattern === undefined ? found : pattern(lines, found);
  };
}

function range(from: number, to: number): number[] {
  const all = new Array<number>(Math.max(0, to - from));
  for (let i = from; i < to; i++) all[i - from] = i;
  return all;
}

const within = (found: number[], from: number, to: number): number[] =>
  found.length > 0 && (found[0]! < from || found.at(-1)! >= to) ? found.filter((i) => i >= from && i < to) : found;

/** Capitals in what is looked for make it exact: most look for a word, few for its spelling. @throws MatchRefused */
function textFinder(q: string, exact: boolean): (lines: Lines) => number[] {
  if (q === "" || q.includes("\n")) throw new MatchRefused("q", "no line can have it");
  const bytes = Buffer.from(q);
  const latin = bytes.toString("latin1");
  const isAscii = latin === q;
  // Of letters every case would have to be looked for; what is none is looked for as it stands.
  const part = exact ? bytes : Buffer.from(longestOf(q.match(/[\x20-@[-`{-~]{3,}/g) ?? []));
  return (lines) => {
    if (lines.hasEscapes) {
      const plain = withoutAnsi(lines.text);
      return linesWith(exact ? plain : plain.toLowerCase(), q);
    }
    if (part.length > 0 && !lines.bytes.includes(part)) return [];
    if (exact) return blocksWith(lines, (text) => linesWith(text, latin));
    if (!lines.isAscii) return linesWith(lines.text.toLowerCase(), q);
    return isAscii ? blocksWith(lines, (text) => linesWith(text.toLowerCase(), q)) : [];
  };
}

const longestOf = (texts: ReadonlyArray<string>): string =>
  texts.reduce((longest, text) => (text.length > longest.length ? text : longest), "");

function blocksWith({ blocks }: Lines, find: (text: string) => number[]): number[] {
  const found: number[] = [];
  for (const { line, text } of blocks) for (const i of find(text)) found.push(line + i);
  return found;
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

/** @throws MatchRefused */
function patternFilter(regex: string): (lines: Lines, candidates: number[]) => number[] {
  const pattern = compile(regex);
  const { texts, anyCase } = literalsOf(regex);
  const needed = texts.map((text) => textFinder(anyCase ? text.toLowerCase() : text, !anyCase));
  /** The one that the fewest lines of the first chunk had. */
  let rarest: ((lines: Lines) => number[]) | undefined;
  return (lines, candidates) => {
    const { hasEscapes, isAscii } = lines;
    let left = candidates;
    // Beyond ASCII the pattern takes more letters for the same than lower case does.
    if (needed.length > 0 && candidates.length > 0 && (!anyCase || isAscii)) {
      rarest ??= needed.map((find) => ({ find, count: find(lines).length })).sort((a, b) => a.count - b.count)[0]!.find;
      const having = rarest(lines);
      left = candidates.length === lines.count ? having : intersection(candidates, having);
    }
    return left.filter((i) => pattern.test(hasEscapes ? withoutAnsi(lines.line(i)) : lines.line(i)));
  };
}

/** Of ascending numbers those that are in both. */
function intersection(some: ReadonlyArray<number>, others: ReadonlyArray<number>): number[] {
  let at = 0;
  return some.filter((one) => {
    while (at < others.length && others[at]! < one) at++;
    return others[at] === one;
  });
}

/** @throws MatchRefused */
function compile(regex: string): RE2JS {
  if (regex.length > PATTERN_CHARACTERS) {
    throw new MatchRefused("regex", `it is longer than ${PATTERN_CHARACTERS} characters`);
  }
  let pattern: RE2JS;
  try {
    pattern = RE2JS.compile(regex);
  } catch (error) {
    throw new MatchRefused("regex", (error as Error).message.replace(/^error parsing regexp: /, ""));
  }
  if (pattern.programSize() > PATTERN_SIZE) throw new MatchRefused("regex", "it is too large: it repeats too much");
  return pattern;
}
