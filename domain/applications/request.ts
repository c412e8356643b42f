/**
 * Asking for a deployment, deleting an application, cancelling: what touches several aggregates, as the commands that are
 * carried out together, all or nothing, the application's first. Whoever asks, the gateway for a person or a worker that
 * heals, loads the states and gives them in; what has changed since is refused as a conflict, and they are loaded again.
 */
import type { ApplicationSpec, Release } from "@millrace/contracts/applications/entities.ts";
import type { Trigger } from "@millrace/contracts/applications/values.ts";
import type { Refusal } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { type ApplicationCommand, type ApplicationState, application } from "./application.ts";
import { nothingLive, notKept } from "./application-decide.ts";
import { type DeploymentCommand, type DeploymentState, deployment } from "./deployment.ts";
import { makesWay } from "./deployment-decide.ts";
import { refOf } from "./spec.ts";

/** One aggregate's part; what `executeAll` of the event log takes. */
export type Part =
  | { readonly kind: typeof application; readonly id: string; readonly command: ApplicationCommand }
  | { readonly kind: typeof deployment; readonly id: string; readonly command: DeploymentCommand };

export interface Ask {
  /** Id of the new deployment, made at the edge. */
  readonly deployment: string;
  readonly trigger: Trigger;
  /** Branch, tag or commit instead of the application's own. */
  readonly ref?: string;
  /** Generation of the application that the asker saw. */
  readonly seen?: number;
}

const partOf = (kind: Kind, id: string, command: unknown): Part => ({ kind, id, command }) as Part;

/** The deployment whose release a restart or a rollback uses; undefined: there is none to choose. */
export function targetOf(state: ApplicationState, trigger: Trigger, to?: string): string | undefined {
  if (trigger === "restart") return state.live?.deployment;
  if (trigger !== "rollback") return undefined;
  if (to !== undefined) return to;
  const others = state.releases.filter((release) => release.deployment !== state.live?.deployment);
  const previous = others.find((release) => release.deployment === state.previous?.deployment);
  return (previous ?? others[0])?.deployment;
}

/**
 * Why a restart or a rollback cannot be asked for; undefined: it can.
 * @param target what `targetOf` said
 */
export function refusalOf(state: ApplicationState, trigger: Trigger, target: string | undefined): Refusal | undefined {
  if (trigger !== "restart" && trigger !== "rollback") return undefined;
  if (state.live === null) return nothingLive;
  if (target === undefined) return notKept(state, "an earlier deployment");
  if (!state.releases.some((release) => release.deployment === target)) return notKept(state, target);
  return undefined;
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/**
 * What the deployment is to be made from. A rollback runs as that release ran, but for what belongs to the application and not
 * to a release: name, hosts, policy, home and number of instances. A restart runs with today's variables and limits.
 */
export function requestedSpec(
  current: ApplicationSpec,
  generation: number,
  trigger: Trigger,
  target: DeploymentState | undefined,
): { readonly requested: ApplicationSpec; readonly specGeneration: number } {
  const then = target?.requested;
  if (target === undefined || then == null) return { requested: current, specGeneration: generation };
  const { source, build } = then;
  if (trigger === "restart") {
    const unchanged = same([source, build], [current.source, current.build]);
    return {
      requested: { ...current, source, build },
      specGeneration: unchanged ? generation : target.specGeneration,
    };
  }
  const runtime =
    then.runtime === undefined
      ? {}
      : { runtime: { ...then.runtime, instances: current.runtime?.instances ?? then.runtime.instances } };
  return {
    requested: { ...current, source, build, health: then.health, ...runtime },
    specGeneration: target.specGeneration,
  };
}

function releaseOf(state: ApplicationState, target: string | undefined): Release | undefined {
  const found = state.releases.find((release) => release.deployment === target);
  if (found === undefined) return undefined;
  const { deployment, seq, commit, tree, ref, release, inputHash, image } = found;
  return { deployment, seq, commit, tree, ref, release, inputHash, ...(image === undefined ? {} : { image }) };
}

/**
 * Asks for a deployment: the application's queue, the new deployment, and those whose place it takes.
 * @param active the application's active deployment, loaded; undefined: there is none
 * @param target the deployment whose release is used again, loaded; undefined: a new one is built
 */
export function requestDeployment(
  state: ApplicationState,
  active: DeploymentState | undefined,
  target: DeploymentState | undefined,
  ask: Ask,
): ReadonlyArray<Part> {
  const { deployment: id, trigger, seen } = ask;
  const release = releaseOf(state, target?.id);
  const spec = state.spec;
  // An application that is not there: its decider says so, and nothing comes of the rest.
  if (spec === null) return [partOf(application, state.id, { do: "start" })];
  const { requested, specGeneration } = requestedSpec(spec, state.generation, trigger, target);
  const ref = ask.ref ?? release?.ref ?? refOf(spec.source);
  const { nextSeq: seq, queue: superseded } = state;
  return [
    partOf(application, state.id, {
      do: "deploy",
      deployment: id,
      trigger,
      ref,
      seq,
      specGeneration: state.generation,
      superseded,
      active: state.active,
      ...(release === undefined ? {} : { release }),
      ...(seen === undefined ? {} : { seen }),
    }),
    partOf(deployment, id, {
      do: "request",
      application: state.id,
      name: spec.name,
      seq,
      trigger,
      ref,
      requested,
      specGeneration,
      ...(release === undefined ? {} : { release }),
    }),
    ...superseded.map((one) => partOf(deployment, one, { do: "supersede", by: id })),
    ...(active !== undefined && makesWay(active) ? [partOf(deployment, active.id, { do: "supersede", by: id })] : []),
  ];
}

/** Cancels a deployment: one that waits leaves its application's queue with it. */
export function cancelDeployment(state: DeploymentState, reason?: string): ReadonlyArray<Part> {
  const own = partOf(deployment, state.id, { do: "cancel", ...(reason === undefined ? {} : { reason }) });
  if (state.state !== "queued") return [own];
  return [partOf(application, state.application, { do: "dequeue", deployment: state.id }), own];
}

/**
 * Deletes an application: cancels what waits and what runs; a worker takes down the rest when that has ended.
 * @param active the application's active deployment, loaded; undefined: there is none
 */
export function deleteApplication(
  state: ApplicationState,
  active: DeploymentState | undefined,
  seen?: number,
): ReadonlyArray<Part> {
  const { queue } = state;
  const own: ApplicationCommand = {
    do: "delete",
    queue,
    active: state.active,
    ...(seen === undefined ? {} : { seen }),
  };
  const cancels = [...queue, ...(active === undefined ? [] : [active.id])];
  return [
    partOf(application, state.id, own),
    ...(state.removalRequestedAt === null ? cancels.map((id) => partOf(deployment, id, { do: "cancel" })) : []),
  ];
}
