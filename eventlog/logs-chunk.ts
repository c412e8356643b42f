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
import { constants, zstdCompress } from "node:zlib";
import { headers, type MsgHdrs } from "@nats-io/transport-node";
import { LEVELS } from "./logs-level.ts";
import { CUT, GAP, NO_LEVEL, type PackedLine, roomFor, STDERR } from "./logs-lines.ts";

/** Milliseconds that fit behind the first line's time; a chunk spans no more. */
export const LONGEST_SPAN_MS = 0xffff_ffff;

const NAMES = {
  format: "Millrace-Log",
  first: "Millrace-First",
  last: "Millrace-Last",
  levels: "Millrace-Levels",
  count: "Millrace-Count",
  cursor: "Millrace-Cursor",
  writer: "Millrace-Writer",
  before: "Millrace-Before",
  stored: "Millrace-Stored",
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
  /** Bytes that this source has stored in all, this chunk among them. */
  readonly stored: number;
}

/** How many chunks before it each names: as many are fetched at once on the way back. */
export const BEFORE_MOST = 16;

export type ChunkLabel = Pick<ChunkHead, "cursor" | "writer" | "before"> & {
  /** Bytes stored by its source before it. */
  readonly storedBefore: number;
};

const compress = promisify(zstdCompress);
const QUICK = { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } };

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
  const data = await compress(body, { ...QUICK, chunkSize: roomFor(body.length / 2) });
  h.set(NAMES.stored, String(label.storedBefore + bytesOf(data)));
  return { headers: h, data };
}

/** What the server keeps of a chunk beside its body: headers, subject, its place. About. */
const HEAD_BYTES = 400;

/** What a chunk takes of the stream, about. */
export const bytesOf = (data: Uint8Array): number => data.length + HEAD_BYTES;

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
    stored: Number(h.get(NAMES.stored)),
  };
}
