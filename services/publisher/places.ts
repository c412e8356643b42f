/** The node of a publisher: its folder, its tools, and the repositories on its disk. */
import { join } from "node:path";
import type { RepositoryKey, RepositoryState } from "@millrace/domain/publishing/repository.ts";
import type { Sealing } from "@millrace/eventlog/sealing.ts";
import type { ServedPlaces } from "@millrace/eventlog/served.ts";
import { SharedSigners } from "./adapters/ostree/keys.ts";
import { Leases } from "./adapters/ostree/leases.ts";
import { Repository } from "./adapters/ostree/repository.ts";
import type { Signer, Tools } from "./adapters/ostree/tools.ts";
import { Gate } from "./lanes.ts";

export interface PublisherNode {
  readonly name: string;
  /** Where its repositories lie. */
  readonly folder: string;
  readonly tools: Tools;
  /** Undefined: without a master key nothing can be sealed. */
  readonly sealing: Sealing | undefined;
  /** Where Caddy finds what is served. */
  readonly served: ServedPlaces;
  /** `https://flatpak.example.org`: below it clients reach `/repo/<name>/`. Undefined: nothing serves here. */
  readonly publicUrl: string | undefined;
  readonly repositories: OpenRepositories;
  /** What is younger is not pruned, milliseconds: it may belong to a commit that is just being made. */
  readonly youngMs: number;
  /** A repository as it is in the log now. */
  readonly stateOf: (id: string) => Promise<RepositoryState>;
  /** Counts pulls up to now, where this process is the node's one that counts. */
  readonly counted: () => Promise<void>;
}

/** Below it every repository has its name or id. */
export const repositoriesUrl = (publicUrl: string): string => `${publicUrl.replace(/\/+$/, "")}/repo/`;

/** Where builds from manifests are made. @param folder of the publisher on its node */
export const builderFolder = (folder: string): string => join(folder, "builder");

export class NoMasterKey extends Error {}

/** Where all of a repository lies: `repo`, `web`, `snapshots`. @throws RangeError for what is no id of one */
export function repositoryPlace({ folder }: Pick<PublisherNode, "folder">, id: string): string {
  if (!/^rep_[0-9a-hjkmnp-tv-z]{26}$/.test(id)) throw new RangeError(`"${id.slice(0, 60)}" is no id of a repository`);
  return join(folder, id);
}

/** Where the OSTree repository of one lies. @throws RangeError for what is no id of one */
export const repositoryFolder = (node: Pick<PublisherNode, "folder">, id: string): string =>
  join(repositoryPlace(node, id), "repo");

/** The leases of this process's repositories, each opened once, and turns for what must not be done twice at once. */
export class OpenRepositories {
  readonly #leases = new Map<string, Promise<Leases>>();
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #gates = new Map<string, Gate>();
  readonly #kept = new Map<string, Set<ReadonlyArray<string>>>();
  readonly signers = new SharedSigners();
  /** Whose deltas were looked after since they were last configured. */
  readonly remade = new Set<string>();

  /** One object for each repository of the process: what is held by one is seen by all. @throws Refusal */
  leases(node: Pick<PublisherNode, "folder">, id: string): Promise<Leases> {
    const known = this.#leases.get(id);
    if (known !== undefined) return known;
    const opened = Repository.open(repositoryFolder(node, id)).then((repository) => Leases.open(repository));
    this.#leases.set(id, opened);
    opened.catch(() => this.#leases.delete(id));
    return opened;
  }

  forget(id: string): void {
    this.#leases.delete(id);
  }

  #gate(id: string): Gate {
    const known = this.#gates.get(id);
    const gate = known ?? new Gate();
    if (known === undefined) this.#gates.set(id, gate);
    return gate;
  }

  /**
   * Commits are made in these repositories, or read from them: until references lead to what is new, and all of it was seen to be there,
   * nothing is pruned. Never within itself.
   */
  writing<T>(ids: ReadonlyArray<string>, act: () => Promise<T>): Promise<T> {
    // In one order, so that no two wait for each other.
    const [first, ...rest] = [...new Set(ids)].sort();
    return first === undefined ? act() : this.#gate(first).together(() => this.writing(rest, act));
  }

  /** What nothing leads to goes: while nobody writes. */
  clearing<T>(id: string, act: () => Promise<T>): Promise<T> {
    return this.#gate(id).alone(act);
  }

  /** Commits that somebody reads for long, such as deltas are made from: they are not pruned meanwhile. @returns lets go */
  keep(id: string, commits: ReadonlyArray<string>): () => void {
    const all = this.#kept.get(id) ?? new Set();
    this.#kept.set(id, all.add(commits));
    return () => {
      all.delete(commits);
      if (all.size === 0 && this.#kept.get(id) === all) this.#kept.delete(id);
    };
  }

  kept(id: string): ReadonlyArray<string> {
    return [...(this.#kept.get(id) ?? [])].flat();
  }

  /** One after the other for a name: summaries of a repository are written by one at a time. */
  inTurn<T>(name: string, act: () => Promise<T>): Promise<T> {
    const next = (this.#turns.get(name) ?? Promise.resolve()).then(act, act);
    const kept = next.catch(() => {}).then(() => void (this.#turns.get(name) === kept && this.#turns.delete(name)));
    this.#turns.set(name, kept);
    return next;
  }
}

/** Signs with all keys of a repository that are valid, while `use` takes. @throws NoMasterKey */
export async function withKeysOf<T>(
  { sealing, tools, repositories }: Pick<PublisherNode, "sealing" | "tools" | "repositories">,
  { organisation, keys }: { readonly organisation: string; readonly keys: ReadonlyArray<RepositoryKey> },
  use: (signer: Signer) => Promise<T>,
): Promise<T> {
  if (sealing === undefined) throw new NoMasterKey();
  const unsealed = () =>
    Promise.all(
      keys.map(async ({ fingerprint, sealed }) => ({
        fingerprint,
        secretKey: Buffer.from(await sealing.unseal(sealed, { organisation, purpose: "signing what is published" })),
      })),
    );
  const name = [organisation, ...keys.map(({ fingerprint }) => fingerprint)].join(" ");
  return repositories.signers.use(tools, name, unsealed, use);
}
