/** A deployment as folded from its events. */
import type {
  ApplicationSpec,
  LiveRelease,
  Outputs,
  PhaseError,
  Release,
} from "@millrace/contracts/applications/entities.ts";
import type * as events from "@millrace/contracts/applications/events.ts";
import {
  ALL_PHASES,
  CLEANUP,
  COMPENSATIONS,
  type Compensation,
  type DeploymentStateName,
  PHASES,
  type Phase,
  type Trigger,
  type VerdictPhase,
} from "@millrace/contracts/applications/values.ts";
import type { Actor, EventMeta } from "../decider.ts";

type Data = typeof events;
export type DeploymentEventType = keyof typeof events.deploymentEvents;
export type DeploymentEvent = {
  [T in DeploymentEventType]: { readonly type: T; readonly data: Data[T]["Type"] };
}[DeploymentEventType];

export interface PhaseState<P extends Phase = Phase> {
  /** `failed`: for good, or until `retryAtMs`. `interrupted`: the deployment was stopped while it was under way. */
  readonly state: "running" | "completed" | "failed" | "interrupted";
  /** From 1; 0 where an earlier deployment's work is used. */
  readonly attempt: number;
  readonly worker: string;
  readonly node: string;
  /** Of the first attempt. */
  readonly startedAt: string;
  /** Of this attempt. */
  readonly attemptedAt: string;
  readonly completedAt?: string;
  readonly durationMs?: number;
  readonly adopted?: boolean;
  readonly output?: Outputs[P];
  readonly error?: PhaseError;
  /** Milliseconds since 1970; left out of a failed one: for good. */
  readonly retryAtMs?: number;
}

export interface CompensationState {
  /** `abandoned`: given up, and somebody has to look. */
  readonly state: "running" | "completed" | "failed" | "abandoned";
  readonly attempt: number;
  readonly worker: string;
  readonly startedAt: string;
  readonly completedAt?: string;
  readonly error?: { readonly code: string; readonly message: string };
  readonly retryAtMs?: number;
}

export type Failure = PhaseError & { readonly phase: Phase };

export interface DeploymentState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly application: string;
  readonly name: string;
  /** Number among the application's deployments; also the generation of its routes. */
  readonly seq: number;
  readonly trigger: Trigger;
  readonly ref: string;
  /** The application as it was when it was asked for. */
  readonly requested: ApplicationSpec | null;
  readonly specGeneration: number;
  /** Used again, instead of building one. */
  readonly release: Release | null;
  readonly state: DeploymentStateName;
  readonly node: string | null;
  /** What was live when it started: to go back to. */
  readonly from: LiveRelease | null;
  readonly phases: { readonly [P in Phase]?: PhaseState<P> };
  readonly compensations: { readonly [C in Compensation]?: CompensationState };
  /** What stopped it, whichever came first. */
  readonly stopped: "cancellation" | "supersession" | "failure" | null;
  readonly cancellation: { readonly by: Actor; readonly at: string; readonly reason?: string } | null;
  readonly supersededBy: string | null;
  readonly failure: Failure | null;
  readonly waiting: { readonly reason: string; readonly since: string } | null;
  readonly rolledBackTo: string | null;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  /** The health check must have begun by then. */
  readonly deadlineAt: string | null;
  readonly createdAt: string;
  readonly requestedBy: Actor | null;
  readonly updatedAt: string;
}

export const initial = (id: string): DeploymentState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  application: "",
  name: "",
  seq: 0,
  trigger: "manual",
  ref: "",
  requested: null,
  specGeneration: 0,
  release: null,
  state: "queued",
  node: null,
  from: null,
  phases: {},
  compensations: {},
  stopped: null,
  cancellation: null,
  supersededBy: null,
  failure: null,
  waiting: null,
  rolledBackTo: null,
  startedAt: null,
  finishedAt: null,
  deadlineAt: null,
  createdAt: "",
  requestedBy: null,
  updatedAt: "",
});

export const isOver = ({ state }: Pick<DeploymentState, "state">): boolean =>
  state !== "queued" && state !== "running" && state !== "compensating";

/** Requests reach the new release from here on. */
export const hasSwitched = ({ phases }: DeploymentState): boolean => phases.UPDATING_ROUTES?.state === "completed";

/** The switch was begun, so it may have happened. */
export const mayHaveSwitched = ({ phases }: DeploymentState): boolean => phases.UPDATING_ROUTES !== undefined;

/** The first phase that is not completed; undefined: all are. */
export const phaseOf = ({ phases }: DeploymentState): VerdictPhase | undefined =>
  PHASES.find((phase) => phases[phase]?.state !== "completed");

/** It did not become healthy behind the switch, and is to stay all the same. */
export const staysUnverified = (state: DeploymentState): boolean =>
  state.stopped === "failure" && hasSwitched(state) && state.requested?.policy.autoRevert === false;

/** What has to be undone, in order. Each is idempotent, and finds out itself what is there. */
export function compensationsOf(state: DeploymentState): ReadonlyArray<Compensation> {
  if (staysUnverified(state)) return [];
  const { phases } = state;
  const container = state.requested?.build.kind === "dockerfile";
  const needed: Record<Compensation, boolean> = {
    RESTORE_ROUTES: mayHaveSwitched(state),
    RESTORE_SYMLINKS: phases.CREATING_SYMLINKS !== undefined,
    REMOVE_CONTAINERS: container && mayHaveSwitched(state),
    // Its own tag; an earlier deployment's, whose image it may have used, is another.
    REMOVE_IMAGE: container && phases.BUILDING !== undefined,
    REMOVE_RELEASE: phases.COPYING_FILES !== undefined,
  };
  return COMPENSATIONS.filter((step) => needed[step]);
}

/** The first step of undoing that was given up. */
export const abandonedOf = ({ compensations }: DeploymentState): Compensation | undefined =>
  COMPENSATIONS.find((step) => compensations[step]?.state === "abandoned");

/** What went wrong: the phase that failed, or what could not be undone after it. */
export function failureOf(state: DeploymentState): Failure | null {
  const step = abandonedOf(state);
  if (step === undefined) return state.failure;
  const error = state.compensations[step]?.error;
  const first =
    state.failure === null ? "" : ` Before that ${state.failure.phase} had failed: ${state.failure.message}`;
  return {
    phase: state.failure?.phase ?? "UPDATING_ROUTES",
    class: "permanent",
    code: "COMPENSATION_ABANDONED",
    message: `${step} could not be done: ${error?.message ?? "its workers ended while they were at it."}${first}`,
    fix: "Look at the node and at the log of the deployment, then deploy again.",
  };
}

export function evolve(before: DeploymentState, event: DeploymentEvent, meta: EventMeta): DeploymentState {
  const state = { ...before, updatedAt: meta.time };
  const over = { waiting: null, finishedAt: meta.time };
  switch (event.type) {
    case "DeploymentRequested":
      return requested(state, event.data, meta);
    case "DeploymentWaiting":
      return { ...state, waiting: { reason: event.data.reason, since: meta.time } };
    case "DeploymentStarted": {
      const { node, deadlineAt, from } = event.data;
      return {
        ...state,
        state: "running",
        node,
        deadlineAt,
        from: from as LiveRelease | null,
        startedAt: meta.time,
        waiting: null,
      };
    }
    case "PhaseStarted":
    case "PhaseCompleted":
    case "PhaseFailed":
      return phased(state, event, meta);
    case "CancellationRequested": {
      const cancellation = { ...event.data, by: meta.actor, at: meta.time };
      return stop({ ...state, cancellation }, "cancellation");
    }
    case "SupersessionRequested":
      return stop({ ...state, supersededBy: event.data.by }, "supersession");
    case "CompensationStarted":
    case "CompensationCompleted":
    case "CompensationFailed":
      return compensated(state, event, meta);
    case "DeploymentSucceeded":
      return { ...state, ...over, state: "succeeded" };
    case "DeploymentFailed":
      return { ...state, ...over, state: "failed" };
    case "DeploymentCancelled": {
      // Of one that waited nothing else tells who cancelled it.
      const cancellation = state.cancellation ?? { by: meta.actor, at: meta.time };
      return { ...state, ...over, state: "cancelled", cancellation };
    }
    case "DeploymentSuperseded":
      return { ...state, ...over, state: "superseded", supersededBy: event.data.by };
    case "DeploymentRolledBack":
      return { ...state, ...over, state: "rolledBack", rolledBackTo: event.data.to };
  }
}

function requested(state: DeploymentState, data: Data["DeploymentRequested"]["Type"], meta: EventMeta) {
  return {
    ...initial(state.id),
    ...data,
    requested: data.requested as ApplicationSpec,
    release: data.release ?? null,
    exists: true,
    organisation: meta.organisation,
    generation: 1,
    createdAt: meta.time,
    requestedBy: meta.actor,
    updatedAt: meta.time,
  };
}

/** It goes no further; what it did is undone next. */
function stop(state: DeploymentState, because: NonNullable<DeploymentState["stopped"]>): DeploymentState {
  if (state.state !== "running") return state;
  const phases = Object.fromEntries(
    Object.entries(state.phases).map(([name, phase]) => [
      name,
      phase.state === "running" ? { ...phase, state: "interrupted" } : phase,
    ]),
  ) as DeploymentState["phases"];
  return { ...state, phases, state: "compensating", stopped: because, waiting: null };
}

type PhaseEvent = Extract<DeploymentEvent, { type: `Phase${string}` }>;

function phased(state: DeploymentState, event: PhaseEvent, { time }: EventMeta): DeploymentState {
  const { phase } = event.data;
  const known: PhaseState | undefined = state.phases[phase];
  const base = { worker: event.data.worker, node: state.node ?? "", startedAt: known?.startedAt ?? time };
  const set = (now: PhaseState): DeploymentState => ({ ...state, phases: { ...state.phases, [phase]: now } });
  switch (event.type) {
    case "PhaseStarted": {
      const { attempt, worker, node } = event.data;
      const now: PhaseState = { ...base, state: "running", attempt, worker, node, attemptedAt: time };
      return { ...set(now), waiting: null };
    }
    case "PhaseCompleted": {
      const { attempt, adopted, durationMs } = event.data;
      const output = event.data.output as unknown as Outputs[Phase];
      const attemptedAt = known?.attemptedAt ?? time;
      return set({
        ...base,
        node: known?.node ?? base.node,
        state: "completed",
        attempt,
        attemptedAt,
        completedAt: time,
        durationMs,
        adopted,
        output,
      });
    }
    case "PhaseFailed": {
      const { attempt, class: kind, code, message, fix, retryAt } = event.data;
      const error: PhaseError = { class: kind, code, message, fix };
      const failed: PhaseState = {
        ...base,
        node: known?.node ?? base.node,
        state: "failed",
        attempt,
        attemptedAt: known?.attemptedAt ?? time,
        error,
        ...(retryAt === undefined ? {} : { retryAtMs: Date.parse(retryAt) }),
      };
      const next = set(failed);
      // What goes wrong while tidying up does not change the verdict.
      if (retryAt !== undefined || phase === CLEANUP) return next;
      return stop({ ...next, failure: { phase, ...error } }, "failure");
    }
  }
}

type CompensationEvent = Extract<DeploymentEvent, { type: `Compensation${string}` }>;

function compensated(state: DeploymentState, event: CompensationEvent, { time }: EventMeta): DeploymentState {
  const { step, attempt, worker } = event.data;
  const known = state.compensations[step];
  const base = { attempt, worker, startedAt: known?.startedAt ?? time };
  const set = (now: CompensationState): DeploymentState => ({
    ...state,
    waiting: null,
    compensations: { ...state.compensations, [step]: now },
  });
  switch (event.type) {
    case "CompensationStarted":
      return set({ ...base, state: "running" });
    case "CompensationCompleted":
      return set({ ...base, state: "completed", completedAt: time });
    case "CompensationFailed": {
      const { code, message, retryAt } = event.data;
      const error = { code, message };
      return retryAt === undefined
        ? set({ ...base, state: "abandoned", error })
        : set({ ...base, state: "failed", error, retryAtMs: Date.parse(retryAt) });
    }
  }
}

/** The phase that it stands in; undefined: before the first, or over. */
export function currentPhase(state: DeploymentState): Phase | undefined {
  if (state.state === "running") return phaseOf(state) ?? "HEALTH_CHECK";
  if (state.state === "succeeded" && state.phases.CLEANUP?.state === "running") return CLEANUP;
  return undefined;
}

const time = (ms: number | undefined): Record<string, string> =>
  ms === undefined ? {} : { retryAt: new Date(ms).toISOString() };

/** The entity as the API shows it. */
export function represent(state: DeploymentState): unknown {
  const shown = (name: string, value: unknown) => (value === null || value === undefined ? {} : { [name]: value });
  return {
    id: state.id,
    organisation: state.organisation,
    generation: state.generation,
    spec: {
      application: state.application,
      name: state.name,
      seq: state.seq,
      trigger: state.trigger,
      ref: state.ref,
      requested: state.requested,
      specGeneration: state.specGeneration,
      ...shown("release", state.release),
    },
    status: {
      state: state.state,
      ...shown("phase", currentPhase(state)),
      phases: ALL_PHASES.flatMap((phase) => {
        const found: PhaseState | undefined = state.phases[phase];
        if (found === undefined) return [];
        const { retryAtMs, ...rest } = found;
        return [{ phase, ...rest, ...time(retryAtMs) }];
      }),
      compensations: COMPENSATIONS.flatMap((step) => {
        const found = state.compensations[step];
        if (found === undefined) return [];
        const { retryAtMs: _, worker: __, ...rest } = found;
        return [{ step, ...rest }];
      }),
      ...shown("node", state.node),
      ...shown("cancellation", state.cancellation),
      ...shown("supersededBy", state.supersededBy),
      ...shown("waiting", state.waiting),
      ...shown("error", failureOf(state)),
      ...shown("rolledBackTo", state.rolledBackTo),
      ...shown("startedAt", state.startedAt),
      ...shown("finishedAt", state.finishedAt),
      ...shown("deadlineAt", state.deadlineAt),
    },
    createdAt: state.createdAt,
    requestedBy: state.requestedBy,
    updatedAt: state.updatedAt,
  };
}
