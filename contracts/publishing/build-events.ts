/** What happens to builds, as the world sees it. Looser than what may be asked for: what once was said stays readable. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { BuiltFacts, ManifestSource } from "./manifest-source.ts";
import { BuildApproved, BuildRejected, BuildReviewAsked, BuildReviewRecalled } from "./reviews.ts";

export { BuildApproved, BuildRejected, BuildReviewAsked, BuildReviewRecalled } from "./reviews.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

/** `queued`, `building`, `fetching`: of what is built here, or taken from elsewhere. `uploading`: what is built elsewhere may come. */
export const BUILD_STATES = [
  "queued",
  "building",
  "fetching",
  "uploading",
  "committing",
  "validating",
  "ready",
  "failed",
  "purging",
  "purged",
  "cancelled",
] as const;
/** `reviewing`: somebody is to decide; `rejected`: somebody did, and it is not published. */
export const PUBLISHED_STATES = ["unpublished", "reviewing", "publishing", "published", "failed", "rejected"] as const;
/** What a publisher does for a build, one after another. */
export const BUILD_STEPS = ["build", "fetch", "commit", "publish", "deltas"] as const;

/** Where its content comes from. */
export const BuildSource = Schema.Union([
  Schema.Struct({ type: Schema.Literal("upload") }).annotate({
    title: "Upload",
    description: "Built elsewhere; objects are uploaded",
  }),
  ManifestSource,
  Schema.Struct({
    type: Schema.Literal("rollback"),
    build: text("Id of the build whose content is published again, as new commits"),
  }).annotate({ title: "Rollback" }),
  Schema.Struct({
    type: Schema.Literal("promotion"),
    build: text("Id of the build whose commits are published as they are"),
    from: text("Id of the repository where they were published"),
  }).annotate({ title: "Promotion" }),
  Schema.Struct({
    type: Schema.Literal("unpublish"),
    build: text("Id of the build whose references are taken away"),
  }).annotate({ title: "Unpublishing" }),
  Schema.Struct({
    type: Schema.Literal("mirror"),
    url: text("The repository that its commits are fetched from"),
  }).annotate({ title: "Mirror", description: "Taken from another repository, and published as commits of ours" }),
]).annotate({ identifier: "BuildSource", description: "Where its content comes from" });

export const DeclaredRef = Schema.Struct({
  ref: text("Such as `app/org.example.Hello/x86_64/stable`"),
  commit: text("The commit as it was uploaded: 64 hexadecimal digits"),
  logUrl: optionalKey(text("Where its log can be read")),
}).annotate({ identifier: "DeclaredRef" });
export const RefMade = Schema.Struct({
  ref: text("Such as `app/org.example.Hello/x86_64/stable`"),
  commit: text("Its commit: 64 hexadecimal digits"),
}).annotate({ identifier: "RefMade" });
export const CommitTerms = Schema.Struct({
  endOfLife: optionalKey(text("Why it is no longer kept up; clients show it")),
  endOfLifeRebase: optionalKey(text("Id of what takes its place")),
  tokenType: optionalKey(count("What token clients need for it")),
  subsets: optionalKey(
    Schema.Array(Schema.String).annotate({ description: "Subsets of the repository that it belongs to" }),
  ),
  publish: optionalKey(Schema.Boolean.annotate({ description: "It is published as soon as it is ready" })),
}).annotate({ identifier: "CommitTerms" });

export const BuildCreated = Schema.Struct({
  number: count("From 1, unique in the installation, never used twice"),
  repository: text("Id of the repository that it goes into"),
  appId: optionalKey(text("Id of the application")),
  source: BuildSource,
  publicDownload: Schema.Boolean,
  logUrl: optionalKey(text("Where its log can be read")),
  priority: count("Higher ones first"),
  refs: optionalKey(
    Schema.Array(RefMade).annotate({
      description: "What of the other build it is about, as that was published; of a mirror: what it takes",
    }),
  ),
  hold: optionalKey(text("Why nothing else is published to its references, until the hold is released")),
});
export const BuildChanged = Schema.Struct({
  priority: optionalKey(count("Higher ones first")),
  publicDownload: optionalKey(Schema.Boolean),
  logUrl: optionalKey(Schema.NullOr(Schema.String)),
});
export const BuildRefsDeclared = Schema.Struct({ refs: Schema.Array(DeclaredRef) });
export const BuildIdsAdded = Schema.Struct({ ids: Schema.Array(Schema.String) });
export const BuildCommitRequested = CommitTerms;
export const BuildStepBegun = Schema.Struct({
  step: Schema.Literals(BUILD_STEPS),
  attempt: count("From 1; anew with each step and when somebody asks for another try"),
  worker: text("Which process"),
  node: text("The node on whose disk it lies"),
  at: optionalKey(text("Time of the commits that are published: RFC 3339, whole seconds")),
});
export const BuildBuilt = Schema.Struct({ refs: Schema.Array(RefMade), ...BuiltFacts.fields });
export const BuildFetched = Schema.Struct({
  objects: count("Objects that were not there yet"),
  bytes: count("Their bytes"),
});
export const BuildIncomplete = Schema.Struct({
  count: count("How many objects are missing"),
  missing: Schema.Array(Schema.String).annotate({ description: "Names of some of them" }),
});
export const BuildCommitted = Schema.Struct({ refs: Schema.Array(RefMade) });
export const BuildPublishRequested = Schema.Struct({});
export const BuildRefsPublished = Schema.Struct({ refs: Schema.Array(RefMade) });
export const BuildRefsRemoved = Schema.Struct({ refs: Schema.Array(Schema.String) });
export const BuildHoldReleased = Schema.Struct({});
export const BuildPublished = Schema.Struct({});
export const BuildDeltasMade = Schema.Struct({
  made: count("How many static deltas were made"),
  failed: optionalKey(text("Why others could not be made")),
});
export const BuildFailed = Schema.Struct({
  step: Schema.Literals(["build", "fetch", "commit", "validate", "publish"]),
  code: text("Stable, in capitals: `TOOLS_MISSING`"),
  reason: text("What happened"),
  fix: text("What to do about it"),
  artefacts: optionalKey(
    Schema.Array(
      Schema.Struct({
        arch: text("Of which architecture"),
        files: Schema.Int.annotate({ description: "Files that are kept" }),
        bytes: Schema.Int.annotate({ description: "Of the archive" }),
        omitted: Schema.Int.annotate({ description: "Files for which there was no room" }),
      }),
    ).annotate({ description: "What of the build is kept, to be looked at (GET …/artefacts)" }),
  ),
});
export const BuildRetried = Schema.Struct({});
export const BuildCancelled = Schema.Struct({});
export const BuildPurgeRequested = Schema.Struct({
  why: Schema.Literals(["asked", "expired"]).annotate({
    description: "By somebody, or because it was kept long enough",
  }),
});
export const BuildReleased = Schema.Struct({});
export const BuildPurged = Schema.Struct({});

export const buildEvents = {
  BuildCreated: { version: 1, data: BuildCreated, description: "A build was begun." },
  BuildChanged: { version: 1, data: BuildChanged, description: "A build's priority, or what is said of it, changed." },
  BuildRefsDeclared: { version: 1, data: BuildRefsDeclared, description: "References of a build were named." },
  BuildIdsAdded: { version: 1, data: BuildIdsAdded, description: "Further ids belong to a build." },
  BuildCommitRequested: {
    version: 1,
    data: BuildCommitRequested,
    description: "A build's content is to be committed.",
  },
  BuildStepBegun: { version: 1, data: BuildStepBegun, description: "A publisher began a step of a build." },
  BuildBuilt: { version: 1, data: BuildBuilt, description: "A manifest was built; its commits are made from that." },
  BuildFetched: {
    version: 1,
    data: BuildFetched,
    description: "All of what is taken from another repository is here, each object checked against its name.",
  },
  BuildIncomplete: { version: 1, data: BuildIncomplete, description: "Objects are missing: nothing was committed." },
  BuildCommitted: {
    version: 1,
    data: BuildCommitted,
    description: "A build has signed commits, ready to be published.",
  },
  BuildPublishRequested: { version: 1, data: BuildPublishRequested, description: "A build is to be published." },
  BuildReviewAsked: {
    version: 1,
    data: BuildReviewAsked,
    description: "Somebody is to decide whether a build is published.",
  },
  BuildApproved: { version: 1, data: BuildApproved, description: "Somebody decided that a build may be published." },
  BuildRejected: {
    version: 1,
    data: BuildRejected,
    description: "Somebody decided that a build is not to be published.",
  },
  BuildReviewRecalled: {
    version: 1,
    data: BuildReviewRecalled,
    description: "It was decided before about what a build changes.",
  },
  BuildRefsPublished: {
    version: 1,
    data: BuildRefsPublished,
    description: "A build's commits are in the repository; clients see them with its next summary.",
  },
  BuildRefsRemoved: {
    version: 1,
    data: BuildRefsRemoved,
    description: "References are in the repository no more; clients see that with its next summary.",
  },
  BuildHoldReleased: {
    version: 1,
    data: BuildHoldReleased,
    description: "Others may publish to its references again.",
  },
  BuildPublished: { version: 1, data: BuildPublished, description: "Clients see the build." },
  BuildDeltasMade: { version: 1, data: BuildDeltasMade, description: "Static deltas to a build are there." },
  BuildFailed: { version: 1, data: BuildFailed, description: "A build could not go on." },
  BuildRetried: { version: 1, data: BuildRetried, description: "Another try was asked for." },
  BuildCancelled: { version: 1, data: BuildCancelled, description: "A build is not wanted any more." },
  BuildPurgeRequested: { version: 1, data: BuildPurgeRequested, description: "A build's files are to go." },
  BuildReleased: { version: 1, data: BuildReleased, description: "What a build kept on the disk has gone." },
  BuildPurged: { version: 1, data: BuildPurged, description: "A build's files have gone." },
} as const satisfies PublicEvents;
