/**
 * What is kept of builds that failed, to be looked at: folders of the modules that could not be built, and the manifest as flatpak-builder
 * was given it. Bounded for each architecture of a build and for an organisation; gone with the build's files.
 *
 *     <builder>/<organisation>/failed/<build>/<arch>.tar.gz
 */
import { existsSync } from "node:fs";
import { opendir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { makeFolder } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";

export interface Artefact {
  readonly arch: string;
  readonly files: number;
  /** Of the archive. */
  readonly bytes: number;
  /** Files for which there was no room. */
  readonly omitted: number;
}

const FILES_MOST = 20_000;
/** Looked through; of what is beyond nothing is known. */
const SEEN_MOST = 200_000;
const PACK_MS = 300_000;
/** Archives of an organisation, in archives of the greatest size. */
const ALL_OF_THEM = 8;

export const artefactsFolder = (builder: string, organisation: string, build: string): string =>
  join(builder, organisation, "failed", build);

/** @throws RangeError for what is no name of an architecture */
export function artefactFile(builder: string, organisation: string, build: string, arch: string): string {
  if (!/^[a-z0-9_]{1,64}$/.test(arch)) throw new RangeError("no name of an architecture");
  return join(artefactsFolder(builder, organisation, build), `${arch}.tar.gz`);
}

interface Seen {
  readonly path: string;
  readonly bytes: number;
}

/** What people look for first. */
const TELLING = /(\.log|\/config\.h|\/CMakeCache\.txt|\/meson-info\/.*\.json)$|^manifest\.json$/;

/** Files and links below a folder, by their paths; links are not followed. */
async function* walk(root: string, folder: string, signal: AbortSignal): AsyncGenerator<Seen> {
  for await (const entry of await opendir(folder)) {
    signal.throwIfAborted();
    const full = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(root, full, signal);
    else if (entry.isFile()) yield { path: relative(root, full), bytes: (await stat(full)).size };
    else if (entry.isSymbolicLink()) yield { path: relative(root, full), bytes: 0 };
  }
}

/** What there is room for: what tells most, then the small ones. @returns paths, and how many are left out */
export function chosen(
  seen: ReadonlyArray<Seen>,
  most: number,
): { readonly paths: ReadonlyArray<string>; readonly omitted: number } {
  const rank = ({ path }: Seen): number => (TELLING.test(path) ? 0 : 1);
  const paths: string[] = [];
  let bytes = 0;
  for (const each of [...seen].sort((a, b) => rank(a) - rank(b) || a.bytes - b.bytes)) {
    if (paths.length >= FILES_MOST || bytes + each.bytes > most) continue;
    bytes += each.bytes;
    paths.push(each.path);
  }
  return { paths, omitted: seen.length - paths.length };
}

/**
 * Packs what a build has left, if that is anything. Never rejects for what the disk says: a build that failed is told all the same.
 * @param own the build's folder, with `failed/` and `manifest.json`
 * @param most bytes of the files, before they are packed
 * @param onFailure told why nothing could be kept of what there is
 */
export async function keepArtefacts(
  own: string,
  to: { readonly builder: string; readonly organisation: string; readonly build: string; readonly arch: string },
  most: number,
  signal: AbortSignal,
  onFailure: (why: string) => void,
): Promise<Artefact | undefined> {
  const file = artefactFile(to.builder, to.organisation, to.build, to.arch);
  try {
    const seen: Seen[] = [];
    // It fails before there is anything, too.
    if (!existsSync(join(own, "failed"))) return undefined;
    for await (const each of walk(own, join(own, "failed"), signal)) if (seen.push(each) >= SEEN_MOST) break;
    if (seen.length === 0 || most === 0) return undefined;
    const { size } = await stat(join(own, "manifest.json"));
    const { paths, omitted } = chosen([{ path: "manifest.json", bytes: size }, ...seen], most);
    await makeFolder(artefactsFolder(to.builder, to.organisation, to.build));
    const list = join(own, "kept-files");
    await writeFile(list, paths.join("\0"));
    const fresh = `${file}.new`;
    faultPoint("builder.artefacts.before");
    const packed = await runCommand({
      program: "tar",
      args: [
        ..."--create --gzip --no-recursion --owner=0 --group=0 --numeric-owner --null".split(" "),
        ...[`--file=${fresh}`, `--directory=${own}`, `--files-from=${list}`],
      ],
      env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" },
      timeoutMs: PACK_MS,
      signal,
    });
    if (packed.code !== 0) throw new Error(`tar ended with ${packed.code ?? packed.why ?? packed.notStarted}`);
    await rename(fresh, file);
    faultPoint("builder.artefacts.made");
    await letGo(join(to.builder, to.organisation, "failed"), to.build, ALL_OF_THEM * most);
    return { arch: to.arch, files: paths.length, bytes: (await stat(file)).size, omitted };
  } catch (error) {
    await rm(`${file}.new`, { force: true }).catch(() => {});
    if (!signal.aborted) onFailure((error as Error).message);
    return undefined;
  }
}

/** The oldest of other builds go when all of them take too much. */
async function letGo(folder: string, but: string, most: number): Promise<void> {
  const builds = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const files = await readdir(join(folder, name)).catch(() => []);
      const each = await Promise.all(files.map((file) => stat(join(folder, name, file)).catch(() => undefined)));
      const at = Math.max(0, ...each.map((found) => found?.mtimeMs ?? 0));
      return { name, at, bytes: each.reduce((sum, found) => sum + (found?.size ?? 0), 0) };
    }),
  );
  let all = builds.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { name, bytes } of builds.sort((a, b) => a.at - b.at)) {
    if (all <= most) return;
    if (name === but) continue;
    await rm(join(folder, name), { recursive: true, force: true });
    all -= bytes;
  }
}
