/**
 * Texts that every match of a pattern has in it, so that lines without them need not be looked at with the pattern. Says too few
 * of them where a pattern is hard to read, never one that a match could do without.
 */

export interface Literals {
  readonly texts: ReadonlyArray<string>;
  /** `(?i)` stands in front. */
  readonly anyCase: boolean;
}

const LEAST = 2;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
/** `\x`, `\p`, `\Q` and their like take more than one character after them: what follows is not read. */
const ONE_LETTER_CLASSES = "dDsSwWbBAzafnrtv";
const OPTIONAL = /^(?:[*?]|\{0(?:,\d*)?\})\??/;
const REPEATED = /^(?:\+|\{[1-9]\d*(?:,\d*)?\})\??/;

/** @param regex in the syntax of RE2, known to be valid */
export function literalsOf(regex: string): Literals {
  const anyCase = regex.startsWith("(?i)");
  const none = { texts: [], anyCase };
  const texts: string[] = [];
  let run = "";
  const end = () => {
    if (run.length >= LEAST) texts.push(run);
    run = "";
  };
  for (let at = anyCase ? 4 : 0; at < regex.length; ) {
    const one = regex[at]!;
    let literal: string | undefined;
    if (one === "|" || regex.startsWith("(?", at)) {
      // A choice on the outside, or flags: nothing here is needed for certain.
      return none;
    } else if (one === "(" || one === "[") {
      const after = one === "(" ? endOfGroup(regex, at) : endOfClass(regex, at);
      if (after === undefined) return none;
      at = after;
    } else if (one === "\\") {
      const escaped = regex[at + 1] ?? "";
      if (PUNCTUATION.test(escaped)) literal = escaped;
      else if (!ONE_LETTER_CLASSES.includes(escaped) || escaped === "") return none;
      at += 2;
    } else {
      const code = regex.codePointAt(at)!;
      if (one !== "." && one !== "^" && one !== "$") literal = String.fromCodePoint(code);
      at += code > 0xffff ? 2 : 1;
    }
    const rest = regex.slice(at, at + 16);
    const optional = OPTIONAL.exec(rest)?.[0];
    const repetition = optional ?? REPEATED.exec(rest)?.[0] ?? "";
    if (literal !== undefined && optional === undefined) run += literal;
    if (literal === undefined || repetition !== "") end();
    at += repetition.length;
  }
  end();
  return { texts, anyCase };
}

/** @returns the place behind `]` */
function endOfClass(regex: string, open: number): number | undefined {
  let at = open + 1;
  if (regex[at] === "^") at++;
  // The first one is no end.
  if (regex[at] === "]") at++;
  for (; at < regex.length; at++) {
    if (regex[at] === "\\") at++;
    else if (regex.startsWith("[:", at)) {
      const end = regex.indexOf(":]", at + 2);
      if (end < 0) return undefined;
      at = end + 1;
    } else if (regex[at] === "]") return at + 1;
  }
  return undefined;
}

/** @returns the place behind the `)` that belongs to it */
function endOfGroup(regex: string, open: number): number | undefined {
  let depth = 0;
  for (let at = open; at < regex.length; ) {
    const one = regex[at];
    if (one === "\\") {
      if (regex[at + 1] === "Q") return undefined;
      at += 2;
    } else if (one === "[") {
      const after = endOfClass(regex, at);
      if (after === undefined) return undefined;
      at = after;
    } else {
      if (one === "(") depth++;
      if (one === ")") depth--;
      at++;
      if (depth === 0) return at;
    }
  }
  return undefined;
}
