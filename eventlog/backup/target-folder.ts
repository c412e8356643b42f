/** Backups in a folder: each object a file, written beside its name and moved, synced with the folders it stands in. */
import { mkdir, open, opendir, readFile, rename, rm, stat, unlink } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import { faultPoint } from "../faultpoint.ts";
import { type StoredObject, type Target, TargetUnavailable } from "./target.ts";

/** What a write that was cut off leaves. */
const MAKING = ".making-";

export function folderTarget(folder: string): Target {
  const root = resolve(folder);
  const path = (name: string) => join(root, ...name.split("/"));
  const made = new Set<string>();
  const trouble = (error: unknown) =>
    new TargetUnavailable({ target: root, reason: (error as Error).message ?? String(error) });
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw trouble(error);
    }
  };
  return {
    description: root,
    put: (name, content) =>
      guarded(async () => {
        const file = path(name);
        await makeFolder(dirname(file), made);
        const making = `${dirname(file)}${sep}${MAKING}${process.pid}-${Math.random().toString(36).slice(2)}`;
        try {
          const handle = await open(making, "wx", 0o600);
          try {
            await handle.writeFile(content);
            await handle.sync();
          } finally {
            await handle.close();
          }
          faultPoint("backup.put.written");
          await rename(making, file);
        } catch (error) {
          await rm(making, { force: true });
          throw error;
        }
        await syncFolder(dirname(file));
      }),
    get: (name) => guarded(() => readFile(path(name)).catch(absent)),
    has: (name) => guarded(async () => (await stat(path(name)).catch(absent)) !== undefined),
    async *list(prefix) {
      try {
        yield* walk(root, path(prefix));
      } catch (error) {
        throw trouble(error);
      }
    },
    remove: (name) => guarded(async () => void (await unlink(path(name)).catch(absent))),
  };
}

async function* walk(root: string, folder: string): AsyncIterable<StoredObject> {
  const entries = await opendir(folder).catch(absent);
  if (entries === undefined) return;
  for await (const entry of entries) {
    const full = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(root, full);
    else if (!entry.name.startsWith(MAKING)) {
      const found = await stat(full).catch(absent);
      const name = relative(root, full).split(sep).join("/");
      if (found !== undefined) yield { name, bytes: found.size, modifiedMs: found.mtimeMs };
    }
  }
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
  throw error;
}

/** Makes a folder and those above it, each synced into the one it stands in. */
async function makeFolder(folder: string, made: Set<string>): Promise<void> {
  if (made.has(folder)) return;
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first !== undefined) {
    for (let at = folder; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
  }
  made.add(folder);
}

/** A new name survives a power cut only when its folder is synced. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
