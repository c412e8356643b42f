/**
 * Messages of a stream as bytes: what a chunk of a stream holds. Everything that a message is stands in it: subject, sequence, the time
 * at which JetStream stamped it (to the nanosecond), headers and data.
 *
 * A record: its length (4 bytes, this field not counted), sequence (8), time (8, nanoseconds since 1970), length of the subject (2) and of
 * the headers (4), all little-endian; then subject, headers as on the wire, data.
 */

export interface StreamRecord {
  readonly seq: number;
  /** Nanoseconds since 1970. */
  readonly time: bigint;
  readonly subject: string;
  /** As on the wire, from `NATS/1.0` to the empty line; empty when it has none. */
  readonly headers: Uint8Array;
  readonly data: Uint8Array;
}

const HEAD = 4 + 8 + 8 + 2 + 4;

export function encodeRecord({ seq, time, subject, headers, data }: StreamRecord): Buffer {
  const subjectBytes = Buffer.byteLength(subject);
  const record = Buffer.allocUnsafe(HEAD + subjectBytes + headers.length + data.length);
  record.writeUInt32LE(record.length - 4, 0);
  record.writeBigUInt64LE(BigInt(seq), 4);
  record.writeBigUInt64LE(time, 12);
  record.writeUInt16LE(subjectBytes, 20);
  record.writeUInt32LE(headers.length, 22);
  record.write(subject, HEAD);
  record.set(headers, HEAD + subjectBytes);
  record.set(data, HEAD + subjectBytes + headers.length);
  return record;
}

/** @throws RangeError when the bytes are no records; their hash was right, so that is a defect of the writer */
export function* decodeRecords(chunk: Buffer): Generator<StreamRecord> {
  for (let at = 0; at < chunk.length; ) {
    const end = at + 4 + chunk.readUInt32LE(at);
    const subjectEnd = at + HEAD + chunk.readUInt16LE(at + 20);
    const headersEnd = subjectEnd + chunk.readUInt32LE(at + 22);
    if (end > chunk.length || headersEnd > end) throw new RangeError(`no record at byte ${at}`);
    yield {
      seq: Number(chunk.readBigUInt64LE(at + 4)),
      time: chunk.readBigUInt64LE(at + 12),
      subject: chunk.toString("utf8", at + HEAD, subjectEnd),
      headers: chunk.subarray(subjectEnd, headersEnd),
      data: chunk.subarray(headersEnd, end),
    };
    at = end;
  }
}

const FIRST_LINE = "NATS/1.0\r\n";

/** The value of a header in wire form; undefined when it is not there. */
export function headerOf(headers: Uint8Array, name: string): string | undefined {
  if (headers.length === 0) return undefined;
  const text = Buffer.from(headers.buffer, headers.byteOffset, headers.length).toString("latin1");
  const at = text.indexOf(`\r\n${name}:`);
  if (at < 0) return undefined;
  const from = at + name.length + 3;
  return text.slice(from, text.indexOf("\r\n", from)).trim();
}

/** What an append asked of the server. It has been answered: a server does not take these over from another. */
const ASKED = /^Nats-(?:Expected|Batch)-/i;

/** The headers without what the append asked of the server, as they stand after a restore. */
export function lastingHeaders(headers: Uint8Array): Uint8Array {
  const text = Buffer.from(headers.buffer, headers.byteOffset, headers.length).toString("latin1");
  if (!/\r\nNats-(?:Expected|Batch)-/i.test(text)) return headers;
  const lines = text.slice(FIRST_LINE.length, -4).split("\r\n");
  const kept = lines.filter((line) => !ASKED.test(line));
  return kept.length === 0 ? new Uint8Array(0) : Buffer.from(`${FIRST_LINE}${kept.join("\r\n")}\r\n\r\n`, "latin1");
}

const BATCH = "Nats-Batch-Id";

/**
 * Whether a log may end after this record: not in the middle of what was written all or nothing.
 */
export const mayEndAfter = ({ headers }: StreamRecord): boolean =>
  headerOf(headers, BATCH) === undefined || headerOf(headers, "Nats-Batch-Commit") !== undefined;
