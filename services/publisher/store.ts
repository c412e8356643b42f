/**
 * What lies on this node's disk, one process of the node at a time: repositories, builds on their way into them, what open builds were
 * told is there.
 *
 *     <folder>/<rep_…>/repo             the repository
 *     <folder>/<rep_…>/builds/<bld_…>   upload, repo: adapters/ostree/builds.ts
 */
import { join } from "node:path";
import { isId } from "@millrace/contracts/ids.ts";
import { type BuildPlace, endBuild, openUpload } from "./adapters/ostree/builds.ts";
import type { Leases } from "./adapters/ostree/leases.ts";
import { Refusal } from "./adapters/ostree/refusal.ts";
import { Repository } from "./adapters/ostree/repository.ts";
import { type PublisherNode, repositoryFolder, repositoryPlace } from "./places.ts";

export interface Main {
  readonly repository: Repository;
  /** What open builds hold in it. */
  readonly leases: Leases;
}

/** What is to be there once, made when it is first asked for; what failed is made anew. */
function once<T>(all: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const found = all.get(key);
  if (found !== undefined) return found;
  const making = make();
  all.set(key, making);
  making.catch(() => all.delete(key));
  return making;
}

export class Store {
  readonly node: PublisherNode;
  readonly #uploads = new Map<string, Promise<Repository>>();
  /** What comes for a build at this moment: it is ended with the build. */
  readonly #coming = new Map<string, Set<{ readonly abort: AbortController; readonly over: Promise<void> }>>();
  readonly #ended = new Set<string>();

  constructor(node: PublisherNode) {
    this.node = node;
  }

  /** @throws Refusal where there is none */
  async main(id: string): Promise<Main> {
    const repository = await Repository.open(repositoryFolder(this.node, id));
    return { repository, leases: await this.node.repositories.leases(this.node, id) };
  }

  async place(repository: string, build: string): Promise<BuildPlace> {
    const { repository: main } = await this.main(repository);
    if (!isId("bld", build)) throw new RangeError(`"${build.slice(0, 60)}" is no id of a build`);
    return { main, folder: join(repositoryPlace(this.node, repository), "builds", build) };
  }

  /** Where uploads of a build go. */
  upload(repository: string, build: string): Promise<Repository> {
    return once(this.#uploads, build, async () => openUpload(this.node.tools, await this.place(repository, build)));
  }

  /** Something comes for a build, until `use` is over. Undefined: the build has ended. */
  async receive<T>(build: string, use: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    if (this.#ended.has(build)) return undefined;
    const abort = new AbortController();
    const coming = use(abort.signal);
    const entry = { abort, over: coming.then(none, none) };
    const all = this.#coming.get(build) ?? new Set();
    this.#coming.set(build, all.add(entry));
    try {
      return await coming;
    } finally {
      all.delete(entry);
      if (all.size === 0 && this.#coming.get(build) === all) this.#coming.delete(build);
    }
  }

  /** The build has ended, well or not: what still comes is cut off, its files go, what it held is free. Again: nothing. */
  async end(repository: string, build: string): Promise<void> {
    this.#ended.add(build);
    const coming = [...(this.#coming.get(build) ?? [])];
    for (const { abort } of coming) abort.abort(new Error("the build has ended"));
    await Promise.all(coming.map(({ over }) => over));
    this.#uploads.delete(build);
    const main = await this.main(repository).catch((error: unknown) => {
      if (error instanceof Refusal && error.code === "not-found") return undefined;
      throw error;
    });
    // Where the repository never was, nothing of the build can be.
    if (main !== undefined) await endBuild(await this.place(repository, build), build, main.leases);
    this.#ended.delete(build);
  }
}

const none = (): void => {};
