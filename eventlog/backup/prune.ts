/**
 * Letting go of old backups, in two phases: what no manifest names any more is marked, and removed by a later prune after a day, unless it
 * is named or was written again by then. So a backup that runs at the same time finds everything that it relies on.
 */
import { faultPoint } from "../faultpoint.ts";
import { filesOf } from "./files.ts";
import type { BackupKeys } from "./keys.ts";
import {
  BACKUPS,
  CHUNKS,
  chunkPath,
  GARBAGE,
  KEYS,
  type KeysManifest,
  listIds,
  type Manifest,
  newId,
  readJson,
  timeOfId,
  writeJson,
} from "./manifest.ts";
import { type Garbage, garbageMarks, LONGEST_MS } from "./run.ts";
import type { Target } from "./target.ts";

/** How many are kept: the newest of each of so many days, weeks and months that have one. The newest of all is kept always. */
export interface Retention {
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
  /** Data keys that are older go; the newest are kept always. */
  readonly keysDays: number;
}

export const RETENTION: Retention = { daily: 7, weekly: 5, monthly: 12, keysDays: 7 };

const DAY_MS = 86_400_000;
/** Longer than any backup takes. */
const GRACE_MS = 2 * LONGEST_MS;

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
const month = (ms: number): string => day(ms).slice(0, 7);
/** Weeks begin on Monday: day 4 of the epoch was one. */
const week = (ms: number): string => `${Math.floor((Math.floor(ms / DAY_MS) - 4) / 7)}`;

/** Ids of those that may go. @param ids in any order */
export function expired(ids: ReadonlyArray<string>, { daily, weekly, monthly }: Retention): string[] {
  const newestFirst = [...ids].sort().reverse();
  const kept = new Set(newestFirst.slice(0, 1));
  for (const [of, most] of [
    [day, daily],
    [week, weekly],
    [month, monthly],
  ] as const) {
    const seen = new Set<string>();
    for (const id of newestFirst) {
      const span = of(timeOfId(id));
      if (seen.has(span)) continue;
      if (seen.size >= most) break;
      seen.add(span);
      kept.add(id);
    }
  }
  return newestFirst.filter((id) => !kept.has(id)).reverse();
}

export interface Pruned {
  readonly backups: ReadonlyArray<string>;
  readonly keys: ReadonlyArray<string>;
  /** Chunks that are marked now, and that were removed. */
  readonly marked: number;
  readonly removed: number;
  readonly removedBytes: number;
}

/** @throws BackupDamaged when a manifest cannot be read: then nobody can say what it needs, and nothing is let go; TargetUnavailable */
export async function prune(
  target: Target,
  keys: BackupKeys,
  retention: Retention,
  now = Date.now(),
  graceMs = GRACE_MS,
): Promise<Pruned> {
  const backups = expired(await listIds(target, BACKUPS), retention);
  const oldKeys = (await listIds(target, KEYS))
    .slice(0, -1)
    .filter((id) => timeOfId(id) < now - retention.keysDays * DAY_MS);
  // First what is named is read: what cannot be read stops it all before anything has gone.
  const marks = await garbageMarks(target, keys);
  const named = await namedChunks(target, keys, new Set([...backups, ...oldKeys]));
  for (const id of backups) await target.remove(BACKUPS + id);
  for (const id of oldKeys) await target.remove(KEYS + id);
  faultPoint("backup.prune.manifests");
  const written = new Map<string, { readonly modifiedMs: number; readonly bytes: number }>();
  for await (const { name, modifiedMs, bytes } of target.list(CHUNKS))
    written.set(name.slice(name.lastIndexOf("/") + 1), { modifiedMs, bytes });
  const marked = new Set<string>();
  let removed = 0;
  let removedBytes = 0;
  for (const mark of marks) {
    const ripe = timeOfId(mark.id) < now - graceMs;
    for (const name of mark.chunks) {
      const there = written.get(name);
      // Named again, gone already, or written again since.
      if (named.has(name) || there === undefined || there.modifiedMs > timeOfId(mark.id)) continue;
      if (!ripe) {
        marked.add(name);
        continue;
      }
      await target.remove(chunkPath(name));
      faultPoint("backup.prune.chunk");
      written.delete(name);
      removed++;
      removedBytes += there.bytes;
    }
    if (ripe) await target.remove(GARBAGE + mark.id);
  }
  const chunks = [...written.keys()].filter((name) => !named.has(name) && !marked.has(name)).sort();
  const id = newId(now);
  if (chunks.length > 0) await writeJson(target, keys[0], GARBAGE + id, { v: 1, id, chunks } satisfies Garbage);
  return { backups, keys: oldKeys, marked: chunks.length + marked.size, removed, removedBytes };
}

/** Every chunk that a manifest names which stays. */
async function namedChunks(target: Target, keys: BackupKeys, without: ReadonlySet<string>): Promise<Set<string>> {
  const named = new Set<string>();
  for (const id of await listIds(target, BACKUPS)) {
    if (without.has(id)) continue;
    const manifest = await readJson<Manifest>(target, keys, BACKUPS + id);
    if (manifest === undefined) continue; // Somebody else has pruned it.
    for (const { chunks } of manifest.streams) for (const { name } of chunks) named.add(name);
    for (const node of manifest.nodes) {
      for (const { name } of node.lists) named.add(name);
      for await (const file of filesOf({ target, keys }, node)) for (const { name } of file.chunks) named.add(name);
    }
  }
  for (const id of await listIds(target, KEYS)) {
    if (without.has(id)) continue;
    const manifest = await readJson<KeysManifest>(target, keys, KEYS + id);
    for (const { name } of manifest?.stream.chunks ?? []) named.add(name);
  }
  return named;
}
