/** What a commit changes against another: files, sizes, what the application may do, and what it costs to load. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { inflateRawSync } from "node:zlib";
import { type KeyFile, parseKeyFile, permissionsOf, runtimeOf } from "@millrace/domain/publishing/metadata.ts";
import { bytesOf, Turns, walk } from "./closure.ts";
import { costOf, readDelta } from "./delta.ts";
import {
  boundRefs,
  type Commit,
  type DirTree,
  type FileHeader,
  HEADER_MOST,
  metadataText,
  parseCommit,
  parseDirTree,
  parseFileHeader,
} from "./objects.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";

export interface FileChange {
  readonly path: string;
  /** Bytes; undefined: it was not, or is not, there. */
  readonly before?: number;
  readonly after?: number;
}

export interface CommitDiff {
  readonly from: string | undefined;
  readonly to: string;
  readonly refs: ReadonlyArray<string>;
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
  /** Bytes of content, after less before. */
  readonly growth: number;
  /** At most a thousand of all three, in order of their paths. */
  readonly files: ReadonlyArray<FileChange>;
  readonly permissions: { readonly added: ReadonlyArray<string>; readonly removed: ReadonlyArray<string> };
  readonly runtime: { readonly before: string | undefined; readonly after: string | undefined };
  readonly download: {
    /** Objects that are new, and their bytes. */
    readonly objects: number;
    readonly bytes: number;
    /** Bytes of the delta between the two; undefined: there is none. */
    readonly deltaBytes: number | undefined;
  };
}

const LISTED = 1_000;
const METADATA_FILE_MOST = 1024 * 1024;

/** @throws Refusal where an object is missing or none */
export async function diffCommits(
  repository: Repository,
  from: string | undefined,
  to: string,
  signal?: AbortSignal,
): Promise<CommitDiff> {
  const before = from === undefined ? undefined : commitOf(repository, from);
  const after = commitOf(repository, to);
  const compared = new Comparison(repository, signal);
  await compared.trees(before?.tree, after.tree);
  const had = metadataOf(repository, before);
  const has = metadataOf(repository, after);
  const [old, now] = [new Set(permissionsOf(had)), new Set(permissionsOf(has))];
  const known =
    before === undefined ? new Set<string>() : (await walk(repository, [`${from}.commit`], { signal })).objects;
  const { objects } = await walk(repository, [`${to}.commit`], { signal });
  const fresh = [...objects].filter((name) => !known.has(name));
  const delta = { from, to };
  const superblock = await readDelta(repository, delta);
  return {
    ...delta,
    refs: boundRefs(after),
    ...compared.result(),
    permissions: {
      added: [...now].filter((each) => !old.has(each)),
      removed: [...old].filter((each) => !now.has(each)),
    },
    runtime: { before: runtimeOf(had), after: runtimeOf(has) },
    download: {
      objects: fresh.length,
      bytes: fresh.reduce((sum, name) => sum + bytesOf(repository, name), 0),
      deltaBytes: superblock === undefined ? undefined : costOf(repository, delta, superblock),
    },
  };
}

function read(repository: Repository, name: string): Buffer {
  const bytes = repository.read(name);
  if (bytes === undefined) throw new Refusal("missing-objects", name, "it is not there", [name]);
  return bytes;
}

const commitOf = (repository: Repository, commit: string): Commit =>
  parseCommit(read(repository, `${commit}.commit`), `${commit}.commit`);

const treeOf = (repository: Repository, tree: string | undefined): DirTree =>
  tree === undefined
    ? { files: [], folders: [] }
    : parseDirTree(read(repository, `${tree}.dirtree`), `${tree}.dirtree`);

/** The head of a file that lies in the repository. @throws Refusal */
export function readFileHeader(repository: Repository, checksum: string): FileHeader & { readonly offset: number } {
  const name = `${checksum}.filez`;
  const path = repository.find(name);
  if (path === undefined) throw new Refusal("missing-objects", name, "it is not there", [name]);
  const file = openSync(path, "r");
  try {
    const length = Buffer.alloc(8);
    readSync(file, length, 0, 8, 0);
    const size = length.readUInt32BE();
    if (size > HEADER_MOST) throw new Refusal("too-large", name, "its head");
    const header = Buffer.alloc(size);
    readSync(file, header, 0, size, 8);
    return { ...parseFileHeader(header, name), offset: 8 + size };
  } finally {
    closeSync(file);
  }
}

class Comparison {
  readonly #repository: Repository;
  readonly #turns: Turns;
  readonly #files: FileChange[] = [];
  readonly #counts = { added: 0, removed: 0, changed: 0, growth: 0 };

  constructor(repository: Repository, signal: AbortSignal | undefined) {
    this.#repository = repository;
    this.#turns = new Turns(signal);
  }

  result() {
    return { ...this.#counts, files: this.#files };
  }

  /** Folders that are the same are not looked into. */
  async trees(before: string | undefined, after: string | undefined): Promise<void> {
    const stack: [path: string, before: string | undefined, after: string | undefined][] = [["", before, after]];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const turn = this.#turns.next();
      if (turn !== undefined) await turn;
      const [path, old, now] = next;
      if (old === now) continue;
      const [had, has] = [treeOf(this.#repository, old), treeOf(this.#repository, now)];
      const files = pairs(had.files, has.files, ({ checksum }) => checksum);
      for (const [name, one, other] of files) await this.#file(`${path}/${name}`, one, other);
      const folders = pairs(had.folders, has.folders, ({ tree }) => tree);
      for (const [name, one, other] of folders.reverse()) stack.push([`${path}/${name}`, one, other]);
    }
  }

  async #file(path: string, before: string | undefined, after: string | undefined): Promise<void> {
    if (before === after) return;
    const turn = this.#turns.next();
    if (turn !== undefined) await turn;
    const size = (checksum: string | undefined) => {
      if (checksum === undefined) return undefined;
      const header = readFileHeader(this.#repository, checksum);
      return header.isLink ? 0 : header.size;
    };
    const [had, has] = [size(before), size(after)];
    this.#counts[had === undefined ? "added" : has === undefined ? "removed" : "changed"]++;
    this.#counts.growth += (has ?? 0) - (had ?? 0);
    if (this.#files.length >= LISTED) return;
    this.#files.push({
      path,
      ...(had === undefined ? {} : { before: had }),
      ...(has === undefined ? {} : { after: has }),
    });
  }
}

/** What two lists have under each name, in the order of the names. */
function pairs<T extends { readonly name: string }>(
  before: ReadonlyArray<T>,
  after: ReadonlyArray<T>,
  of: (entry: T) => string,
): [string, string | undefined, string | undefined][] {
  const old = new Map(before.map((entry) => [entry.name, of(entry)]));
  const now = new Map(after.map((entry) => [entry.name, of(entry)]));
  return [...new Set([...old.keys(), ...now.keys()])].sort().map((name) => [name, old.get(name), now.get(name)]);
}

/** The description of an application: in the commit (`xa.metadata`), else the file `metadata` at its root. */
function metadataOf(repository: Repository, commit: Commit | undefined): KeyFile {
  return commit === undefined ? new Map() : parseKeyFile(descriptionOf(repository, commit));
}

/** The text of `metadata` of a commit; empty where it has none. @throws Refusal where objects are missing or none */
export function metadataTextOf(repository: Repository, commit: string): string {
  return descriptionOf(repository, commitOf(repository, commit));
}

function descriptionOf(repository: Repository, commit: Commit): string {
  const inside = metadataText(commit.metadata, "xa.metadata");
  if (inside !== undefined) return inside;
  const file = treeOf(repository, commit.tree).files.find(({ name }) => name === "metadata");
  return file === undefined ? "" : readSmall(repository, file.checksum);
}

/** A short file's content as text. @throws Refusal for a link, or more than a MiB */
function readSmall(repository: Repository, checksum: string): string {
  const name = `${checksum}.filez`;
  const { offset, size, isLink } = readFileHeader(repository, checksum);
  if (isLink || size > METADATA_FILE_MOST)
    throw new Refusal("malformed", name, "it is no description of an application");
  const packed = readFileSync(repository.find(name)!).subarray(offset);
  try {
    return inflateRawSync(packed, { maxOutputLength: METADATA_FILE_MOST }).toString("utf8");
  } catch {
    throw new Refusal("malformed", name, "its content cannot be read");
  }
}
