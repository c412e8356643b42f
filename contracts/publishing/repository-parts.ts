/** What a repository is made of: what people ask of it, and what its publisher found. */
import * as Schema from "effect/Schema";
import { entity, Time } from "../http.ts";
import { Id, Name } from "../ids.ts";
import { Mirror, MirrorStatus } from "./mirrors.ts";
import { ReviewPolicy } from "./reviews.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const REPOSITORY_LIMITS = {
  title: 200,
  collectionId: 255,
  description: 4_000,
  url: 500,
  /** Begun attempts of making one before it is given up. */
  attempts: 10,
  /** Findings that are told one by one. */
  findings: 50,
  /** Tokens of one private repository that are limited to applications, and applications of one. */
  readers: 100,
  applications: 100,
  /** Keys that sign at the same time. */
  keys: 4,
  /** Of a key that is imported, as text. */
  keyCharacters: 65_536,
} as const;

const LINE = /^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,199}$/u;
export const REPOSITORY_PATTERNS = {
  title: LINE,
  comment: LINE,
  description: /^(?!\s*$)([^\p{Cs}\p{Cc}]|\n){1,4000}$/u,
  url: /^https?:\/\/[^\s@<>"'`{}\\\p{Cc}]{1,480}$/u,
  branch: /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/u,
  /** As `ostree` takes them: at least two parts, none beginning with a digit. */
  collectionId: /^[A-Za-z_][A-Za-z0-9_]{0,99}(\.[A-Za-z_][A-Za-z0-9_]{0,99}){1,20}$/u,
  /** An application, with all whose id begins with it and a dot. */
  application: /^[A-Za-z_][A-Za-z0-9_-]{0,99}(\.[A-Za-z0-9_-]{1,100}){1,20}$/u,
} as const;
/** `pending`: no publisher has begun; `making`: one has. */
export const REPOSITORY_STATES = ["pending", "making", "ready", "failed", "deleted"] as const;
export const VISIBILITIES = ["public", "private"] as const;

const matching = (pattern: RegExp, title: string, description: string, example: string) =>
  Schema.String.check(Schema.isPattern(pattern)).annotate({ title, description, examples: [example] });

export const Title = matching(
  REPOSITORY_PATTERNS.title,
  "Title",
  `One line of at most ${REPOSITORY_LIMITS.title} characters; clients show it`,
  "Our applications",
);
export const CollectionId = Schema.String.check(
  Schema.isMaxLength(REPOSITORY_LIMITS.collectionId),
  Schema.isPattern(REPOSITORY_PATTERNS.collectionId),
).annotate({
  title: "Collection id",
  description: "What makes its references unique in the world, by a domain of yours; it stays",
  examples: ["org.example.Stable"],
});
const Url = (what: string) =>
  matching(REPOSITORY_PATTERNS.url, what, `${what}: http or https, without credentials`, "https://example.org/");

export const Retention = Schema.Struct({
  depth: Schema.Int.check(Schema.isBetween({ minimum: -1, maximum: 1_000 })).annotate({
    description: "Earlier commits of each reference that stay; -1: all",
  }),
  snapshots: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000 })).annotate({
    description: "Earlier publications that can still be installed from, as a remote of their own",
  }),
  everyHours: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 8_760 })).annotate({
    description: "How often what is no longer needed is moved to quarantine",
  }),
  graceHours: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 8_760 })).annotate({
    description: "How long what is in quarantine is still served before it is deleted",
  }),
}).annotate({
  identifier: "RepositoryRetention",
  examples: [{ depth: 5, snapshots: 10, everyHours: 24, graceHours: 48 }],
});
/** Where nobody said otherwise; by itself nothing is pruned then. */
export const RETENTION_USUAL = { depth: 5, snapshots: 20, everyHours: 24, graceHours: 48 } as const;
export const Reader = Schema.Struct({
  token: Id("tok", "Token"),
  applications: Schema.Array(
    matching(
      REPOSITORY_PATTERNS.application,
      "Application",
      "Its id; what begins with it and a dot, too",
      "org.example.App",
    ),
  ).check(Schema.isMaxLength(REPOSITORY_LIMITS.applications)),
}).annotate({
  identifier: "RepositoryReader",
  description: "A token that may read commits and deltas of these applications alone, of all that it may read",
});

/** What can be changed, each as it is created with. */
export const SETTINGS = {
  title: Title,
  comment: matching(REPOSITORY_PATTERNS.comment, "Comment", "One line about it", "What we make ourselves"),
  description: matching(REPOSITORY_PATTERNS.description, "Description", "A paragraph about it", "All that we publish."),
  homepage: Url("Homepage"),
  icon: Url("Icon"),
  defaultBranch: matching(REPOSITORY_PATTERNS.branch, "Default branch", "What clients install unless told", "stable"),
  redirectUrl: Url("Where clients are sent"),
  visibility: Schema.Literals(VISIBILITIES).annotate({
    description: "`public`: everybody may install; `private`: only with a token that holds `publishing:download`",
  }),
  retention: Retention,
  readers: Schema.Array(Reader).check(Schema.isMaxLength(REPOSITORY_LIMITS.readers)),
  review: ReviewPolicy,
  mirror: Mirror,
} as const;
export type SettingName = keyof typeof SETTINGS;
export const SETTING_NAMES = Object.keys(SETTINGS) as SettingName[];

const optional = Object.fromEntries(SETTING_NAMES.map((name) => [name, optionalKey(SETTINGS[name])])) as {
  readonly [K in SettingName]: Schema.optionalKey<(typeof SETTINGS)[K]>;
};
/** Left out stays, null takes off. */
export const changedSettings = Object.fromEntries(
  SETTING_NAMES.map((name) => [name, optionalKey(Schema.NullOr(SETTINGS[name] as Schema.String))]),
) as unknown as { readonly [K in SettingName]: Schema.optionalKey<Schema.NullOr<(typeof SETTINGS)[K]>> };

export const KeyShown = Schema.Struct({
  fingerprint: text("40 hexadecimal digits"),
  user: text("Whose it is"),
  publicKey: text("The public key, binary, in base 64: `GPGKey=` of a `.flatpakrepo`"),
}).annotate({ identifier: "RepositoryKey", description: "What its commits and summaries are signed with" });
export const FailureShown = Schema.Struct({
  code: text("Stable, in capitals: `TOOLS_MISSING`"),
  reason: text("What happened"),
  fix: text("What to do about it"),
}).annotate({ identifier: "RepositoryFailure" });
export const Finding = Schema.Struct({
  what: Schema.Literals(["object", "missing", "ref", "summary", "delta", "link"]),
  name: text("The object, reference or file"),
  reason: text("What is wrong with it"),
}).annotate({ identifier: "RepositoryFinding" });
export const Validation = Schema.Struct({
  objects: count("Objects that were read and hashed"),
  bytes: count("Their bytes"),
  refs: count("References that were followed"),
  found: count("Everything that was found"),
  findings: Schema.Array(Finding).annotate({ description: `The first ${REPOSITORY_LIMITS.findings} of them` }),
}).annotate({ identifier: "RepositoryValidation" });
export const Pruned = Schema.Struct({
  quarantined: count("Objects that nothing leads to: no longer listed, still served"),
  quarantinedBytes: count("Their bytes"),
  deltas: count("Deltas to commits that are gone"),
  restored: count("Objects that came back, because something leads to them again"),
  deleted: count("Objects whose time of grace is over"),
  deletedBytes: count("Their bytes"),
  snapshots: count("Earlier publications that were given up"),
}).annotate({ identifier: "RepositoryPruned" });

export const RepositorySpec = Schema.Struct({
  name: Name,
  collectionId: optionalKey(CollectionId),
  ...optional,
}).annotate({ identifier: "RepositorySpec" });
export const RepositoryStatus = Schema.Struct({
  state: Schema.Literals(REPOSITORY_STATES),
  node: optionalKey(text("The node on whose disk it lies")),
  url: optionalKey(text("Where clients reach it; its `.flatpakrepo` is there")),
  key: optionalKey(KeyShown),
  otherKeys: optionalKey(
    Schema.Array(Schema.Struct({ ...KeyShown.fields, until: Time })).annotate({
      description: "Earlier keys that sign, too, until then",
    }),
  ),
  rotating: optionalKey(Schema.Boolean.annotate({ description: "Another key is about to be made or imported" })),
  keyFailure: optionalKey(FailureShown),
  failure: optionalKey(FailureShown),
  settled: optionalKey(Schema.Boolean.annotate({ description: "What is asked is what clients see" })),
  readyAt: optionalKey(Time),
  validating: optionalKey(Schema.Boolean),
  validation: optionalKey(Schema.Struct({ ...Validation.fields, at: Time })),
  pruning: optionalKey(Schema.Boolean),
  pruned: optionalKey(Schema.Struct({ ...Pruned.fields, at: Time })),
  mirroring: optionalKey(Schema.Boolean.annotate({ description: "The other repository is to be looked at" })),
  mirror: optionalKey(MirrorStatus),
}).annotate({ identifier: "RepositoryStatus" });
export const Repository = entity(Id("rep", "Repository id"), RepositorySpec, RepositoryStatus).annotate({
  identifier: "Repository",
});
