/** Whether a backup is what it was: every chunk is fetched, opened, and compared with its name and what the manifest says of it. */

import { filesOf } from "./files.ts";
import { BackupDamaged, chunkName, unwrap } from "./keys.ts";
import { chunkPath, KEYS, type KeysManifest, listIds, readJson, readManifest, type StreamPart } from "./manifest.ts";
import { decodeRecords } from "./records.ts";
import type { RestoreSource } from "./restore.ts";

export interface Verified {
  readonly id: string;
  readonly chunks: number;
  readonly messages: number;
  readonly files: number;
  /** Of content. */
  readonly bytes: number;
  /** What is damaged or missing, a hundred at the most. */
  readonly faults: ReadonlyArray<string>;
}

const FAULTS_MOST = 100;

/** @throws BackupDamaged when there is no such backup or its manifest is damaged; TargetUnavailable */
export async function verifyBackup(source: RestoreSource, id: string, signal?: AbortSignal): Promise<Verified> {
  const { target, keys } = source;
  const manifest = await readManifest(target, keys, id);
  const faults: string[] = [];
  const seen = new Set<string>();
  let messages = 0;
  let bytes = 0;
  let files = 0;
  const open = async (name: string): Promise<Buffer | undefined> => {
    signal?.throwIfAborted();
    try {
      const stored = await target.get(chunkPath(name));
      if (stored === undefined) throw new BackupDamaged({ name: chunkPath(name), reason: "it is not there" });
      const { key, content } = await unwrap(keys, name, stored);
      if (chunkName(key, content) !== name)
        throw new BackupDamaged({ name: chunkPath(name), reason: "its content is another's" });
      if (!seen.has(name)) bytes += content.length;
      seen.add(name);
      return content;
    } catch (error) {
      if (!(error instanceof BackupDamaged)) throw error;
      if (faults.length < FAULTS_MOST) faults.push(error.message);
      return undefined;
    }
  };
  const stream = async ({ stream: name, chunks }: StreamPart) => {
    for (const chunk of chunks) {
      const content = await open(chunk.name);
      if (content === undefined) continue;
      const records = [...decodeRecords(content)];
      messages += records.length;
      const [first, last] = [records[0], records.at(-1)];
      if (records.length !== chunk.messages || first?.seq !== chunk.firstSeq || last?.seq !== chunk.lastSeq)
        faults.push(`${name}: ${chunk.name} does not hold ${chunk.firstSeq} to ${chunk.lastSeq}`);
    }
  };
  for (const part of manifest.streams) await stream(part);
  const newest = (await listIds(target, KEYS)).at(-1);
  const kept = newest === undefined ? undefined : await readJson<KeysManifest>(target, keys, KEYS + newest);
  if (kept === undefined) faults.push("there are no data keys here: what is sealed in the log could not be read");
  else await stream(kept.stream);
  for (const part of manifest.nodes) {
    if (part.missing !== undefined) faults.push(`node ${part.node}: ${part.missing}`);
    for (const { name } of part.lists) await open(name);
    if (faults.length > 0 && part.lists.some(({ name }) => !seen.has(name))) continue;
    for await (const file of filesOf(source, part)) {
      files++;
      for (const { name } of file.chunks) if (!seen.has(name)) await open(name);
    }
  }
  return { id, chunks: seen.size, messages, files, bytes, faults };
}
