/** What belongs to what: the objects of a commit, what can be reached from references, what commits share. Reads metadata only. */
import { statSync } from "node:fs";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { ObjectName } from "./names.ts";
import { parseCommit, parseDirTree } from "./objects.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";

/** Folders within folders; `ostree` itself gives up at this depth. */
const DEEP = 256;
/** Of one walk. */
const OBJECTS_MOST = 20_000_000;
/** Milliseconds after which others have their turn. */
const TURN_MS = 8;

export interface WalkOptions {
  /** How many parents of each commit; -1: all there are. Default 0. */
  readonly depth?: number;
  readonly signal?: AbortSignal | undefined;
  /** Whether to look if files are there; without, they are only named. Default true. */
  readonly looksForFiles?: boolean;
}

export interface Walked {
  /** Everything that is reached and there. */
  readonly objects: ReadonlySet<ObjectName>;
  /** What is reached and not there; parents of commits are not expected to be. */
  readonly missing: ReadonlySet<ObjectName>;
  /** What is there, but in quarantine, where no tool finds it; of files only where they were looked for. */
  readonly aside: ObjectName[];
}

/** Gives others their turn when it is time. */
export class Turns {
  #until = performance.now() + TURN_MS;
  readonly #signal: AbortSignal | undefined;
  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }
  /** A promise only when it is time. */
  next(): Promise<void> | undefined {
    if (performance.now() < this.#until) return undefined;
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        this.#until = performance.now() + TURN_MS;
        if (this.#signal?.aborted) reject(this.#signal.reason);
        else resolve();
      });
    });
  }
}

/**
 * Everything that these commits, and objects beside them, lead to.
 * @param roots names of objects; a dirtree leads to all below it
 * @throws Refusal for metadata that is none, or too deep
 */
export async function walk(
  repository: Repository,
  roots: Iterable<ObjectName>,
  options: WalkOptions = {},
): Promise<Walked> {
  const { depth = 0, looksForFiles = true } = options;
  const objects = new Set<ObjectName>();
  const missing = new Set<ObjectName>();
  const aside: ObjectName[] = [];
  /** Dirtrees by how deep they were met, commits by how many parents were still wanted. */
  const seen = new Map<ObjectName, number>();
  const stack: [name: ObjectName, level: number, isParent: boolean][] = [];
  for (const name of roots) stack.push([name, name.endsWith(".commit") ? depth : 1, false]);
  const turns = new Turns(options.signal);
  const leaf = (name: ObjectName) => {
    if (objects.has(name) || missing.has(name)) return;
    const located = looksForFiles ? repository.locate(name) : undefined;
    if (looksForFiles && located === undefined) return void missing.add(name);
    objects.add(name);
    if (located?.isAside) aside.push(name);
  };
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const turn = turns.next();
    if (turn !== undefined) await turn;
    const [name, level, isParent] = next;
    const isCommit = name.endsWith(".commit");
    if (!isCommit && !name.endsWith(".dirtree")) {
      leaf(name);
      continue;
    }
    const before = seen.get(name);
    const wanted = isCommit && level < 0 ? Number.MAX_SAFE_INTEGER : level;
    if (before !== undefined && before >= wanted) continue;
    seen.set(name, wanted);
    const read = repository.readLocated(name);
    if (read === undefined) {
      if (!isParent) missing.add(name);
      continue;
    }
    const { bytes, isAside } = read;
    if (isAside && !objects.has(name)) aside.push(name);
    objects.add(name);
    if (objects.size > OBJECTS_MOST) throw new Refusal("too-large", name, `more than ${OBJECTS_MOST} objects`);
    if (isCommit) {
      const { tree, meta, parent } = parseCommit(bytes, name);
      leaf(`${meta}.dirmeta`);
      stack.push([`${tree}.dirtree`, 1, false]);
      if (parent !== undefined && level !== 0) stack.push([`${parent}.commit`, level - 1, true]);
      continue;
    }
    if (level > DEEP) throw new Refusal("malformed", name, `folders lie deeper than ${DEEP} in each other`);
    const { files, folders } = parseDirTree(bytes, name);
    for (const { checksum } of files) leaf(`${checksum}.filez`);
    for (const { tree, meta } of folders) {
      leaf(`${meta}.dirmeta`);
      stack.push([`${tree}.dirtree`, level + 1, false]);
    }
  }
  return { objects, missing, aside };
}

/** Of what is missing, so many are named. */
const NAMED = 100;

/**
 * All objects of a commit, in their place: what went into quarantine meanwhile comes back, the commit after what it leads to.
 * @throws Refusal `missing-objects`, with the names of what is missing
 */
export async function closure(
  repository: Repository,
  commit: string,
  options: Pick<WalkOptions, "signal"> = {},
): Promise<ReadonlySet<ObjectName>> {
  const { objects, missing, aside } = await walk(repository, [`${commit}.commit`], options);
  if (missing.size > 0) throw incomplete(commit, [...missing]);
  if (aside.length > 0) repository.restore(`${commit}.commitmeta`);
  // Against the order in which they were met, so the commit last; of what was deleted just now nothing more comes back.
  const gone = aside.reverse().find((name) => {
    const isBack = repository.restore(name);
    faultPoint("ostree.closure.restored");
    return !isBack;
  });
  if (gone !== undefined) throw incomplete(commit, [gone]);
  return objects;
}

function incomplete(commit: string, missing: ReadonlyArray<ObjectName>): Refusal {
  const names = [...missing].sort().slice(0, NAMED);
  const more = missing.length > NAMED ? ` and ${missing.length - NAMED} more` : "";
  const shown = names.slice(0, 5).join(", ");
  const reason = `${missing.length} of its objects are missing: ${shown}${missing.length > 5 ? " ..." : ""}${more}`;
  return new Refusal("missing-objects", commit, reason, names);
}

/** Whether all of a commit is there, in its place from now on. */
export const isWhole = (repository: Repository, commit: string): Promise<boolean> =>
  closure(repository, commit).then(
    () => true,
    (error: unknown) => {
      if (error instanceof Refusal && error.code === "missing-objects") return false;
      throw error;
    },
  );

/** From every reference, with `depth` parents each, and from what is pinned beside them. */
export async function reachable(
  repository: Repository,
  options: WalkOptions & { readonly pinned?: Iterable<ObjectName> } = {},
): Promise<ReadonlySet<ObjectName>> {
  const commits = new Set((await repository.refs()).values());
  const roots = [...[...commits].map((commit) => `${commit}.commit`), ...(options.pinned ?? [])];
  const { objects } = await walk(repository, roots, { depth: -1, looksForFiles: false, ...options });
  return objects;
}

export interface RefSize {
  readonly ref: string;
  readonly objects: number;
  /** Bytes on the disk of all that it needs. */
  readonly bytes: number;
  /** Of them, those that no other reference needs. */
  readonly ownBytes: number;
}

export interface Statistics {
  readonly objects: number;
  readonly bytes: number;
  /** What the same would take if references shared nothing. */
  readonly bytesUnshared: number;
  readonly refs: ReadonlyArray<RefSize>;
}

/** What each reference's newest commit takes, and what is saved because they share. */
export async function statistics(
  repository: Repository,
  options: Pick<WalkOptions, "signal"> = {},
): Promise<Statistics> {
  const refs = await repository.refs();
  const closures = new Map<string, ReadonlySet<ObjectName>>();
  const uses = new Map<ObjectName, { count: number; bytes: number }>();
  const turns = new Turns(options.signal);
  for (const commit of new Set(refs.values())) {
    const { objects } = await walk(repository, [`${commit}.commit`], options);
    closures.set(commit, objects);
  }
  for (const commit of refs.values()) {
    for (const name of closures.get(commit)!) {
      const turn = turns.next();
      if (turn !== undefined) await turn;
      const use = uses.get(name);
      if (use === undefined) uses.set(name, { count: 1, bytes: bytesOf(repository, name) });
      else use.count++;
    }
  }
  const sized = [...refs].map(([ref, commit]): RefSize => {
    const objects = closures.get(commit)!;
    let bytes = 0;
    let ownBytes = 0;
    for (const name of objects) {
      const use = uses.get(name)!;
      bytes += use.bytes;
      if (use.count === 1) ownBytes += use.bytes;
    }
    return { ref, objects: objects.size, bytes, ownBytes };
  });
  const bytes = [...uses.values()].reduce((sum, use) => sum + use.bytes, 0);
  return { objects: uses.size, bytes, bytesUnshared: sized.reduce((sum, each) => sum + each.bytes, 0), refs: sized };
}

/** Bytes on the disk; 0 where it is not there. */
export function bytesOf(repository: Repository, name: ObjectName): number {
  const path = repository.find(name);
  return path === undefined ? 0 : statSync(path).size;
}
