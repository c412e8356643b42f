/**
 * Whether an object belongs to applications that a token is for: to the commit of a reference of theirs, to a parent of it that is
 * still there, or to what an earlier publication offers. Objects of a commit are found once, and remembered as long as there is room.
 */
import { type AppLimit, idOfRef, withinLimits } from "@millrace/domain/publishing/app-limit.ts";
import { walk } from "../adapters/ostree/closure.ts";
import { boundRefs, parseCommit } from "../adapters/ostree/objects.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { pinnedBy, snapshotsOf } from "./snapshots.ts";

/** The first eight bytes of each checksum, sorted: nobody finds another object that shares them. */
type Objects = BigUint64Array;

const OBJECTS_MOST = 8_000_000;
/** So long what references are is taken to be what it was. */
const KNOWN_MS = 1_000;
const PARENTS = 50;

const startOf = (checksum: string): bigint => BigInt(`0x${checksum.slice(0, 16)}`);

function has(objects: Objects, wanted: bigint): boolean {
  let low = 0;
  let high = objects.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const at = objects[middle]!;
    if (at === wanted) return true;
    if (at < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return false;
}

export class LimitedObjects {
  /** By commit, which is the same in every repository; the longest unused first. */
  readonly #objects = new Map<string, Promise<Objects>>();
  readonly #sizes = new Map<string, number>();
  #held = 0;
  readonly #refs = new Map<string, { readonly at: number; readonly refs: Promise<Map<string, string>> }>();

  /**
   * @param place of the repository
   * @param object 64 hexadecimal digits
   * @throws Refusal where there is no repository, or its metadata is damaged
   */
  async allows(place: string, root: string, object: string, limits: ReadonlyArray<AppLimit>): Promise<boolean> {
    const repository = await Repository.open(root);
    const wanted = startOf(object);
    const heads: string[] = [];
    for (const [ref, commit] of await this.#refsOf(repository)) {
      const id = idOfRef(ref);
      if (id !== undefined && withinLimits(limits, id)) heads.push(commit);
    }
    for (const commit of heads) if (has(await this.#objectsOf(repository, commit), wanted)) return true;
    for (const commit of await earlier(repository, place, new Set(heads), limits)) {
      if (has(await this.#objectsOf(repository, commit), wanted)) return true;
    }
    return false;
  }

  #refsOf(repository: Repository): Promise<Map<string, string>> {
    const known = this.#refs.get(repository.root);
    if (known !== undefined && Date.now() - known.at < KNOWN_MS) return known.refs;
    const refs = repository.refs();
    this.#refs.set(repository.root, { at: Date.now(), refs });
    refs.catch(() => this.#refs.delete(repository.root));
    return refs;
  }

  async #objectsOf(repository: Repository, commit: string): Promise<Objects> {
    const known = this.#objects.get(commit);
    const found = known ?? objectsOf(repository, commit);
    this.#objects.delete(commit);
    this.#objects.set(commit, found);
    if (known !== undefined) return known;
    found.catch(() => this.#objects.delete(commit));
    const objects = await found;
    this.#sizes.set(commit, objects.length);
    this.#held += objects.length;
    for (const oldest of this.#objects.keys()) {
      if (this.#held <= OBJECTS_MOST || oldest === commit) break;
      this.#objects.delete(oldest);
      this.#held -= this.#sizes.get(oldest) ?? 0;
      this.#sizes.delete(oldest);
    }
    return objects;
  }
}

async function objectsOf(repository: Repository, commit: string): Promise<Objects> {
  const { objects } = await walk(repository, [`${commit}.commit`], { looksForFiles: false });
  return BigUint64Array.from([...objects].map(startOf)).sort();
}

/** Parents that are still there, and what earlier publications offer of the same applications. */
async function earlier(
  repository: Repository,
  place: string,
  heads: ReadonlySet<string>,
  limits: ReadonlyArray<AppLimit>,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const head of heads) {
    let at: string | undefined = head;
    for (let back = 0; at !== undefined && back <= PARENTS; back++) {
      const bytes = repository.read(`${at}.commit`);
      if (bytes === undefined) break;
      if (back > 0) found.add(at);
      at = parseCommit(bytes, at).parent;
    }
  }
  for (const commit of await pinnedBy(place, await snapshotsOf(place))) {
    const bytes = heads.has(commit) || found.has(commit) ? undefined : repository.read(`${commit}.commit`);
    const refs = bytes === undefined ? [] : boundRefs(parseCommit(bytes, commit));
    if (refs.some((ref) => withinLimits(limits, idOfRef(ref) ?? "/"))) found.add(commit);
  }
  return found;
}
