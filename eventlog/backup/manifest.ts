/**
 * What a backup is: a manifest that names its chunks. Stored encrypted, and last of all, so that a backup is there whole or not at
 * all.
 *
 *     millrace-backup                        what this place is, and the key's id
 *     chunks/<2 digits>/<64 digits>          content, named by its keyed hash
 *     backups/<id>                           manifests; ids sort by time
 *     keys/<id>                              manifests of the data keys: a part of its own with a shorter life
 *     garbage/<id>                           chunks that no manifest names any more, to be removed after a while
 */
import * as Data from "effect/Data";
import { BackupDamaged, type BackupKey, type BackupKeys, unwrap, wrap } from "./keys.ts";
import type { Target } from "./target.ts";

/** One chunk of a stream. */
export interface StreamChunk {
  readonly name: string;
  /** Of its content. */
  readonly bytes: number;
  /** As stored: compressed and encrypted. */
  readonly stored: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly messages: number;
  /** Of its first and last message, nanoseconds since 1970. */
  readonly firstTime: string;
  readonly lastTime: string;
}

export interface StreamPart {
  readonly stream: string;
  /** As the server told it, without what it keeps for itself. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Everything up to here is in it; what is not was deleted. */
  readonly lastSeq: number;
  readonly messages: number;
  readonly chunks: ReadonlyArray<StreamChunk>;
}

export interface FilePart {
  /** Relative to the node's data folder, with `/`. */
  readonly path: string;
  readonly bytes: number;
  readonly mode: number;
  readonly modifiedMs: number;
  readonly chunks: ReadonlyArray<{ readonly name: string; readonly bytes: number; readonly stored: number }>;
}

/** What one node has on its disk that cannot be made anew. */
export interface NodePart {
  readonly node: string;
  /** Whose files they are; left out: the orchestrator's. */
  readonly service?: string;
  readonly files: number;
  readonly bytes: number;
  /** Chunks with lists of files, as JSON. */
  readonly lists: ReadonlyArray<{ readonly name: string; readonly bytes: number; readonly stored: number }>;
  /** The node did not answer: this is what the backup before had, or nothing. */
  readonly missing?: string;
}

export interface Manifest {
  readonly v: 1;
  readonly id: string;
  /** The moment of which this is the state, RFC 3339: by the NATS server's clock. */
  readonly at: string;
  /** How long it took, milliseconds. */
  readonly tookMs: number;
  /** Of the release that wrote it. */
  readonly version: string;
  /** What a command was answered before this is in it: sequence by context. */
  readonly position: Readonly<Record<string, number>>;
  readonly streams: ReadonlyArray<StreamPart>;
  readonly nodes: ReadonlyArray<NodePart>;
  /** Streams that were left out, by their names: they are made anew, or not kept. */
  readonly leftOut: ReadonlyArray<string>;
  /** Written now, and what was there already. */
  readonly stored: { readonly chunks: number; readonly bytes: number };
  readonly reused: { readonly chunks: number; readonly bytes: number };
}

/** The data keys as they were a moment after the log. */
export interface KeysManifest {
  readonly v: 1;
  readonly id: string;
  readonly at: string;
  readonly stream: StreamPart;
}

/** The place holds something else than backups of this key. */
export class ForeignTarget extends Data.TaggedError("ForeignTarget")<{ readonly reason: string }> {
  override get message(): string {
    return this.reason;
  }
}

export const BACKUPS = "backups/";
export const KEYS = "keys/";
export const CHUNKS = "chunks/";
export const GARBAGE = "garbage/";
const MARK = "millrace-backup";

export const chunkPath = (name: string): string => `${CHUNKS}${name.slice(0, 2)}/${name}`;

/** `20261121t084253123z-3f2a9c`: sorts by time. */
export function newId(atMs: number): string {
  const time = new Date(atMs).toISOString().replaceAll(/[-:.]/g, "").toLowerCase();
  return `${time}-${Math.floor(Math.random() * 0x1000000)
    .toString(16)
    .padStart(6, "0")}`;
}

/** Milliseconds since 1970 at which a backup with this id was begun. */
export function timeOfId(id: string): number {
  const m = /^(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)(\d{3})z-[0-9a-f]{6}$/.exec(id);
  return m === null ? Number.NaN : Date.UTC(+m[1]!, +m[2]! - 1, +m[3]!, +m[4]!, +m[5]!, +m[6]!, +m[7]!);
}

/** Says what the place is, or checks what it says. @throws ForeignTarget, TargetUnavailable */
export async function claimTarget(target: Target, keys: BackupKeys): Promise<void> {
  const found = await readMark(target);
  if (found === undefined) {
    await target.put(MARK, Buffer.from(`${JSON.stringify({ format: "millrace backup", v: 1, key: keys[0].id })}\n`));
    return;
  }
  if (!keys.some(({ id }) => id === found.key)) {
    throw new ForeignTarget({
      reason: `${target.description} holds backups of another key (${found.key}): give that key, or another place`,
    });
  }
}

/** @returns undefined when there are no backups here @throws ForeignTarget, TargetUnavailable */
export async function readMark(target: Target): Promise<{ readonly key: string } | undefined> {
  const stored = await target.get(MARK);
  if (stored === undefined) return undefined;
  try {
    const mark = JSON.parse(stored.toString()) as { format: string; v: number; key: string };
    if (mark.format === "millrace backup" && mark.v === 1) return mark;
  } catch {
    // Not ours.
  }
  throw new ForeignTarget({ reason: `${target.description} holds a ${MARK} that this release cannot read` });
}

export async function writeJson(target: Target, key: BackupKey, name: string, value: unknown): Promise<void> {
  await target.put(name, await wrap(key, name, Buffer.from(JSON.stringify(value))));
}

/** @returns undefined when it is not there @throws BackupDamaged, TargetUnavailable */
export async function readJson<T>(target: Target, keys: BackupKeys, name: string): Promise<T | undefined> {
  const stored = await target.get(name);
  if (stored === undefined) return undefined;
  const { content } = await unwrap(keys, name, stored);
  const value = JSON.parse(content.toString()) as T & { v?: number };
  if (value.v !== 1) throw new BackupDamaged({ name, reason: `form ${value.v} of a newer release: upgrade this one` });
  return value;
}

/** Ids below `backups/` or `keys/`, oldest first. @throws TargetUnavailable */
export async function listIds(target: Target, prefix: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const { name } of target.list(prefix)) {
    const id = name.slice(prefix.length);
    if (!Number.isNaN(timeOfId(id))) ids.push(id);
  }
  return ids.sort();
}

/** @throws BackupDamaged when there is none of this id */
export async function readManifest(target: Target, keys: BackupKeys, id: string): Promise<Manifest> {
  const manifest = await readJson<Manifest>(target, keys, BACKUPS + id);
  if (manifest === undefined) throw new BackupDamaged({ name: BACKUPS + id, reason: "there is no such backup" });
  return manifest;
}

/** @throws BackupDamaged */
export async function readChunk(target: Target, keys: BackupKeys, name: string): Promise<Buffer> {
  const stored = await target.get(chunkPath(name));
  if (stored === undefined) throw new BackupDamaged({ name: chunkPath(name), reason: "it is not there" });
  return (await unwrap(keys, name, stored)).content;
}
