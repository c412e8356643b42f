/** What of the NATS server is the truth, and how a stream becomes chunks. */
import type { StreamInfo } from "@nats-io/jetstream";
import { leaderMessage, type Nats } from "../connection.ts";
import { LogUnavailable } from "../failures.ts";
import { nanosOf } from "../log-mark.ts";
import { CHUNK_BYTES, type ChunkWriter, type Kept } from "./chunks.ts";
import type { StreamChunk, StreamPart } from "./manifest.ts";
import { readStream } from "./reader.ts";
import { encodeRecord, mayEndAfter, type StreamRecord } from "./records.ts";

/** What a stream is to a backup. */
export type Role =
  /** The truth, cut at the backup's moment. Nothing in it ever changes. */
  | "log"
  /** Belongs to the truth, and may change in its middle: as it was a moment later. */
  | "beside"
  /** Data keys: kept apart, and for a shorter time. */
  | "keys"
  /** Made anew from the log, or of this run only. */
  | "not"
  /** Lines and measurements: when asked for. */
  | "lines";

const MADE_ANEW = /^(FEED_|TIMERS_|KV_RELAY$|KV_SNAPSHOTS$|KV_LEASES$|KV_NODES$|KV_BACKUP$|OBJ_INDEXES$)/;

/** A file that nobody has named here is rather kept than lost. */
export function roleOf({ name, storage }: { readonly name: string; readonly storage: string }): Role {
  if (name.startsWith("EVT_")) return "log";
  if (name === "KV_KEYS") return "keys";
  if (name === "LOGS" || name === "TELEMETRY") return "lines";
  return storage === "memory" || MADE_ANEW.test(name) ? "not" : "beside";
}

/** What the server tells of all streams at once, and its clock before that. @throws LogUnavailable */
export async function surveyStreams(nats: Nats): Promise<{ readonly at: string; readonly streams: StreamInfo[] }> {
  try {
    const first = await nats.jsm.streams.list().next();
    const at = (first[0] as { ts?: string } | undefined)?.ts ?? new Date().toISOString();
    const streams: StreamInfo[] = [];
    for await (const info of nats.jsm.streams.list()) streams.push(info);
    return { at, streams };
  } catch (cause) {
    throw new LogUnavailable({ what: "NATS", cause });
  }
}

/** The configuration without what the server adds for itself. */
export function plainConfig(info: StreamInfo): Record<string, unknown> {
  const { metadata = {}, ...config } = info.config as unknown as Record<string, unknown> & {
    metadata?: Record<string, string>;
  };
  const own = Object.entries(metadata).filter(([name]) => !name.startsWith("_nats."));
  return { ...config, ...(own.length === 0 ? {} : { metadata: Object.fromEntries(own) }) };
}

export interface PartOptions {
  readonly nats: Nats;
  readonly info: StreamInfo;
  readonly writer: ChunkWriter;
  /** Nothing that was stamped later; undefined: all there is. */
  readonly until: bigint | undefined;
  /** As an earlier backup has it. */
  readonly before: StreamPart | undefined;
  readonly signal: AbortSignal;
}

/** A chunk ends where its successor's first sequence is a multiple of this, so that what is deleted shifts no more than these. */
const RANGE = 65_536;

/**
 * Reads what is new of a stream and writes it. Chunks of an earlier backup are taken over unread where the stream cannot have changed
 * there: its messages cannot be deleted, and the one at the end of the chunk is still the same.
 * @throws LogUnavailable, TargetUnavailable
 */
export async function backUpStream(options: PartOptions): Promise<StreamPart> {
  const { nats, info, writer, until, signal } = options;
  const stream = info.config.name;
  const taken = await unchanged(options);
  const begun: { readonly chunk: Omit<StreamChunk, keyof Kept>; readonly kept: Promise<Kept> }[] = [];
  for (const chunk of taken) writer.reuse(chunk.bytes);
  let filling: { record: StreamRecord; bytes: Buffer }[] = [];
  let size = 0;
  const flush = async () => {
    if (filling.length === 0) return;
    const [first, last] = [filling[0]!.record, filling.at(-1)!.record];
    const messages = filling.length;
    const content = Buffer.concat(filling.map(({ bytes }) => bytes));
    filling = [];
    size = 0;
    const chunk = {
      firstSeq: first.seq,
      lastSeq: last.seq,
      messages,
      firstTime: `${first.time}`,
      lastTime: `${last.time}`,
    };
    begun.push({ chunk, ...(await writer.begin(content)) });
  };
  const fromSeq = (taken.at(-1)?.lastSeq ?? 0) + 1;
  const lastSeq = info.state.last_seq;
  let held: { record: StreamRecord; bytes: Buffer }[] = [];
  for await (const record of readStream(nats, { stream, fromSeq, toSeq: lastSeq, signal })) {
    if (until !== undefined && record.time > until) break;
    held.push({ record, bytes: encodeRecord(record) });
    // What was written all or nothing goes in one piece.
    if (until !== undefined && !mayEndAfter(record)) continue;
    for (const one of held) {
      if (filling.length > 0 && Math.floor(one.record.seq / RANGE) > Math.floor(filling[0]!.record.seq / RANGE))
        await flush();
      filling.push(one);
      size += one.bytes.length;
      if (size >= CHUNK_BYTES) await flush();
    }
    held = [];
  }
  await flush();
  const chunks = [...taken];
  for (const { chunk, kept } of begun) chunks.push({ ...(await kept), ...chunk });
  const end = chunks.at(-1)?.lastSeq ?? 0;
  return {
    stream,
    config: plainConfig(info),
    lastSeq: until === undefined ? lastSeq : end,
    messages: chunks.reduce((sum, { messages }) => sum + messages, 0),
    chunks,
  };
}

/** Chunks that need not be read again: all but the last one, which was cut off by the end of the stream. */
async function unchanged({ nats, info, before }: PartOptions): Promise<ReadonlyArray<StreamChunk>> {
  if (before === undefined || info.config.deny_delete !== true || info.config.deny_purge !== true) return [];
  const full = before.chunks.slice(0, -1);
  const last = full.at(-1);
  if (last === undefined) return [];
  const message = await leaderMessage(nats, info.config.name, { seq: last.lastSeq });
  const same = message !== null && nanosOf(message.timestamp) === BigInt(last.lastTime);
  return same ? full : [];
}
