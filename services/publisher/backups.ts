/**
 * What backups take of a publisher's node: repositories as clients see them at one moment, builds on their way, earlier publications, what was
 * counted. Keys stand sealed in the log; what builds are made with, and links that Caddy follows, are made anew.
 *
 * One moment: while nobody publishes into a repository, for the milliseconds that it takes, what changes in place (references, the summary,
 * settings, leases) is copied aside; everybody goes on then. Objects never change under their names, and one that is put into
 * quarantine while the backup runs is read from there: what a reference of that moment leads to is in the backup.
 *
 *     <folder>/backup/<rep_…>/…    the copies, of the backup that was begun last
 */
import { copyFile, lstat, mkdir, readdir, rm, utimes } from "node:fs/promises";
import { dirname, join, relative, resolve, sep } from "node:path";
import type { NodeFile, NodeHook } from "@millrace/eventlog/backup/files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { type PublisherNode, repositoryPlace } from "./places.ts";

type Place = Pick<PublisherNode, "folder" | "repositories" | "name">;

/** Of `repo`: what is written anew in place. All else of it is named by its content, or made aside. */
const CHANGING = ["config", "refs", "summary", "summary.sig", "summary.idx", "summary.idx.sig", "summaries"];
const LEASES = join(".millrace", "leases");
/** Named by their content; `.millrace/quarantine` has those that go. */
const OBJECTS = "objects";
const QUARANTINE = join(".millrace", "quarantine");
/** Beside them, whole when they appear. */
const BESIDE = ["deltas", "delta-indexes"];
const IS_OBJECT = /\/repo\/objects\/([0-9a-f]{2}\/[0-9a-f]{62}\.[a-z]+)$/;
/** What is half written, or belongs to who writes. */
const OWN = /^(\.new-.*|\.lock|tmp|lock|growing)$/;

/** @param data the folder with all state */
export function publisherHooks(place: Place, data: string): NodeHook[] {
  const root = resolve(data);
  const below = (full: string): string => relative(root, full).split(sep).join("/");
  const repositories = below(resolve(place.folder));
  const aside = join(resolve(place.folder), "..", "backup");
  const book = below(join(resolve(place.folder), "..", "statistics.jsonl"));
  return [
    {
      name: "repositories",
      has: (path) => path.startsWith(`${repositories}/`),
      at: (path) => {
        const inside = path.slice(repositories.length + 1);
        const object = IS_OBJECT.exec(path)?.[1];
        const copied = below(join(aside, inside));
        if (object === undefined) return [copied, path];
        const away = path.replace(/objects\/[^/]+\/[^/]+$/, `.millrace/quarantine/${object}`);
        // It may be brought back between two looks.
        return [path, away, path];
      },
      async *files(signal) {
        await rm(aside, { recursive: true, force: true });
        for (const id of (await readdir(place.folder).catch(() => [])).sort()) {
          if (!/^rep_[0-9a-z]{26}$/.test(id)) continue;
          yield* repositoryFiles(place, id, { root, aside: join(aside, id), signal });
        }
      },
    },
    { name: "statistics", has: (path) => path === book, files: one },
  ];
  async function* one(): AsyncGenerator<NodeFile> {
    const found = await told(root, join(root, book));
    if (found !== undefined) yield found;
  }
}

interface Listing {
  readonly root: string;
  /** Where copies of the repository go. */
  readonly aside: string;
  readonly signal: AbortSignal;
}

async function* repositoryFiles(place: Place, id: string, listing: Listing): AsyncGenerator<NodeFile> {
  const { root, aside, signal } = listing;
  const own = repositoryPlace(place, id);
  const repo = join(own, "repo");
  // Not while a summary is written, nor while references move.
  await place.repositories.inTurn(id, () =>
    place.repositories.clearing(id, async () => {
      for (const name of [...CHANGING, LEASES]) await copyAside(join(repo, name), join(aside, "repo", name));
    }),
  );
  faultPoint("publisher.backup.aside");
  for await (const copied of walk(aside, signal)) {
    const found = await told(root, copied);
    if (found === undefined) continue;
    const path = relative(root, join(own, relative(aside, copied)));
    yield { ...found, path: path.split(sep).join("/") };
  }
  // What goes into quarantine, or comes back from there, meanwhile is seen at least once.
  const seen = new Set<string>();
  for (const from of [QUARANTINE, OBJECTS, QUARANTINE, OBJECTS]) {
    for await (const full of walk(join(repo, from), signal)) {
      const name = relative(join(repo, from), full);
      if (seen.has(name) || !/^[0-9a-f]{2}[/\\][0-9a-f]{62}\.[a-z]+$/.test(name)) continue;
      const found = await told(root, full);
      if (found === undefined) continue;
      seen.add(name);
      yield {
        ...found,
        path: relative(root, join(repo, OBJECTS, name))
          .split(sep)
          .join("/"),
      };
    }
  }
  const beside = [
    ...BESIDE.map((name) => join(repo, name)),
    ...["builds", "snapshots", "web"].map((name) => join(own, name)),
  ];
  for (const folder of beside) {
    for await (const full of walk(folder, signal)) {
      const found = await told(root, full);
      if (found !== undefined) yield found;
    }
  }
}

/** Files, not links; what comes or goes meanwhile may be told or not. */
async function* walk(folder: string, signal: AbortSignal): AsyncGenerator<string> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(gone);
  for (const entry of entries ?? []) {
    signal.throwIfAborted();
    if (OWN.test(entry.name)) continue;
    const full = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(full, signal);
    else if (entry.isFile()) yield full;
  }
}

async function told(root: string, full: string): Promise<NodeFile | undefined> {
  const found = await lstat(full).catch(gone);
  if (found?.isFile() !== true) return undefined;
  const { size: bytes, mode, mtimeMs } = found;
  const path = relative(root, full).split(sep).join("/");
  return { path, bytes, mode: mode & 0o777, modifiedMs: Math.floor(mtimeMs) };
}

/** With the time of its change: what has not changed since the backup before is not read again. */
async function copyAside(from: string, to: string): Promise<void> {
  const found = await lstat(from).catch(gone);
  if (found?.isDirectory() === true) {
    for (const name of await readdir(from)) await copyAside(join(from, name), join(to, name));
  } else if (found?.isFile() === true) {
    await mkdir(dirname(to), { recursive: true, mode: 0o700 });
    await copyFile(from, to);
    await utimes(to, found.atime, found.mtime);
  }
}

function gone(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
  throw error;
}
