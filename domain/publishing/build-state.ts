/** What a build is: its state, how events change it, what is to be done next, and how it is shown. */
import type * as shape from "@millrace/contracts/publishing/build-events.ts";
import { BUILD_LIMITS as LIMITS } from "@millrace/contracts/publishing/build-parts.ts";
import type { BuiltFacts } from "@millrace/contracts/publishing/manifest-source.ts";
import type { Actor, DomainEvent, EventMeta } from "../decider.ts";
import { evolveReview, type ReviewCommand, type ReviewState, representReview } from "./build-review.ts";

export type BuildStateName = (typeof shape.BUILD_STATES)[number];
export type PublishedStateName = (typeof shape.PUBLISHED_STATES)[number];
export type BuildStepName = (typeof shape.BUILD_STEPS)[number];
export type BuildSourceOf = typeof shape.BuildSource.Type;
export type BuildFailure = typeof shape.BuildFailed.Type;
export type RefMadeOf = typeof shape.RefMade.Type;
export type BuiltFactsOf = typeof BuiltFacts.Type;
export type CommitTermsOf = typeof shape.CommitTerms.Type;

export interface BuildRefState {
  readonly ref: string;
  /** As uploaded, or built. */
  readonly commit: string;
  readonly logUrl: string | null;
  /** Rewritten and signed, in the build's own repository. */
  readonly committed: string | null;
  /** In the repository. */
  readonly published: string | null;
}

export interface BuildState {
  readonly id: string;
  readonly organisation: string;
  readonly generation: number;
  readonly number: number;
  readonly repository: string;
  readonly appId: string | null;
  readonly source: BuildSourceOf;
  readonly publicDownload: boolean;
  readonly logUrl: string | null;
  readonly priority: number;
  readonly createdBy: Actor | null;
  /** Null: there has never been one. */
  readonly state: BuildStateName | null;
  readonly published: PublishedStateName;
  readonly refs: ReadonlyArray<BuildRefState>;
  readonly extraIds: ReadonlyArray<string>;
  /** Why nothing else is published to its references; null: others may. */
  readonly hold: string | null;
  /** What somebody is to decide about it before it is published, or decided; null: nobody was asked. */
  readonly review: ReviewState | null;
  readonly terms: CommitTermsOf | null;
  /** When the commit was asked for: the time of its commits. */
  readonly commitAt: string | null;
  readonly publishRequestedAt: string | null;
  /** Time of the commits that are published, as the first attempt chose it. */
  readonly publishAt: string | null;
  /** The repository has, or has no more, what is published: clients are to be told. */
  readonly isBrought: boolean;
  /** Null: no publisher has begun anything. */
  readonly node: string | null;
  /** Of the step that is to be done: 0 while none has begun. */
  readonly attempt: number;
  readonly worker: string;
  /** Since when the step waits, or its attempt is under way. */
  readonly stepSince: string;
  readonly missing: { readonly count: number; readonly names: ReadonlyArray<string> } | null;
  /** Of a manifest: what it was built from, and what is to be known of it. */
  readonly built: BuiltFactsOf | null;
  readonly failure: BuildFailure | null;
  readonly deltas: { readonly made: number; readonly failed?: string } | null;
  /** Files of it may lie on the disk, and objects be pinned for it. */
  readonly isHeld: boolean;
  readonly committedAt: string | null;
  readonly publishedAt: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

interface Attempted {
  readonly attempt: number;
  readonly worker: string;
}
export type BuildCommand =
  | {
      readonly do: "create";
      /** The next that is free, as the edge knows it: `NUMBER_TAKEN` when another was faster. */
      readonly number: number;
      readonly repository: string;
      readonly appId?: string | undefined;
      readonly source: BuildSourceOf;
      readonly publicDownload: boolean;
      readonly logUrl?: string | undefined;
      readonly priority: number;
      /** What of another build it is about: it is published at once. Of a mirror: the commits that it takes. */
      readonly refs?: ReadonlyArray<RefMadeOf> | undefined;
      readonly hold?: string | undefined;
    }
  | {
      readonly do: "change";
      readonly priority?: number | undefined;
      readonly publicDownload?: boolean | undefined;
      readonly logUrl?: string | null | undefined;
      readonly seen?: number;
    }
  | { readonly do: "declareRefs"; readonly refs: ReadonlyArray<typeof shape.DeclaredRef.Type> }
  | { readonly do: "addExtraIds"; readonly ids: ReadonlyArray<string> }
  | ({ readonly do: "commit" } & CommitTermsOf)
  /** `expire`: by a publisher, when it was kept long enough. */
  | { readonly do: "publish" | "cancel" | "purge" | "expire" | "retry" | "releaseHold" }
  /** By a publisher, before it touches anything. `at`: of publishing alone; the first one stays. */
  | (Attempted & {
      readonly do: "begin";
      readonly step: BuildStepName;
      readonly node: string;
      readonly at?: string | undefined;
      /** `at` instead of the time that was decided before: another was published since. */
      readonly anew?: boolean | undefined;
    })
  | (Attempted & { readonly do: "fetched"; readonly objects: number; readonly bytes: number })
  | (Attempted & BuiltFactsOf & { readonly do: "built"; readonly refs: ReadonlyArray<RefMadeOf> })
  | (Attempted & { readonly do: "incomplete"; readonly count: number; readonly missing: ReadonlyArray<string> })
  | (Attempted & { readonly do: "committed" | "refsPublished"; readonly refs: ReadonlyArray<RefMadeOf> })
  | (Attempted & { readonly do: "refsRemoved"; readonly refs: ReadonlyArray<string> })
  | (Attempted & { readonly do: "published" })
  | (Attempted & { readonly do: "deltasMade"; readonly made: number; readonly failed?: string | undefined })
  | (Attempted & {
      readonly do: "fail";
      readonly step: BuildFailure["step"];
      readonly failure: Omit<BuildFailure, "step">;
    })
  | ReviewCommand
  /** Its files have gone; again: nothing. */
  | { readonly do: "released" | "purged" };

export type BuildStep =
  | { readonly kind: BuildStepName; readonly attempt: number }
  | { readonly kind: "giveUp"; readonly step: BuildStepName; readonly attempt: number }
  | { readonly kind: "release" | "purge" | "expire"; readonly attempt: number };

/** Pure: the same for every publisher. Who asks holds the lease, so an attempt that is under way is one that broke off. */
export function nextOfBuild(state: BuildState): { readonly do: BuildStep } | undefined {
  const step = stepOf(state);
  // What clients see needs the build's own files no more.
  if (step === "deltas" && state.isHeld) return { do: { kind: "release", attempt: 1 } };
  if (step !== undefined) {
    const { attempt } = state;
    if (attempt >= LIMITS.attempts) return { do: { kind: "giveUp", step, attempt } };
    return { do: { kind: step, attempt: attempt + 1 } };
  }
  if (state.state === "purging") return { do: { kind: "purge", attempt: 1 } };
  return state.state === "cancelled" && state.isHeld ? { do: { kind: "release", attempt: 1 } } : undefined;
}

/** States in which nothing more is done unless somebody asks. */
const RESTING: ReadonlyArray<string | null> = ["uploading", "ready", "failed", "cancelled"];

/** A build that nobody has asked anything of for so long goes; what was published stays published. */
export function expiryOfBuild(
  state: BuildState,
  nowMs: number,
  keepMs: number,
): { readonly do: { readonly kind: "expire"; readonly attempt: number } } | { readonly waitUntil: number } | undefined {
  if (!RESTING.includes(state.state) || stepOf(state) !== undefined) return undefined;
  const due = Date.parse(state.updatedAt) + keepMs;
  return nowMs >= due ? { do: { kind: "expire", attempt: 1 } } : { waitUntil: due };
}

/** What is to be done for it, or is under way. */
export function stepOf({ state, published, deltas, source }: BuildState): BuildStepName | undefined {
  if (state === "queued" || state === "building" || state === "fetching") {
    return source.type === "mirror" ? "fetch" : "build";
  }
  if (state === "committing") return "commit";
  if (state !== "ready") return undefined;
  if (published === "publishing") return "publish";
  return published === "published" && deltas === null ? "deltas" : undefined;
}

export const initialBuild = (id: string): BuildState => ({
  id,
  organisation: "",
  generation: 0,
  number: 0,
  repository: "",
  appId: null,
  source: { type: "upload" },
  publicDownload: false,
  logUrl: null,
  priority: 0,
  createdBy: null,
  state: null,
  published: "unpublished",
  refs: [],
  extraIds: [],
  hold: null,
  review: null,
  terms: null,
  commitAt: null,
  publishRequestedAt: null,
  publishAt: null,
  isBrought: false,
  node: null,
  attempt: 0,
  worker: "",
  stepSince: "",
  missing: null,
  built: null,
  failure: null,
  deltas: null,
  isHeld: false,
  committedAt: null,
  publishedAt: null,
  createdAt: "",
  updatedAt: "",
});

type Data<T extends keyof typeof shape> = (typeof shape)[T] extends { readonly Type: infer D } ? D : never;

export function evolveBuild(before: BuildState, { type, data }: DomainEvent, meta: EventMeta): BuildState {
  const { time, organisation, actor } = meta;
  const state = { ...before, updatedAt: time };
  /** Another step is to be done now. */
  const stepping = { attempt: 0, worker: "", stepSince: time };
  switch (type) {
    case "BuildCreated": {
      const { refs, ...asked } = data as Data<"BuildCreated">;
      const made = { organisation, generation: 1, createdBy: actor, createdAt: time };
      if (asked.source.type === "mirror") {
        const taken = { refs: declared([], refs ?? []), terms: { publish: true } };
        return { ...state, ...asked, ...made, ...taken, stepSince: time, state: "queued", isHeld: true };
      }
      if (isManifest(asked)) return { ...state, ...asked, ...made, stepSince: time, state: "queued", isHeld: true };
      if (refs === undefined) return { ...state, ...asked, ...made, state: "uploading", isHeld: true };
      // What was published once needs no commit of its own.
      const again = refs.map(({ ref, commit }) => ({ ref, commit, logUrl: null, committed: commit, published: null }));
      return { ...state, ...asked, ...made, state: "ready", refs: again };
    }
    case "BuildChanged":
      return { ...state, ...(data as Data<"BuildChanged">), generation: before.generation + 1 };
    case "BuildRefsDeclared":
      return { ...state, refs: declared(before.refs, (data as Data<"BuildRefsDeclared">).refs) };
    case "BuildIdsAdded":
      return { ...state, extraIds: [...before.extraIds, ...(data as Data<"BuildIdsAdded">).ids] };
    case "BuildCommitRequested": {
      const terms = data as CommitTermsOf;
      return { ...state, ...stepping, terms, commitAt: time, state: "committing", missing: null, failure: null };
    }
    case "BuildStepBegun": {
      const { step, attempt, worker, node, at } = data as Data<"BuildStepBegun">;
      const begun = { attempt, worker, node, stepSince: time, ...(at === undefined ? {} : { publishAt: at }) };
      const as = { build: { state: "building" }, fetch: { state: "fetching" } } as const;
      return { ...state, ...begun, ...(step === "build" || step === "fetch" ? as[step] : {}) };
    }
    case "BuildBuilt": {
      const { refs, ...built } = data as Data<"BuildBuilt">;
      const terms = { terms: {}, commitAt: time, refs: declared([], refs) };
      return { ...state, ...stepping, ...terms, built, state: "committing", failure: null };
    }
    case "BuildFetched":
      return { ...state, ...stepping, commitAt: time, state: "committing", failure: null };
    case "BuildIncomplete": {
      const { count, missing: names } = data as Data<"BuildIncomplete">;
      const back = isMade(before) ? { ...stepping, state: "queued" as const } : { state: "uploading" as const };
      return { ...state, ...back, missing: { count, names } };
    }
    case "BuildCommitted":
      return {
        ...state,
        ...stepping,
        state: "ready",
        committedAt: time,
        refs: made(before.refs, data as Data<"BuildCommitted">, "committed"),
      };
    case "BuildPublishRequested":
      return { ...state, ...stepping, published: "publishing", publishRequestedAt: time, failure: null };
    case "BuildRefsPublished":
      return {
        ...state,
        isBrought: true,
        refs: made(before.refs, data as Data<"BuildRefsPublished">, "published"),
      };
    case "BuildRefsRemoved":
      return { ...state, isBrought: true };
    case "BuildHoldReleased":
      return { ...state, hold: null };
    case "BuildPublished":
      return { ...state, ...stepping, published: "published", publishedAt: time };
    case "BuildDeltasMade":
      return { ...state, deltas: data as Data<"BuildDeltasMade"> };
    case "BuildFailed": {
      const failure = data as BuildFailure;
      return failure.step === "publish"
        ? { ...state, published: "failed", failure }
        : { ...state, state: "failed", failure };
    }
    case "BuildRetried":
      return { ...state, ...stepping, ...retried(before), failure: null };
    case "BuildCancelled":
      return { ...state, state: "cancelled" };
    case "BuildPurgeRequested":
      return { ...state, state: "purging" };
    case "BuildReleased":
      return { ...state, isHeld: false };
    case "BuildPurged":
      return { ...state, state: "purged", isHeld: false };
    default: {
      const reviewed = evolveReview(before, { type, data }, meta);
      return reviewed === undefined ? before : { ...state, ...reviewed };
    }
  }
}

/** It goes on with what failed; what was never committed may be uploaded again. */
const retried = ({ published, commitAt, failure, source }: BuildState): Partial<BuildState> => {
  // Others were published to the same references meanwhile: it comes after them.
  if (published === "failed") {
    return { published: "publishing", ...(failure?.code === "REF_MOVED" ? { publishAt: null } : {}) };
  }
  if (commitAt !== null) return { state: "committing" };
  return { state: isMade({ source }) ? "queued" : "uploading" };
};

/** Nothing is uploaded to it. */
const isMade = ({ source }: Pick<BuildState, "source">): boolean => ["manifest", "mirror"].includes(source.type);

/** Built here: nothing is uploaded to it. */
export const isManifest = ({ source }: Pick<BuildState, "source">): boolean => source.type === "manifest";

function declared(
  before: ReadonlyArray<BuildRefState>,
  refs: Data<"BuildRefsDeclared">["refs"],
): ReadonlyArray<BuildRefState> {
  const all = new Map(before.map((each) => [each.ref, each]));
  for (const { ref, commit, logUrl = null } of refs) {
    all.set(ref, { ref, commit, logUrl, committed: null, published: null });
  }
  return [...all.values()];
}

function made(
  before: ReadonlyArray<BuildRefState>,
  { refs }: { readonly refs: ReadonlyArray<RefMadeOf> },
  as: "committed" | "published",
): ReadonlyArray<BuildRefState> {
  const commits = new Map(refs.map(({ ref, commit }) => [ref, commit]));
  return before.map((each) => ({ ...each, [as]: commits.get(each.ref) ?? each[as] }));
}

const between = (from: string | null, to: string | null): number | undefined =>
  from === null || to === null ? undefined : Math.max(0, Date.parse(to) - Date.parse(from));

/** Milliseconds from what was asked to what came of it. */
export const commitMsOf = (state: BuildState): number | undefined => between(state.commitAt, state.committedAt);
export const publishMsOf = (state: BuildState): number | undefined =>
  between(state.publishRequestedAt, state.publishedAt);

const present = (fields: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));

export function representBuild(state: BuildState): unknown {
  const step = stepOf(state);
  const { attempt, stepSince: since } = state;
  return {
    id: state.id,
    organisation: state.organisation,
    generation: state.generation,
    spec: {
      repository: state.repository,
      source: state.source,
      publicDownload: state.publicDownload,
      priority: state.priority,
      ...present({ appId: state.appId, logUrl: state.logUrl }),
    },
    status: {
      state: state.state,
      published: state.published,
      number: state.number,
      refs: state.refs.map(present),
      extraIds: state.extraIds,
      ...representReview(state),
      ...present({
        hold: state.hold,
        node: state.node,
        step: step === undefined ? null : { name: step, attempt, since },
        missing: state.missing,
        built: state.built,
        failure: state.failure,
        deltas: state.deltas,
        committedAt: state.committedAt,
        publishedAt: state.publishedAt,
        commitMs: commitMsOf(state),
        publishMs: publishMsOf(state),
      }),
    },
    createdBy: state.createdBy,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
}
