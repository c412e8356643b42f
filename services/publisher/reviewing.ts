/**
 * Whether somebody has to decide before a build is published, by the policy of its repository: looked at when its turn has come, against
 * what is published then. What was decided about the same permissions of the same application counts again.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { REVIEW_LIMITS } from "@millrace/contracts/publishing/reviews.ts";
import {
  type BuildCommand,
  type BuildState,
  build,
  isCleared,
  type PermissionChangeOf,
  reviewClaim,
} from "@millrace/domain/publishing/build.ts";
import { parseKeyFile, permissionsOf } from "@millrace/domain/publishing/metadata.ts";
import type { RepositoryState } from "@millrace/domain/publishing/repository.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { holdersOf } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Work } from "@millrace/eventlog/worker.ts";
import { metadataTextOf } from "./adapters/ostree/diff.ts";
import { Repository } from "./adapters/ostree/repository.ts";
import { repositoryFolder } from "./places.ts";
import type { Store } from "./store.ts";

interface Parts {
  readonly log: EventLog;
  readonly store: Store;
}

/** @returns whether it may be published now; where not, it is in the log why */
export async function mayPublish(
  { log, store }: Parts,
  work: Work<BuildState, BuildCommand>,
  { settings: { review: policy = "none" } }: RepositoryState,
): Promise<boolean> {
  const { state } = work.loaded;
  // Going back to what was published, or taking it away, must not wait for anybody.
  const isOld = state.source.type === "rollback" || state.source.type === "unpublish";
  if (policy === "none" || isOld || isCleared(state)) return true;
  const all = await changesOf(store, state);
  if (policy === "permissions" && all.length === 0) return true;
  const changes = all.slice(0, REVIEW_LIMITS.changes);
  const told = { changes, ...(all.length > changes.length ? { more: all.length - changes.length } : {}) };
  const known = policy === "always" ? undefined : await recall(log, state, all);
  faultPoint("build.review.before");
  if (known === undefined) await work.record({ do: "askReview", why: policy, ...told });
  else await work.record({ do: "recallReview", ...known, ...told });
  faultPoint("build.review.recorded");
  return known?.approved === true;
}

/** Applications that may do other things than what is published now. @throws Refusal where objects are missing */
async function changesOf(store: Store, state: BuildState): Promise<PermissionChangeOf[]> {
  const { repository: main } = await store.main(state.repository);
  const { source } = state;
  const own =
    source.type === "promotion"
      ? await Repository.open(repositoryFolder(store.node, source.from))
      : new Repository(join((await store.place(state.repository, state.id)).folder, "repo"), { parents: [main.root] });
  const changes: PermissionChangeOf[] = [];
  for (const { ref, committed } of state.refs) {
    if (!ref.startsWith("app/")) continue;
    const published = await main.ref(ref);
    const had = published === undefined ? [] : permissionsIn(main, published);
    const has = permissionsIn(own, committed!);
    const added = has.filter((each) => !had.includes(each));
    const removed = had.filter((each) => !has.includes(each));
    if (added.length + removed.length === 0) continue;
    const application = ref.split("/")[1]!;
    changes.push({ ref, application, set: setOf(application, has), added: shown(added), removed: shown(removed) });
  }
  return changes;
}

const permissionsIn = (repository: Repository, commit: string): string[] =>
  permissionsOf(parseKeyFile(metadataTextOf(repository, commit)));

const setOf = (application: string, permissions: ReadonlyArray<string>): string =>
  createHash("sha256")
    .update(JSON.stringify([application, permissions]))
    .digest("hex");

const shown = (permissions: ReadonlyArray<string>): string[] =>
  permissions.slice(0, REVIEW_LIMITS.permissions).map((each) => each.slice(0, REVIEW_LIMITS.characters));

/** What was decided before about all of it: one rejection is enough. Undefined: nobody has decided about some of it. */
async function recall(
  log: EventLog,
  { repository, id }: BuildState,
  changes: ReadonlyArray<PermissionChangeOf>,
): Promise<{ readonly approved: boolean; readonly build: string } | undefined> {
  const sets = [...new Set(changes.map(({ set }) => set))];
  const holders = await holdersOf(
    log,
    build.context,
    sets.map((set) => reviewClaim(repository, set)),
  );
  const builds = [...new Set(holders)];
  let approved: string | undefined;
  let isWhole = true;
  for (const holder of builds) {
    const { state } =
      holder === null || holder === id ? { state: undefined } : await log.aggregates.load(build, holder);
    const decision = state?.review?.decision;
    if (decision?.approved === false) return { approved: false, build: holder! };
    if (decision?.approved === true) approved = holder!;
    else isWhole = false;
  }
  return isWhole && approved !== undefined ? { approved: true, build: approved } : undefined;
}
