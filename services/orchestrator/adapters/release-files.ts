/** The files of a static site, listed without following anything out of the source, hashed, and copied. */
import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, open, readdir, realpath, rename, stat } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { type Failed, fail } from "@millrace/eventlog/outcome.ts";

export interface SiteFile {
  /** In the site, with slashes. */
  readonly path: string;
  /** Absolute; a plain file. */
  readonly from: string;
  /** Bytes. */
  readonly size: number;
}

interface SiteRequest {
  readonly source: string;
  readonly folder: string;
  readonly limits?: { readonly files?: number; readonly bytes?: number };
  readonly onLine?: (line: string) => void;
}

interface Walk {
  readonly root: string;
  readonly files: SiteFile[];
  readonly limits: { readonly files: number; readonly bytes: number };
  readonly onLine: (line: string) => void;
  bytes: number;
}

/**
 * What of a source is served, sorted by path: links are followed as long as they stay in the source, hidden files are
 * left out (but .well-known), and a link to nothing is left out with a line.
 */
export async function listSite(request: SiteRequest): Promise<{ readonly files: readonly SiteFile[] } | Failed> {
  const root = await realpath(request.source);
  const folder = await realpath(join(root, request.folder)).catch(() => undefined);
  if (folder === undefined || !isWithin(root, folder) || !(await stat(folder)).isDirectory()) {
    const there = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
    const names = there.map((entry) => entry.name).filter((name) => !name.startsWith("."));
    const fix = `Set the folder to one of the repository's${names.length > 0 ? `: ., ${names.sort().slice(0, 20).join(", ")}` : ": it has none but ."}.`;
    return fail("permanent", "SITE_FOLDER", `The repository has no folder "${request.folder.slice(0, 200)}".`, fix);
  }
  const limits = { files: request.limits?.files ?? 100_000, bytes: request.limits?.bytes ?? 2 * 1024 ** 3 };
  const walk: Walk = { root, files: [], limits, onLine: request.onLine ?? (() => {}), bytes: 0 };
  const failed = await walkFolder(walk, folder, "", [folder]);
  if (failed) return failed;
  if (walk.files.length === 0) {
    const fix = "Choose the folder that holds the built site (one with an index.html).";
    return fail("permanent", "SITE_EMPTY", `The folder "${request.folder}" holds no files that could be served.`, fix);
  }
  return { files: walk.files.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

async function walkFolder(
  walk: Walk,
  folder: string,
  path: string,
  above: readonly string[],
): Promise<Failed | undefined> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(".") && name !== ".well-known") continue;
    const failed = await takeEntry(walk, join(folder, name), path === "" ? name : `${path}/${name}`, above);
    if (failed) return failed;
  }
  return undefined;
}

async function takeEntry(
  walk: Walk,
  from: string,
  path: string,
  above: readonly string[],
): Promise<Failed | undefined> {
  const entry = await lstat(from).catch(() => undefined);
  if (entry === undefined) {
    const fix = "Rename it in the repository: names must be UTF-8.";
    return fail("permanent", "SITE_NAME", `The name of ${JSON.stringify(path)} cannot be served.`, fix);
  }
  const real = entry.isSymbolicLink() ? await realpath(from).catch(() => undefined) : from;
  if (real === undefined) {
    walk.onLine(`left out: ${path} is a link to nothing`);
    return undefined;
  }
  if (!isWithin(walk.root, real)) {
    const fix = "Put the file itself into the repository.";
    return fail("permanent", "LINK_OUTSIDE", `${path} is a link that leads out of the repository.`, fix);
  }
  const what = await stat(real);
  if (what.isDirectory()) {
    if (above.includes(real)) {
      const fix = "Remove the link from the repository.";
      return fail("permanent", "LINK_LOOP", `${path} is a link to a folder that it lies in itself.`, fix);
    }
    return walkFolder(walk, real, path, [...above, real]);
  }
  if (!what.isFile()) {
    walk.onLine(`left out: ${path} is no plain file`);
    return undefined;
  }
  walk.bytes += what.size;
  walk.files.push({ path, from: real, size: what.size });
  if (walk.files.length > walk.limits.files || walk.bytes > walk.limits.bytes) {
    const fix = "Serve a smaller folder, or raise the limits of the node.";
    const { files, bytes } = walk.limits;
    return fail("permanent", "SITE_TOO_LARGE", `The site has more than ${files} files or ${bytes} bytes.`, fix);
  }
  return undefined;
}

const isWithin = (root: string, path: string): boolean => {
  const way = relative(root, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`));
};

/** Everything below a folder that is no folder, sorted; nothing when it is not there. Follows no links. */
export async function listFiles(folder: string): Promise<(SiteFile & { readonly plain: boolean })[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  const files = entries.filter((entry) => !entry.isDirectory());
  const listed = files.map(async (entry) => {
    const from = join(entry.parentPath, entry.name);
    const { size } = await lstat(from);
    return { path: relative(folder, from).split(sep).join("/"), from, size, plain: entry.isFile() };
  });
  return (await Promise.all(listed)).sort((a, b) => (a.path < b.path ? -1 : 1));
}

export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Copies into a file beside and renames that over; answers the hash of what was written. */
export async function copyHashed(from: string, to: string): Promise<string> {
  const hash = createHash("sha256");
  const fresh = join(dirname(to), `.new-${randomBytes(8).toString("hex")}`);
  const file = await open(fresh, "w", 0o644);
  try {
    for await (const chunk of createReadStream(from, { highWaterMark: 256 * 1024 })) {
      hash.update(chunk as Buffer);
      await file.writeFile(chunk as Buffer);
    }
  } finally {
    await file.close();
  }
  await rename(fresh, to);
  return hash.digest("hex");
}
