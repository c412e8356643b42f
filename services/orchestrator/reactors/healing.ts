/** Looking at what an application has in the world, and doing what the plan says: for settling (start, stop, scale) and healing. */
import type { ApplicationSpec } from "@millrace/contracts/applications/entities.ts";
import type { ApplicationState } from "@millrace/domain/applications/application-state.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { Container } from "../adapters/docker.ts";
import { DockerFailed } from "../adapters/docker-failures.ts";
import { probeReady } from "../adapters/probe.ts";
import { findRelease } from "../adapters/releases.ts";
import { chooseRelease, readRoutes, SLOTS, setStopped, switchRoute } from "../adapters/routes.ts";
import { asOutcome, type OrchestratorNode } from "../node.ts";
import { type Action, type Actual, addressesOf, type Desired } from "../reconcile.ts";
import { build, containerSpecs, diskOf, fenceOfRepair, type Making, materialise } from "./making.ts";
import { ended, SETTLE_MS } from "./phases.ts";

export interface Healing extends Making {
  readonly owner: ApplicationState;
  readonly desired: Desired;
}

/** What it needs to be made as its live deployment made it. @throws LogUnavailable */
export async function healingOf(
  node: OrchestratorNode,
  owner: ApplicationState,
  desired: Desired,
  given: Pick<Making, "signal" | "say" | "redact" | "during">,
): Promise<Healing> {
  const { state } = await node.log.aggregates.load(deployment, desired.deployment);
  const requested: ApplicationSpec | null = state.requested ?? owner.spec;
  if (requested === null) throw new Error(`${owner.id} was never created`);
  return { node, organisation: owner.organisation, application: owner.id, requested, owner, desired, ...given };
}

/**
 * What is there of it.
 * @param list its containers; left out: the engine is asked
 */
export async function look(
  node: OrchestratorNode,
  owner: Pick<ApplicationState, "id" | "live">,
  list: () => Promise<Actual["containers"]> = () => node.docker.listContainers({ application: owner.id }).catch(away),
): Promise<Actual> {
  const app = diskOf({ node, application: owner.id });
  const release = owner.live === null ? undefined : await findRelease(app, owner.live.release);
  const containers = owner.live?.kind === "dockerfile" ? await list() : [];
  return { release: release !== undefined && !("failed" in release), routes: await readRoutes(app), containers };
}

/** An engine that is away tells nothing: neither that containers run, nor that none do. */
export function away(error: unknown): undefined {
  if (error instanceof DockerFailed) return undefined;
  throw error;
}

export const carryOut = (healing: Healing, action: Action): Promise<Outcome<object>> =>
  asOutcome<object>(() => act(healing, action));

async function act(healing: Healing, action: Action): Promise<Outcome<object>> {
  const { node, owner, desired, signal } = healing;
  const app = diskOf(healing);
  switch (action.do) {
    case "make-release":
      return makeRelease(healing);
    case "choose-release":
      return chooseRelease(app, { generation: fenceOfRepair(owner), release: desired.release }, { signal });
    case "start-container":
      return startContainer(healing, action.slot, action.unhealthy);
    case "switch-route":
      return serve(healing);
    case "set-stopped":
      return setStopped(app, action.stopped);
    case "remove-container":
      await pause(SETTLE_MS, signal);
      await node.docker.removeContainer(action.id, () => node.drained(action.id));
      return {};
  }
}

async function makeRelease(healing: Healing): Promise<Outcome<object>> {
  const { owner, desired } = healing;
  const live = owner.live!;
  const made = await materialise(healing, {
    source: { commit: live.commit, tree: live.tree, ref: live.ref },
    inputHash: live.inputHash,
    ...(live.image === undefined ? {} : { image: live.image }),
  });
  if ("failed" in made || made.release === desired.release) return made;
  const fix = "Deploy again: what its source holds has changed.";
  return fail("permanent", "RELEASE_LOST", `The release ${desired.release} cannot be made again.`, fix);
}

async function startContainer(healing: Healing, slot: number, unhealthy: string | undefined): Promise<Outcome<object>> {
  const { node, owner, desired, application, requested, signal } = healing;
  const live = owner.live!;
  let imageId = desired.imageId ?? "";
  if (live.image !== undefined && (await node.docker.findImage(live.image.tag, live.inputHash)) === undefined) {
    const rebuilt = await build(healing, live.deployment, live, null);
    if ("failed" in rebuilt) return rebuilt;
    imageId = rebuilt.image?.id ?? imageId;
  }
  if (unhealthy !== undefined) await node.docker.stopContainer(unhealthy);
  const asked = await containerSpecs(healing, desired.deployment, imageId, [slot]);
  if ("failed" in asked) return asked;
  await node.docker.ensureNetwork(application);
  const { id, address } = await node.docker.startContainer(asked.specs[0]!);
  const { path, successes, timeoutMs } = requested.health;
  const deadlineAt = Date.now() + Math.min(requested.policy.healthyDeadlineMs, READY_MOST_MS);
  await probeReady(address, path, { successes, timeoutMs, deadlineAt, signal, giveUp: () => ended(healing, id) });
  return {};
}

/** A container that is healed is waited for no longer than this: others wait behind it. */
const READY_MOST_MS = 60_000;

/** The live release is served again, as far as it runs. */
async function serve(healing: Healing): Promise<Outcome<object>> {
  const { node, owner, desired, requested, application, signal } = healing;
  const { build: how } = requested;
  const route = { generation: desired.generation, deployment: desired.deployment, asOf: fenceOfRepair(owner) };
  if (how.kind === "static") {
    const { index, spa, notFound } = how;
    const target = { release: desired.release, index, spa, ...(notFound === undefined ? {} : { notFound }) };
    return switchRoute(diskOf(healing), { ...route, target }, { signal });
  }
  const containers: Container[] = await node.docker.listContainers({ application });
  const all = addressesOf(desired, containers);
  // Those that run share the slots evenly; the others come when they run.
  const share = all.length - [...all.keys()].findIndex((less) => SLOTS % (all.length - less) === 0);
  const addresses = all.slice(0, share);
  if (addresses.length === 0) {
    const fix = "Look at the application's log: none of its containers runs.";
    return fail("transient", "NOTHING_RUNS", "No container runs that could be served.", fix);
  }
  return switchRoute(diskOf(healing), { ...route, target: { addresses } }, { signal });
}
