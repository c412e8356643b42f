/**
 * Words and limits of the applications context: said once, used by the API's schemas and by the rules alike.
 * What is too long or too much is refused with an error, never cut.
 */
import * as Schema from "effect/Schema";
import { Id } from "../ids.ts";
import { hostFault, refFault, repositoryFault, repositoryPathFault, serverPathFault } from "./git.ts";

export const LIMITS = {
  title: 200,
  urlLength: 2_048,
  refLength: 250,
  pathLength: 1_024,
  domains: 50,
  /** Variables of an application, and build arguments. */
  variables: 200,
  variableName: 100,
  /** Bytes of UTF-8 of one value, and of all names and values together. */
  valueBytes: 8 * 1024,
  variablesBytes: 64 * 1024,
  reason: 500,
  /** Deployments that may be superseded or cancelled in one request. */
  queue: 16,
  /** Resources whose drift is remembered at the same time. */
  drifts: 64,
  /** Begun attempts of one phase, or of one step of compensation, before it is given up. */
  attempts: 20,
} as const;

/** How often one resource may be repaired, or fail to be, before repairs of it pause. */
export const REPAIRS = { most: 5, withinMs: 600_000, pauseMs: 600_000 } as const;

/** Upstream addresses of every application: its instances share them evenly, so they must divide them. */
export const SLOTS = 12;

/** What a deployment goes through, in this order. */
export const PHASES = [
  "PULLING_SOURCE",
  "BUILDING",
  "COPYING_FILES",
  "CREATING_SYMLINKS",
  "UPDATING_ROUTES",
  "HEALTH_CHECK",
] as const;
/** Tidies up after success; what comes of it does not change the verdict. */
export const CLEANUP = "CLEANUP";
export type VerdictPhase = (typeof PHASES)[number];
export type Phase = VerdictPhase | typeof CLEANUP;
export const ALL_PHASES: ReadonlyArray<Phase> = [...PHASES, CLEANUP];

/** How what an unfinished deployment has done is undone, in this order. */
export const COMPENSATIONS = [
  "RESTORE_ROUTES",
  "RESTORE_SYMLINKS",
  "REMOVE_CONTAINERS",
  "REMOVE_IMAGE",
  "REMOVE_RELEASE",
] as const;
export type Compensation = (typeof COMPENSATIONS)[number];

export const DEPLOYMENT_STATES = [
  "queued",
  "running",
  "compensating",
  "succeeded",
  "failed",
  "cancelled",
  "superseded",
  "rolledBack",
] as const;
export type DeploymentStateName = (typeof DEPLOYMENT_STATES)[number];
export type Outcome = Exclude<DeploymentStateName, "queued" | "running" | "compensating">;
export const OUTCOMES = ["succeeded", "failed", "cancelled", "superseded", "rolledBack"] as const satisfies Outcome[];

export const TRIGGERS = ["manual", "rollback", "restart", "reconcile"] as const;
export type Trigger = (typeof TRIGGERS)[number];

export const FAILURE_CLASSES = ["transient", "permanent", "timeout", "cancelled"] as const;
export type FailureClass = (typeof FAILURE_CLASSES)[number];

export const APPLICATION_STATES = ["created", "deploying", "running", "stopped", "failed", "removing"] as const;
export type ApplicationStateName = (typeof APPLICATION_STATES)[number];

export const BUILD_KINDS = ["static", "dockerfile"] as const;
export type BuildKind = (typeof BUILD_KINDS)[number];

/** What stands where nothing was said. */
export const DEFAULTS = {
  ref: "main",
  static: { folder: ".", index: "index.html", spa: false },
  dockerfile: { dockerfile: "Dockerfile", context: "." },
  runtime: {
    instances: 1,
    env: {},
    memoryBytes: 512 * 1024 * 1024,
    cpus: 1,
    processes: 256,
    stopTimeoutMs: 10_000,
  },
  health: { path: "/", intervalMs: 30_000, timeoutMs: 2_000, retries: 3, successes: 2 },
  policy: {
    progressDeadlineMs: 600_000,
    healthyDeadlineMs: 120_000,
    minHealthyTimeMs: 1_000,
    autoRevert: true,
    keepReleases: 5,
  },
} as const;

const encoder = new TextEncoder();
/** Bytes of a text in UTF-8. */
export const bytesOf = (text: string): number => encoder.encode(text).length;

/** Patterns are linear, whatever they are given, and carry `u`, so that they reach OpenAPI. */
export const PATTERNS = {
  title: /^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,199}$/u,
  variable: /^[A-Za-z_][A-Za-z0-9_]{0,99}$/u,
  /** No NUL, which no environment can hold, and no half of a surrogate pair. */
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it is about
  value: /^[^\u0000\p{Cs}]*$/u,
  user: /^([0-9]{1,7}(:[0-9]{1,7})?|[a-z_][a-z0-9_-]{0,31}(:[a-z_][a-z0-9_-]{0,31})?)$/u,
  credentialsUser: /^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}$/u,
  node: /^[a-z0-9][a-z0-9-]{0,62}$/u,
  httpPath: /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]{0,499}$/u,
  resource: /^[a-zA-Z][a-zA-Z0-9]{0,30}(:[A-Za-z0-9._-]{1,100})?$/u,
  code: /^[A-Z][A-Z0-9_]{0,63}$/u,
} as const;

/** A text that a function finds nothing wrong with; `pattern` is as much of it as a pattern can say. */
const sound = (fault: (text: string) => string | undefined, maxLength: number, pattern: string) =>
  Schema.makeFilter((text: string) => fault(text) ?? true, {
    toJsonSchema: () => ({ minLength: 1, maxLength, pattern }),
  });

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }));

export const ApplicationId = Id("app", "Application id");
export const DeploymentId = Id("dep", "Deployment id");
export const SecretId = Id("sec", "Secret id");
export const UploadId = Id("upl", "Upload id");

export const Title = Schema.String.check(Schema.isPattern(PATTERNS.title)).annotate({
  description: `One line, at most ${LIMITS.title} characters`,
  examples: ["The shop"],
});
export const RepositoryUrl = Schema.String.check(sound(repositoryFault, LIMITS.urlLength, "^[!-~]+$")).annotate({
  description:
    "What `git clone` takes: `https://…`, `http://…`, `ssh://…`, `git://…` or `user@host:path`, without credentials",
  examples: ["https://git.example.org/shop.git", "git@git.example.org:shop.git"],
});
export const ServerPath = Schema.String.check(
  sound(serverPathFault, LIMITS.pathLength, "^\\/[^\\u0000-\\u001f\\u007f]+$"),
).annotate({
  description: "Absolute path of a Git repository on the node's own disk",
  examples: ["/srv/git/shop.git"],
});
export const Ref = Schema.String.check(
  sound(refFault, LIMITS.refLength, "^[^\\u0000-\\u0020\\u007f~^:?*\\[\\\\]+$"),
).annotate({
  description: "A branch, a tag or a commit",
  examples: ["main", "v1.4.0"],
});
export const RepositoryPath = Schema.String.check(
  sound(repositoryPathFault, LIMITS.pathLength, "^[^\\u0000-\\u001f\\u007f\\\\]+$"),
).annotate({
  description: "Path inside the repository, relative, without `..`; `.` is its root",
  examples: [".", "site/public"],
});
export const Host = Schema.String.check(sound(hostFault, 253, "^[a-z0-9.\\-]+$")).annotate({
  description: "A host name in lower case",
  examples: ["shop.example.org"],
});
export const NodeName = Schema.String.check(Schema.isPattern(PATTERNS.node)).annotate({
  description: "Name of the node that it lives on",
  examples: ["local"],
});
export const HttpPath = Schema.String.check(Schema.isPattern(PATTERNS.httpPath)).annotate({
  description: "Path of an HTTP request, with its query if it needs one",
  examples: ["/", "/healthz"],
});
export const Reason = Schema.String.check(Schema.isPattern(PATTERNS.title), Schema.isMaxLength(LIMITS.reason)).annotate(
  {
    description: "Why, in one line",
    examples: ["The wrong branch"],
  },
);
export const VariableName = Schema.String.check(Schema.isPattern(PATTERNS.variable)).annotate({
  description: "Letters, digits and underscores, not beginning with a digit",
  examples: ["PORT"],
});
export const VariableValue = Schema.String.check(
  Schema.isPattern(PATTERNS.value),
  Schema.makeFilter(
    (text: string) => bytesOf(text) <= LIMITS.valueBytes || `at most ${LIMITS.valueBytes} bytes of UTF-8`,
    {
      toJsonSchema: () => ({ maxLength: LIMITS.valueBytes }),
    },
  ),
).annotate({ description: "At most 8 KiB of UTF-8", examples: ["production"] });

export const Instances = between(1, SLOTS)
  .check(
    Schema.makeFilter((count: number) => SLOTS % count === 0 || "1, 2, 3, 4, 6 or 12", {
      toJsonSchema: () => ({ enum: [1, 2, 3, 4, 6, 12] }),
    }),
  )
  .annotate({ description: "How many containers share its requests: 1, 2, 3, 4, 6 or 12", examples: [2] });

/** Lowest and highest of every number that people may set. */
export const RANGES = {
  port: [1, 65_535],
  memoryBytes: [16 * 1024 * 1024, 1024 ** 4],
  cpus: [0.01, 256],
  processes: [4, 32_768],
  stopTimeoutMs: [0, 300_000],
  intervalMs: [100, 600_000],
  timeoutMs: [100, 60_000],
  retries: [1, 20],
  successes: [1, 10],
  progressDeadlineMs: [1_000, 86_400_000],
  healthyDeadlineMs: [1_000, 3_600_000],
  minHealthyTimeMs: [0, 600_000],
  keepReleases: [1, 50],
} as const satisfies Record<string, readonly [number, number]>;

/** A whole number of a range, with what it means. */
export const ranged = (name: keyof typeof RANGES, description: string) =>
  between(...(RANGES[name] as [number, number])).annotate({ description });
export const Cpus = Schema.Finite.check(
  Schema.isBetween({ minimum: RANGES.cpus[0], maximum: RANGES.cpus[1] }),
).annotate({ description: "Processor cores it may use, also a part of one", examples: [0.5] });
