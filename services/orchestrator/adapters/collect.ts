/** What nobody needs any more is removed from a node's disk: first renamed away, so that nothing is ever half there. */
import { randomBytes } from "node:crypto";
import { lstat, readdir, readlink, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Outcome } from "@millrace/eventlog/outcome.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { type AppDisk, appDisk, diskFailure, mirrorName, type NodeDisk } from "./disk.ts";

export interface Keep {
  readonly releases: readonly string[];
  readonly sources: readonly string[];
  readonly generations: readonly number[];
  /** What is younger is left: somebody may be about to use it. Default 600 000. */
  readonly olderThanMs?: number;
}

/** Removes what is not kept, and what crashes left. What `current` and `route` name is kept in any case. */
export async function collect(
  app: AppDisk,
  keep: Keep,
): Promise<Outcome<{ readonly releases: number; readonly sources: number; readonly routes: number }>> {
  const before = Date.now() - (keep.olderThanMs ?? 600_000);
  try {
    const generations = new Set(keep.generations.map(String));
    const served = await linkName(app.route);
    const routes = await clear(app.routes, before, (name) => name === served || generations.has(name.split("-")[0]!));
    // A release that a kept route serves is kept with it.
    const sites = await Promise.all(
      (await readdir(app.routes).catch(() => [])).map((name) =>
        readlink(join(app.routes, name, "site")).catch(() => ""),
      ),
    );
    const releases = new Set([
      ...keep.releases,
      await linkName(app.current),
      ...sites.map((site) => site.split("/")[3]),
    ]);
    const sources = new Set(keep.sources);
    await clear(app.root, before, (name) => !name.startsWith("."));
    return {
      releases: await clear(app.releases, before, (name) => releases.has(name)),
      sources: await clear(app.sources, before, (name) => sources.has(name.replace(/\.complete$/, ""))),
      routes,
    };
  } catch (error) {
    return diskFailure(error, "removing old releases");
  }
}

/** Removes the mirrors of all other URLs, and what crashes left of them. One that is being fetched into is left. */
export async function collectMirrors(
  disk: NodeDisk,
  keepUrls: readonly string[],
  olderThanMs = 600_000,
): Promise<Outcome<{ readonly mirrors: number }>> {
  const kept = new Set(keepUrls.map(mirrorName));
  const before = Date.now() - olderThanMs;
  let mirrors = 0;
  try {
    await clear(disk.tmp, before, () => false);
    for (const name of await readdir(disk.mirrors).catch(() => [])) {
      const path = join(disk.mirrors, name);
      if (name.endsWith(".lock") || kept.has(name) || !(await isOlder(path, before))) continue;
      if (name.startsWith(".")) {
        await rm(path, { recursive: true, force: true });
        continue;
      }
      const gone = join(disk.mirrors, `.gone-${randomBytes(8).toString("hex")}`);
      const args = ["--nonblock", `${path}.lock`, "mv", path, gone];
      const env = { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" };
      const moved = await runCommand({ program: "flock", args, env, timeoutMs: 10_000 });
      if (moved.code !== 0) continue;
      await rm(gone, { recursive: true, force: true });
      mirrors++;
    }
    return { mirrors };
  } catch (error) {
    return diskFailure(error, "removing old mirrors");
  }
}

/** Removes all that the application has on this disk. Its route must have been taken from Caddy before. */
export async function removeApp(app: AppDisk): Promise<Outcome<{ readonly removed: boolean }>> {
  try {
    return { removed: await remove(app.root) };
  } catch (error) {
    return diskFailure(error, "removing the application's folder");
  }
}

/** The ids of the applications that have a folder here: what the log does not know of is left over. */
export async function listApps(disk: NodeDisk): Promise<string[]> {
  const names = await readdir(disk.apps).catch(() => []);
  return names.filter((name) => {
    try {
      return appDisk(disk, name).root !== "";
    } catch {
      return false;
    }
  });
}

async function clear(folder: string, before: number, isKept: (name: string) => boolean): Promise<number> {
  let removed = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    if (isKept(name) || !(await isOlder(join(folder, name), before))) continue;
    if ((await remove(join(folder, name))) && !/^\.|\.complete$/.test(name)) removed++;
  }
  return removed;
}

async function remove(path: string): Promise<boolean> {
  const gone = join(path, "..", `.gone-${randomBytes(8).toString("hex")}`);
  try {
    await rename(path, gone);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
  await rm(gone, { recursive: true, force: true });
  return true;
}

const isOlder = async (path: string, before: number): Promise<boolean> =>
  ((await lstat(path).catch(() => undefined))?.mtimeMs ?? Number.POSITIVE_INFINITY) <= before;

const linkName = async (path: string): Promise<string | undefined> =>
  basename(await readlink(path).catch(() => "")) || undefined;
