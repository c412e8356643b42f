/**
 * A chunk: many lines of one source in one message. What selects it stands in headers (first and last time, levels, count, the
 * source's cursor, the chunks before it); the body, compressed, is one column after the other, so that looking for text needs
 * no parsing:
 *
 *     f64   time of the first line, milliseconds since 1970
 *     u32×n milliseconds after that
 *     u8×n  level (7: none) and flags
 *     text  n lines of UTF-8, each with a line feed
 */
import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";
import { headers, type MsgHdrs } from "@nats-io/transport-node";
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

const NO_LEVEL = 7;
const STDERR = 0x08;
const CUT = 0x10;
const GAP = 0x20;
/** What begins a colour. */
const ESCAPES = ["\u001b", "\u009b"];
/** What a line without a level is filtered as. */
const TAKEN_AS = LEVELS.indexOf("info");

/** Milliseconds that fit behind the first line's time; a chunk spans no more. */
export const LONGEST_SPAN_MS = 0xffff_ffff;
/** A body is never larger than this, unpacked: what a reader gives memory for. */
const MOST_BYTES = 8 * 1024 ** 2;

const NAMES = {
  format: "Millrace-Log",
  first: "Millrace-First",
  last: "Millrace-Last",
  levels: "Millrace-Levels",
  count: "Millrace-Count",
  cursor: "Millrace-Cursor",
  writer: "Millrace-Writer",
  before: "Millrace-Before",
} as const;
const FORMAT = "1";

/** What a chunk's headers say. */
export interface ChunkHead {
  /** Of its first line, and of its last. */
  readonly first: number;
  readonly last: number;
  /** Bit n: a line of `LEVELS[n]`; bit 7: one without a level. */
  readonly levels: number;
  readonly count: number;
  readonly cursor: string | undefined;
  /** `<writer>.<number>`: whose it is, when an answer was lost. */
  readonly writer: string;
  /** Sequences of the chunks of this source before it, the nearest first. */
  readonly before: ReadonlyArray<number>;
}

/** How many chunks before it each names: as many are fetched at once on the way back. */
export const BEFORE_MOST = 16;

export type ChunkLabel = Pick<ChunkHead, "cursor" | "writer" | "before">;

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);
const QUICK = { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } };

/** Every time its buffer is full, the codec goes through the thread pool once more: one as large as what comes. */
const roomFor = (bytes: number): number => Math.min(1 << 20, Math.max(4_096, Math.ceil(bytes)));

/** @returns the message's headers (without an expectation) and body */
export async function pack(
  lines: ReadonlyArray<PackedLine>,
  label: ChunkLabel,
): Promise<{ headers: MsgHdrs; data: Uint8Array }> {
  const count = lines.length;
  const first = lines[0]!.time;
  const texts = new Array<string>(count);
  const times = new Uint32Array(count);
  const marks = Buffer.allocUnsafe(count);
  let levels = 0;
  for (let i = 0; i < count; i++) {
    const line = lines[i]!;
    const level = line.level === undefined ? NO_LEVEL : LEVELS.indexOf(line.level);
    times[i] = line.time - first;
    marks[i] = level | (line.stderr ? STDERR : 0) | (line.cut ? CUT : 0) | (line.gap ? GAP : 0);
    levels |= 1 << level;
    texts[i] = line.text;
  }
  texts.push("");
  const text = texts.join("\n");
  const body = Buffer.allocUnsafe(8 + 5 * count + Buffer.byteLength(text));
  body.writeDoubleLE(first, 0);
  body.set(new Uint8Array(times.buffer), 8);
  body.set(marks, 8 + 4 * count);
  body.write(text, 8 + 5 * count);
  const h = headers();
  h.set(NAMES.format, FORMAT);
  h.set(NAMES.first, String(first));
  h.set(NAMES.last, String(lines[count - 1]!.time));
  h.set(NAMES.levels, String(levels));
  h.set(NAMES.count, String(count));
  h.set(NAMES.writer, label.writer);
  if (label.cursor !== undefined) h.set(NAMES.cursor, label.cursor);
  if (label.before.length > 0) h.set(NAMES.before, label.before.join(","));
  return { headers: h, data: await compress(body, { ...QUICK, chunkSize: roomFor(body.length / 2) }) };
}

/** @returns undefined for a message that is no chunk of this format: a newer release's, to be passed over */
export function readHead(h: MsgHdrs | undefined): ChunkHead | undefined {
  if (h === undefined || h.get(NAMES.format) !== FORMAT) return undefined;
  const before = h.get(NAMES.before);
  return {
    first: Number(h.get(NAMES.first)),
    last: Number(h.get(NAMES.last)),
    levels: Number(h.get(NAMES.levels)),
    count: Number(h.get(NAMES.count)),
    cursor: h.has(NAMES.cursor) ? h.get(NAMES.cursor) : undefined,
    writer: h.get(NAMES.writer),
    before: before === "" ? [] : before.split(",").map(Number),
  };
}

/** The lines of a chunk, taken apart one by one as they are needed. */
export class Lines {
  readonly count: number;
  readonly #body: Buffer;
  readonly #first: number;
  #text: string | undefined;
  #starts: Uint32Array | undefined;

  constructor(body: Buffer, count: number) {
    this.#body = body;
    this.count = count;
    this.#first = body.readDoubleLE(0);
  }

  /** @throws Error when the body is damaged */
  static async unpack(data: Uint8Array, count: number): Promise<Lines> {
    const body = await decompress(data, { maxOutputLength: MOST_BYTES, chunkSize: roomFor(count * 160) });
    if (body.length < 8 + 6 * count) throw new Error("a chunk of log lines is shorter than it says");
    return new Lines(body, count);
  }

  time(i: number): number {
    return this.#first + this.#body.readUInt32LE(8 + 4 * i);
  }

  level(i: number): Level | null {
    const level = this.#mark(i) & 7;
    return level === NO_LEVEL ? null : LEVELS[level]!;
  }

  stderr(i: number): boolean {
    return (this.#mark(i) & STDERR) !== 0;
  }

  cut(i: number): boolean {
    return (this.#mark(i) & CUT) !== 0;
  }

  gap(i: number): boolean {
    return (this.#mark(i) & GAP) !== 0;
  }

  /** False: no line has this text, as it stands in the bytes; colours may stand between its characters. */
  mayHave(text: string): boolean {
    const from = 8 + 5 * this.count;
    return [text, ...ESCAPES].some((one) => this.#body.includes(one, from));
  }

  /** All lines, each with a line feed. */
  get text(): string {
    this.#text ??= this.#body.toString("utf8", 8 + 5 * this.count);
    return this.#text;
  }

  /** One line. */
  line(i: number): string {
    this.#starts ??= startsOf(this.text, this.count);
    return this.text.slice(this.#starts[i], this.#starts[i + 1]! - 1);
  }

  /** One line as a text of its own, which does not keep all the others in memory. */
  copy(i: number): string {
    return Buffer.from(this.line(i)).toString();
  }

  /** Whether a line counts as of this level or a graver one. */
  atLeast(i: number, least: number): boolean {
    const level = this.#mark(i) & 7;
    return (level === NO_LEVEL ? TAKEN_AS : level) >= least;
  }

  #mark(i: number): number {
    return this.#body[8 + 4 * this.count + i]!;
  }
}

/** Where each line begins, and one past the end. */
export function startsOf(text: string, count: number): Uint32Array {
  const starts = new Uint32Array(count + 1);
  for (let i = 1, at = 0; i <= count; i++) {
    at = text.indexOf("\n", at) + 1;
    starts[i] = at === 0 ? text.length + 1 : at;
    if (at === 0) break;
  }
  return starts;
}

/** Whether a chunk has a line of this level or a graver one. */
export function hasLevel(levels: number, least: number): boolean {
  if (least <= TAKEN_AS && (levels & (1 << NO_LEVEL)) !== 0) return true;
  return (levels & 0x7f) >> least !== 0;
}
