/**
 * What the world sees of applications and deployments. Looser than the API's input: what once was said stays readable when
 * a limit changes. No log line, no secret and no progress stands in an event. Who did it and when stand in its envelope.
 */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { BUILD_KINDS, COMPENSATIONS, FAILURE_CLASSES, OUTCOMES, PHASES, TRIGGERS } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const texts = (description: string) => Schema.Array(Schema.String).annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

const credentials = Schema.Struct({
  secret: text("Id of the secret"),
  kind: Schema.Literals(["token", "ssh-key"]),
  user: optionalKey(Schema.String),
});
const source = Schema.Union([
  Schema.Struct({
    kind: Schema.Literal("git"),
    url: Schema.String,
    ref: Schema.String,
    credentials: optionalKey(credentials),
  }),
  Schema.Struct({ kind: Schema.Literal("path"), path: Schema.String, ref: Schema.String }),
  Schema.Struct({ kind: Schema.Literal("upload"), upload: Schema.String }),
]);
const build = Schema.Union([
  Schema.Struct({
    kind: Schema.Literal("static"),
    folder: Schema.String,
    index: Schema.String,
    spa: Schema.Boolean,
    notFound: optionalKey(Schema.String),
  }),
  Schema.Struct({
    kind: Schema.Literal("dockerfile"),
    dockerfile: Schema.String,
    context: Schema.String,
    args: optionalKey(Schema.Record(Schema.String, Schema.String)),
  }),
]);
const runtime = Schema.Struct({
  port: Schema.Int,
  instances: Schema.Int,
  env: Schema.Record(Schema.String, Schema.Union([Schema.String, Schema.Struct({ secret: Schema.String })])),
  memoryBytes: Schema.Int,
  cpus: Schema.Finite,
  processes: Schema.Int,
  stopTimeoutMs: Schema.Int,
  user: optionalKey(Schema.String),
});
const health = Schema.Struct({
  path: Schema.String,
  intervalMs: Schema.Int,
  timeoutMs: Schema.Int,
  retries: Schema.Int,
  successes: Schema.Int,
});
const policy = Schema.Struct({
  progressDeadlineMs: Schema.Int,
  healthyDeadlineMs: Schema.Int,
  minHealthyTimeMs: Schema.Int,
  autoRevert: Schema.Boolean,
  keepReleases: Schema.Int,
});
const wanted = Schema.Literals(["running", "stopped"]);
const domains = texts("Further hosts it answers for");
const spec = Schema.Struct({
  name: Schema.String,
  title: optionalKey(Schema.String),
  source,
  build,
  runtime: optionalKey(runtime),
  health,
  domains,
  policy,
  node: optionalKey(Schema.String),
  wanted,
});

const deployment = text("Id of the deployment");
const trigger = Schema.Literals(TRIGGERS);
const problem = Schema.Struct({
  code: Schema.String,
  message: Schema.String,
  fix: optionalKey(Schema.String),
  phase: optionalKey(Schema.String),
});
const image = Schema.Struct({ id: Schema.String, tag: Schema.String });
const release = Schema.Struct({
  deployment: Schema.String,
  seq: Schema.Int,
  commit: Schema.String,
  tree: Schema.String,
  ref: Schema.String,
  release: Schema.String,
  inputHash: Schema.String,
  image: optionalKey(image),
});
const live = Schema.Struct({
  ...release.fields,
  generation: Schema.Int,
  kind: Schema.Literals(BUILD_KINDS),
  trigger,
  specGeneration: Schema.Int,
  instances: Schema.Int,
  at: Schema.String,
  verified: Schema.Boolean,
});

export const ApplicationCreated = Schema.Struct({ spec, host: text("The host that it has of itself") });
export const ApplicationRetitled = Schema.Struct({ title: Schema.NullOr(Schema.String) });
export const SourceChanged = Schema.Struct({ source });
export const BuildChanged = Schema.Struct({ build });
export const RuntimeChanged = Schema.Struct({ runtime });
export const HealthChanged = Schema.Struct({ health });
export const DomainsChanged = Schema.Struct({
  domains,
  added: texts("Hosts that are new"),
  removed: texts("Hosts that are gone"),
});
export const PolicyChanged = Schema.Struct({ policy });
export const HomeChosen = Schema.Struct({ node: Schema.NullOr(text("Node that it is to live on; null: any")) });
export const ApplicationScaled = Schema.Struct({ from: Schema.Int, to: count("Instances wanted from now on") });
export const ApplicationStartRequested = Schema.Struct({});
export const ApplicationStopRequested = Schema.Struct({});
export const ApplicationPlaced = Schema.Struct({ node: text("Node that it lives on from now on") });
export const DeploymentQueued = Schema.Struct({
  deployment,
  seq: count("Its number among the application's deployments"),
  trigger,
  ref: text("Branch, tag or commit"),
  superseded: texts("Ids of the waiting deployments whose place it takes"),
});
export const DeploymentDequeued = Schema.Struct({ deployment });
export const DeploymentActivated = Schema.Struct({ deployment });
export const DeploymentEnded = Schema.Struct({
  deployment,
  outcome: Schema.Literals(OUTCOMES),
  live: optionalKey(live.annotate({ description: "What is live from now on, where that has changed" })),
  problem: optionalKey(problem),
});
export const ApplicationSettled = Schema.Struct({
  wanted,
  instances: count("Containers that run; 0 when stopped, and of a static site"),
});
const resource = text("What had drifted, e.g. `container:0`, `symlink`, `route`, `release`");
export const DriftDetected = Schema.Struct({ resource, expected: Schema.String, actual: Schema.String });
export const DriftRepaired = Schema.Struct({ resource, action: text("What was done") });
export const DriftRepairFailed = Schema.Struct({ resource, message: Schema.String });
export const DriftRepairSuspended = Schema.Struct({
  resource,
  count: count("Repairs of the last ten minutes"),
  until: text("RFC 3339: not repaired before"),
});
export const ApplicationRemovalRequested = Schema.Struct({});
export const ApplicationRemoved = Schema.Struct({ name: Schema.String, hosts: texts("Hosts that are free again") });

export const applicationEvents = {
  ApplicationCreated: { version: 1, data: ApplicationCreated, description: "An application was created." },
  ApplicationRetitled: { version: 1, data: ApplicationRetitled, description: "An application has another title." },
  SourceChanged: { version: 1, data: SourceChanged, description: "An application comes from another place." },
  BuildChanged: { version: 1, data: BuildChanged, description: "An application is built in another way." },
  RuntimeChanged: { version: 1, data: RuntimeChanged, description: "An application is to run in another way." },
  HealthChanged: { version: 1, data: HealthChanged, description: "The health check of an application was changed." },
  DomainsChanged: { version: 1, data: DomainsChanged, description: "An application answers for other hosts." },
  PolicyChanged: { version: 1, data: PolicyChanged, description: "Deadlines or releases kept were changed." },
  HomeChosen: { version: 1, data: HomeChosen, description: "It was said on which node an application is to live." },
  ApplicationScaled: { version: 1, data: ApplicationScaled, description: "Another number of instances is wanted." },
  ApplicationStartRequested: {
    version: 1,
    data: ApplicationStartRequested,
    description: "An application is to run.",
  },
  ApplicationStopRequested: {
    version: 1,
    data: ApplicationStopRequested,
    description: "An application is to be stopped.",
  },
  ApplicationPlaced: { version: 1, data: ApplicationPlaced, description: "An application has found its node." },
  DeploymentQueued: { version: 1, data: DeploymentQueued, description: "A deployment waits for its turn." },
  DeploymentDequeued: {
    version: 1,
    data: DeploymentDequeued,
    description: "A deployment that had waited was cancelled.",
  },
  DeploymentActivated: { version: 1, data: DeploymentActivated, description: "A deployment has its turn." },
  DeploymentEnded: {
    version: 1,
    data: DeploymentEnded,
    description: "A deployment has ended, and with it what is live may have changed.",
  },
  ApplicationSettled: {
    version: 1,
    data: ApplicationSettled,
    description: "An application runs, or has stopped, as it was asked to.",
  },
  DriftDetected: { version: 1, data: DriftDetected, description: "Something is not as the log says." },
  DriftRepaired: { version: 1, data: DriftRepaired, description: "Something that had drifted is as it should be." },
  DriftRepairFailed: { version: 1, data: DriftRepairFailed, description: "Something could not be repaired." },
  DriftRepairSuspended: {
    version: 1,
    data: DriftRepairSuspended,
    description: "Something drifts again and again, and is left alone for a while.",
  },
  ApplicationRemovalRequested: {
    version: 1,
    data: ApplicationRemovalRequested,
    description: "An application is to be removed.",
  },
  ApplicationRemoved: { version: 1, data: ApplicationRemoved, description: "An application was removed." },
} satisfies PublicEvents;

const phase = Schema.Literals([...PHASES, "CLEANUP"]);
const step = Schema.Literals(COMPENSATIONS);
const attempt = count("From 1");
const worker = text("Who does it");
const node = text("Where it is done");

export const DeploymentRequested = Schema.Struct({
  application: text("Id of the application"),
  name: text("Name of the application"),
  seq: count("Number among the application's deployments"),
  trigger,
  ref: text("Branch, tag or commit"),
  requested: spec,
  specGeneration: count("Generation of the application that is deployed"),
  release: optionalKey(release),
});
export const DeploymentWaiting = Schema.Struct({ reason: text("What it waits for") });
export const DeploymentStarted = Schema.Struct({
  worker,
  node,
  deadlineAt: text("RFC 3339: the health check must have begun by then"),
  from: Schema.NullOr(live.annotate({ description: "What was live, to go back to" })),
});
export const PhaseStarted = Schema.Struct({
  phase,
  attempt,
  worker,
  node,
  inputHash: optionalKey(text("Hash of what it works on")),
});
export const PhaseCompleted = Schema.Struct({
  phase,
  attempt: count("From 1; 0 where an earlier deployment's work is used"),
  worker,
  adopted: Schema.Boolean.annotate({ description: "It was found done, and not done again" }),
  durationMs: Schema.Int,
  output: Schema.Record(Schema.String, Schema.Json),
});
export const PhaseFailed = Schema.Struct({
  phase,
  attempt,
  worker,
  class: Schema.Literals(FAILURE_CLASSES),
  code: Schema.String,
  message: Schema.String,
  fix: Schema.String,
  retryAt: optionalKey(text("RFC 3339: it is tried again then; left out: never")),
});
export const CancellationRequested = Schema.Struct({ reason: optionalKey(Schema.String) });
export const SupersessionRequested = Schema.Struct({ by: text("Id of the newer deployment") });
export const CompensationStarted = Schema.Struct({ step, attempt, worker });
export const CompensationCompleted = Schema.Struct({ step, attempt, worker });
export const CompensationFailed = Schema.Struct({
  step,
  attempt,
  worker,
  code: Schema.String,
  message: Schema.String,
  retryAt: optionalKey(text("RFC 3339: it is tried again then; left out: never")),
});
export const DeploymentSucceeded = Schema.Struct({ commit: Schema.String, release: Schema.String });
export const DeploymentFailed = Schema.Struct({
  phase,
  code: Schema.String,
  message: Schema.String,
  fix: Schema.String,
});
export const DeploymentCancelled = Schema.Struct({});
export const DeploymentSuperseded = Schema.Struct({ by: Schema.String });
export const DeploymentRolledBack = Schema.Struct({ to: text("Id of the deployment that is live again") });

export const deploymentEvents = {
  DeploymentRequested: { version: 1, data: DeploymentRequested, description: "A deployment was asked for." },
  DeploymentWaiting: { version: 1, data: DeploymentWaiting, description: "A deployment cannot go on for now." },
  DeploymentStarted: { version: 1, data: DeploymentStarted, description: "A worker has taken a deployment up." },
  PhaseStarted: { version: 1, data: PhaseStarted, description: "A phase of a deployment was begun." },
  PhaseCompleted: { version: 1, data: PhaseCompleted, description: "A phase of a deployment is done." },
  PhaseFailed: { version: 1, data: PhaseFailed, description: "A phase of a deployment has failed." },
  CancellationRequested: { version: 1, data: CancellationRequested, description: "A deployment is to be cancelled." },
  SupersessionRequested: {
    version: 1,
    data: SupersessionRequested,
    description: "A deployment is to make way for a newer one.",
  },
  CompensationStarted: {
    version: 1,
    data: CompensationStarted,
    description: "Undoing what a deployment did was begun.",
  },
  CompensationCompleted: {
    version: 1,
    data: CompensationCompleted,
    description: "Something that a deployment did is undone.",
  },
  CompensationFailed: {
    version: 1,
    data: CompensationFailed,
    description: "Something that a deployment did could not be undone.",
  },
  DeploymentSucceeded: { version: 1, data: DeploymentSucceeded, description: "A deployment has succeeded." },
  DeploymentFailed: { version: 1, data: DeploymentFailed, description: "A deployment has failed." },
  DeploymentCancelled: { version: 1, data: DeploymentCancelled, description: "A deployment was cancelled." },
  DeploymentSuperseded: {
    version: 1,
    data: DeploymentSuperseded,
    description: "A deployment has made way for a newer one.",
  },
  DeploymentRolledBack: {
    version: 1,
    data: DeploymentRolledBack,
    description: "A deployment was taken back; the former release serves again.",
  },
} satisfies PublicEvents;
