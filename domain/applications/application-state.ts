/** An application as folded from its events. */
import type { ApplicationSpec, LiveRelease, Trouble } from "@millrace/contracts/applications/entities.ts";
import type * as events from "@millrace/contracts/applications/events.ts";
import { type ApplicationStateName, LIMITS, REPAIRS } from "@millrace/contracts/applications/values.ts";
import type { Actor, EventMeta } from "../decider.ts";

type Data = typeof events;
export type ApplicationEventType = keyof typeof events.applicationEvents;
export type ApplicationEvent = {
  [T in ApplicationEventType]: { readonly type: T; readonly data: Data[T]["Type"] };
}[ApplicationEventType];

export interface DriftState {
  readonly open: boolean;
  readonly expected: string;
  readonly actual: string;
  readonly detectedAt: string;
  /** When it was repaired, or could not be: milliseconds since 1970, those of the last ten minutes. */
  readonly repairs: ReadonlyArray<number>;
  readonly suspendedUntil: string | null;
  readonly message: string | null;
}

export interface ApplicationState {
  readonly id: string;
  /** From its creation until it was removed. */
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  /** Generation of the last change that only a deployment brings into the world. */
  readonly deployableGeneration: number;
  /** Null until it is created. */
  readonly spec: ApplicationSpec | null;
  /** The host that it has of itself. */
  readonly host: string;
  /** Where it lives; null until a worker has placed it. */
  readonly node: string | null;
  /** Deployments that wait, oldest first. */
  readonly queue: ReadonlyArray<string>;
  readonly active: string | null;
  readonly live: LiveRelease | null;
  readonly previous: LiveRelease | null;
  /** To go back to, newest first, the live one among them. */
  readonly releases: ReadonlyArray<LiveRelease>;
  /** Number of the next deployment, from 1. */
  readonly nextSeq: number;
  /** What a worker has brought about: `instances` is 0 when stopped, and of a static site. */
  readonly settled: { readonly wanted: "running" | "stopped"; readonly instances: number };
  readonly drift: Readonly<Record<string, DriftState>>;
  readonly problem: Trouble | null;
  readonly removalRequestedAt: string | null;
  readonly createdAt: string;
  readonly createdBy: Actor | null;
  readonly updatedAt: string;
}

export const initial = (id: string): ApplicationState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  deployableGeneration: 0,
  spec: null,
  host: "",
  node: null,
  queue: [],
  active: null,
  live: null,
  previous: null,
  releases: [],
  nextSeq: 1,
  settled: { wanted: "running", instances: 0 },
  drift: {},
  problem: null,
  removalRequestedAt: null,
  createdAt: "",
  createdBy: null,
  updatedAt: "",
});

/** Instances that its containers should have: none of a static site, none when stopped. */
export const instancesOf = ({ spec }: Pick<ApplicationState, "spec">): number =>
  spec === null || spec.wanted === "stopped" ? 0 : (spec.runtime?.instances ?? 0);

/** The node that may act on it: where it lives, or is to live; null: whichever takes it first. */
export const homeOf = ({ node, spec }: Pick<ApplicationState, "node" | "spec">): string | null =>
  node ?? spec?.node ?? null;

/** Every host that it answers for, its own first. */
export const hostsOf = ({ host, spec }: Pick<ApplicationState, "host" | "spec">): ReadonlyArray<string> => [
  host,
  ...(spec?.domains ?? []),
];

/** What is asked for differs from what is live, or nothing is live yet. */
export const isChanged = ({ live, deployableGeneration }: ApplicationState): boolean =>
  live === null || live.specGeneration < deployableGeneration;

export function stateName(state: ApplicationState): ApplicationStateName {
  if (state.removalRequestedAt !== null) return "removing";
  if (state.active !== null || state.queue.length > 0) return "deploying";
  if (state.live === null) return state.problem === null ? "created" : "failed";
  return state.settled.wanted === "stopped" ? "stopped" : "running";
}

/** Of an event that changes what people asked for; `deployable`: only a deployment brings it into the world. */
type Asked = (change: Partial<ApplicationSpec>, deployable?: boolean) => ApplicationState;

export function evolve(before: ApplicationState, event: ApplicationEvent, meta: EventMeta): ApplicationState {
  const state = { ...before, updatedAt: meta.time };
  if (event.type === "ApplicationCreated") return created(state, event.data, meta);
  if (state.spec === null) return state;
  const { spec } = state;
  const generation = state.generation + 1;
  const asked: Asked = (change, deployable = false) => ({
    ...state,
    spec: { ...spec, ...change },
    generation,
    deployableGeneration: deployable ? generation : state.deployableGeneration,
  });
  return changed(state, event, asked) ?? reported(state, event, meta);
}

function created(state: ApplicationState, { spec, host }: Data["ApplicationCreated"]["Type"], meta: EventMeta) {
  return {
    ...initial(state.id),
    exists: true,
    organisation: meta.organisation,
    generation: 1,
    deployableGeneration: 1,
    spec: spec as ApplicationSpec,
    host,
    settled: { wanted: spec.wanted, instances: 0 },
    createdAt: meta.time,
    createdBy: meta.actor,
    updatedAt: meta.time,
  };
}

/** What people asked for; undefined: it is about something else. */
function changed(state: ApplicationState, event: ApplicationEvent, asked: Asked): ApplicationState | undefined {
  const spec = state.spec!;
  switch (event.type) {
    case "ApplicationRetitled": {
      const { title: _, ...rest } = spec;
      const { title } = event.data;
      return { ...asked({}), spec: title === null ? rest : { ...rest, title } };
    }
    case "SourceChanged":
      return asked({ source: event.data.source }, true);
    case "BuildChanged":
      return asked({ build: event.data.build as ApplicationSpec["build"] }, true);
    case "RuntimeChanged":
      return asked({ runtime: event.data.runtime as NonNullable<ApplicationSpec["runtime"]> }, true);
    case "HealthChanged":
      return asked({ health: event.data.health }, true);
    case "DomainsChanged":
      return asked({ domains: event.data.domains });
    case "PolicyChanged":
      return asked({ policy: event.data.policy });
    case "HomeChosen": {
      const { node: _, ...rest } = spec;
      const { node } = event.data;
      return { ...asked({}), spec: node === null ? rest : { ...rest, node } };
    }
    case "ApplicationScaled":
      return spec.runtime === undefined ? asked({}) : asked({ runtime: { ...spec.runtime, instances: event.data.to } });
    case "ApplicationStartRequested":
      return asked({ wanted: "running" });
    case "ApplicationStopRequested":
      return asked({ wanted: "stopped" });
    default:
      return undefined;
  }
}

function reported(state: ApplicationState, event: ApplicationEvent, meta: EventMeta): ApplicationState {
  switch (event.type) {
    case "ApplicationPlaced":
      return { ...state, node: event.data.node };
    case "DeploymentQueued": {
      const { deployment, seq, superseded } = event.data;
      const queue = [...state.queue.filter((one) => !superseded.includes(one)), deployment];
      return { ...state, queue, nextSeq: seq + 1 };
    }
    case "DeploymentDequeued":
      return { ...state, queue: state.queue.filter((one) => one !== event.data.deployment) };
    case "DeploymentActivated": {
      const { deployment } = event.data;
      return { ...state, active: deployment, queue: state.queue.filter((one) => one !== deployment) };
    }
    case "DeploymentEnded":
      return ended(state, event.data, meta);
    case "ApplicationSettled":
      return { ...state, settled: event.data };
    case "DriftDetected":
    case "DriftRepaired":
    case "DriftRepairFailed":
    case "DriftRepairSuspended":
      return { ...state, drift: drifted(state.drift, event, meta) };
    case "ApplicationRemovalRequested":
      return { ...state, removalRequestedAt: meta.time };
    case "ApplicationRemoved":
      return { ...state, exists: false };
    default:
      return state;
  }
}

function ended(state: ApplicationState, data: Data["DeploymentEnded"]["Type"], { time }: EventMeta): ApplicationState {
  const { deployment, outcome } = data;
  const live = data.live as LiveRelease | undefined;
  const problem =
    data.problem !== undefined
      ? { ...data.problem, deployment, at: time }
      : outcome === "succeeded"
        ? null
        : state.problem;
  const next = { ...state, active: state.active === deployment ? null : state.active, problem };
  if (live === undefined) return next;
  const kept = [live, ...state.releases.filter((release) => release.deployment !== live.deployment)];
  return {
    ...next,
    live,
    previous: state.live,
    releases: kept.slice(0, Math.max(1, state.spec?.policy.keepReleases ?? 1)),
    // What was asked for while it was under way is still to be settled.
    settled: { wanted: "running", instances: live.instances },
  };
}

type DriftEvent = Extract<ApplicationEvent, { type: `Drift${string}` }>;

function drifted(
  before: ApplicationState["drift"],
  { type, data }: DriftEvent,
  { time }: EventMeta,
): ApplicationState["drift"] {
  const now = Date.parse(time);
  const recent = (repairs: ReadonlyArray<number>) => repairs.filter((at) => at > now - REPAIRS.withinMs);
  const known = before[data.resource] ?? {
    open: true,
    expected: "",
    actual: "",
    detectedAt: time,
    repairs: [],
    suspendedUntil: null,
    message: null,
  };
  const repairs = recent(known.repairs);
  let now_: DriftState;
  switch (type) {
    case "DriftDetected":
      now_ = { ...known, ...data, open: true, detectedAt: time, repairs };
      break;
    case "DriftRepaired":
      now_ = { ...known, open: false, repairs: [...repairs, now], message: null };
      break;
    case "DriftRepairFailed":
      now_ = { ...known, open: true, repairs: [...repairs, now], message: data.message };
      break;
    case "DriftRepairSuspended":
      now_ = { ...known, repairs, suspendedUntil: data.until };
  }
  const { resource: _, ...entry } = now_ as DriftState & { resource?: string };
  // What is well again and was left in peace for ten minutes is forgotten.
  const others = Object.entries(before).filter(
    ([name, drift]) => name !== data.resource && (drift.open || recent(drift.repairs).length > 0),
  );
  return Object.fromEntries([...others.slice(-(LIMITS.drifts - 1)), [data.resource, entry]]);
}

/** The entity as the API shows it. */
export function represent(state: ApplicationState): unknown {
  const shown = (name: string, value: unknown) => (value === null ? {} : { [name]: value });
  return {
    id: state.id,
    organisation: state.organisation,
    generation: state.generation,
    spec: state.spec,
    status: {
      state: stateName(state),
      ...shown("node", state.node),
      host: state.host,
      changed: isChanged(state),
      queue: state.queue,
      ...shown("active", state.active),
      ...shown("live", state.live),
      ...shown("previous", state.previous),
      releases: state.releases,
      deployments: state.nextSeq - 1,
      settled: state.settled,
      drift: Object.fromEntries(
        Object.entries(state.drift).map(([name, { repairs, suspendedUntil, message, ...drift }]) => [
          name,
          { ...drift, count: repairs.length, ...shown("suspendedUntil", suspendedUntil), ...shown("message", message) },
        ]),
      ),
      ...shown("problem", state.problem),
      ...shown("removalRequestedAt", state.removalRequestedAt),
    },
    createdAt: state.createdAt,
    createdBy: state.createdBy,
    updatedAt: state.updatedAt,
  };
}
