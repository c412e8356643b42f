/**
 * Lets clients see a repository as it is asked to be: its links, its settings, every reference, signed by all keys that are valid, its page
 * and files. Found again after a crash: each part is compared with what is there. One at a time for a repository.
 */
import { join } from "node:path";
import { RETENTION_USUAL } from "@millrace/contracts/publishing/repository-parts.ts";
import type { RepositoryState } from "@millrace/domain/publishing/repository.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { announce } from "../adapters/ostree/builds.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { writeSettings } from "../adapters/ostree/settings.ts";
import type { Signer } from "../adapters/ostree/tools.ts";
import { type PublisherNode, repositoriesUrl, repositoryPlace, withKeysOf } from "../places.ts";
import { linkRepository } from "./links.ts";
import { signAll } from "./signing.ts";
import { dropSnapshot, keepSnapshot, snapshotsOf, surplusOf } from "./snapshots.ts";
import { keysOf, writeWeb } from "./web.ts";

export interface PresentOptions {
  readonly signal?: AbortSignal | undefined;
  /** Every reference's commit is signed by every key that is valid: after one came. */
  readonly signsAll?: boolean;
}

/**
 * As it is asked to be at the moment when its turn comes: what was read before may have become private meanwhile.
 * @returns where clients reach it; undefined where nothing serves
 * @throws NoMasterKey, ToolFailed, Refusal (it was deleted)
 */
export function presentRepository(
  node: PublisherNode,
  { id }: Pick<RepositoryState, "id">,
  options: PresentOptions = {},
): Promise<string | undefined> {
  return node.repositories.inTurn(id, async () => {
    const state = await node.stateOf(id);
    if (state.state !== "ready") throw new Refusal("not-found", id, "the repository is not there, or no longer");
    return node.repositories.writing([id], () =>
      withKeysOf(node, state, (signer) => present(node, state, signer, options)),
    );
  });
}

async function present(
  node: PublisherNode,
  state: RepositoryState,
  signer: Signer,
  { signal, signsAll = false }: PresentOptions,
): Promise<string | undefined> {
  const { id, name, settings } = state;
  const place = repositoryPlace(node, id);
  const repository = await Repository.open(join(place, "repo"));
  await repository.ensureFolders();
  const publicKeys = state.keys.map(({ publicKey }) => publicKey);
  const isPrivate = settings.visibility === "private";
  const link = await linkRepository(node.served, place, { id, name, isPrivate });
  const url = node.publicUrl === undefined ? undefined : `${repositoriesUrl(node.publicUrl)}${link}/`;
  await writeSettings(repository, { ...settings, keys: keysOf({ publicKeys }) });
  if (signsAll) await signAll(node.tools, repository, signer, signal);
  await announce(node.tools, repository, { signer }, signal);
  faultPoint("repository.announced");
  await writeWeb(node.tools, repository, join(place, "web"), {
    name,
    settings,
    publicKeys,
    url: url ?? `/repo/${link}/`,
  });
  await keepSnapshot(place, new Date());
  const { snapshots: most } = settings.retention ?? RETENTION_USUAL;
  for (const surplus of surplusOf(await snapshotsOf(place), most)) await dropSnapshot(place, surplus);
  return url;
}
