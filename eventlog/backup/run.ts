/**
 * Making a backup. The order is what makes it whole: first the moment is taken from the server's clock, then the logs are cut there, then
 * what lies beside them, then files of nodes (they are there before the event that mentions them), then data keys (made before the
 * event that is sealed with them); the manifest comes last. Cut off anywhere, nothing of it is seen, and the next one
 * takes over what was stored.
 */

import type { Nats } from "../connection.ts";
import { LogUnavailable } from "../failures.ts";
import { faultPoint } from "../faultpoint.ts";
import { nanosOf } from "../log-mark.ts";
import { logStream } from "../subjects.ts";
import { ChunkWriter } from "./chunks.ts";
import { BackupDamaged, type BackupKeys } from "./keys.ts";
import {
  BACKUPS,
  claimTarget,
  GARBAGE,
  KEYS,
  type KeysManifest,
  listIds,
  type Manifest,
  type NodePart,
  newId,
  readJson,
  readManifest,
  type StreamPart,
  timeOfId,
  writeJson,
} from "./manifest.ts";
import { backUpStream, roleOf, surveyStreams } from "./streams.ts";
import type { Target } from "./target.ts";

export interface BackupOptions {
  readonly nats: Nats;
  readonly target: Target;
  readonly keys: BackupKeys;
  /** Of this release. */
  readonly version: string;
  /** Lines and measurements too. Default false. */
  readonly lines?: boolean;
  /** Has every node write what is on its disk. Default: no node has anything. */
  readonly nodes?: (writing: NodesWriting) => Promise<ReadonlyArray<NodePart>>;
  readonly signal: AbortSignal;
  readonly progress?: (done: Progress) => void;
}

export interface NodesWriting {
  readonly writer: ChunkWriter;
  readonly before: Manifest | undefined;
  readonly signal: AbortSignal;
}

export interface Progress {
  readonly part: string;
  readonly storedBytes: number;
  readonly reusedBytes: number;
}

/** A running backup may rely on chunks that are marked as garbage later than its start: they live longer than it can take. */
export const LONGEST_MS = 12 * 3_600_000;

/** @throws LogUnavailable, TargetUnavailable, ForeignTarget, BackupDamaged; aborted: the signal's reason */
export async function runBackup(options: BackupOptions): Promise<Manifest> {
  const { nats, target, keys } = options;
  const began = Date.now();
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(LONGEST_MS)]);
  await claimTarget(target, keys);
  const before = await newestReadable(target, keys);
  const writer = new ChunkWriter(target, keys[0], knownChunks(before), await doomedChunks(target, keys));
  const tell = (part: string) =>
    options.progress?.({ part, storedBytes: writer.stored.bytes, reusedBytes: writer.reused.bytes });
  const { at, streams: infos } = await surveyStreams(nats);
  const id = newId(Date.parse(at));
  const roles = infos.map((info) => ({ info, role: roleOf(info.config) }));
  const part = async (name: string, until: bigint | undefined): Promise<StreamPart> => {
    tell(name);
    // What lies beside the logs is taken as it is when its turn has come.
    const info =
      until === undefined
        ? await nats.jsm.streams.info(name).catch((cause: unknown) => {
            throw new LogUnavailable({ what: "NATS", cause });
          })
        : infos.find(({ config }) => config.name === name)!;
    const earlier = before?.streams.find(({ stream }) => stream === name);
    return backUpStream({ nats, info, writer, until, before: earlier, signal });
  };
  const named = (role: string) => roles.filter((one) => one.role === role).map(({ info }) => info.config.name);
  const streams: StreamPart[] = [];
  for (const name of named("log")) streams.push(await part(name, nanosOf(at)));
  faultPoint("backup.logs");
  for (const name of [...named("beside"), ...(options.lines === true ? named("lines") : [])])
    streams.push(await part(name, undefined));
  tell("nodes");
  const nodes = (await options.nodes?.({ writer, before, signal })) ?? [];
  for (const name of named("keys")) {
    const stream = await part(name, undefined);
    await writeJson(target, keys[0], KEYS + id, { v: 1, id, at, stream } satisfies KeysManifest);
  }
  signal.throwIfAborted();
  const manifest: Manifest = {
    v: 1,
    id,
    at,
    tookMs: Date.now() - began,
    version: options.version,
    position: positionOf(streams),
    streams,
    nodes,
    leftOut: [...named("not"), ...(options.lines === true ? [] : named("lines"))].sort(),
    stored: writer.stored,
    reused: writer.reused,
  };
  faultPoint("backup.manifest.before");
  await writeJson(target, keys[0], BACKUPS + id, manifest);
  faultPoint("backup.manifest.after");
  return manifest;
}

const positionOf = (streams: ReadonlyArray<StreamPart>): Record<string, number> =>
  Object.fromEntries(
    streams.flatMap(({ stream, lastSeq }) => {
      const context = stream.startsWith("EVT_") ? stream.slice(4).toLowerCase() : undefined;
      return context === undefined || logStream(context) !== stream ? [] : [[context, lastSeq] as const];
    }),
  );

/** A manifest that is damaged is no reason to stop making backups: the one before it, or all anew. */
export async function newestReadable(target: Target, keys: BackupKeys): Promise<Manifest | undefined> {
  for (const id of (await listIds(target, BACKUPS)).reverse()) {
    try {
      const manifest = await readManifest(target, keys, id);
      return manifest;
    } catch (error) {
      if (!(error instanceof BackupDamaged)) throw error;
    }
  }
  return undefined;
}

/** Names of a manifest's own chunks, with their stored sizes. */
export function knownChunks(manifest: Pick<Manifest, "streams" | "nodes"> | undefined): Map<string, number> {
  const known = new Map<string, number>();
  for (const { chunks } of manifest?.streams ?? []) for (const { name, stored } of chunks) known.set(name, stored);
  for (const { lists } of manifest?.nodes ?? []) for (const { name, stored } of lists) known.set(name, stored);
  return known;
}

/** What a prune has marked. */
export interface Garbage {
  readonly v: 1;
  readonly id: string;
  readonly chunks: ReadonlyArray<string>;
}

/** @throws TargetUnavailable, BackupDamaged */
export async function garbageMarks(target: Target, keys: BackupKeys): Promise<Garbage[]> {
  const marks: Garbage[] = [];
  for (const id of await listIds(target, GARBAGE)) {
    const mark = await readJson<Garbage>(target, keys, GARBAGE + id);
    if (mark !== undefined && !Number.isNaN(timeOfId(id))) marks.push(mark);
  }
  return marks;
}

const doomedChunks = async (target: Target, keys: BackupKeys): Promise<Set<string>> =>
  new Set((await garbageMarks(target, keys)).flatMap(({ chunks }) => chunks));
