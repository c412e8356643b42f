/**
 * Commits of another repository, brought into a build: level by level, from commits to folders to files, each object checked against its name
 * as it comes. What is here already is held for the build and not fetched; what was fetched stays when it breaks off.
 */
import { pause } from "@millrace/eventlog/pause.ts";
import { receiveObjects } from "./adapters/ostree/intake.ts";
import type { Leases } from "./adapters/ostree/leases.ts";
import { parseCommit, parseDirTree } from "./adapters/ostree/objects.ts";
import { Refusal } from "./adapters/ostree/refusal.ts";
import type { Repository } from "./adapters/ostree/repository.ts";
import { type Upstream, UpstreamFailed } from "./adapters/upstream.ts";

export interface Fetching {
  readonly upstream: Upstream;
  /** Of the build. */
  readonly upload: Repository;
  readonly leases: Leases;
  readonly build: string;
  readonly commits: ReadonlyArray<string>;
  /** Most bytes that are fetched. */
  readonly budget: number;
  readonly signal: AbortSignal;
}

/** Files that come at the same moment. */
const AT_ONCE = 6;
const TRIES = 4;
const AGAIN_MS = 500;

/** @throws UpstreamFailed, Refusal (`missing-objects`: it is not there; `hash-mismatch` …: it is not what its name says) */
export async function fetchCommits(what: Fetching): Promise<{ readonly objects: number; readonly bytes: number }> {
  const { upload, leases, build, signal } = what;
  const seen = new Set<string>();
  let level = what.commits.map((commit) => `${commit}.commit`);
  const fetched = { objects: 0, bytes: 0 };
  while (level.length > 0) {
    signal.throwIfAborted();
    for (const name of level) seen.add(name);
    // What lies in the repository is held first, then looked at.
    const missing = upload.missing(await leases.pin(build, level));
    fetched.bytes += await fetchAll(what, missing, what.budget - fetched.bytes);
    fetched.objects += missing.length;
    const next = new Set<string>();
    for (const name of level) for (const child of childrenOf(upload, name)) if (!seen.has(child)) next.add(child);
    level = [...next];
  }
  return fetched;
}

async function fetchAll(
  { upstream, upload, signal }: Fetching,
  names: ReadonlyArray<string>,
  budget: number,
): Promise<number> {
  if (names.length === 0) return 0;
  const all = names.values();
  let left = budget;
  const ending = new AbortController();
  const until = AbortSignal.any([signal, ending.signal]);
  const source = async (name: string): Promise<AsyncIterable<Buffer>> => {
    const found = await upstream.stream(`objects/${name.slice(0, 2)}/${name.slice(2)}`, until);
    if (found === undefined)
      throw new Refusal("missing-objects", name, "the other repository does not have it", [name]);
    return counted(found);
  };
  async function* counted(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const piece of pieces) {
      left -= piece.length;
      if (left < 0) throw new Refusal("too-large", "", "it is more than is taken at once (MILLRACE_MIRROR_GIB)");
      yield piece;
    }
  }
  const again = async (error: unknown, tried: number): Promise<boolean> => {
    if (!(error instanceof UpstreamFailed) || !error.isPassing || tried >= TRIES) return false;
    await pause(AGAIN_MS * 2 ** tried, until);
    return !until.aborted;
  };
  const lanes = Array.from({ length: Math.min(AT_ONCE, names.length) }, () =>
    receiveObjects(upload, all, source, { signal: until, again }).catch((error: unknown) => {
      // The others need not go on.
      ending.abort(error);
      throw error;
    }),
  );
  const ended = await Promise.allSettled(lanes);
  signal.throwIfAborted();
  if (ending.signal.aborted) throw ending.signal.reason;
  return ended.reduce((sum, each) => sum + (each.status === "fulfilled" ? each.value : 0), 0);
}

function childrenOf(repository: Repository, name: string): ReadonlyArray<string> {
  const isCommit = name.endsWith(".commit");
  if (!isCommit && !name.endsWith(".dirtree")) return [];
  const bytes = repository.read(name);
  if (bytes === undefined) throw new Refusal("missing-objects", name, "it is not there any more", [name]);
  if (isCommit) {
    const { tree, meta } = parseCommit(bytes, name);
    return [`${tree}.dirtree`, `${meta}.dirmeta`];
  }
  const { files, folders } = parseDirTree(bytes, name);
  return [
    ...files.map(({ checksum }) => `${checksum}.filez`),
    ...folders.flatMap(({ tree, meta }) => [`${tree}.dirtree`, `${meta}.dirmeta`]),
  ];
}
