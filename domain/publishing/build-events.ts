/** What happens to builds, as people read it. */
import * as shape from "@millrace/contracts/publishing/build-events.ts";
import type { EventDeclaration } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";

const REF = "app/org.example.Hello/x86_64/stable";
const COMMIT = "2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c";
const counted = (refs: ReadonlyArray<{ readonly ref: string }>): string =>
  refs.length === 1 ? refs[0]!.ref : `${refs.length} references`;
const SOURCES: Readonly<Record<string, string>> = {
  rollback: "back to",
  promotion: "promotes",
  unpublish: "takes away",
};
const WORDS = {
  build: "build",
  fetch: "fetch",
  commit: "commit",
  publish: "publish",
  deltas: "make static deltas of",
} as const;

/** Of a comment: nothing where there is none. */
const because = (comment: string | undefined): string => (comment === undefined ? "" : `: ${excerpt(comment)}`);
const CHANGE = {
  ref: REF,
  application: "org.example.Hello",
  set: COMMIT,
  added: ["filesystems=home"],
  removed: [],
} as const;

export const buildEventDeclarations: Readonly<Record<string, EventDeclaration>> = {
  BuildCreated: first(
    shape.BuildCreated,
    {
      number: 7,
      repository: "rep_01kajzq4v0e8r9t2m5x7c3d6fg",
      appId: "org.example.Hello",
      source: { type: "upload" },
      publicDownload: false,
      priority: 0,
    },
    ({ number, appId, source, refs }) => {
      if (source.type === "mirror") return `takes ${counted(refs ?? [])} from ${source.url}, by build ${number}`;
      if (refs !== undefined) return `asked for build ${number}: ${SOURCES[source.type]} ${counted(refs)}`;
      return `began build ${number}${appId === undefined ? "" : ` of ${appId}`}`;
    },
  ),
  BuildChanged: first(shape.BuildChanged, { priority: 10 }, (changed) =>
    changed.priority === undefined ? "changed what is said of it" : `gave it the priority ${changed.priority}`,
  ),
  BuildRefsDeclared: first(
    shape.BuildRefsDeclared,
    { refs: [{ ref: REF, commit: COMMIT }] },
    ({ refs }) => `named ${counted(refs)}`,
  ),
  BuildIdsAdded: first(shape.BuildIdsAdded, { ids: ["org.example.Hello.Extra"] }, ({ ids }) =>
    ids.length === 1 ? `named the id ${ids[0]}` : `named ${ids.length} further ids`,
  ),
  BuildCommitRequested: first(shape.BuildCommitRequested, {}, () => "asked for it to be committed"),
  BuildStepBegun: first(
    shape.BuildStepBegun,
    { step: "commit", attempt: 1, worker: "attic:1:a", node: "local" },
    ({ step, attempt }) => `began to ${WORDS[step]} it${attempt > 1 ? `, attempt ${attempt}` : ""}`,
  ),
  BuildBuilt: first(
    shape.BuildBuilt,
    {
      refs: [{ ref: REF, commit: COMMIT }],
      source: "8f4b1c1f5f0c5ac0a3c7e5c8a1d2b3e4f5a6b7c8",
      appId: "org.example.Hello",
      findings: [],
      permissions: ["shared=network"],
      used: [{ ref: "runtime/org.example.Sdk/x86_64/1", commit: COMMIT }],
      ms: 41_000,
      memoryBytes: 120_000_000,
      diskBytes: 48_000_000,
    },
    ({ refs, source }) => `built ${counted(refs)} from ${source.slice(0, 12)}`,
  ),
  BuildFetched: first(shape.BuildFetched, { objects: 43, bytes: 4_096 }, ({ objects }) =>
    objects === 1 ? "fetched one object" : `fetched ${objects} objects`,
  ),
  BuildIncomplete: first(
    shape.BuildIncomplete,
    { count: 1, missing: [`${COMMIT}.commit`] },
    ({ count }) => `found ${count === 1 ? "one object" : `${count} objects`} missing`,
  ),
  BuildCommitted: first(
    shape.BuildCommitted,
    { refs: [{ ref: REF, commit: COMMIT }] },
    ({ refs }) => `committed ${counted(refs)}`,
  ),
  BuildPublishRequested: first(shape.BuildPublishRequested, {}, () => "asked for it to be published"),
  BuildReviewAsked: first(shape.BuildReviewAsked, { why: "permissions", changes: [CHANGE] }, ({ why, changes }) =>
    why === "always"
      ? "asks somebody to decide about it"
      : `asks somebody to decide: the permissions of ${counted(changes)} change`,
  ),
  BuildApproved: first(
    shape.BuildApproved,
    { comment: "It opens documents now", sets: [COMMIT] },
    ({ comment }) => `approved of it${because(comment)}`,
  ),
  BuildRejected: first(
    shape.BuildRejected,
    { comment: "Why all files?", sets: [COMMIT] },
    ({ comment }) => `rejected it${because(comment)}`,
  ),
  BuildReviewRecalled: first(
    shape.BuildReviewRecalled,
    { approved: true, build: "bld_01kajzq4v0e8r9t2m5x7c3d6fg", changes: [CHANGE] },
    ({ approved, build }) =>
      `${approved ? "goes on" : "ends"}: the same was ${approved ? "approved" : "rejected"} with ${build}`,
  ),
  BuildRefsPublished: first(
    shape.BuildRefsPublished,
    { refs: [{ ref: REF, commit: COMMIT }] },
    ({ refs }) => `put ${counted(refs)} into the repository`,
  ),
  BuildRefsRemoved: first(shape.BuildRefsRemoved, { refs: [REF] }, ({ refs }) =>
    refs.length === 1
      ? `took ${refs[0]} out of the repository`
      : `took ${refs.length} references out of the repository`,
  ),
  BuildHoldReleased: first(shape.BuildHoldReleased, {}, () => "lets others publish to its references again"),
  BuildPublished: first(shape.BuildPublished, {}, () => "published it"),
  BuildDeltasMade: first(
    shape.BuildDeltasMade,
    { made: 2 },
    ({ made, failed }) =>
      `made ${made === 1 ? "one static delta" : `${made} static deltas`}${failed === undefined ? "" : `: ${excerpt(failed)}`}`,
  ),
  BuildFailed: first(
    shape.BuildFailed,
    { step: "commit", code: "TOOLS_MISSING", reason: "flatpak is not installed.", fix: "Run mill setup." },
    ({ step, code, reason }) => `could not ${step} it (${code}): ${excerpt(reason)}`,
  ),
  BuildRetried: first(shape.BuildRetried, {}, () => "asked for another try"),
  BuildCancelled: first(shape.BuildCancelled, {}, () => "cancelled it"),
  BuildPurgeRequested: first(shape.BuildPurgeRequested, { why: "asked" }, ({ why }) =>
    why === "asked" ? "asked for its files to go" : "lets its files go: they were kept long enough",
  ),
  BuildReleased: first(shape.BuildReleased, {}, () => "removed what it kept on the disk"),
  BuildPurged: first(shape.BuildPurged, {}, () => "purged it"),
};
