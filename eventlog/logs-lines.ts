/** The body of a chunk, unpacked: what logs-chunk.ts writes. Needs nothing of NATS, so that a thread which only searches loads fast. */
import { isAscii } from "node:buffer";
import { promisify } from "node:util";
import { zstdDecompress, zstdDecompressSync } from "node:zlib";
import { LEVELS, type Level } from "./logs-level.ts";

export interface PackedLine {
  /** Milliseconds since 1970, not before that of the line before. */
  readonly time: number;
  readonly level: Level | undefined;
  /** Without line feeds. */
  readonly text: string;
  readonly stderr: boolean;
  readonly cut: boolean;
  readonly gap: boolean;
}

export const NO_LEVEL = 7;
export const STDERR = 0x08;
export const CUT = 0x10;
export const GAP = 0x20;
/** What begins a colour, as bytes of UTF-8. */
const ESCAPE = 0x1b;
const LINE_FEED = 0x0a;
const ESCAPE_8_BIT = Buffer.from("\u009b");
/** What a line without a level is filtered as. */
const TAKEN_AS = LEVELS.indexOf("info");

/** A body is never larger than this, unpacked: what a reader gives memory for. */
const MOST_BYTES = 8 * 1024 ** 2;

const decompress = promisify(zstdDecompress);

/** Every time its buffer is full, the codec goes through the thread pool once more: one as large as what comes. */
export const roomFor = (bytes: number): number => Math.min(1 << 20, Math.max(4_096, Math.ceil(bytes)));

const options = (count: number) => ({ maxOutputLength: MOST_BYTES, chunkSize: roomFor(count * 160) });

/** The lines of a chunk, taken apart one by one as they are needed. */
export class Lines {
  readonly count: number;
  /** The text of all lines, each with a line feed, as UTF-8. */
  readonly bytes: Buffer;
  readonly #body: Buffer;
  readonly #first: number;
  #blocks: ReadonlyArray<Block> | undefined;
  readonly #starts: Uint32Array;
  /** Of the line that was asked for last: most go through them in order. */
  #block = 0;
  #isAscii: boolean | undefined;
  #hasEscapes: boolean | undefined;

  constructor(body: Buffer, count: number) {
    if (body.length < 8 + 6 * count) throw new Error("a chunk of log lines is shorter than it says");
    this.#body = body;
    this.count = count;
    this.#first = body.readDoubleLE(0);
    this.bytes = body.subarray(8 + 5 * count);
    this.#starts = new Uint32Array(count + 1);
  }

  /** @throws Error when the body is damaged */
  static async unpack(data: Uint8Array, count: number): Promise<Lines> {
    return new Lines(await decompress(data, options(count)), count);
  }

  /** The same where there is nothing else to do meanwhile. @throws Error when the body is damaged */
  static unpackSync(data: Uint8Array, count: number): Lines {
    return new Lines(zstdDecompressSync(data, options(count)), count);
  }

  time(i: number): number {
    return this.#first + this.#body.readUInt32LE(8 + 4 * i);
  }

  /** The first line at or after a time; the count when there is none. */
  firstFrom(time: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.time(middle) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Level and flags. */
  mark(i: number): number {
    return this.#body[8 + 4 * this.count + i]!;
  }

  /** Whether a line counts as of this level or a graver one. */
  atLeast(i: number, least: number): boolean {
    const level = this.mark(i) & 7;
    return (level === NO_LEVEL ? TAKEN_AS : level) >= least;
  }

  /** Whether text may be coloured, and is to be looked through without its colours. */
  get hasEscapes(): boolean {
    this.#hasEscapes ??= this.bytes.includes(ESCAPE) || (!this.isAscii && this.bytes.includes(ESCAPE_8_BIT));
    return this.#hasEscapes;
  }

  get isAscii(): boolean {
    this.#isAscii ??= isAscii(this.bytes);
    return this.#isAscii;
  }

  /** All lines, each with a line feed. */
  get text(): string {
    return this.bytes.toString(this.isAscii ? "latin1" : "utf8");
  }

  /** All lines, a character for each byte. */
  get blocks(): ReadonlyArray<Block> {
    this.#blocks ??= cut(this.bytes, this.#starts);
    return this.#blocks;
  }

  /** One line. @param alone a text of its own, which does not keep others in memory */
  line(i: number, alone = false): string {
    const { blocks } = this;
    const from = this.#starts[i]!;
    const to = this.#starts[i + 1]! - 1;
    if (!this.isAscii) return this.bytes.toString("utf8", from, to);
    if (alone) return this.bytes.toString("latin1", from, to);
    if (i < blocks[this.#block]!.line) this.#block = 0;
    while (i >= (blocks[this.#block + 1]?.line ?? Number.POSITIVE_INFINITY)) this.#block++;
    const { at, text } = blocks[this.#block]!;
    return text.slice(from - at, to - at);
  }
}

/** Some lines beside each other. */
export interface Block {
  /** Number of its first line. */
  readonly line: number;
  /** Where that begins, in bytes. */
  readonly at: number;
  /** Of all its lines, each with a line feed, a character for each byte. */
  readonly text: string;
}

/** A text of a megabyte is three times as much work as sixteen texts: its memory is new to the processor (measured). */
const BLOCK_BYTES = 65_536;

/** @param starts is filled: where each line begins, and one past the end */
function cut(bytes: Buffer, starts: Uint32Array): Block[] {
  const blocks: Block[] = [];
  const count = starts.length - 1;
  let line = 0;
  for (let at = 0; at < bytes.length || blocks.length === 0; ) {
    let end = at + BLOCK_BYTES >= bytes.length ? bytes.length : bytes.lastIndexOf(LINE_FEED, at + BLOCK_BYTES) + 1;
    // One line is longer than a block.
    if (end <= at) end = bytes.indexOf(LINE_FEED, at) + 1 || bytes.length;
    const text = bytes.toString("latin1", at, end);
    blocks.push({ line, at, text });
    for (let feed = text.indexOf("\n"); feed >= 0 && line < count; feed = text.indexOf("\n", feed + 1)) {
      starts[++line] = at + feed + 1;
    }
    at = Math.max(end, at + 1);
  }
  // Fewer than it says: what is missing is empty.
  starts.fill(bytes.length + 1, line + 1);
  return blocks;
}

export const levelOfMark = (mark: number): Level | null => {
  const level = mark & 7;
  return level === NO_LEVEL ? null : LEVELS[level]!;
};

/** Whether a chunk has a line of this level or a graver one. */
export function hasLevel(levels: number, least: number): boolean {
  if (least <= TAKEN_AS && (levels & (1 << NO_LEVEL)) !== 0) return true;
  return (levels & 0x7f) >> least !== 0;
}
