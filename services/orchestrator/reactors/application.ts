/** The reactor of applications: their node, whose turn it is, start, stop and scale, healing, and the end of all they have. */
import { application } from "@millrace/domain/applications/application.ts";
import type { ApplicationCommand } from "@millrace/domain/applications/application-command.ts";
import { repairableAt } from "@millrace/domain/applications/application-report.ts";
import { type ApplicationState, homeOf } from "@millrace/domain/applications/application-state.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import {
  type ApplicationStep,
  activation,
  interruptsApplication,
  isHome,
  nextOfApplication,
} from "@millrace/domain/applications/next.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import type { Outcome } from "@millrace/eventlog/outcome.ts";
import type { Reactor, Verdict, Work } from "@millrace/eventlog/worker.ts";
import { removeApp } from "../adapters/collect.ts";
import { asOutcome, type OrchestratorNode } from "../node.ts";
import { type Action, desiredOf, plan } from "../reconcile.ts";
import { carryOut, healingOf, look } from "./healing.ts";
import { diskOf } from "./making.ts";

/** What the log asks for, or healing: what was seen in the world is not as the log says. */
export type Step = ApplicationStep | { readonly kind: "heal" };

type ApplicationWork = Work<ApplicationState, ApplicationCommand>;

const AGAIN: Verdict = { again: true };

/** @param drifted applications of which a round has seen that something is wrong; each is healed once */
export const applicationReactor = (
  node: OrchestratorNode,
  drifted: Set<string>,
): Reactor<ApplicationState, ApplicationCommand, Step> => ({
  kind: application,
  mine: (state) => isHome(state, node.name),
  next: (state, nowMs) => {
    const next = nextOfApplication(state, nowMs);
    if (next !== undefined) return next;
    return drifted.has(state.id) ? { do: { kind: "heal" } } : undefined;
  },
  interrupts: (state, step) =>
    step.kind === "heal"
      ? state.active !== null || state.queue.length > 0 || state.removalRequestedAt !== null
      : interruptsApplication(state, step),
  perform: (step, work) => {
    switch (step.kind) {
      case "place":
        return place(node, work);
      case "activate":
        return activate(node, step, work);
      case "settle":
        return settle(node, step, work);
      case "tearDown":
        return tearDown(node, work);
      case "heal":
        drifted.delete(work.id);
        return heal(node, work);
    }
  },
});

async function place(node: OrchestratorNode, work: ApplicationWork): Promise<Verdict> {
  await work.record({ do: "place", node: homeOf(work.loaded.state) ?? node.name });
  return AGAIN;
}

async function activate(
  node: OrchestratorNode,
  step: Extract<Step, { kind: "activate" }>,
  work: ApplicationWork,
): Promise<Verdict> {
  faultPoint("deployment.activate.before");
  const parts = activation(work.loaded.state, step, { worker: work.worker, node: node.name });
  await work.record(parts.application.command, [{ kind: deployment, ...parts.deployment }]);
  faultPoint("deployment.activate.recorded");
  return AGAIN;
}

const silent = { say: () => {}, redact: () => {}, during: () => {} };

/** Rounds of look and act: what is started may show what else is to be done. */
const ROUNDS = 4;

/** Started, stopped, scaled: brought about by the same plan that heals. */
async function settle(
  node: OrchestratorNode,
  { wanted, instances }: Extract<Step, { kind: "settle" }>,
  work: ApplicationWork,
): Promise<Verdict> {
  const owner = work.loaded.state;
  const desired = desiredOf(owner, { wanted, instances });
  if (desired === undefined) return AGAIN;
  const healing = await healingOf(node, owner, desired, { ...silent, signal: work.signal });
  faultPoint("application.settle.before");
  for (let round = 0; round < ROUNDS; round++) {
    const actions = plan(desired, await look(node, owner));
    if (actions.length === 0) break;
    for (const action of actions) {
      const outcome = await carryOut(healing, action);
      if (work.signal.aborted) throw work.signal.reason;
      faultPoint("application.settle.during");
      if ("failed" in outcome) return notSettled(outcome, action, work);
    }
  }
  faultPoint("application.settle.after");
  await work.record({ do: "settle", wanted, instances });
  faultPoint("application.settle.recorded");
  return AGAIN;
}

const SETTLE_AGAIN_MS = 10_000;

/** People see it as drift of the resource; it is tried again by a timer. */
async function notSettled(
  { failed }: Extract<Outcome<object>, { failed: unknown }>,
  { resource, expected, actual }: Action,
  work: ApplicationWork,
): Promise<Verdict> {
  await work.record({ do: "recordDrift", resource, expected, actual });
  await work.record({ do: "recordRepairFailure", resource, message: `${failed.message} ${failed.fix}` });
  return { retryAfterMs: SETTLE_AGAIN_MS, reason: failed.message };
}

async function heal(node: OrchestratorNode, work: ApplicationWork): Promise<Verdict> {
  const owner = work.loaded.state;
  const desired = desiredOf(owner);
  if (desired === undefined || owner.queue.length > 0) return AGAIN;
  const healing = await healingOf(node, owner, desired, { ...silent, signal: work.signal });
  const tried = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    const found = plan(desired, await look(node, owner));
    for (const resource of Object.keys(owner.drift)) {
      const open = owner.drift[resource]!.open && !tried.has(resource);
      if (!open || found.some((action) => action.resource === resource)) continue;
      tried.add(resource);
      await work.record({ do: "recordRepair", resource, action: "it was found well again" });
      faultPoint("application.heal.recorded");
    }
    // What a pause of repairs was ordered for is left alone, and so is what was tried in this very step.
    const actions = found.filter(({ resource }) => !tried.has(resource) && repairableAt(owner, resource) <= Date.now());
    if (actions.length === 0) break;
    for (const action of actions) {
      const { resource, expected, actual } = action;
      tried.add(resource);
      await work.record({ do: "recordDrift", resource, expected, actual });
      faultPoint("application.heal.before");
      const outcome = await carryOut(healing, action);
      if (work.signal.aborted) throw work.signal.reason;
      faultPoint("application.heal.after");
      await work.record(
        "failed" in outcome
          ? { do: "recordRepairFailure", resource, message: `${outcome.failed.message} ${outcome.failed.fix}` }
          : { do: "recordRepair", resource, action: action.do },
      );
      faultPoint("application.heal.recorded");
    }
  }
  return AGAIN;
}

const REMOVE_AGAIN_MS = 5_000;

/** Everything that it has on this node; what is removed twice is gone all the same. */
async function tearDown(node: OrchestratorNode, work: ApplicationWork): Promise<Verdict> {
  const owner = work.loaded.state;
  faultPoint("application.tearDown.before");
  const outcome = await asOutcome<object>(async () => {
    if (owner.spec?.build.kind === "dockerfile" && owner.nextSeq > 1) {
      const containers = await node.docker.listContainers({ application: owner.id });
      for (const { id } of containers) {
        await node.docker.removeContainer(id, () => node.drained(id));
        faultPoint("application.tearDown.during");
      }
      await node.docker.removeNetwork(owner.id);
      await node.docker.pruneImages(owner.id, []);
    }
    return removeApp(diskOf({ node, application: owner.id }));
  });
  if (work.signal.aborted) throw work.signal.reason;
  if ("failed" in outcome) return { retryAfterMs: REMOVE_AGAIN_MS, reason: outcome.failed.message };
  faultPoint("application.tearDown.after");
  await work.record({ do: "remove" });
  faultPoint("application.tearDown.recorded");
  return AGAIN;
}
