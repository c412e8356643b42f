/**
 * Releases: content-addressed folders that are whole or not there. A release is made once and never changed:
 *
 *     releases/<hash>/manifest.json      { version, kind, files: [{ path, size, sha256 }], description? }
 *     releases/<hash>/files/             a static site: plain files only, no links, no hidden files but .well-known
 *
 * The hash is that of the manifest's content, so equal content is one release, whichever deployment made it.
 */
import { createHash, randomBytes } from "node:crypto";
import { lstat, mkdir, readFile, rename, rm, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { cancelled, type Failed, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { type AppDisk, diskFailure, makeFolder, releaseFolder, syncFolder, writeWhole } from "./disk.ts";
import { copyHashed, hashFile, listFiles, listSite, type SiteFile } from "./release-files.ts";

export interface Release {
  /** The hash of its content: its name. */
  readonly release: string;
  readonly kind: "static" | "image";
  readonly files: number;
  readonly bytes: number;
  /** It was there already. */
  readonly adopted: boolean;
}

export interface StaticRequest {
  /** Absolute: where the source stands (`Pulled.folder`). */
  readonly source: string;
  /** In the source: what is served. "." is all of it. */
  readonly folder: string;
  /** The live release: files that it has too keep their ETag. */
  readonly previous?: string;
  /** Default 100 000 files, 2 GiB. */
  readonly limits?: { readonly files?: number; readonly bytes?: number };
  readonly signal?: AbortSignal;
  readonly onLine?: (line: string) => void;
}

interface Manifest {
  readonly version: 1;
  readonly kind: Release["kind"];
  readonly files: readonly ManifestFile[];
  readonly description?: Readonly<Record<string, unknown>>;
}

interface ManifestFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly sha256: string;
}

/** Makes sure that the folder's content is a release. One that is there is checked, and what is broken is made good. */
export async function materialiseStatic(app: AppDisk, request: StaticRequest): Promise<Outcome<Release>> {
  const { signal } = request;
  try {
    const site = await listSite(request);
    if ("failed" in site) return site;
    const files: ManifestFile[] = [];
    for (const file of site.files) {
      if (signal?.aborted) return cancelled("Copying the files");
      files.push({ path: file.path, size: file.size, sha256: await hashFile(file.from) });
    }
    const manifest: Manifest = { version: 1, kind: "static", files };
    const there = await findRelease(app, nameOf(manifest), { verify: true, ...(signal ? { signal } : {}) });
    if (there && !("failed" in there)) return await adopt(app, there);
    if (there?.failed.class === "cancelled") return there;
    return await put(app, manifest, request, site.files);
  } catch (error) {
    return diskFailure(error, "copying the files");
  }
}

/** Makes sure that a description of what runs (image id, run-time settings, references of secrets) is a release. */
export async function materialiseImage(
  app: AppDisk,
  description: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<Outcome<Release>> {
  try {
    const manifest: Manifest = { version: 1, kind: "image", files: [], description };
    const there = await findRelease(app, nameOf(manifest));
    if (there && !("failed" in there)) return await adopt(app, there);
    return await put(app, manifest, signal ? { signal } : {}, []);
  } catch (error) {
    return diskFailure(error, "writing the release");
  }
}

/**
 * Looks at a release. Undefined when it is not there.
 * @param options.verify reads every file: RELEASE_BROKEN when one is not what the manifest says. Otherwise the manifest
 *   alone is checked.
 */
export async function findRelease(
  app: AppDisk,
  release: string,
  options: { readonly verify?: boolean; readonly signal?: AbortSignal } = {},
): Promise<Outcome<Release> | undefined> {
  const folder = releaseFolder(app, release);
  if (!(await lstat(folder).catch(() => undefined))?.isDirectory()) return undefined;
  const manifest = await readManifest(folder);
  if (!manifest || nameOf(manifest) !== release) return broken(release, "its manifest is not what was written");
  if (options.verify) {
    const expected = new Map(manifest.files.map((file) => [file.path, file]));
    for (const found of await listFiles(join(folder, "files"))) {
      if (options.signal?.aborted) return cancelled("Checking the release");
      const file = expected.get(found.path);
      if (!file || !found.plain) return broken(release, `${found.path} does not belong there`);
      if (found.size !== file.size || (await hashFile(found.from)) !== file.sha256) {
        return broken(release, `${found.path} is not what was written`);
      }
      expected.delete(found.path);
    }
    for (const path of expected.keys()) return broken(release, `${path} is missing`);
  }
  return found(release, manifest, true);
}

/** What `materialiseImage` was given; undefined when it is not there or broken. */
export async function readDescription(
  app: AppDisk,
  release: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const manifest = await readManifest(releaseFolder(app, release));
  return manifest && nameOf(manifest) === release ? manifest.description : undefined;
}

/** Whether the text names a file within a site, and nothing to Caddy beside that. */
export function isSitePath(path: string): boolean {
  return (
    path.length > 0 &&
    path.length <= 1024 &&
    // biome-ignore lint/suspicious/noControlCharactersInRegex: such names are what it keeps out
    !/[\u0000-\u001f\\{}*?[\]]/.test(path) &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** The name of a release: the hash of its kind and content. */
function nameOf(manifest: Manifest): string {
  const files = manifest.files.map(({ path, size, sha256 }) => [path, size, sha256]);
  return sha256(JSON.stringify([manifest.kind, files, canonical(manifest.description ?? null)]));
}

/** The same value with the fields of its objects in order. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(
    entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, field]) => [name, canonical(field)]),
  );
}

/** Into a folder beside, to the disk, and then into place. */
async function put(
  app: AppDisk,
  manifest: Manifest,
  { previous, signal }: { readonly previous?: string; readonly signal?: AbortSignal },
  from: readonly SiteFile[],
): Promise<Outcome<Release>> {
  const release = nameOf(manifest);
  const folder = releaseFolder(app, release);
  const isThere = (await lstat(folder).catch(() => undefined)) !== undefined;
  await makeFolder(app.releases);
  // A broken one may be served: it is made good file by file, in place.
  const target = isThere ? folder : join(app.releases, `.new-${randomBytes(8).toString("hex")}`);
  try {
    await mkdir(join(target, "files"), { recursive: true });
    const failed = await copyAll(app, manifest, { previous, signal, from, target });
    if (failed) {
      if (!isThere) await rm(target, { recursive: true, force: true });
      return failed;
    }
    await writeWhole(join(target, "manifest.json"), `${JSON.stringify(manifest)}\n`);
    await syncFiles(target);
    if (!isThere) await rename(target, folder);
    await syncFolder(app.releases);
    return found(release, manifest, false);
  } catch (error) {
    if (!isThere) await rm(target, { recursive: true, force: true }).catch(() => {});
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTEMPTY" || code === "EEXIST") return found(release, manifest, true); // somebody was faster
    throw error;
  }
}

interface Copying {
  readonly previous: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly from: readonly SiteFile[];
  readonly target: string;
}

async function copyAll(app: AppDisk, manifest: Manifest, copying: Copying): Promise<Failed | undefined> {
  const { previous, signal, from, target } = copying;
  const before = previous === undefined ? undefined : await readManifest(releaseFolder(app, previous));
  const hashBefore = new Map(before?.files.map(({ path, sha256 }) => [path, sha256]));
  const expected = new Set(manifest.files.map(({ path }) => path));
  for (const extra of await listFiles(join(target, "files"))) {
    if (!expected.has(extra.path) || !extra.plain) await rm(extra.from, { recursive: true, force: true });
  }
  // Caddy makes the ETag from the time and the size, so a file must never get the time of another content.
  const now = Date.now() / 1000 + Math.random() / 1000;
  for (const [index, { path, size, sha256 }] of manifest.files.entries()) {
    if (signal?.aborted) return cancelled("Copying the files");
    const to = join(target, "files", path);
    const there = await lstat(to).catch(() => undefined);
    if (there?.size === size && (await hashFile(to)) === sha256) continue;
    await mkdir(dirname(to), { recursive: true });
    if ((await copyHashed(from[index]!.from, to)) !== sha256) {
      const fix = "Deploy again; if it happens again, look at what else writes below the data folder, and at the disk.";
      return fail("transient", "SOURCE_CHANGED", `${path} changed while it was copied.`, fix);
    }
    const same = hashBefore.get(path) === sha256 && previous !== undefined;
    const old = same
      ? await lstat(join(releaseFolder(app, previous), "files", path)).catch(() => undefined)
      : undefined;
    const time = old ? old.mtimeMs / 1000 : now;
    await utimes(to, time, time);
  }
  return undefined;
}

/** Few files one by one; many by one call for the whole file system, where there is a program for that. */
async function syncFiles(folder: string): Promise<void> {
  const files = await listFiles(folder);
  if (files.length > 64) {
    const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" };
    const done = await runCommand({ program: "sync", args: ["-f", folder], env, timeoutMs: 120_000 });
    if (done.code === 0) return;
  }
  for (const { from } of files) await syncFolder(from);
  const folders = new Set(files.map(({ from }) => dirname(from)));
  for (const one of folders) await syncFolder(one);
}

async function adopt(app: AppDisk, release: Release): Promise<Release> {
  // Used again: what collects old ones sees that.
  await utimes(releaseFolder(app, release.release), new Date(), new Date()).catch(() => {});
  return release;
}

async function readManifest(folder: string): Promise<Manifest | undefined> {
  try {
    const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8")) as Manifest;
    const isOne = manifest.version === 1 && Array.isArray(manifest.files);
    return isOne && manifest.files.every(({ path }) => typeof path === "string") ? manifest : undefined;
  } catch {
    return undefined;
  }
}

function found(release: string, manifest: Manifest, adopted: boolean): Release {
  const bytes = manifest.files.reduce((sum, file) => sum + file.size, 0);
  return { release, kind: manifest.kind, files: manifest.files.length, bytes, adopted };
}

function broken(release: string, why: string): Failed {
  const fix = "Deploy or roll back again: the release is made anew from its source.";
  return fail("transient", "RELEASE_BROKEN", `The release ${release.slice(0, 12)} on the disk is broken: ${why}.`, fix);
}
