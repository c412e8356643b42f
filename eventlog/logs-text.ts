/** What happens to the text of a line before it is kept: secrets out, colours out when they are not wanted, no longer than 16 kB. */
import { StringDecoder } from "node:string_decoder";

/** Characters of a line that are kept. */
export const LINE_MOST = 16_384;

/** Escape sequences of terminals (ECMA-48): colours and cursor movements, titles and links, and what two characters say. */
const ANSI =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /\u001b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|[\]PX^_][^\u0007\u001b\n]{0,2048}(?:\u0007|\u001b\\)?|[ -/]{0,8}[0-~])|\u009b[0-?]{0,64}[ -/]{0,8}[@-~]/g;

export const hasAnsi = (text: string): boolean => text.includes("\u001b") || text.includes("\u009b");

/** @returns the text as it is read, line feeds left where they are */
export const withoutAnsi = (text: string): string => (hasAnsi(text) ? text.replace(ANSI, "") : text);

/** Shorter ones would be found everywhere. */
const SECRET_LEAST = 6;
export const REDACTED = "[redacted]";

/** Finds known secret values, as they are and as JSON, URLs and base 64 write them. */
export class Redaction {
  readonly #values = new Set<string>();
  #pattern: RegExp | undefined;
  /** Characters of the longest. */
  longest = 0;

  /** One of several lines is looked for line by line: that is how it would be printed. */
  add(values: ReadonlyArray<string>): void {
    for (const value of values) {
      for (const whole of [value, Buffer.from(value).toString("base64"), Buffer.from(value).toString("base64url")]) {
        for (const part of whole.split(/[\r\n]+/)) this.#addPart(part.trim());
      }
    }
    const longestFirst = [...this.#values].sort((a, b) => b.length - a.length);
    this.longest = longestFirst[0]?.length ?? 0;
    const escaped = longestFirst.map((text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
    this.#pattern = escaped.length === 0 ? undefined : new RegExp(escaped.join("|"), "g");
  }

  #addPart(part: string): void {
    if (part.length < SECRET_LEAST) return;
    this.#values.add(part);
    this.#values.add(JSON.stringify(part).slice(1, -1));
    this.#values.add(encodeURIComponent(part.toWellFormed()));
  }

  /** Whether there is anything to be taken out of any of several lines. */
  finds(text: string): boolean {
    if (this.#pattern === undefined) return false;
    this.#pattern.lastIndex = 0;
    return this.#pattern.test(text);
  }

  apply(text: string): string {
    return this.#pattern === undefined ? text : text.replace(this.#pattern, REDACTED);
  }
}

/** Puts lines together from pieces that may be split anywhere, within a UTF-8 character too. */
export class LineSplitter {
  readonly #decoder = new StringDecoder("utf8");
  /** Characters of one line that are passed on; what comes after them is counted. */
  #most: number;
  #rest = "";
  #left = 0;

  /** @param most characters of one line that are passed on */
  constructor(most: number) {
    this.#most = most;
  }

  set most(most: number) {
    this.#most = most;
  }

  /** @param each called for each line, without its end, and with the characters left out */
  push(piece: Uint8Array, each: (text: string, left: number) => void): void {
    this.#take(this.#decoder.write(piece as Buffer), each);
  }

  /** The half line at the end, if there is one. */
  end(each: (text: string, left: number) => void): void {
    this.#take(this.#decoder.end(), each);
    if (this.#rest !== "" || this.#left > 0) this.#emit("", each);
  }

  /** Characters of the line that has not ended. */
  get waiting(): number {
    return this.#rest.length;
  }

  #take(text: string, each: (text: string, left: number) => void): void {
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#emit(text.slice(from, end), each);
      from = end + 1;
    }
    const more = from === 0 ? text : text.slice(from);
    const room = this.#most - this.#rest.length;
    this.#rest += more.length > room ? more.slice(0, room) : more;
    this.#left += Math.max(0, more.length - room);
  }

  #emit(more: string, each: (text: string, left: number) => void): void {
    const whole = this.#rest === "" ? more : this.#rest + more;
    const left = this.#left + Math.max(0, whole.length - this.#most);
    this.#rest = "";
    this.#left = 0;
    each(whole.length > this.#most ? whole.slice(0, this.#most) : whole, left);
  }
}

/** A line as it is kept. @param left characters that were left out before */
export function cutLine(text: string, left: number): { text: string; cut: boolean } {
  const missing = left + Math.max(0, text.length - LINE_MOST);
  if (missing === 0) return { text, cut: false };
  return { text: `${text.slice(0, LINE_MOST).toWellFormed()} … [${missing} characters more]`, cut: true };
}
