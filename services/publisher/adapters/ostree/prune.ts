/**
 * What nothing leads to goes in two steps, while everything goes on. First it is moved to quarantine, where it is still served and from
 * where whoever needs it brings it back (`Repository.find`); after a time of grace, looked at anew, it is deleted. What open builds
 * hold (leases.ts) is reached as if a reference led there, and what is young is left alone, with what it leads to: it may belong to a
 * commit that is just being made. No commit is ever without what it leads to, in its place or in quarantine: the tools take that for a
 * damage. So commits go first and come back last.
 */
import { lstatSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { reachable, Turns, walk } from "./closure.ts";
import type { Leases } from "./leases.ts";
import { type DeltaName, decodeDelta, type ObjectName } from "./names.ts";
import type { Repository } from "./repository.ts";

export interface PruneOptions {
  /** Parents of each reference's commit that stay; -1: all. */
  readonly depth: number;
  /** Commits that stay whatever happens. */
  readonly pins?: ReadonlyArray<string>;
  /** Younger objects are left alone, milliseconds. */
  readonly youngMs: number;
  /** How long what is in quarantine stays there, milliseconds. */
  readonly graceMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PrunePlan {
  /** Objects that are there. */
  readonly objects: number;
  /** What nothing leads to, and is old enough. */
  readonly unreachable: ReadonlyArray<ObjectName>;
  readonly unreachableBytes: number;
  /** What nothing leads to, and is too young. */
  readonly young: number;
}

const OTHERS = [".commitmeta", ".commitmeta2"];

/** Who leads to it: signatures belong to their commit. */
const owner = (name: ObjectName): ObjectName => name.replace(/\.commitmeta$/, ".commit");

interface Marks {
  /** What references, pins and builds lead to. */
  readonly reached: ReadonlySet<ObjectName>;
  /** What commits lead to that nothing leads to, and that are too young to go. */
  readonly young: ReadonlySet<ObjectName>;
}

async function marks(repository: Repository, leases: Leases, options: PruneOptions): Promise<Marks> {
  const pins = (options.pins ?? []).map((commit) => `${commit}.commit`);
  const { depth, signal } = options;
  const reached = await reachable(repository, { depth, signal, pinned: [...pins, ...leases.names()] });
  const commits: ObjectName[] = [];
  if (options.youngMs > 0) {
    for await (const names of repository.objects()) {
      for (const name of names) {
        if (!name.endsWith(".commit") || reached.has(name)) continue;
        const found = statSync(repository.path(name), { throwIfNoEntry: false });
        if (found !== undefined && isYoung(found.ctimeMs, options)) commits.push(name);
      }
    }
  }
  return { reached, young: (await walk(repository, commits, { signal, looksForFiles: false })).objects };
}

// Its change time: of one that was linked from another repository the others are as old as there.
const isYoung = (ctimeMs: number, { youngMs }: PruneOptions): boolean => youngMs > 0 && Date.now() - ctimeMs < youngMs;

const keeps = ({ reached, young }: Marks, name: ObjectName): boolean =>
  reached.has(owner(name)) || young.has(owner(name));

/** What pruning would do. Changes nothing. */
export async function planPrune(repository: Repository, leases: Leases, options: PruneOptions): Promise<PrunePlan> {
  return planOf(repository, await marks(repository, leases, options), options);
}

async function planOf(repository: Repository, marked: Marks, options: PruneOptions): Promise<PrunePlan> {
  const turns = new Turns(options.signal);
  const unreachable: ObjectName[] = [];
  let [objects, unreachableBytes, young] = [0, 0, 0];
  for await (const names of repository.objects()) {
    for (const name of names) {
      const turn = turns.next();
      if (turn !== undefined) await turn;
      objects++;
      if (marked.reached.has(owner(name))) continue;
      const found = statSync(repository.path(name), { throwIfNoEntry: false });
      if (found === undefined) continue;
      if (keeps(marked, name) || isYoung(found.ctimeMs, options)) young++;
      else {
        unreachable.push(name);
        unreachableBytes += found.size;
      }
    }
  }
  return { objects, unreachable, unreachableBytes, young };
}

export interface Pruned {
  readonly quarantined: number;
  readonly quarantinedBytes: number;
  readonly deltas: number;
  /** From quarantine, because something leads there again. */
  readonly restored: number;
  readonly deleted: number;
  readonly deletedBytes: number;
}

/**
 * Both steps: what is due is deleted, what is unreachable now goes into quarantine. May be ended anywhere, and done again. While nobody else
 * makes commits in it: a reference that comes after it was looked would find its objects gone.
 */
export async function prune(repository: Repository, leases: Leases, options: PruneOptions): Promise<Pruned> {
  await repository.dropStaged();
  const marked = await marks(repository, leases, options);
  const purged = await purge(repository, leases, marked, options);
  const plan = await planOf(repository, marked, options);
  const turns = new Turns(options.signal);
  let quarantined = 0;
  for (const name of commitsFirst(plan.unreachable)) {
    const turn = turns.next();
    if (turn !== undefined) await turn;
    if (leases.holds(name)) continue;
    const to = repository.quarantined(name);
    mkdirSync(dirname(to), { recursive: true });
    try {
      renameSync(repository.path(name), to);
      quarantined++;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    faultPoint("ostree.prune.moved");
  }
  const deltas = await retireDeltas(repository);
  await repository.sweep();
  return { quarantined, quarantinedBytes: plan.unreachableBytes, deltas, ...purged };
}

const isCommit = (name: ObjectName): boolean => name.includes(".commit");

const commitsFirst = (names: ReadonlyArray<ObjectName>): ObjectName[] => [
  ...names.filter(isCommit),
  ...names.filter((name) => !isCommit(name)),
];

/** What has been in quarantine for the time of grace is deleted, unless something leads there again. */
async function purge(
  repository: Repository,
  leases: Leases,
  marked: Marks,
  options: PruneOptions,
): Promise<Pick<Pruned, "restored" | "deleted" | "deletedBytes">> {
  const root = join(repository.root, ".millrace", "quarantine");
  let [restored, deleted, deletedBytes] = [0, 0, 0];
  const wanted: ObjectName[] = [];
  const unwanted: ObjectName[] = [];
  for (const folder of await readdir(root).catch(() => [])) {
    for (const rest of await readdir(join(root, folder))) {
      const name = folder + rest;
      (keeps(marked, name) || leases.holds(name) ? wanted : unwanted).push(name);
    }
  }
  const turns = new Turns(options.signal);
  for (const name of commitsFirst(wanted).reverse()) {
    const turn = turns.next();
    if (turn !== undefined) await turn;
    if (repository.restore(name)) restored++;
    faultPoint("ostree.prune.restored");
  }
  const due = Date.now() - options.graceMs;
  for (const name of commitsFirst(unwanted)) {
    const turn = turns.next();
    if (turn !== undefined) await turn;
    const path = repository.quarantined(name);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || found.ctimeMs > due || leases.holds(name)) continue;
    rmSync(path, { force: true });
    faultPoint("ostree.prune.deleted");
    deleted++;
    deletedBytes += found.size;
    if (!name.endsWith(".commit")) continue;
    for (const other of OTHERS) rmSync(repository.path(name).replace(/\.commit$/, other), { force: true });
  }
  await purgeDeltas(repository, due);
  return { restored, deleted, deletedBytes };
}

const retired = (repository: Repository): string => join(repository.root, ".millrace", "deltas");

/** Deltas to commits that are no longer there, and their indexes: moved aside, still served. */
async function retireDeltas(repository: Repository): Promise<number> {
  const root = join(repository.root, "deltas");
  let count = 0;
  for (const folder of await readdir(root).catch(() => [])) {
    if (!/^[A-Za-z0-9+_]{2}$/.test(folder)) continue;
    for (const rest of await readdir(join(root, folder))) {
      if (await isWanted(repository, folder + rest)) continue;
      retire(repository, folder, rest);
      count++;
    }
  }
  return count;
}

function retire(repository: Repository, folder: string, rest: string): void {
  const to = join(retired(repository), folder, rest);
  mkdirSync(dirname(to), { recursive: true });
  rmSync(to, { recursive: true, force: true });
  renameSync(join(repository.root, "deltas", folder, rest), to);
  faultPoint("ostree.prune.retired");
}

async function* deltasIn(root: string): AsyncGenerator<{ folder: string; rest: string; delta: DeltaName }> {
  for (const folder of await readdir(root).catch(() => [])) {
    if (!/^[A-Za-z0-9+_]{2}$/.test(folder)) continue;
    for (const rest of await readdir(join(root, folder)).catch(() => [])) {
      try {
        yield { folder, rest, delta: decodeDelta(folder + rest) };
      } catch {
        // not ours to judge
      }
    }
  }
}

/** Deltas to these commits carry signatures of before: they are moved aside. @returns how many */
export async function retireDeltasTo(repository: Repository, commits: ReadonlySet<string>): Promise<number> {
  let count = 0;
  for await (const { folder, rest, delta } of deltasIn(join(repository.root, "deltas"))) {
    if (!commits.has(delta.to)) continue;
    retire(repository, folder, rest);
    count++;
  }
  return count;
}

/** Those that were moved aside although references are at their commits: to be made anew. */
export async function retiredOf(repository: Repository, commits: ReadonlySet<string>): Promise<DeltaName[]> {
  const found: DeltaName[] = [];
  for await (const { delta } of deltasIn(retired(repository))) if (commits.has(delta.to)) found.push(delta);
  return found;
}

async function isWanted(repository: Repository, name: string): Promise<boolean> {
  try {
    return statSync(repository.path(`${decodeDelta(name).to}.commit`), { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true; // not ours to judge
  }
}

async function purgeDeltas(repository: Repository, due: number): Promise<void> {
  const root = retired(repository);
  for (const folder of await readdir(root).catch(() => [])) {
    for (const rest of await readdir(join(root, folder))) {
      const path = join(root, folder, rest);
      if (lstatSync(path).ctimeMs <= due) rmSync(path, { recursive: true, force: true });
    }
  }
}
