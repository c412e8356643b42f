/** Applications and their deployments, as the API shows them. */
import * as Schema from "effect/Schema";
import { ActorShown, entity, Time } from "../http.ts";
import { Name } from "../ids.ts";
import {
  APPLICATION_STATES,
  ApplicationId,
  COMPENSATIONS,
  Cpus,
  DEPLOYMENT_STATES,
  DeploymentId,
  FAILURE_CLASSES,
  Host,
  HttpPath,
  Instances,
  LIMITS,
  NodeName,
  PATTERNS,
  PHASES,
  Ref,
  RepositoryPath,
  RepositoryUrl,
  ranged,
  SecretId,
  ServerPath,
  Title,
  TRIGGERS,
  UploadId,
  VariableName,
  VariableValue,
} from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const SecretReference = Schema.Struct({ secret: SecretId }).annotate({
  identifier: "SecretReference",
  description: "A secret of the organisation, by id; its value never stands in an event or an answer",
});

export const Credentials = Schema.Struct({
  secret: SecretId,
  kind: Schema.Literals(["token", "ssh-key"]).annotate({
    description: "`token`: a password or token for http(s). `ssh-key`: a private key for ssh",
  }),
  user: optionalKey(
    Schema.String.check(Schema.isPattern(PATTERNS.credentialsUser)).annotate({
      description: "User that the token belongs to, where the server wants one",
    }),
  ),
}).annotate({ identifier: "RepositoryCredentials" });

export const GitSource = Schema.Struct({
  kind: Schema.Literal("git"),
  url: RepositoryUrl,
  ref: Ref,
  credentials: optionalKey(Credentials),
}).annotate({ identifier: "GitSource", description: "A repository that is cloned over the network" });
export const PathSource = Schema.Struct({ kind: Schema.Literal("path"), path: ServerPath, ref: Ref }).annotate({
  identifier: "PathSource",
  description: "A Git repository on the node's own disk",
});
export const UploadSource = Schema.Struct({ kind: Schema.Literal("upload"), upload: UploadId }).annotate({
  identifier: "UploadSource",
  description: "An archive that was uploaded: .tar, .tar.gz, .tar.zst or .zip",
});
export const Source = Schema.Union([GitSource, PathSource, UploadSource]);
export type Source = typeof Source.Type;

export const StaticBuild = Schema.Struct({
  kind: Schema.Literal("static"),
  folder: RepositoryPath,
  index: RepositoryPath.annotate({ description: "File that answers for a folder" }),
  spa: Schema.Boolean.annotate({ description: "What is not found is answered with the index of the root" }),
  notFound: optionalKey(RepositoryPath.annotate({ description: "File that answers for what is not found" })),
}).annotate({ identifier: "StaticBuild", description: "A folder of files, served as it stands" });
export const Variables = Schema.Record(VariableName, VariableValue);
export const DockerfileBuild = Schema.Struct({
  kind: Schema.Literal("dockerfile"),
  dockerfile: RepositoryPath,
  context: RepositoryPath,
  args: optionalKey(
    Variables.annotate({ description: "Build arguments. They stay in the image's history: no secrets here" }),
  ),
}).annotate({ identifier: "DockerfileBuild", description: "An image, built from a Dockerfile" });
export const Build = Schema.Union([StaticBuild, DockerfileBuild]);
export type Build = typeof Build.Type;

export const Environment = Schema.Record(VariableName, Schema.Union([VariableValue, SecretReference])).annotate({
  description: `Environment variables, at most ${LIMITS.variables}: a value, or the secret that holds it`,
});
export const Runtime = Schema.Struct({
  port: ranged("port", "Port that the application listens on, inside its container"),
  instances: Instances,
  env: Environment,
  memoryBytes: ranged("memoryBytes", "Memory of each container"),
  cpus: Cpus,
  processes: ranged("processes", "Processes and threads of each container"),
  stopTimeoutMs: ranged("stopTimeoutMs", "How long it may take to end after SIGTERM"),
  user: optionalKey(
    Schema.String.check(Schema.isPattern(PATTERNS.user)).annotate({
      description: "User inside the container, by name or number; left out: the image's own",
    }),
  ),
}).annotate({ identifier: "ApplicationRuntime", description: "How its containers run" });
export type Runtime = typeof Runtime.Type;

export const Health = Schema.Struct({
  path: HttpPath,
  intervalMs: ranged(
    "intervalMs",
    "Between two checks of a container that runs; each starts a process in it, which takes about 50 ms of a processor",
  ),
  timeoutMs: ranged("timeoutMs", "Of one check"),
  retries: ranged("retries", "Failures in a row after which it is ill"),
  successes: ranged("successes", "Answers in a row after which it is ready"),
}).annotate({ identifier: "ApplicationHealth", description: "When it is ready: an answer of 200 to 399" });
export type Health = typeof Health.Type;

export const Policy = Schema.Struct({
  progressDeadlineMs: ranged("progressDeadlineMs", "From the start of a deployment to its health check"),
  healthyDeadlineMs: ranged("healthyDeadlineMs", "From the first health check to being healthy"),
  minHealthyTimeMs: ranged("minHealthyTimeMs", "How long it must stay healthy"),
  autoRevert: Schema.Boolean.annotate({ description: "Unhealthy behind the switch: back to the former release" }),
  keepReleases: ranged("keepReleases", "Releases kept to go back to, the live one included"),
}).annotate({ identifier: "DeploymentPolicy" });
export type Policy = typeof Policy.Type;

export const Wanted = Schema.Literals(["running", "stopped"]);

export const ApplicationSpec = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  source: Source,
  build: Build,
  runtime: optionalKey(Runtime),
  health: Health,
  domains: Schema.Array(Host).annotate({
    description: "Further hosts it answers for; each belongs to one application",
  }),
  policy: Policy,
  node: optionalKey(NodeName),
  wanted: Wanted,
}).annotate({
  identifier: "ApplicationSpec",
  description: "What people asked for. `runtime` is there for containers, not for static sites",
});
export type ApplicationSpec = typeof ApplicationSpec.Type;

/** An image by id and tag. */
export const Image = Schema.Struct({ id: Schema.String, tag: Schema.String });

/** What a deployment made, and can be made live again. */
export const Release = Schema.Struct({
  deployment: DeploymentId,
  seq: count("Number of that deployment among the application's"),
  commit: text("Commit it was made from"),
  tree: text("Hash of that commit's tree"),
  ref: text("Branch, tag or commit that was asked for"),
  release: text("Hash of its files"),
  inputHash: text("Hash of all that the build depends on"),
  image: optionalKey(Image),
}).annotate({ identifier: "Release" });
export type Release = typeof Release.Type;

export const LiveRelease = Schema.Struct({
  ...Release.fields,
  deployment: DeploymentId.annotate({ description: "The deployment that brought it live" }),
  generation: count("Generation of its routes: the number of that deployment"),
  kind: Schema.Literals(["static", "dockerfile"]),
  trigger: Schema.Literals(TRIGGERS),
  specGeneration: count("Generation of the application when it was asked for"),
  instances: count("Containers that the deployment started; 0 of a static site"),
  at: Time,
  verified: Schema.Boolean.annotate({
    description: "It answered through the public route. False where the policy is not to go back from what did not",
  }),
}).annotate({ identifier: "LiveRelease" });
export type LiveRelease = typeof LiveRelease.Type;

export const Trouble = Schema.Struct({
  code: text("What kind of failure, in capitals"),
  message: text("What went wrong"),
  fix: optionalKey(text("What to do next")),
  deployment: optionalKey(Schema.String),
  phase: optionalKey(Schema.String),
  at: Time,
}).annotate({ identifier: "ApplicationProblem" });
export type Trouble = typeof Trouble.Type;

export const Drift = Schema.Struct({
  open: Schema.Boolean.annotate({ description: "It is there now" }),
  expected: Schema.String,
  actual: Schema.String,
  detectedAt: Time,
  count: count("Repairs and failed repairs of the last ten minutes"),
  suspendedUntil: optionalKey(Time),
  message: optionalKey(text("Why the last repair failed")),
}).annotate({ identifier: "ApplicationDrift", description: "Where the world was not as the log says" });

export const ApplicationStatus = Schema.Struct({
  state: Schema.Literals(APPLICATION_STATES),
  node: optionalKey(NodeName),
  host: Host.annotate({ description: "The host that every application has" }),
  changed: Schema.Boolean.annotate({ description: "What is asked for was changed since the live release" }),
  queue: Schema.Array(DeploymentId),
  active: optionalKey(DeploymentId),
  live: optionalKey(LiveRelease),
  previous: optionalKey(LiveRelease),
  releases: Schema.Array(LiveRelease).annotate({ description: "Kept to go back to, newest first" }),
  deployments: count("How many were ever asked for"),
  settled: Schema.Struct({ wanted: Wanted, instances: Schema.Int }).annotate({
    description: "What is really there, as a worker reported it",
  }),
  drift: Schema.Record(Schema.String, Drift),
  problem: optionalKey(Trouble),
  removalRequestedAt: optionalKey(Time),
}).annotate({ identifier: "ApplicationStatus", description: "What workers found" });

export const Application = Schema.Struct({
  ...entity(ApplicationId, ApplicationSpec, ApplicationStatus).fields,
  createdBy: ActorShown,
}).annotate({ identifier: "Application" });

export const PhaseName = Schema.Literals([...PHASES, "CLEANUP"]);
export const CompensationName = Schema.Literals(COMPENSATIONS);

export const PhaseError = Schema.Struct({
  class: Schema.Literals(FAILURE_CLASSES),
  code: Schema.String,
  message: Schema.String,
  fix: Schema.String,
}).annotate({ identifier: "PhaseError" });
export type PhaseError = typeof PhaseError.Type;

/** What each phase found out. */
export const OUTPUTS = {
  PULLING_SOURCE: Schema.Struct({ commit: Schema.String, tree: Schema.String, ref: Schema.String }),
  BUILDING: Schema.Struct({ inputHash: Schema.String, image: optionalKey(Image) }),
  COPYING_FILES: Schema.Struct({ release: Schema.String, files: Schema.Int, bytes: Schema.Int }),
  CREATING_SYMLINKS: Schema.Struct({ from: Schema.NullOr(Schema.String), to: Schema.String }),
  UPDATING_ROUTES: Schema.Struct({
    generation: Schema.Int,
    from: Schema.NullOr(Schema.Int),
    hosts: Schema.Array(Schema.String),
    containers: Schema.Array(Schema.Struct({ slot: Schema.Int, id: Schema.String, address: Schema.String })),
  }),
  HEALTH_CHECK: Schema.Struct({ probes: Schema.Int, firstMs: Schema.Int }),
  CLEANUP: Schema.Struct({ containers: Schema.Int, images: Schema.Int, releases: Schema.Int }),
} as const;
export type Outputs = { readonly [P in keyof typeof OUTPUTS]: (typeof OUTPUTS)[P]["Type"] };

export const PhaseShown = Schema.Struct({
  phase: PhaseName,
  state: Schema.Literals(["running", "completed", "failed", "interrupted"]),
  attempt: count("From 1; 0 where an earlier deployment's work is used"),
  worker: Schema.String,
  node: Schema.String,
  startedAt: Time.annotate({ description: "Of its first attempt" }),
  attemptedAt: Time.annotate({ description: "Of this attempt" }),
  completedAt: optionalKey(Time),
  durationMs: optionalKey(Schema.Int),
  adopted: optionalKey(Schema.Boolean.annotate({ description: "It was found done, and not done again" })),
  output: optionalKey(Schema.Unknown),
  error: optionalKey(PhaseError),
  retryAt: optionalKey(Time),
}).annotate({ identifier: "DeploymentPhase" });

export const CompensationShown = Schema.Struct({
  step: CompensationName,
  state: Schema.Literals(["running", "completed", "failed", "abandoned"]),
  attempt: Schema.Int,
  startedAt: Time,
  completedAt: optionalKey(Time),
  error: optionalKey(Schema.Struct({ code: Schema.String, message: Schema.String })),
}).annotate({ identifier: "DeploymentCompensation" });

export const DeploymentSpec = Schema.Struct({
  application: ApplicationId,
  name: text("Name of the application"),
  seq: count("Number among the application's deployments, and generation of its routes"),
  trigger: Schema.Literals(TRIGGERS),
  ref: Schema.String,
  requested: ApplicationSpec,
  specGeneration: Schema.Int,
  release: optionalKey(Release.annotate({ description: "The release that is used again, instead of building one" })),
}).annotate({ identifier: "DeploymentSpec" });

export const DeploymentStatus = Schema.Struct({
  state: Schema.Literals(DEPLOYMENT_STATES),
  phase: optionalKey(PhaseName),
  phases: Schema.Array(PhaseShown),
  compensations: Schema.Array(CompensationShown),
  node: optionalKey(Schema.String),
  cancellation: optionalKey(Schema.Struct({ by: ActorShown, at: Time, reason: optionalKey(Schema.String) })),
  supersededBy: optionalKey(Schema.String),
  waiting: optionalKey(Schema.Struct({ reason: Schema.String, since: Time })),
  error: optionalKey(Schema.Struct({ phase: PhaseName, ...PhaseError.fields })),
  rolledBackTo: optionalKey(Schema.String),
  startedAt: optionalKey(Time),
  finishedAt: optionalKey(Time),
  deadlineAt: optionalKey(Time.annotate({ description: "When it is given up, if it has come no further" })),
}).annotate({ identifier: "DeploymentStatus" });

export const Deployment = Schema.Struct({
  ...entity(DeploymentId, DeploymentSpec, DeploymentStatus).fields,
  requestedBy: ActorShown,
}).annotate({ identifier: "Deployment" });
