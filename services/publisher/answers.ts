/** What is asked of the publisher on whose disk a repository lies. */
import { join } from "node:path";
import {
  buildRetention,
  CONTENTS_MOST,
  commitApplications,
  objectAllowed,
  prunePreview,
  RETENTION_MOST,
  repositoryContents,
  repositoryStatistics,
} from "@millrace/contracts/publishing/asks.ts";
import { repository as kind } from "@millrace/domain/publishing/repository.ts";
import { answerAsk } from "@millrace/eventlog/asks.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { boundRefs, type Commit, parseCommit, subsetsOf } from "./adapters/ostree/objects.ts";
import { Repository } from "./adapters/ostree/repository.ts";
import { expiring, type Keeping } from "./leftovers.ts";
import { type PublisherNode, repositoryFolder, repositoryPlace } from "./places.ts";
import { LimitedObjects } from "./repositories/limited.ts";
import { publicBy } from "./repositories/links.ts";
import { previewPrune } from "./repositories/pruning.ts";
import { snapshotsOf } from "./repositories/snapshots.ts";
import { type Pull, readBook } from "./repositories/statistics.ts";

/** A commit that is there; undefined where it is not. @throws Refusal for what is none */
function commitIn(repository: Repository, commit: string): Commit | undefined {
  const bytes = repository.read(`${commit}.commit`);
  return bytes === undefined ? undefined : parseCommit(bytes, `${commit}.commit`);
}

export const bookOf = (node: Pick<PublisherNode, "folder">): string => join(node.folder, "..", "statistics.jsonl");

/** Of which repository a pull was: only what that has, for that reference, is counted. */
export const pulledFrom =
  (node: PublisherNode) =>
  async ({ repository: told, reference, commit, ref }: Pull): Promise<string | undefined> => {
    const candidates = told === undefined ? await publicBy(node.served, reference) : [told];
    return candidates.find((id) => {
      try {
        const found = commitIn(new Repository(repositoryFolder(node, id)), commit);
        const bound = found === undefined ? undefined : boundRefs(found);
        return bound?.length === 0 || bound?.includes(ref);
      } catch {
        // No id of a repository, or a commit that no longer is one.
        return false;
      }
    });
  };

const STATISTICS_MOST = 4_000;
const EXAMPLES = 20;

/** @returns stops it */
export function answerAsks(node: PublisherNode, log: EventLog, logger: Logger, keeping: Keeping): () => void {
  const onError = (error: unknown) =>
    logger.warn({ err: error }, "a question about a repository could not be answered");
  const { nats } = log;
  const limited = new LimitedObjects();
  const opened = (id: string) => Repository.open(repositoryFolder(node, id));
  const stops = [
    answerAsk(
      nats,
      repositoryContents,
      node.name,
      async ({ repository: id }) => {
        const repository = await opened(id);
        const all = [...(await repository.refs())].filter(([ref]) => /^(app|runtime)\//.test(ref));
        const refs = all.slice(0, CONTENTS_MOST).map(([ref, commit]) => {
          const found = commitIn(repository, commit);
          const { timestamp = 0, subject = "" } = found ?? {};
          const subsets = found === undefined ? [] : subsetsOf(found);
          return {
            ref,
            commit,
            at: new Date(timestamp * 1_000).toISOString(),
            ...(subject === "" ? {} : { subject: subject.slice(0, 200) }),
            ...(subsets.length === 0 ? {} : { subsets }),
          };
        });
        const { state } = await log.aggregates.load(kind, id);
        const snapshots = (await snapshotsOf(repositoryPlace(node, id))).slice(0, 1_000).map(({ name, at }) => ({
          snapshot: name,
          at: new Date(at).toISOString(),
          ...(state.url === null ? {} : { url: `${state.url.slice(0, -1)}@${name}/` }),
        }));
        return { refs, snapshots, ...(all.length > refs.length ? { more: true } : {}) };
      },
      onError,
    ),
    answerAsk(
      nats,
      prunePreview,
      node.name,
      async ({ repository: id }, signal) => {
        const { state } = await log.aggregates.load(kind, id);
        const { objects, unreachable, unreachableBytes, young, snapshots } = await previewPrune(node, state, signal);
        const examples = unreachable.slice(0, EXAMPLES);
        return { objects, unreachable: unreachable.length, unreachableBytes, young, examples, snapshots };
      },
      onError,
    ),
    answerAsk(
      nats,
      repositoryStatistics,
      node.name,
      async ({ repository: id, from, to, ref }) => {
        await node.counted();
        const upTo = new Date().toISOString();
        const { rows } = await readBook(bookOf(node));
        const days = [...rows.values()]
          .filter((row) => row.repository === id && row.day >= from && row.day <= to && (ref ?? row.ref) === row.ref)
          .map(({ repository: _, ...row }) => row)
          .sort((a, b) => (a.day + a.ref < b.day + b.ref ? -1 : 1));
        const shown = days.slice(0, STATISTICS_MOST);
        return { days: shown, upTo, ...(days.length > shown.length ? { more: true } : {}) };
      },
      onError,
    ),
    answerAsk(
      nats,
      commitApplications,
      node.name,
      async ({ repository: id, commit }) => {
        const found = commitIn(await opened(id), commit);
        if (found === undefined) return { applications: null };
        return { applications: [...new Set(boundRefs(found).flatMap((ref) => ref.split("/")[1] ?? []))].slice(0, 100) };
      },
      onError,
    ),
    answerAsk(
      nats,
      buildRetention,
      node.name,
      async ({ organisation }) => {
        const all = await expiring(keeping, organisation, RETENTION_MOST + 1);
        const shown = all
          .slice(0, RETENTION_MOST)
          .map(({ at, ...each }) => ({ ...each, at: new Date(at).toISOString() }));
        return { keepMs: keeping.keepMs, builds: shown, ...(all.length > shown.length ? { more: true } : {}) };
      },
      onError,
    ),
    answerAsk(
      nats,
      objectAllowed,
      node.name,
      async ({ repository: id, object, limits }) => {
        return { allowed: await limited.allows(repositoryPlace(node, id), repositoryFolder(node, id), object, limits) };
      },
      onError,
    ),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
