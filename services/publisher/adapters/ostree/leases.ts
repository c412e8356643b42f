/**
 * What open builds were told is present stays until they end: `.millrace/leases/<build>` in the repository holds 33 bytes for each
 * object (its type, its checksum), on the disk before the answer goes out. A torn end, from a crash while it was written, counts for
 * nothing: its answer never went out.
 */
import { mkdir, open, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { isObjectName, type ObjectName } from "./names.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";

const RECORD = 33;
/** The numbers of OSTree's own object types. */
const TYPES: Readonly<Record<string, number>> = { filez: 1, dirtree: 2, dirmeta: 3, commit: 4 };
const NAMES = new Map(Object.entries(TYPES).map(([name, number]) => [number, name]));
/** Of one build. */
const MOST = 5_000_000;

export class Leases {
  readonly #folder: string;
  readonly #repository: Repository;
  readonly #builds = new Map<string, Set<ObjectName>>();
  /** How many builds hold an object. */
  readonly #holders = new Map<ObjectName, number>();
  readonly #last = new Map<string, Promise<unknown>>();

  private constructor(repository: Repository) {
    this.#repository = repository;
    this.#folder = join(repository.root, ".millrace", "leases");
  }

  /** Reads what is held. One process at a time keeps the leases of a repository. */
  static async open(repository: Repository): Promise<Leases> {
    const leases = new Leases(repository);
    await mkdir(leases.#folder, { recursive: true });
    for (const build of await readdir(leases.#folder)) {
      if (!isBuild(build)) continue;
      const path = join(leases.#folder, build);
      const bytes = await readFile(path);
      const whole = bytes.length - (bytes.length % RECORD);
      if (whole < bytes.length) await truncate(path, whole);
      for (let at = 0; at < whole; at += RECORD) {
        const type = NAMES.get(bytes[at]!);
        if (type !== undefined) leases.#hold(build, `${bytes.toString("hex", at + 1, at + RECORD)}.${type}`);
      }
    }
    return leases;
  }

  #hold(build: string, name: ObjectName): boolean {
    const held = this.#builds.get(build) ?? new Set();
    this.#builds.set(build, held);
    if (held.has(name)) return false;
    held.add(name);
    this.#holders.set(name, (this.#holders.get(name) ?? 0) + 1);
    return true;
  }

  /** Whether an open build counts on it. */
  holds(name: ObjectName): boolean {
    return this.#holders.has(name);
  }

  /** All that is held. */
  names(): Iterable<ObjectName> {
    return this.#holders.keys();
  }

  builds(): ReadonlyMap<string, ReadonlySet<ObjectName>> {
    return this.#builds;
  }

  /**
   * Which of these objects are missing; all others are held for the build from now on, quarantined ones back in their place. A commit that
   * lies in quarantine is missing: it comes back with all that it leads to, or not at all.
   * @returns those that are missing, in the same order
   * @throws Refusal for names that are none
   */
  pin(build: string, names: ReadonlyArray<ObjectName>): Promise<ObjectName[]> {
    if (!isBuild(build)) throw new Refusal("bad-name", build, "is no build");
    const wrong = names.find((name) => !isObjectName(name));
    if (wrong !== undefined) throw new Refusal("bad-name", wrong, "is no name of an object");
    return this.#inTurn(build, async () => {
      const present = names.filter((name) => this.#isThere(name));
      if ((this.#builds.get(build)?.size ?? 0) + present.length > MOST) {
        throw new Refusal("too-large", build, `a build holds at most ${MOST} objects`);
      }
      // First held, here and on the disk; then looked at again: what goes into quarantine looks at what is held at the last moment.
      const fresh = present.filter((name) => this.#hold(build, name));
      try {
        if (fresh.length > 0) await this.#append(build, fresh);
      } catch (error) {
        // What is not on the disk is not held: the next try writes it.
        this.#letGo(build, fresh);
        throw error;
      }
      faultPoint("ostree.lease.written");
      return names.filter((name) => !this.#isThere(name));
    });
  }

  #isThere(name: ObjectName): boolean {
    if (this.#repository.placed(name) !== undefined) return true;
    return !name.endsWith(".commit") && this.#repository.restore(name);
  }

  async #append(build: string, names: ReadonlyArray<ObjectName>): Promise<void> {
    const records = Buffer.alloc(names.length * RECORD);
    for (const [index, name] of names.entries()) {
      records[index * RECORD] = TYPES[name.slice(65)]!;
      records.write(name.slice(0, 64), index * RECORD + 1, "hex");
    }
    const isFirst = this.#builds.get(build)!.size === names.length;
    const file = await open(join(this.#folder, build), "a", 0o600);
    try {
      await file.writeFile(records);
      faultPoint("ostree.lease.during");
      await file.datasync();
    } finally {
      await file.close();
    }
    if (isFirst) await syncFolder(this.#folder);
  }

  /** The build has ended. Again: nothing. */
  release(build: string): Promise<void> {
    if (!isBuild(build)) throw new Refusal("bad-name", build, "is no build");
    return this.#inTurn(build, async () => {
      await rm(join(this.#folder, build), { force: true });
      faultPoint("ostree.lease.released");
      this.#letGo(build, [...(this.#builds.get(build) ?? [])]);
      this.#builds.delete(build);
    });
  }

  #letGo(build: string, names: ReadonlyArray<ObjectName>): void {
    for (const name of names) {
      this.#builds.get(build)?.delete(name);
      const left = this.#holders.get(name)! - 1;
      if (left === 0) this.#holders.delete(name);
      else this.#holders.set(name, left);
    }
  }

  #inTurn<T>(build: string, act: () => Promise<T>): Promise<T> {
    const next = (this.#last.get(build) ?? Promise.resolve()).then(act, act);
    const kept = next.catch(() => {}).then(() => void (this.#last.get(build) === kept && this.#last.delete(build)));
    this.#last.set(build, kept);
    return next;
  }
}

const isBuild = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(name);

async function truncate(path: string, length: number): Promise<void> {
  const file = await open(path, "r+");
  await file.truncate(length).finally(() => file.close());
}
