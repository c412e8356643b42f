/**
 * What is to be done now, from the log alone: pure and total. The same answer serves the first try, a redelivery, a crash,
 * another worker and a healing round.
 *
 * Two functions, for two reactors that share one unit of work, the application's id:
 *
 * - `nextOfApplication`: place, activate the deployment whose turn it is, settle, tear down
 * - `nextOfDeployment`: phases, compensations, the finish, tidying up
 *
 * A worker does the step and records what came of it through the deciders. What it records is refused as `overtaken` when
 * somebody else has gone on meanwhile.
 */
import type { LiveRelease } from "@millrace/contracts/applications/entities.ts";
import {
  CLEANUP,
  type Compensation,
  LIMITS,
  type Outcome,
  type Phase,
} from "@millrace/contracts/applications/values.ts";
import type { ApplicationCommand } from "./application-command.ts";
import { type ApplicationState, homeOf, instancesOf } from "./application-state.ts";
import type { DeploymentCommand, ExpiryReason } from "./deployment-command.ts";
import {
  abandonedOf,
  compensationsOf,
  type DeploymentState,
  type Failure,
  failureOf,
  hasSwitched,
  type PhaseState,
  phaseOf,
  staysUnverified,
} from "./deployment-state.ts";

/** Nothing; or a step; or nothing before a moment, in milliseconds since 1970. */
export type Next<P> = undefined | { readonly do: P } | { readonly waitUntil: number };

export type ApplicationStep =
  /** Nobody's yet: whichever worker takes it gives it its node (`place`). */
  | { readonly kind: "place" }
  /** `activate` with the deployment's `start`, all or nothing: `activation()`. */
  | { readonly kind: "activate"; readonly deployment: string }
  /** Containers, routes and symlink as wanted, without a deployment; then `settle`. */
  | { readonly kind: "settle"; readonly wanted: "running" | "stopped"; readonly instances: number }
  /** Everything that it has in the world goes; then `remove`. */
  | { readonly kind: "tearDown" };

export type DeploymentStep =
  | {
      readonly kind: "phase";
      readonly phase: Phase;
      /** To begin with: `beginPhase`, before the world is touched. */
      readonly attempt: number;
      /** It is to be broken off then, milliseconds since 1970; `next` then says `expire`. Null: tidying up has no deadline. */
      readonly deadlineAt: number | null;
    }
  | { readonly kind: "compensate"; readonly step: Compensation; readonly attempt: number }
  /** Twenty attempts to undo something were in vain: `abandonCompensation`, and somebody has to look. */
  | { readonly kind: "abandon"; readonly step: Compensation }
  /** `finish` with the application's `finish`, all or nothing: `finishing()`. */
  | { readonly kind: "finish"; readonly outcome: Outcome }
  | { readonly kind: "expire"; readonly reason: ExpiryReason; readonly phase: Phase };

export function nextOfApplication(state: ApplicationState, _nowMs?: number): Next<ApplicationStep> {
  if (!state.exists || state.spec === null || state.active !== null) return undefined;
  if (state.removalRequestedAt !== null) return { do: { kind: "tearDown" } };
  const waiting = state.queue[0];
  if (waiting !== undefined) {
    return { do: state.node === null ? { kind: "place" } : { kind: "activate", deployment: waiting } };
  }
  if (state.live === null) return undefined;
  const instances = instancesOf(state);
  const { wanted } = state.spec;
  if (wanted === state.settled.wanted && instances === state.settled.instances) return undefined;
  return { do: { kind: "settle", wanted, instances } };
}

/** Whether a worker of this node may act on the application, or its deployments. */
export const isHome = (state: ApplicationState, node: string): boolean => (homeOf(state) ?? node) === node;
/** A deployment that has not started yet is nobody's to act on: its application's reactor gives it its turn. */
export const isHomeOfDeployment = (state: DeploymentState, node: string): boolean => (state.node ?? node) === node;

/** Whether what a worker is doing for an application is no longer wanted. */
export const interruptsApplication = (state: ApplicationState, step: ApplicationStep): boolean =>
  step.kind === "settle" &&
  (state.removalRequestedAt !== null || state.spec?.wanted !== step.wanted || instancesOf(state) !== step.instances);

const parsed = (time: string | null | undefined): number | null =>
  time === null || time === undefined ? null : Date.parse(time);

/**
 * When a phase is given up, milliseconds since 1970: everything before the health check by the deadline since the start, the
 * health check by its own since its first attempt. Both count from the log, so that a restart does not stretch them. Null: never.
 */
export function deadlineOf(state: DeploymentState, phase: Phase): number | null {
  if (phase === CLEANUP || state.requested === null) return null;
  if (phase !== "HEALTH_CHECK") return parsed(state.deadlineAt);
  const began = parsed(state.phases.HEALTH_CHECK?.startedAt);
  return began === null ? null : began + state.requested.policy.healthyDeadlineMs;
}

export function nextOfDeployment(state: DeploymentState, nowMs: number): Next<DeploymentStep> {
  if (!state.exists) return undefined;
  switch (state.state) {
    case "running": {
      const phase = phaseOf(state);
      return phase === undefined
        ? { do: { kind: "finish", outcome: "succeeded" } }
        : nextPhase(state, phase, state.phases[phase], nowMs);
    }
    case "compensating":
      return nextCompensation(state, nowMs);
    case "succeeded": {
      const tidied: PhaseState | undefined = state.phases.CLEANUP;
      const over = tidied?.state === "completed" || (tidied?.state === "failed" && tidied.retryAtMs === undefined);
      return over ? undefined : nextPhase(state, CLEANUP, tidied, nowMs);
    }
    default:
      return undefined;
  }
}

function nextPhase(
  state: DeploymentState,
  phase: Phase,
  known: PhaseState | undefined,
  nowMs: number,
): Next<DeploymentStep> {
  const deadline = deadlineOf(state, phase);
  if (deadline !== null && nowMs >= deadline) {
    return { do: { kind: "expire", reason: phase === "HEALTH_CHECK" ? "healthy" : "progress", phase } };
  }
  const attempts = known?.attempt ?? 0;
  if (attempts >= LIMITS.attempts) return { do: { kind: "expire", reason: "poison", phase } };
  const retryAt = known?.state === "failed" ? known.retryAtMs : undefined;
  if (retryAt !== undefined && retryAt > nowMs) {
    return { waitUntil: deadline === null ? retryAt : Math.min(retryAt, deadline) };
  }
  // The first health check begins its own deadline.
  const until =
    deadline === null && phase === "HEALTH_CHECK" && state.requested !== null
      ? nowMs + state.requested.policy.healthyDeadlineMs
      : deadline;
  return { do: { kind: "phase", phase, attempt: attempts + 1, deadlineAt: until } };
}

function nextCompensation(state: DeploymentState, nowMs: number): Next<DeploymentStep> {
  for (const step of compensationsOf(state)) {
    const known = state.compensations[step];
    if (known?.state === "completed" || known?.state === "abandoned") continue;
    const attempts = known?.attempt ?? 0;
    if (attempts >= LIMITS.attempts) return { do: { kind: "abandon", step } };
    const retryAt = known?.state === "failed" ? known.retryAtMs : undefined;
    if (retryAt !== undefined && retryAt > nowMs) return { waitUntil: retryAt };
    return { do: { kind: "compensate", step, attempt: attempts + 1 } };
  }
  return { do: { kind: "finish", outcome: outcomeOf(state) } };
}

/** What a stopped deployment ends as, when everything is undone. */
export function outcomeOf(state: DeploymentState): Outcome {
  if (state.stopped === null) return "succeeded";
  // What could not be undone is no clean end, whatever was asked for.
  if (abandonedOf(state) !== undefined) return "failed";
  if (state.stopped === "supersession") return "superseded";
  // The new release had been answering, and the former one answers again.
  if (hasSwitched(state) && state.from !== null && !staysUnverified(state)) return "rolledBack";
  return state.stopped === "cancellation" ? "cancelled" : "failed";
}

/** Whether what a worker is doing for a deployment is no longer wanted, or somebody else's by now. */
export function interruptsDeployment(state: DeploymentState, step: DeploymentStep): boolean {
  if (step.kind === "phase") {
    if (step.phase !== CLEANUP && state.state !== "running") return true;
    return (state.phases[step.phase]?.attempt ?? 0) > step.attempt;
  }
  return step.kind === "compensate" && (state.compensations[step.step]?.attempt ?? 0) > step.attempt;
}

/** What the deployment has made live, or will with its success. @throws when its phases have not come that far */
export function liveOf(state: DeploymentState, now: string): LiveRelease {
  const { PULLING_SOURCE, BUILDING, COPYING_FILES, UPDATING_ROUTES } = state.phases;
  const { requested } = state;
  const source = PULLING_SOURCE?.output;
  const built = BUILDING?.output;
  const copied = COPYING_FILES?.output;
  const routes = UPDATING_ROUTES?.output;
  if (requested === null || !source || !built || !copied || !routes) throw new Error(`${state.id} is not that far`);
  return {
    deployment: state.id,
    seq: state.seq,
    commit: source.commit,
    tree: source.tree,
    ref: source.ref,
    release: copied.release,
    inputHash: built.inputHash,
    ...(built.image === undefined ? {} : { image: built.image }),
    generation: state.seq,
    kind: requested.build.kind,
    trigger: state.trigger,
    specGeneration: state.specGeneration,
    instances: routes.containers.length,
    at: now,
    verified: state.phases.HEALTH_CHECK?.state === "completed",
  };
}

interface Part<C> {
  readonly id: string;
  readonly command: C;
}

/** The two commands of the step `activate`, to be carried out together: the application's first. */
export const activation = (
  application: ApplicationState,
  step: Extract<ApplicationStep, { kind: "activate" }>,
  by: { readonly worker: string; readonly node: string },
): { readonly application: Part<ApplicationCommand>; readonly deployment: Part<DeploymentCommand> } => ({
  application: {
    id: application.id,
    command: { do: "activate", deployment: step.deployment, live: application.live?.deployment ?? null },
  },
  deployment: { id: step.deployment, command: { do: "start", ...by, live: application.live } },
});

/**
 * The two commands of the step `finish`, to be carried out together: the deployment's first.
 * @param now RFC 3339
 */
export function finishing(
  state: DeploymentState,
  step: Extract<DeploymentStep, { kind: "finish" }>,
  now: string,
): { readonly deployment: Part<DeploymentCommand>; readonly application: Part<ApplicationCommand> } {
  const { outcome } = step;
  const goesLive = outcome === "succeeded" || staysUnverified(state);
  const failure = failureOf(state);
  const { class: _, ...problem } = failure ?? { class: null };
  return {
    deployment: { id: state.id, command: { do: "finish", outcome } },
    application: {
      id: state.application,
      command: {
        do: "finish",
        deployment: state.id,
        outcome,
        ...(goesLive ? { live: liveOf(state, now) } : {}),
        ...(failure === null ? {} : { problem: problem as Omit<Failure, "class"> }),
      },
    },
  };
}
