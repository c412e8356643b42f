/** What only the publisher can tell on whose disk a repository lies. Asked of its node; nothing is changed by it. */
import * as Schema from "effect/Schema";
import { declareAsk } from "../asks.ts";
import { Time } from "../http.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

const OfRepository = Schema.Struct({ repository: Schema.String });

/** References and snapshots that are told at once. */
export const CONTENTS_MOST = 5_000;

export const RepositoryContents = Schema.Struct({
  refs: Schema.Array(
    Schema.Struct({
      ref: text("`app/org.example.App/x86_64/stable`"),
      commit: text("64 hexadecimal digits"),
      at: Time.annotate({ description: "Time of the commit" }),
      subject: optionalKey(text("Its first line")),
      subsets: optionalKey(
        Schema.Array(Schema.String).annotate({ description: "Subsets of the repository that it belongs to" }),
      ),
    }),
  ),
  snapshots: Schema.Array(
    Schema.Struct({
      snapshot: text("What follows the `@` in the address of the remote"),
      at: Time.annotate({ description: "When it was published" }),
      url: optionalKey(text("Of the remote as it was then")),
    }),
  ).annotate({ description: "Newest first" }),
  more: optionalKey(Schema.Boolean.annotate({ description: `More than ${CONTENTS_MOST} references` })),
}).annotate({ identifier: "RepositoryContents" });
export const repositoryContents = declareAsk({
  context: "publishing",
  name: "repository-contents",
  request: OfRepository,
  answer: RepositoryContents,
  timeoutMs: 10_000,
  maxBytes: 900_000,
});

export const PrunePreview = Schema.Struct({
  objects: count("Objects that are there"),
  unreachable: count("What would go into quarantine"),
  unreachableBytes: count("Its bytes"),
  young: count("What nothing leads to, and is too young"),
  examples: Schema.Array(Schema.String).annotate({ description: "Some of what would go" }),
  snapshots: Schema.Array(Schema.String).annotate({ description: "Earlier publications that would be given up" }),
}).annotate({ identifier: "RepositoryPrunePreview" });
export const prunePreview = declareAsk({
  context: "publishing",
  name: "prune-preview",
  request: OfRepository,
  answer: PrunePreview,
  timeoutMs: 60_000,
});

export const Statistics = Schema.Struct({
  days: Schema.Array(
    Schema.Struct({
      day: text("`2026-11-21`, UTC"),
      ref: text("Application or runtime, architecture, branch"),
      commit: text("Which version: the commit that was pulled"),
      installs: count("Pulls by who had none"),
      updates: count("Pulls by who had another"),
    }),
  ),
  upTo: Time.annotate({ description: "All up to here is counted" }),
  more: optionalKey(Schema.Boolean.annotate({ description: "There were too many rows: ask for fewer days" })),
}).annotate({ identifier: "RepositoryStatistics" });
export const repositoryStatistics = declareAsk({
  context: "publishing",
  name: "repository-statistics",
  request: Schema.Struct({
    repository: Schema.String,
    from: Schema.String,
    to: Schema.String,
    ref: optionalKey(Schema.String),
  }),
  answer: Statistics,
  timeoutMs: 10_000,
  maxBytes: 900_000,
});

/** Which applications (ids of `app/…` and `runtime/…` references) a commit is bound to: asked by the gateway for tokens that are limited to some. */
export const commitApplications = declareAsk({
  context: "publishing",
  name: "commit-applications",
  request: Schema.Struct({ repository: Schema.String, commit: Schema.String }),
  answer: Schema.Struct({ applications: Schema.NullOr(Schema.Array(Schema.String)) }),
});

const Texts = Schema.Array(Schema.String);
/** Whether an object is part of an application that all limits of a token let through: asked by the gateway, once for each object. */
export const objectAllowed = declareAsk({
  context: "publishing",
  name: "object-allowed",
  request: Schema.Struct({
    repository: Schema.String,
    object: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u)),
    limits: Schema.Array(Schema.Struct({ prefixes: Texts, apps: Texts })),
  }),
  answer: Schema.Struct({ allowed: Schema.Boolean }),
  timeoutMs: 30_000,
});

/** Builds that a publisher tells at once. */
export const RETENTION_MOST = 1_000;

export const BuildRetention = Schema.Struct({
  builds: Schema.Array(
    Schema.Struct({
      build: text("Its id"),
      number: Schema.Int,
      repository: text("Id of its repository"),
      state: text("As it is now"),
      at: Time.annotate({ description: "When its files go, unless somebody asks something of it before" }),
      bytes: count("What they take on the disk"),
    }),
  ).annotate({ description: "The first to go first" }),
  more: optionalKey(Schema.Boolean.annotate({ description: `There are more than ${RETENTION_MOST}` })),
}).annotate({
  identifier: "BuildRetention",
  description: "Files of builds that go by themselves; what was published stays",
});
/** When files of an organisation's builds go that lie on a node. */
export const buildRetention = declareAsk({
  context: "publishing",
  name: "build-retention",
  request: Schema.Struct({ organisation: Schema.String }),
  answer: Schema.Struct({ keepMs: Schema.Int, ...BuildRetention.fields }),
  timeoutMs: 60_000,
  maxBytes: 900_000,
});
