/** What the references of a build lack, so that it is said before anything is committed. */
import type { BuildState } from "@millrace/domain/publishing/build.ts";
import { walk } from "./adapters/ostree/closure.ts";
import type { Store } from "./store.ts";

export interface Missing {
  readonly count: number;
  /** Names of some of them, sorted. */
  readonly missing: ReadonlyArray<string>;
}

const NAMED = 100;

/**
 * Everything that the commits lead to; what is there is held for the build from now on.
 * @throws Refusal for metadata that is none
 */
export async function missingOf(
  store: Store,
  { id, repository, refs }: Pick<BuildState, "id" | "repository" | "refs">,
  signal: AbortSignal,
): Promise<Missing> {
  const upload = await store.upload(repository, id);
  const { leases } = await store.main(repository);
  const roots = refs.map(({ commit }) => `${commit}.commit`);
  const { objects, missing } = await walk(upload, roots, { signal });
  // What went between looking and holding is missing, too.
  const gone = upload.missing(await leases.pin(id, [...objects]));
  const all = [...new Set([...missing, ...gone])].sort();
  return { count: all.length, missing: all.slice(0, NAMED) };
}
