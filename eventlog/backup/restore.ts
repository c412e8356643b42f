/**
 * Taking a backup back, into a server that has nothing yet: whole, or as it was at a moment. The server is one started for this alone
 * (`leaf` leads into it), because what is half there must not be worked on; whoever starts it sees to it that a restore
 * that was cut off begins again on nothing.
 */
import type { Nats } from "../connection.ts";
import { nanosOf } from "../log-mark.ts";
import { feedStream } from "./feed.ts";
import { BackupDamaged, type BackupKeys } from "./keys.ts";
import type { LeafAddress } from "./leaf.ts";
import {
  BACKUPS,
  KEYS,
  type KeysManifest,
  listIds,
  type Manifest,
  readChunk,
  readJson,
  readManifest,
  type StreamChunk,
  type StreamPart,
} from "./manifest.ts";
import { decodeRecords, mayEndAfter, type StreamRecord } from "./records.ts";
import type { Target } from "./target.ts";

/** The moment to which it is taken back; nothing: all that is in the backup. */
export type Moment =
  | { readonly time: string }
  /** Sequence by context; what is not named is whole. */
  | { readonly position: Readonly<Record<string, number>> };

export interface RestorePlan {
  readonly manifest: Manifest;
  /** The newest there are, so that what was erased since stays erased; undefined: none are kept any more. */
  readonly keys: KeysManifest | undefined;
  /** Streams, and up to where each is taken back. */
  readonly streams: ReadonlyArray<{ readonly part: StreamPart; readonly lastSeq: number }>;
  /** As the manifest's. */
  readonly position: Readonly<Record<string, number>>;
}

export interface RestoreSource {
  readonly target: Target;
  readonly keys: BackupKeys;
}

/**
 * What is to be done.
 * @param id of a backup; undefined: the newest
 * @throws BackupDamaged, TargetUnavailable; RangeError when the moment does not lie in the backup
 */
export async function planRestore({ target, keys }: RestoreSource, id?: string, moment?: Moment): Promise<RestorePlan> {
  const chosen = id ?? (await listIds(target, BACKUPS)).at(-1);
  if (chosen === undefined) throw new BackupDamaged({ name: target.description, reason: "there are no backups here" });
  const manifest = await readManifest(target, keys, chosen);
  const newest = (await listIds(target, KEYS)).at(-1);
  const keysManifest = newest === undefined ? undefined : await readJson<KeysManifest>(target, keys, KEYS + newest);
  checkMoment(manifest, moment);
  const streams: { part: StreamPart; lastSeq: number }[] = [];
  for (const part of manifest.streams) streams.push({ part, lastSeq: await lastWanted(target, keys, part, moment) });
  const position = Object.fromEntries(
    Object.keys(manifest.position).map((context) => {
      const stream = streams.find(({ part }) => part.stream === `EVT_${context.toUpperCase()}`);
      return [context, stream?.lastSeq ?? 0];
    }),
  );
  if (keysManifest !== undefined)
    streams.push({ part: keysManifest.stream, lastSeq: keysManifest.stream.chunks.at(-1)?.lastSeq ?? 0 });
  return { manifest, keys: keysManifest, streams, position };
}

function checkMoment(manifest: Manifest, moment: Moment | undefined): void {
  if (moment === undefined) return;
  if ("time" in moment) {
    if (nanosOf(moment.time) > nanosOf(manifest.at))
      throw new RangeError(`the backup ${manifest.id} is of ${manifest.at}: ${moment.time} was later`);
    return;
  }
  for (const [context, seq] of Object.entries(moment.position)) {
    const has = manifest.position[context];
    if (has === undefined) throw new RangeError(`the backup ${manifest.id} has no context ${context}`);
    if (seq > has) throw new RangeError(`the backup ${manifest.id} has ${context} up to ${has}: ${seq} was later`);
  }
}

/** The last sequence at the moment, never in the middle of what was written all or nothing. */
async function lastWanted(
  target: Target,
  keys: BackupKeys,
  { stream, chunks }: StreamPart,
  moment: Moment | undefined,
): Promise<number> {
  const end = chunks.at(-1)?.lastSeq ?? 0;
  if (moment === undefined || !stream.startsWith("EVT_")) return end;
  const context = stream.slice(4).toLowerCase();
  const byTime = "time" in moment;
  const until = byTime ? nanosOf(moment.time) : 0n;
  const upTo = byTime ? 0 : (moment.position[context] ?? end);
  const isWanted = ({ seq, time }: { readonly seq: number; readonly time: bigint }) =>
    byTime ? time <= until : seq <= upTo;
  let last = 0;
  for (const chunk of chunks) {
    // A chunk ends where the log may end, so only the one in which the moment lies is looked into.
    if (isWanted({ seq: chunk.lastSeq, time: BigInt(chunk.lastTime) })) {
      last = chunk.lastSeq;
      continue;
    }
    let within = false;
    for (const record of decodeRecords(await readChunk(target, keys, chunk.name))) {
      // What was written all or nothing: with the place that was asked for, all of it; at a time, only if it had all been written.
      if (!isWanted(record) && (byTime || !within)) break;
      within = !mayEndAfter(record);
      if (!within) last = record.seq;
    }
    break;
  }
  return last;
}

/** The records of a part, from a sequence on, up to one. The next chunk is fetched while one is used. */
export async function* recordsOf(
  { target, keys }: RestoreSource,
  chunks: ReadonlyArray<StreamChunk>,
  fromSeq: number,
  lastSeq: number,
): AsyncGenerator<StreamRecord> {
  const wanted = chunks.filter((chunk) => chunk.lastSeq >= fromSeq && chunk.firstSeq <= lastSeq);
  const fetch = (i: number): Promise<Buffer> | undefined => {
    const chunk = wanted[i];
    const reading = chunk && readChunk(target, keys, chunk.name);
    reading?.catch(() => {}); // It is awaited when its turn has come.
    return reading;
  };
  let ahead = fetch(0);
  for (let i = 0; ahead !== undefined; i++) {
    const content = await ahead;
    ahead = fetch(i + 1);
    for (const record of decodeRecords(content)) if (record.seq >= fromSeq && record.seq <= lastSeq) yield record;
  }
}

/** @throws LogUnavailable, BackupDamaged, TargetUnavailable */
export async function restoreStreams(
  source: RestoreSource,
  plan: RestorePlan,
  server: { readonly nats: Nats; readonly leaf: LeafAddress },
  signal: AbortSignal,
  progress?: (stream: string) => void,
): Promise<void> {
  for (const { part, lastSeq } of plan.streams) {
    progress?.(part.stream);
    await feedStream({
      ...server,
      stream: part.stream,
      config: configOn(part.config, server.nats.replicas),
      records: (fromSeq) => recordsOf(source, part.chunks, fromSeq, lastSeq),
      lastSeq,
      signal,
    });
  }
}

/** Where a stream is kept by several servers, none may acknowledge before it has written. */
function configOn({ persist_mode, ...config }: StreamPart["config"], replicas: 1 | 3): Record<string, unknown> {
  const mode = persist_mode === undefined || replicas > 1 ? {} : { persist_mode };
  return { ...config, ...mode, num_replicas: replicas };
}
