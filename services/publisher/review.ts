/** What a build changes for those who have what is published now. */

import { join } from "node:path";
import type { BuildState } from "@millrace/domain/publishing/build.ts";
import { type CommitDiff, diffCommits } from "./adapters/ostree/diff.ts";
import { Repository } from "./adapters/ostree/repository.ts";
import type { Store } from "./store.ts";

export interface Reviewed extends Omit<CommitDiff, "refs"> {
  readonly ref: string;
}

/** References that are compared in one answer. */
const REFS = 20;
const FILES = 200;

/** Each reference against what is published, the first ones. @throws Refusal where an object is missing */
export async function reviewOf(store: Store, state: BuildState, signal: AbortSignal): Promise<{ refs: Reviewed[] }> {
  const { repository: main } = await store.main(state.repository);
  const { folder } = await store.place(state.repository, state.id);
  const refs: Reviewed[] = [];
  const apps = state.refs.filter(({ ref }) => /^(app|runtime)\//.test(ref));
  for (const { ref, commit, committed } of apps.slice(0, REFS)) {
    const at = committed === null ? "upload" : "repo";
    const own = new Repository(join(folder, at), { parents: [join(folder, "upload"), main.root] });
    const { refs: _, files, ...diff } = await diffCommits(own, await main.ref(ref), committed ?? commit, signal);
    refs.push({ ref, ...diff, files: files.slice(0, FILES) });
  }
  return { refs };
}
