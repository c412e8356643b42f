/**
 * What nodes have on their disks and nobody can make anew. A context says what that is by a hook; everything else (releases, mirrors, images)
 * is made anew from the log and its sources. Files are told by path, size and time of change: content that is named by
 * its hash never changes under its name.
 */
import { type FileHandle, lstat, mkdir, open, opendir, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { faultPoint } from "../faultpoint.ts";
import { CHUNK_BYTES, type ChunkWriter, type Kept } from "./chunks.ts";
import { BackupDamaged, type BackupKeys } from "./keys.ts";
import { type FilePart, type NodePart, readChunk } from "./manifest.ts";
import type { Target } from "./target.ts";

/** One file that is to be kept. */
export interface NodeFile {
  /** Relative to the data folder, with `/`. */
  readonly path: string;
  readonly bytes: number;
  readonly mode: number;
  readonly modifiedMs: number;
}

/** What one context has on a node. */
export interface NodeHook {
  /** For people: `uploads`. */
  readonly name: string;
  /** Whether a path (relative, with `/`) is one that it could tell. */
  has(path: string): boolean;
  /**
   * Where the content of one is: paths relative to the data folder, of which the first that is there is read. Default: its own.
   * Asked after `files` has told of it.
   */
  at?(path: string): ReadonlyArray<string>;
  /** A file that comes or goes meanwhile may be told or not. */
  files(signal: AbortSignal): AsyncIterable<NodeFile>;
}

/** Every file below a folder of the data folder; one that does not exist is empty. Links are left out. */
export function folderHook(name: string, dataFolder: string, folder: string): NodeHook {
  return {
    name,
    has: (path) => path.startsWith(`${folder}/`),
    async *files(signal) {
      yield* walk(dataFolder, join(dataFolder, ...folder.split("/")), signal);
    },
  };
}

/** Leads out of no folder. */
export const safePath = (path: string): boolean =>
  typeof path === "string" && !path.split("/").some((word) => word === ".." || word === "" || word === ".");

async function* walk(root: string, folder: string, signal: AbortSignal): AsyncIterable<NodeFile> {
  const entries = await opendir(folder).catch(gone);
  if (entries === undefined) return;
  for await (const entry of entries) {
    signal.throwIfAborted();
    const full = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(root, full, signal);
    else if (entry.isFile()) {
      const found = await lstat(full).catch(gone);
      if (found === undefined) continue;
      const path = relative(root, full).split(sep).join("/");
      yield { path, bytes: found.size, mode: found.mode & 0o777, modifiedMs: Math.floor(found.mtimeMs) };
    }
  }
}

function gone(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

/** Opens what a hook told of. @throws the disk's own, `ENOENT` where it has gone */
export async function openFile(dataFolder: string, hook: NodeHook, path: string): Promise<FileHandle> {
  const candidates = hook.at?.(path) ?? [path];
  for (const [index, candidate] of candidates.entries()) {
    try {
      return await open(join(dataFolder, ...candidate.split("/")));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || index === candidates.length - 1) throw error;
    }
  }
  throw Object.assign(new Error(`${path} is nowhere`), { code: "ENOENT" });
}

async function* contentOf(dataFolder: string, hook: NodeHook, path: string): AsyncGenerator<Buffer> {
  const file = await openFile(dataFolder, hook, path);
  try {
    yield* file.createReadStream({ highWaterMark: CHUNK_BYTES, autoClose: false }) as AsyncIterable<Buffer>;
  } finally {
    await file.close();
  }
}

export interface NodeBackup {
  readonly node: string;
  readonly dataFolder: string;
  readonly hooks: ReadonlyArray<NodeHook>;
  /** Content of a file; ENOENT: it has gone. Default: from the data folder. */
  readonly read?: (file: NodeFile, signal: AbortSignal) => AsyncIterable<Buffer>;
  readonly writer: ChunkWriter;
  /** The files as an earlier backup has them: what has not changed is not read again. */
  readonly before: AsyncIterable<FilePart>;
  readonly signal: AbortSignal;
}

/** Files of one list: a list is one chunk. */
const LIST_FILES = 5_000;

/** Writes what a node has. @throws TargetUnavailable, and what the disk says */
export async function backUpNode(options: NodeBackup): Promise<NodePart> {
  const { node, dataFolder, hooks, writer, signal } = options;
  const before = new Map<string, FilePart>();
  for await (const file of options.before) before.set(file.path, file);
  const lists: Kept[] = [];
  let list: FilePart[] = [];
  let files = 0;
  let bytes = 0;
  const flush = async () => {
    if (list.length === 0) return;
    const { kept } = await writer.begin(Buffer.from(JSON.stringify(list)));
    lists.push(await kept);
    list = [];
  };
  for (const hook of hooks) {
    const read = options.read ?? (({ path }: NodeFile) => contentOf(dataFolder, hook, path));
    const sorted: NodeFile[] = [];
    for await (const file of hook.files(signal)) sorted.push(file);
    sorted.sort((a, b) => (a.path < b.path ? -1 : 1));
    for (const file of sorted) {
      const known = before.get(file.path);
      const same = known !== undefined && known.bytes === file.bytes && known.modifiedMs === file.modifiedMs;
      const part = same ? { ...known, mode: file.mode } : await readFileInto(writer, read(file, signal), file);
      if (part === undefined) continue; // It went meanwhile.
      if (same) writer.reuse(file.bytes);
      list.push(part);
      files++;
      bytes += part.bytes;
      if (list.length >= LIST_FILES) await flush();
    }
  }
  await flush();
  return { node, files, bytes, lists };
}

async function readFileInto(
  writer: ChunkWriter,
  content: AsyncIterable<Buffer>,
  file: NodeFile,
): Promise<FilePart | undefined> {
  const chunks: Promise<Kept>[] = [];
  let bytes = 0;
  try {
    for await (const piece of piecesOf(content)) {
      bytes += piece.length;
      chunks.push((await writer.begin(piece)).kept);
    }
  } catch (error) {
    // What was begun ends by itself; its failure would be nobody's.
    await Promise.allSettled(chunks);
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  return { ...file, bytes, chunks: await Promise.all(chunks) };
}

/** The same bytes in chunks of one size: what has not changed has the same names. */
async function* piecesOf(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let waiting: Buffer[] = [];
  let size = 0;
  for await (let part of content as AsyncIterable<Buffer>) {
    while (size + part.length >= CHUNK_BYTES) {
      const end = CHUNK_BYTES - size;
      yield size === 0 ? part.subarray(0, end) : Buffer.concat([...waiting, part.subarray(0, end)]);
      part = part.subarray(end);
      waiting = [];
      size = 0;
    }
    if (part.length > 0) waiting.push(part);
    size += part.length;
  }
  if (size > 0) yield Buffer.concat(waiting);
}

/** @throws BackupDamaged, TargetUnavailable */
export async function* filesOf(
  { target, keys }: { readonly target: Target; readonly keys: BackupKeys },
  part: NodePart | undefined,
): AsyncGenerator<FilePart> {
  for (const { name } of part?.lists ?? [])
    yield* JSON.parse((await readChunk(target, keys, name)).toString()) as FilePart[];
}

/**
 * Puts a node's files back below a data folder, each whole under its name or not; what is there in its size and time is left.
 * @returns how many were written
 * @throws BackupDamaged, TargetUnavailable, and what the disk says
 */
export async function restoreNode(
  source: { readonly target: Target; readonly keys: BackupKeys },
  part: NodePart,
  dataFolder: string,
): Promise<number> {
  let written = 0;
  for await (const file of filesOf(source, part)) {
    if (!safePath(file.path))
      throw new BackupDamaged({ name: file.path, reason: "it would lie outside of the data folder" });
    const full = join(dataFolder, ...file.path.split("/"));
    const there = await stat(full).catch(gone);
    if (there !== undefined && there.size === file.bytes && Math.floor(there.mtimeMs) === file.modifiedMs) continue;
    // Who may read a file has to get to it.
    await mkdir(dirname(full), { recursive: true, mode: 0o700 | ((file.mode & 0o044) >> 2) | (file.mode & 0o044) });
    const making = `${full}.restoring`;
    await rm(making, { force: true });
    const handle = await open(making, "wx", file.mode);
    try {
      for (const { name } of file.chunks) await handle.write(await readChunk(source.target, source.keys, name));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await utimes(making, new Date(file.modifiedMs), new Date(file.modifiedMs));
    faultPoint("restore.file");
    await rename(making, full);
    written++;
  }
  return written;
}
