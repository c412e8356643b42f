/** What of a repository is no longer needed: by its retention, or the usual one. */
import { RETENTION_USUAL } from "@millrace/contracts/publishing/repository-parts.ts";
import type { RepositoryState } from "@millrace/domain/publishing/repository.ts";
import { type PruneOptions, type PrunePlan, planPrune, prune } from "../adapters/ostree/prune.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { type PublisherNode, repositoryFolder, repositoryPlace } from "../places.ts";
import { dropSnapshot, pinnedBy, type Snapshot, snapshotsOf, surplusOf } from "./snapshots.ts";

const HOUR_MS = 3_600_000;

interface Terms {
  readonly repository: Repository;
  readonly place: string;
  readonly surplus: ReadonlyArray<Snapshot>;
  readonly options: PruneOptions;
}

async function termsOf(node: PublisherNode, state: RepositoryState, signal?: AbortSignal): Promise<Terms> {
  const { depth, snapshots: most, graceHours } = state.settings.retention ?? RETENTION_USUAL;
  const place = repositoryPlace(node, state.id);
  const repository = await Repository.open(repositoryFolder(node, state.id));
  const all = await snapshotsOf(place);
  const surplus = surplusOf(all, most);
  const kept = all.filter((one) => !surplus.includes(one));
  const pins = [...(await pinnedBy(place, kept)), ...node.repositories.kept(state.id)];
  const options = { depth, pins, youngMs: node.youngMs, graceMs: graceHours * HOUR_MS, signal };
  return { repository, place, surplus, options };
}

/** What pruning would do now. Changes nothing. */
export async function previewPrune(
  node: PublisherNode,
  state: RepositoryState,
  signal?: AbortSignal,
): Promise<PrunePlan & { readonly snapshots: ReadonlyArray<string> }> {
  const { repository, surplus, options } = await termsOf(node, state, signal);
  const plan = await planPrune(repository, await node.repositories.leases(node, state.id), options);
  return { ...plan, snapshots: surplus.map(({ name }) => name) };
}

/** While nobody writes into it: what is about to be led to is not taken away. Everybody goes on reading. */
export function pruneRepository(node: PublisherNode, state: RepositoryState, signal?: AbortSignal) {
  return node.repositories.clearing(state.id, async () => {
    const { repository, place, surplus, options } = await termsOf(node, state, signal);
    for (const each of surplus) await dropSnapshot(place, each);
    const pruned = await prune(repository, await node.repositories.leases(node, state.id), options);
    return { ...pruned, snapshots: surplus.length };
  });
}
