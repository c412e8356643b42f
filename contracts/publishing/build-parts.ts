/** What builds are made of, as the API takes and shows them. */
import * as Schema from "effect/Schema";
import { ActorShown, entity, Time } from "../http.ts";
import { Id, Reference } from "../ids.ts";
import { BUILD_STATES, BUILD_STEPS, BuildFailed, BuildSource, PUBLISHED_STATES } from "./build-events.ts";
import { AskManifest, BuiltFacts, Subsets } from "./manifest-source.ts";
import { ReviewShown } from "./reviews.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

export const BUILD_LIMITS = {
  /** Of one build. */
  refs: 1_000,
  extraIds: 100,
  url: 2_000,
  text: 500,
  priority: 100,
  /** Begun attempts of a step before it is given up. */
  attempts: 10,
  /** Names in one question for what is missing. */
  wanted: 10_000,
  /** Names of missing objects that are kept and shown. */
  missing: 100,
} as const;

/** At least two parts, none beginning with a digit (flatpak's rule). */
const APP_ID = "[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z_][A-Za-z0-9_-]*)+";
const ARCH = "[A-Za-z0-9_]{1,64}";
const BRANCH = "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}";
export const BUILD_PATTERNS = {
  appId: new RegExp(`^${APP_ID}$`, "u"),
  ref: new RegExp(`^((app|runtime)/${APP_ID}/${ARCH}/${BRANCH}|screenshots/${ARCH})$`, "u"),
  commit: /^[0-9a-f]{64}$/u,
  url: /^https?:\/\/[\x21-\x7e]{1,1900}$/u,
  line: /^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,499}$/u,
} as const;

export const BuildId = Id("bld", "Build id");
export const AppId = Schema.String.check(Schema.isMaxLength(255), Schema.isPattern(BUILD_PATTERNS.appId)).annotate({
  title: "Application id",
  examples: ["org.example.Hello"],
});
export const RefName = Schema.String.check(Schema.isMaxLength(600), Schema.isPattern(BUILD_PATTERNS.ref)).annotate({
  title: "Reference",
  description: "`app/<id>/<arch>/<branch>`, `runtime/<id>/<arch>/<branch>`, or `screenshots/<arch>`",
  examples: ["app/org.example.Hello/x86_64/stable"],
});
const ObjectName = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}[.](commit|dirtree|dirmeta|filez)$/u)).annotate({
  examples: ["2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c.dirtree"],
});
export const CommitName = Schema.String.check(Schema.isPattern(BUILD_PATTERNS.commit)).annotate({
  title: "Commit",
  description: "64 hexadecimal digits",
  examples: ["2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c"],
});
const LogUrl = Schema.String.check(Schema.isPattern(BUILD_PATTERNS.url)).annotate({
  description: "Where its log can be read",
  examples: ["https://ci.example.org/7"],
});
export const Priority = Schema.Int.check(
  Schema.isBetween({ minimum: -BUILD_LIMITS.priority, maximum: BUILD_LIMITS.priority }),
).annotate({ title: "Priority", description: "Higher ones first; 0 unless said", examples: [10] });
const Line = Schema.String.check(Schema.isPattern(BUILD_PATTERNS.line));

export const BuildSpec = Schema.Struct({
  repository: text("Id of the repository"),
  appId: optionalKey(AppId),
  source: BuildSource,
  publicDownload: Schema.Boolean.annotate({
    description: "Whether anybody may install from it before it is published",
  }),
  logUrl: optionalKey(Schema.String),
  priority: Schema.Int,
}).annotate({ identifier: "BuildSpec" });

const RefShown = Schema.Struct({
  ref: text("The reference"),
  commit: text("As it was uploaded, or built"),
  committed: optionalKey(text("Rewritten and signed, in the build")),
  published: optionalKey(text("In the repository")),
  logUrl: optionalKey(Schema.String),
}).annotate({ identifier: "BuildRef" });

export const BuildStatus = Schema.Struct({
  state: Schema.Literals(BUILD_STATES),
  published: Schema.Literals(PUBLISHED_STATES),
  number: Schema.Int.annotate({ description: "From 1, unique in the installation, never used twice" }),
  refs: Schema.Array(RefShown),
  extraIds: Schema.Array(Schema.String),
  hold: optionalKey(text("Why nothing else is published to its references")),
  review: optionalKey(ReviewShown),
  node: optionalKey(text("The node on whose disk it lies")),
  step: optionalKey(
    Schema.Struct({
      name: Schema.Literals(BUILD_STEPS),
      attempt: Schema.Int.annotate({ description: "0: it waits for its turn" }),
      since: Time,
    }).annotate({ identifier: "BuildStep", description: "What is done, or to be done, now" }),
  ),
  missing: optionalKey(
    Schema.Struct({ count: Schema.Int, names: Schema.Array(Schema.String) }).annotate({
      identifier: "MissingObjects",
      description: "Why the last try to commit it was turned down",
    }),
  ),
  built: optionalKey(BuiltFacts),
  failure: optionalKey(Schema.Struct(BuildFailed.fields).annotate({ identifier: "BuildFailure" })),
  deltas: optionalKey(
    Schema.Struct({ made: Schema.Int, failed: optionalKey(Schema.String) }).annotate({ identifier: "BuildDeltas" }),
  ),
  committedAt: optionalKey(Time),
  publishedAt: optionalKey(Time),
  commitMs: optionalKey(Schema.Int.annotate({ description: "From the request to the commits, in milliseconds" })),
  publishMs: optionalKey(Schema.Int.annotate({ description: "From the request until clients see it" })),
}).annotate({ identifier: "BuildStatus" });

export const Build = Schema.Struct({
  ...entity(BuildId, BuildSpec, BuildStatus).fields,
  createdBy: ActorShown,
}).annotate({ identifier: "Build" });

export const CreateBuild = Schema.Struct({
  repository: Reference,
  appId: optionalKey(AppId),
  source: optionalKey(
    Schema.Union([Schema.Struct({ type: Schema.Literal("upload") }).annotate({ title: "Upload" }), AskManifest]),
  ),
  publicDownload: optionalKey(Schema.Boolean),
  logUrl: optionalKey(LogUrl),
  priority: optionalKey(Priority),
}).annotate({
  identifier: "CreateBuild",
  description: "To be uploaded to; `publicDownload` is true where no `appId` is given",
  examples: [{ repository: "stable", appId: "org.example.Hello" }],
});
export const ChangeBuild = Schema.Struct({
  priority: optionalKey(Priority),
  publicDownload: optionalKey(Schema.Boolean),
  logUrl: optionalKey(Schema.NullOr(LogUrl)),
}).annotate({ identifier: "ChangeBuild", description: "What is left out stays; a `logUrl` of `null` is taken off" });
export const DeclareRefs = Schema.Struct({
  refs: Schema.Array(Schema.Struct({ ref: RefName, commit: CommitName, logUrl: optionalKey(LogUrl) })).check(
    Schema.isMinLength(1),
    Schema.isMaxLength(BUILD_LIMITS.refs),
  ),
}).annotate({ identifier: "DeclareRefs", description: "A reference that was named before gets the new commit" });
export const AddExtraIds = Schema.Struct({
  ids: Schema.Array(AppId).check(Schema.isMinLength(1), Schema.isMaxLength(BUILD_LIMITS.extraIds)),
}).annotate({ identifier: "AddExtraIds" });
export const CommitBuild = Schema.Struct({
  endOfLife: optionalKey(Line),
  endOfLifeRebase: optionalKey(AppId),
  tokenType: optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2_147_483_647 }))),
  subsets: optionalKey(Subsets),
}).annotate({ identifier: "CommitBuild" });

export const WantedObjects = Schema.Struct({
  wanted: Schema.Array(ObjectName).check(Schema.isMaxLength(BUILD_LIMITS.wanted)),
}).annotate({
  identifier: "WantedObjects",
  description: "Names of objects, as they lie in a repository in archive mode",
});
export const MissingObjects = Schema.Struct({
  missing: Schema.Array(Schema.String).annotate({ description: "Those that are to be sent, in the order asked" }),
}).annotate({ identifier: "ObjectsMissing" });
export const StoredObjects = Schema.Struct({
  sizes: Schema.Array(Schema.Int).annotate({ description: "Bytes of each part, in their order" }),
}).annotate({ identifier: "StoredObjects" });
const Strings = Schema.Array(Schema.String);
const BeforeAfter = Schema.Struct({ before: optionalKey(Schema.String), after: optionalKey(Schema.String) });
export const BuildReview = Schema.Struct({
  refs: Schema.Array(
    Schema.Struct({
      ref: text("The reference"),
      from: optionalKey(text("The commit that is published now")),
      to: text("The commit of the build"),
      added: Schema.Int,
      removed: Schema.Int,
      changed: Schema.Int,
      growth: Schema.Int.annotate({ description: "Bytes of content, after less before" }),
      files: Schema.Array(
        Schema.Struct({ path: Schema.String, before: optionalKey(Schema.Int), after: optionalKey(Schema.Int) }),
      ).annotate({ description: "The first two hundred that differ; bytes before and after" }),
      permissions: Schema.Struct({ added: Strings, removed: Strings }),
      runtime: BeforeAfter,
      download: Schema.Struct({
        objects: Schema.Int,
        bytes: Schema.Int,
        deltaBytes: optionalKey(Schema.Int),
      }).annotate({ description: "What clients load who have the one published now" }),
    }).annotate({ identifier: "RefReview" }),
  ),
}).annotate({ identifier: "BuildReview", description: "The first twenty references of the build" });

const SomeRefs = Schema.Array(RefName)
  .check(Schema.isMinLength(1), Schema.isMaxLength(BUILD_LIMITS.refs))
  .annotate({ description: "Only these of the build; all unless said" });
const Hold = Line.annotate({
  description: "Nothing else is published to its references until the hold is released, and this is why",
  examples: ["2.1 loses documents"],
});
export const RollBack = Schema.Struct({
  refs: optionalKey(SomeRefs),
  hold: optionalKey(Hold),
  priority: optionalKey(Priority),
}).annotate({ identifier: "RollBack" });
export const Promote = Schema.Struct({
  repository: Reference,
  refs: optionalKey(SomeRefs),
  priority: optionalKey(Priority),
}).annotate({ identifier: "Promote", examples: [{ repository: "stable" }] });
export const Unpublish = Schema.Struct({
  refs: optionalKey(SomeRefs),
  hold: optionalKey(Hold),
  priority: optionalKey(Priority),
}).annotate({ identifier: "Unpublish" });

const Spread = Schema.Struct({
  count: Schema.Int,
  median: Schema.Int,
  most95: Schema.Int.annotate({ description: "What 95 of 100 took at the most" }),
  most: Schema.Int,
}).annotate({ identifier: "Spread", description: "Milliseconds" });
export const BuildStatistics = Schema.Struct({
  builds: Schema.Int,
  published: Schema.Int,
  failed: Schema.Int,
  successRate: optionalKey(Schema.Number.annotate({ description: "Of those that ended: 0 to 1" })),
  commitMs: optionalKey(Spread),
  publishMs: optionalKey(Spread),
  days: Schema.Array(
    Schema.Struct({ day: Schema.String, builds: Schema.Int, published: Schema.Int, failed: Schema.Int }),
  ).annotate({ description: "Days on which builds were begun, UTC" }),
}).annotate({ identifier: "BuildStatistics" });
