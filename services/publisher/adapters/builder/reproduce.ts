/** Whether a manifest gives the same again: two builds of it compared, reference by reference, and what differs named. */

import type { RefCommit } from "../ostree/builds.ts";
import { type CommitDiff, diffCommits } from "../ostree/diff.ts";
import { Repository } from "../ostree/repository.ts";

export interface Compared {
  readonly ref: string;
  readonly first: string | undefined;
  readonly second: string | undefined;
  /** Undefined: they are the same, or one is missing. */
  readonly differs: Pick<CommitDiff, "added" | "removed" | "changed" | "files" | "permissions"> | undefined;
}

export interface Built {
  readonly repository: Repository;
  readonly refs: ReadonlyArray<RefCommit>;
}

/** @returns each reference of either; all are the same when `first` is `second` everywhere */
export async function compareBuilds(first: Built, second: Built): Promise<ReadonlyArray<Compared>> {
  const names = [...new Set([...first.refs, ...second.refs].map(({ ref }) => ref))].sort();
  const of = (built: Built, name: string) => built.refs.find(({ ref }) => ref === name)?.commit;
  const both = new Repository(first.repository.root, { parents: [second.repository.root] });
  const compared: Compared[] = [];
  for (const ref of names) {
    const [one, two] = [of(first, ref), of(second, ref)];
    if (one === two || one === undefined || two === undefined) {
      compared.push({ ref, first: one, second: two, differs: undefined });
      continue;
    }
    const { added, removed, changed, files, permissions } = await diffCommits(both, one, two);
    compared.push({ ref, first: one, second: two, differs: { added, removed, changed, files, permissions } });
  }
  return compared;
}
