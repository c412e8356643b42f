/**
 * The reactor of builds: uploaded commits become ours, signed; ours go into the repository; clients see them by its summary; static
 * deltas come after, when nothing else waits. Each act looks first whether it was done (adapters/ostree/builds.ts), each intent is in the
 * log before it, and times of commits come from events: another try makes the same.
 */
import { join } from "node:path";
import {
  type BuildCommand,
  type BuildFailure,
  type BuildState,
  type BuildStep,
  type BuildStepName,
  build,
  expiryOfBuild,
  holdClaim,
  isManifest,
  nextOfBuild,
} from "@millrace/domain/publishing/build.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { holdersOf } from "@millrace/eventlog/execute.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { commitBuild, promote, publishBuild, type RefCommit, rollBack } from "../adapters/ostree/builds.ts";
import { parseCommit } from "../adapters/ostree/objects.ts";
import { Refusal } from "../adapters/ostree/refusal.ts";
import { Repository } from "../adapters/ostree/repository.ts";
import { buildUpdateRepo, type Signer } from "../adapters/ostree/tools.ts";
import { failureOf } from "../failure.ts";
import { type Coalesced, inLane, type Lanes } from "../lanes.ts";
import { type Builder, buildFromManifest, needsOf, type Tried } from "../manifests.ts";
import { missingOf } from "../missing.ts";
import { type PublisherNode, repositoryFolder, withKeysOf } from "../places.ts";
import type { Mirrors } from "../repositories/mirror.ts";
import { mayPublish } from "../reviewing.ts";
import type { Store } from "../store.ts";
import { deltasStep } from "./deltas.ts";
import { fetchStep } from "./fetch.ts";
import { tellClients } from "./tell-clients.ts";

export interface BuildNode {
  readonly place: PublisherNode;
  readonly log: EventLog;
  readonly store: Store;
  /** Commits and publications at the same moment. */
  readonly lanes: Lanes;
  /** Static deltas, one after another beside what matters. */
  readonly deltaLanes: Lanes;
  readonly summaries: Coalesced;
  /** Static deltas of a reference: 0: none, 1: from nothing, 2: from the commit before as well … */
  readonly deltaDepth: number;
  readonly builder: Builder;
  readonly mirrors: Mirrors;
  /** Builds that are fetched from other repositories at the same moment. */
  readonly fetchLanes: Lanes;
  /** Most bytes of one. */
  readonly mirrorBytes: number;
  /** How long builds are kept of which nobody asks anything, milliseconds. */
  readonly keepMs: number;
}

export type BuildWork = Work<BuildState, BuildCommand>;

const AGAIN: Verdict = { again: true };
const NOT_READY_MS = 5_000;
/** How often a build looks for those that it needs. */
const NEEDED_MS = 2_000;

export const buildReactor = (node: BuildNode): Reactor<BuildState, BuildCommand, BuildStep> => ({
  kind: build,
  mine: (state) => state.node === null || state.node === node.place.name,
  next: (state, nowMs) => nextOfBuild(state) ?? expiryOfBuild(state, nowMs, node.keepMs),
  interrupts(state, step) {
    // What waits for its turn is told of its new place.
    node.lanes.prioritise(state.id, state.priority);
    node.deltaLanes.prioritise(state.id, state.priority);
    node.builder.lanes.prioritise(state.id, state.priority);
    node.fetchLanes.prioritise(state.id, state.priority);
    return (step.kind === "build" || step.kind === "fetch" || step.kind === "commit") && state.state === "cancelled";
  },
  async perform(step, work) {
    const { state } = work.loaded;
    const { state: into } = await node.log.aggregates.load(repository, state.repository);
    if (into.node !== null && into.node !== node.place.name) return { skip: true };
    if (step.kind === "expire") {
      await work.record({ do: "expire" });
      return AGAIN;
    }
    if (step.kind === "giveUp") return giveUp(step, work);
    if (step.kind === "release" || step.kind === "purge") return end(node, step.kind, work);
    if (into.state !== "ready") return { retryAfterMs: NOT_READY_MS, reason: `its repository is ${into.state}` };
    try {
      switch (step.kind) {
        case "build":
          return await buildStep(node, work, into, step.attempt);
        case "fetch":
          return await fetchStep(node, work, step.attempt);
        case "commit":
          return await commit(node, work, into, step.attempt);
        case "publish":
          return await publish(node, work, into, step.attempt);
        case "deltas":
          return await deltasStep(node, work, into, step.attempt);
      }
    } catch (error) {
      const failure = work.signal.aborted ? undefined : failureOf(error);
      if (failure === undefined) throw error;
      await fail(work, step.kind, step.attempt, work.worker, failure);
      return AGAIN;
    }
  },
});

/** Deltas are no part of a publication: it stays as it is without them. */
async function fail(
  work: BuildWork,
  step: BuildStepName,
  attempt: number,
  worker: string,
  failure: Omit<BuildFailure, "step">,
): Promise<void> {
  if (step === "deltas") await work.record({ do: "deltasMade", attempt, worker, made: 0, failed: failure.reason });
  else await work.record({ do: "fail", step, attempt, worker, failure });
}

async function giveUp(step: Extract<BuildStep, { kind: "giveUp" }>, work: BuildWork): Promise<Verdict> {
  const reason = `It broke off ${step.attempt} times.`;
  const failure = { code: "BROKE_OFF", reason, fix: "Look at the publisher's log, then try again." };
  await fail(work, step.step, step.attempt, work.loaded.state.worker, failure);
  return AGAIN;
}

async function end({ store, builder }: BuildNode, kind: "release" | "purge", work: BuildWork): Promise<Verdict> {
  const { state } = work.loaded;
  faultPoint(`build.${kind}.before`);
  if (isManifest(state)) await builder.remove(state.organisation, state.id);
  if (state.isHeld) await store.end(state.repository, state.id);
  faultPoint(`build.${kind}.after`);
  await work.record({ do: kind === "purge" ? "purged" : "released" });
  faultPoint(`build.${kind}.recorded`);
  return AGAIN;
}

/** A manifest is built; its commits are made from that by the next step. */
async function buildStep(node: BuildNode, work: BuildWork, into: RepositoryState, attempt: number): Promise<Verdict> {
  const { state } = work.loaded;
  if (!isManifest(state)) return { skip: true };
  const waiting = await needsOf(node.log, state);
  if (waiting !== undefined && "reason" in waiting) return { retryAfterMs: NEEDED_MS, reason: waiting.reason };
  return inLane(node.builder.lanes, work, { since: state.stepSince }, async () => {
    const { worker, signal } = work;
    await work.record({ do: "begin", step: "build", attempt, worker, node: node.place.name });
    faultPoint("build.build.begun");
    const upload = () => node.store.upload(state.repository, state.id);
    const outcome: Tried =
      waiting ?? (await buildFromManifest(node.builder, { state, upload, supplies: suppliesOf(node, into), signal }));
    if ("failed" in outcome) {
      if (outcome.failed.class === "cancelled") return AGAIN;
      const { code, message: reason, fix } = outcome.failed;
      const { artefacts } = outcome;
      const kept = artefacts === undefined ? {} : { artefacts };
      await work.record({ do: "fail", step: "build", attempt, worker, failure: { code, reason, fix, ...kept } });
      return AGAIN;
    }
    faultPoint("build.build.made");
    await work.record({ do: "built", attempt, worker, ...outcome });
    faultPoint("build.build.recorded");
    await node.builder.remove(state.organisation, state.id);
    return AGAIN;
  });
}

/** What others of the organisation publish on this node may be built with; the repository's own comes first. */
const suppliesOf = (node: BuildNode, into: RepositoryState) => [
  { name: into.id, root: repositoryFolder(node.place, into.id) },
];

function commit(node: BuildNode, work: BuildWork, into: RepositoryState, attempt: number): Promise<Verdict> {
  const { state } = work.loaded;
  return inLane(node.lanes, work, { since: state.commitAt }, async () => {
    const { worker, signal } = work;
    await work.record({ do: "begin", step: "commit", attempt, worker, node: node.place.name });
    faultPoint("build.commit.begun");
    const { count, missing } = await missingOf(node.store, state, signal);
    if (count > 0) {
      await work.record({ do: "incomplete", attempt, worker, count, missing });
      return AGAIN;
    }
    const place = await node.store.place(state.repository, state.id);
    const refs = state.refs.map(({ ref, commit }) => ({ ref, commit }));
    const made = await withKeysOf(node.place, into, async (signer) => {
      const timestamp = new Date(state.commitAt!);
      const made = await commitBuild(node.place.tools, place, refs, { ...termsOf(state), timestamp, signer, signal });
      // So that it can be installed before it is published.
      await buildUpdateRepo(node.place.tools, join(place.folder, "repo"), { signer }, { signal });
      return made;
    });
    faultPoint("build.commit.made");
    await work.record({ do: "committed", attempt, worker, refs: made.map(plain) });
    faultPoint("build.commit.recorded");
    return AGAIN;
  });
}

const plain = ({ ref, commit }: RefCommit): RefCommit => ({ ref, commit });

/** What takes its place is named together with what it takes the place of. */
function termsOf({ terms, appId, refs, source }: BuildState) {
  const {
    endOfLife,
    endOfLifeRebase,
    tokenType,
    subsets = source.type === "manifest" ? source.subsets : undefined,
  } = terms!;
  const id = appId ?? refs.map(({ ref }) => ref.split("/")).find(([kind]) => kind === "app")?.[1];
  const rebase = endOfLifeRebase === undefined || id === undefined ? undefined : `${id}=${endOfLifeRebase}`;
  return { endOfLife, endOfLifeRebase: rebase, tokenType, subsets };
}

async function publish(node: BuildNode, work: BuildWork, into: RepositoryState, attempt: number): Promise<Verdict> {
  const { state } = work.loaded;
  const { worker } = work;
  const begin = { do: "begin", step: "publish", attempt, worker, node: node.place.name } as const;
  let last: number | undefined = attempt;
  if (state.isBrought) await work.record(begin);
  else {
    const since = state.publishRequestedAt;
    last = await inLane(node.lanes, work, { since, key: state.repository }, async () =>
      (await mayPublish(node, work, into)) ? bringAll(node, work, into, begin) : undefined,
    );
    if (last === undefined) return AGAIN;
  }
  // The next one's references may go in meanwhile: one summary tells of both.
  await tellClients(node, into);
  await work.record({ do: "published", attempt: last, worker });
  faultPoint("build.published.recorded");
  return AGAIN;
}

/** Its references, one build of a repository at a time. @returns the attempt that it was */
async function bringAll(
  node: BuildNode,
  work: BuildWork,
  into: RepositoryState,
  begin: Extract<BuildCommand, { do: "begin" }>,
): Promise<number> {
  const { state } = work.loaded;
  const { signal } = work;
  const { worker } = begin;
  let { attempt } = begin;
  const { repository: main } = await node.store.main(state.repository);
  const refs = state.refs.map(({ ref, committed }) => ({ ref, commit: committed! }));
  const at = state.publishAt ?? (await timeAfter(main, refs)).toISOString();
  await work.record({ ...begin, at });
  faultPoint("build.publish.begun");
  await checkFree(node.log, state);
  const { source } = state;
  if (source.type === "unpublish") {
    const gone = await takeAway(main, refs);
    faultPoint("build.publish.made");
    await work.record({ do: "refsRemoved", attempt, worker, refs: gone });
  } else {
    const touched = [into.id, ...(source.type === "promotion" ? [source.from] : [])];
    const bringAt = (time: string) =>
      node.place.repositories.writing(touched, () =>
        withKeysOf(node.place, into, (signer) =>
          bring(node, state, main, refs, { timestamp: new Date(time), signer, signal }),
        ),
      );
    const made = await bringAt(at).catch(async (error) => {
      // Its time was decided before a death, and another was published to the same reference since: nothing of this one is there yet.
      const isLate = error instanceof Refusal && error.code === "ref-moved" && source.type !== "promotion";
      if (!isLate || state.publishAt === null) throw error;
      const later = (await timeAfter(main, refs)).toISOString();
      attempt++;
      await work.record({ ...begin, attempt, at: later, anew: true });
      faultPoint("build.publish.anew");
      return bringAt(later);
    });
    faultPoint("build.publish.made");
    await work.record({ do: "refsPublished", attempt, worker, refs: made.map(plain) });
  }
  faultPoint("build.publish.recorded");
  return attempt;
}

/** Nothing goes to what another build holds. @throws Refusal */
async function checkFree(log: EventLog, { id, repository: into, refs }: BuildState): Promise<void> {
  const claims = refs.map(({ ref }) => holdClaim(into, ref));
  const at = (await holdersOf(log, build.context, claims)).findIndex((holder) => holder !== null && holder !== id);
  if (at >= 0) throw new Refusal("held", refs[at]!.ref, "another build holds it: nothing else is published to it");
}

type Terms = Parameters<typeof publishBuild>[3] & { readonly signer: Signer };

/** The references of a build, wherever their content comes from. */
async function bring(
  { place: { tools, ...place }, store }: BuildNode,
  { id, source, repository: into }: BuildState,
  main: Repository,
  refs: ReadonlyArray<RefCommit>,
  terms: Terms,
): Promise<ReadonlyArray<RefCommit>> {
  if (source.type === "promotion") {
    const from = await Repository.open(repositoryFolder(place, source.from));
    return promote(tools, { from, to: main }, refs, terms);
  }
  if (source.type !== "rollback") return publishBuild(tools, await store.place(into, id), refs, terms);
  const made: RefCommit[] = [];
  for (const each of refs) made.push(await rollBack(tools, main, each, terms));
  return made;
}

/** What is at another commit by now is another's, and stays. @returns those that have gone */
async function takeAway(main: Repository, refs: ReadonlyArray<RefCommit>): Promise<string[]> {
  for (const { ref, commit } of refs) {
    const is = await main.ref(ref);
    if (is !== undefined && is !== commit) throw new Refusal("ref-moved", ref, "something newer was published to it");
  }
  for (const { ref, commit } of refs) {
    if ((await main.ref(ref)) === commit) await main.removeRef(ref, { expected: commit });
  }
  return refs.map(({ ref }) => ref);
}

/** A time for new commits: now, and later than that of every commit that they follow. Clients refuse what is older. */
async function timeAfter(main: Repository, refs: ReadonlyArray<RefCommit>): Promise<Date> {
  let seconds = Math.floor(Date.now() / 1_000);
  for (const { ref } of refs) {
    const newest = await main.ref(ref);
    const bytes = newest === undefined ? undefined : main.read(`${newest}.commit`);
    if (bytes !== undefined) seconds = Math.max(seconds, parseCommit(bytes, ref).timestamp + 1);
  }
  return new Date(seconds * 1_000);
}
