/** What stands on the disk for an application: the chosen release, and what is served. */
import { createHash } from "node:crypto";
import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { type AppDisk, releaseFolder } from "./disk.ts";

/** How many addresses Caddy knows of each application: 1, 2, 3, 4, 6 and 12 instances share them evenly. */
export const SLOTS = 12;

/** The files of a route's folder by name; `site` is a symbolic link. */
export type RouteFiles = Readonly<Record<string, string>>;

export interface RouteState {
  /** The highest that ever switched; 0: none. */
  readonly generation: number;
  /** The release that `current` names. */
  readonly current: string | null;
  readonly stopped: boolean;
  readonly route: {
    readonly generation: number;
    readonly deployment: string;
    readonly release: string | null;
    /** As given to `switchRoute`; empty for a static site. */
    readonly addresses: readonly string[];
  } | null;
  /** What is there but is not as it was written: one sentence each. */
  readonly problems: readonly string[];
}

/** Reads back what stands on the disk. Never fails: what cannot be read is a problem. */
export async function readRoutes(app: AppDisk): Promise<RouteState> {
  const problems: string[] = [];
  const generation = Number((await textOf(app.generation)) || 0);
  const current = await linkOf(app.current, problems);
  const chosen = current === undefined ? null : /^releases\/([0-9a-f]{64})$/.exec(current)?.[1];
  if (chosen === undefined) problems.push(`current names ${current}, which is no release.`);
  else if (chosen !== null && !(await isFolder(releaseFolder(app, chosen)))) {
    problems.push(`current names the release ${chosen}, which is not there.`);
  }
  const stopped = (await textOf(join(app.root, "stopped"))) !== undefined;
  const served = await linkOf(app.route, problems);
  const route = served === undefined ? null : await readServed(app, served, problems);
  return {
    generation: Number.isSafeInteger(generation) ? generation : 0,
    current: chosen ?? null,
    stopped,
    route,
    problems,
  };
}

async function readServed(app: AppDisk, served: string, problems: string[]): Promise<RouteState["route"]> {
  const name = /^routes\/(\d+)-([0-9a-f]{16})$/.exec(served);
  if (!name) {
    problems.push(`route names ${served}, which is no route.`);
    return null;
  }
  const folder = join(app.root, served);
  const files: Record<string, string> = {};
  for (const entry of await readdir(folder).catch(() => [])) {
    if (entry.startsWith(".")) continue;
    const content =
      entry === "site" ? await readlink(join(folder, entry)).catch(() => undefined) : await textOf(join(folder, entry));
    if (content !== undefined) files[entry] = content;
  }
  if (digest(files) !== name[2]) problems.push(`${served} does not hold what was written into it.`);
  const release = /^\.\.\/\.\.\/releases\/([0-9a-f]{64})\/files$/.exec(files.site ?? "")?.[1] ?? null;
  if (release !== null && !(await isFolder(join(releaseFolder(app, release), "files")))) {
    problems.push(`The release ${release} is served and is not there.`);
  }
  const slots = Array.from({ length: SLOTS }, (_, slot) => files[`${slot}`]).filter((slot) => slot !== undefined);
  return { generation: Number(name[1]), deployment: files.deployment ?? "", release, addresses: [...new Set(slots)] };
}

export const digest = (files: RouteFiles): string =>
  createHash("sha256")
    .update(JSON.stringify(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1))))
    .digest("hex")
    .slice(0, 16);

export const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/** The content of a small file; undefined when it cannot be read. */
export const textOf = (path: string): Promise<string | undefined> => readFile(path, "utf8").catch(() => undefined);

async function linkOf(path: string, problems: string[]): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") problems.push(`${basename(path)} is no symbolic link.`);
    return undefined;
  }
}
