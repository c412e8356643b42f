/** What Caddy follows to a repository: by its id always, by its name where no other repository of the node has had it before. */
import { lstatSync } from "node:fs";
import { mkdir, readdir, readlink, rename, rm, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import { syncFolder } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { ServedPlaces } from "@millrace/eventlog/served.ts";

/** Links that were public before: what was pulled through them is counted later, and from a log that knows only their names. */
const former = ({ folder }: ServedPlaces): string => join(folder, "was-public");

const idOf = (target: string): string => target.slice(target.lastIndexOf("/") + 1);

/** Link by link what a folder of links leads to: ids by names. */
export async function linksIn(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of await readdir(folder).catch(() => [])) {
    const target = await readlink(join(folder, name)).catch(() => undefined);
    if (target !== undefined && !name.startsWith(".")) found.set(name, idOf(target));
  }
  return found;
}

/** Ids of the repositories that are, or were last, public by this name; none where it never was one. */
export async function publicBy(places: ServedPlaces, name: string): Promise<ReadonlyArray<string>> {
  const links = await Promise.all([linksIn(places.public), linksIn(former(places))]);
  return [...new Set(links.flatMap((found) => found.get(name) ?? []))];
}

/** Whether Caddy finds a repository at all: not after its files were restored. */
export const isLinked = (places: ServedPlaces, id: string): boolean =>
  [places.public, places.private].some(
    (folder) => lstatSync(join(folder, id), { throwIfNoEntry: false }) !== undefined,
  );

async function put(folder: string, name: string, place: string): Promise<void> {
  const target = relative(folder, place);
  const path = join(folder, name);
  if ((await readlink(path).catch(() => undefined)) === target) return;
  const fresh = join(folder, `.new-${process.pid}-${name}`);
  await rm(fresh, { force: true });
  await symlink(target, fresh);
  await rename(fresh, path);
}

/**
 * Serves it so from now on. Nothing is ever served to more people than may read it: what becomes private is taken away first.
 * @param place of the repository
 * @returns the name by which clients reach it
 */
export async function linkRepository(
  places: ServedPlaces,
  place: string,
  { id, name, isPrivate }: { readonly id: string; readonly name: string; readonly isPrivate: boolean },
): Promise<string> {
  for (const folder of [places.public, places.private, former(places)]) {
    await mkdir(folder, { recursive: true, mode: 0o755 });
  }
  const open = await linksIn(places.public);
  const holder = open.get(name);
  // Whoever came first keeps it: clients of one are never led to another.
  const isOthers = holder !== undefined && holder !== id;
  const wanted = new Set(isPrivate ? [] : [id, ...(isOthers ? [] : [name])]);
  for (const [link, to] of open) {
    if (to !== id || wanted.has(link)) continue;
    await put(former(places), link, place);
    await rm(join(places.public, link), { force: true });
  }
  if (isPrivate) await syncFolder(places.public);
  faultPoint("repository.link.before");
  for (const link of wanted) await put(places.public, link, place);
  if (isPrivate) await put(places.private, id, place);
  else await rm(join(places.private, id), { force: true });
  await syncFolder(places.public);
  await syncFolder(places.private);
  faultPoint("repository.link.made");
  // A public one of that name stands before every private one.
  return isOthers ? id : name;
}

export async function unlinkRepository(places: ServedPlaces, id: string): Promise<void> {
  for (const folder of [places.public, places.private, former(places)]) {
    for (const [link, to] of await linksIn(folder)) if (to === id) await rm(join(folder, link), { force: true });
    await syncFolder(folder).catch(() => {});
  }
  faultPoint("repository.unlinked");
}
