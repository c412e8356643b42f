/**
 * An OSTree repository in archive mode on the disk: its layout, its objects, its references. What is written here appears whole or not
 * at all; commits, summaries, deltas and signatures are made by the real tools (tools.ts).
 *
 *     <root>/objects deltas refs tmp config …        as `ostree init --mode=archive` makes them
 *     <root>/.millrace/quarantine/aa/<rest>          unreachable, still served, deleted later (prune.ts)
 *     <root>/.millrace/leases/<build>                what open builds were told is present (leases.ts)
 *     <root>/.millrace/growing                       what comes and is not whole, or not judged (intake.ts)
 */
import { existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { mkdir, readdir, readFile, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { syncFolder, writeWhole } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { checkedChecksum, checkedRef, isChecksum, type ObjectName, objectPath, typeOfObject } from "./names.ts";
import { METADATA_MOST } from "./objects.ts";
import { Refusal } from "./refusal.ts";
import type { Tools } from "./tools.ts";

export interface RepositoryOptions {
  /** Where objects may be that this one needs not have, nearest first. */
  readonly parents?: ReadonlyArray<string>;
}

export interface InitOptions {
  readonly collectionId?: string;
  /** Another repository on this disk in which objects are looked for. */
  readonly parent?: string;
}

/** Longer than anything grows without a byte. */
const LEFT_BEHIND_MS = 3_600_000;

export class Repository {
  readonly root: string;
  readonly parents: ReadonlyArray<string>;

  constructor(root: string, { parents = [] }: RepositoryOptions = {}) {
    this.root = root;
    this.parents = parents;
  }

  /** Makes it by `ostree init`; where it is already, nothing changes but what is missing of it. */
  static async init(tools: Tools, root: string, options: InitOptions = {}): Promise<Repository> {
    await mkdir(root, { recursive: true, mode: 0o755 });
    const { collectionId, parent } = options;
    const id = collectionId === undefined ? [] : [`--collection-id=${collectionId}`];
    await tools.run("ostree", [`--repo=${root}`, "init", "--mode=archive", ...id]);
    faultPoint("ostree.init.made");
    const config = await readFile(join(root, "config"), "utf8");
    if (!/^mode=archive(-z2)?$/m.test(config)) {
      throw new Refusal("malformed", "", "there is a repository of another mode at this place");
    }
    const set = async (key: string, value: string | undefined) => {
      if (value === undefined || configValue(config, key) === value) return;
      await tools.run("ostree", [`--repo=${root}`, "config", "set", `core.${key}`, value]);
    };
    await set("collection-id", collectionId);
    await set("parent", parent);
    await mkdir(join(root, ".millrace", "leases"), { recursive: true });
    return new Repository(root, parent === undefined ? {} : { parents: [parent] });
  }

  /** @throws Refusal where there is none in archive mode */
  static async open(root: string, options: RepositoryOptions = {}): Promise<Repository> {
    const config = await readFile(join(root, "config"), "utf8").catch(() => "");
    if (!/^mode=archive(-z2)?$/m.test(config)) {
      throw new Refusal("not-found", "", "there is no repository in archive mode at this place");
    }
    return new Repository(root, options);
  }

  /** Of a build, which looks into another: that may lie elsewhere since it was made, after a restore. @throws Refusal */
  static async openBelow(tools: Tools, root: string, parent: string): Promise<Repository> {
    const config = await readFile(join(root, "config"), "utf8").catch(() => "");
    if (config !== "" && configValue(config, "parent") !== parent) return Repository.init(tools, root, { parent });
    return Repository.open(root, { parents: [parent] });
  }

  /** Folders without a file, which no backup has: without some of them the tools take it for none. */
  async ensureFolders(): Promise<void> {
    for (const folder of [
      "tmp/cache",
      "extensions",
      "state",
      "refs/heads",
      "refs/mirrors",
      "refs/remotes",
      "objects",
    ]) {
      await mkdir(join(this.root, folder), { recursive: true, mode: 0o755 });
    }
    await mkdir(join(this.root, ".millrace", "leases"), { recursive: true });
  }

  path(name: ObjectName): string {
    return join(this.root, objectPath(name));
  }

  quarantined(name: ObjectName): string {
    typeOfObject(name);
    return join(this.root, ".millrace", "quarantine", name.slice(0, 2), name.slice(2));
  }

  /** Where the tools find an object: here, or in a parent. */
  placed(name: ObjectName): string | undefined {
    const path = this.path(name);
    if (existsSync(path)) return path;
    return this.parents.map((parent) => join(parent, objectPath(name))).find((there) => existsSync(there));
  }

  /** Where an object lies: in its place, or aside, in quarantine, where it stays. */
  locate(name: ObjectName): { readonly path: string; readonly isAside: boolean } | undefined {
    const path = this.placed(name);
    if (path !== undefined) return { path, isAside: false };
    const aside = this.quarantined(name);
    return existsSync(aside) ? { path: aside, isAside: true } : undefined;
  }

  find(name: ObjectName): string | undefined {
    return this.locate(name)?.path;
  }

  /**
   * Brings an object back from quarantine. Of a commit only after all that it leads to (`closure`): the tools take a commit whose folders
   * are not there for a damage.
   * @returns whether it is in its place
   */
  restore(name: ObjectName): boolean {
    const from = this.quarantined(name);
    // Mostly it is not there, and an error costs more than the question.
    if (!existsSync(from)) return existsSync(this.path(name));
    try {
      renameSync(from, this.path(name));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return existsSync(this.path(name));
      throw error;
    }
  }

  has(name: ObjectName): boolean {
    return this.find(name) !== undefined;
  }

  /** Those of the names that are not there, in the same order. @throws Refusal for what is no name of an object */
  missing(names: ReadonlyArray<ObjectName>): ObjectName[] {
    return names.filter((name) => !this.has(name));
  }

  /** Metadata's bytes, at most 16 MiB; undefined where it is not there. */
  read(name: ObjectName): Buffer | undefined {
    return this.readLocated(name)?.bytes;
  }

  /** As `read`, and whether it lies in quarantine. */
  readLocated(name: ObjectName): { readonly bytes: Buffer; readonly isAside: boolean } | undefined {
    const located = this.locate(name);
    if (located === undefined) return undefined;
    let bytes: Buffer;
    try {
      bytes = readFileSync(located.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      // Pruning, in another process, moved it between the look and the reading.
      return this.readLocated(name);
    }
    if (bytes.length > METADATA_MOST) throw new Refusal("too-large", name, "it is too large for metadata");
    return { bytes, isAside: located.isAside };
  }

  /** Every object that lies here, quarantine not counted, folder by folder. `.commitmeta2` and the like are not among them. */
  async *objects(): AsyncGenerator<ObjectName[]> {
    for (const folder of await readdir(join(this.root, "objects"))) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue;
      const names = await readdir(join(this.root, "objects", folder));
      yield names.map((name) => folder + name).filter(isLoose);
    }
  }

  /**
   * All references below `refs/heads`, sorted, with their commits. Thousands of them are three times as many small steps: taken without a
   * promise for each, and with a pause in which others have their turn.
   */
  async refs(prefix = ""): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const name of this.#namesBelow(prefix)) {
      const commit = commitIn(name, () => readFileSync(this.#refPath(name), "latin1"));
      if (commit !== undefined) found.set(name, commit);
      if (found.size % AT_ONCE === 0) await turn();
    }
    return found;
  }

  *#namesBelow(place: string): Generator<string> {
    const entries =
      orNothing(() => readdirSync(join(this.root, "refs", "heads", place), { withFileTypes: true })) ?? [];
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith(".")) continue;
      const name = place === "" ? entry.name : `${place}/${entry.name}`;
      if (entry.isDirectory()) yield* this.#namesBelow(name);
      else yield name;
    }
  }

  /** The commit of a reference; undefined where there is none. */
  async ref(name: string): Promise<string | undefined> {
    return commitIn(name, () => readFileSync(this.#refPath(name), "latin1"));
  }

  #refPath(name: string): string {
    return join(this.root, "refs", "heads", checkedRef(name));
  }

  /**
   * Lets a reference point to a commit: it is the old or the new one, whatever happens.
   * @param expected what it must be now; undefined: not there. Left out: whatever it is
   * @throws Refusal `ref-moved`; `not-found` where the commit is not here, or in quarantine (`closure` brings it back)
   */
  async writeRef(name: string, commit: string, now: { readonly expected?: string | undefined } = {}): Promise<void> {
    const path = this.#refPath(name);
    checkedChecksum(commit, "commit");
    if (this.placed(`${commit}.commit`) === undefined) {
      throw new Refusal("not-found", commit, "there is no such commit");
    }
    await this.#expect(name, now);
    try {
      await mkdir(dirname(path), { recursive: true });
      faultPoint("ostree.ref.before");
      await writeWhole(path, `${commit}\n`, 0o644);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EEXIST" && code !== "ENOTDIR" && code !== "EISDIR") throw error;
      throw new Refusal("bad-name", name, "another reference begins with it, or it with another");
    }
    faultPoint("ostree.ref.renamed");
    await syncFolder(dirname(path));
  }

  async removeRef(name: string, now: { readonly expected?: string | undefined } = {}): Promise<void> {
    const path = this.#refPath(name);
    await this.#expect(name, now);
    await rm(path, { force: true });
    faultPoint("ostree.ref.removed");
    const heads = join(this.root, "refs", "heads");
    let folder = dirname(path);
    // Folders that are empty now.
    for (; folder !== heads; folder = dirname(folder)) if (!(await isRemoved(folder))) break;
    if (existsSync(folder)) await syncFolder(folder);
  }

  async #expect(name: string, now: { readonly expected?: string | undefined }): Promise<void> {
    if (!("expected" in now)) return;
    const is = await this.ref(name);
    if (is !== now.expected) {
      throw new Refusal("ref-moved", name, `it is at ${is ?? "nothing"}, expected was ${now.expected ?? "nothing"}`);
    }
  }

  /**
   * For a file that grows until it is moved to its place. In one folder for all: ext4 spreads folders over the disk, and a new file goes
   * where its folder is, so that files made in 256 folders cost ten times as much as files made in one and moved (measured).
   */
  temporaryPath(): string {
    const name = `${process.pid}-${process.hrtime.bigint().toString(36)}-${++counter}`;
    return join(this.root, GROWING, name);
  }

  /**
   * Removes what tools left that were ended in a transaction. The next one would take it up as its own and bring it into place, a commit
   * as well whose folders were there when it was made, and have been pruned since. While no tool writes.
   */
  async dropStaged(): Promise<void> {
    const folder = join(this.root, "tmp");
    for (const name of await readdir(folder).catch(() => [])) {
      if (!name.startsWith("staging-")) continue;
      await rm(join(folder, name), { recursive: true, force: true });
      faultPoint("ostree.staged.dropped");
    }
  }

  /** Removes what processes left that died while something grew. */
  async sweep(): Promise<void> {
    const folder = join(this.root, GROWING);
    for (const name of await readdir(folder).catch(() => [])) {
      const path = join(folder, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > LEFT_BEHIND_MS) await rm(path, { force: true });
    }
  }
}

let counter = 0;
const GROWING = ".millrace/growing";

const isLoose = (name: string): boolean => /^[0-9a-f]{64}\.(commit|dirtree|dirmeta|filez|commitmeta)$/.test(name);

function configValue(config: string, key: string): string | undefined {
  return new RegExp(`^${key}=(.*)$`, "m").exec(config)?.[1];
}

/** Removes an empty folder. @returns whether it was empty */
const isRemoved = (folder: string): Promise<boolean> =>
  rmdir(folder).then(
    () => true,
    () => false,
  );

/** References that are read before others have their turn. */
const AT_ONCE = 64;

/** What is not there, or something else, is nothing. */
function orNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}

function commitIn(name: string, read: () => string): string | undefined {
  const commit = orNothing(read)?.trimEnd();
  if (commit !== undefined && !isChecksum(commit)) {
    throw new Refusal("malformed", name, "the reference holds no commit");
  }
  return commit;
}
