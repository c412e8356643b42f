/** Asking for deployments, from nothing but references: what is loaded for it, and which commands it comes to. */
import { isId } from "@millrace/contracts/ids.ts";
import { invalid, type Refusal } from "../decider.ts";
import type { Reads } from "../reads.ts";
import { type ApplicationState, application } from "./application.ts";
import { type DeploymentState, deployment } from "./deployment.ts";
import { cancelDeployment, type Part, refusalOf, requestDeployment, targetOf } from "./request.ts";

/** What people, schedules and rules ask for; the others are made by workers. */
export type Deploying = "manual" | "rollback" | "restart";

export interface DeploymentAsked {
  /** Id of the new deployment, made at the edge. */
  readonly deployment: string;
  readonly trigger: Deploying;
  readonly ref?: string | undefined;
  /** Of a rollback: the deployment to go back to; left out: the one before. */
  readonly to?: string | undefined;
  readonly seen?: number | undefined;
}

export const deploymentNamed = async (
  reads: Reads,
  id: string | null | undefined,
): Promise<DeploymentState | undefined> => (id == null ? undefined : (await reads.load(deployment, id)).state);

/** The release that a rollback or restart uses: a deployment by id. */
export async function releaseFor(
  reads: Reads,
  state: ApplicationState,
  trigger: Deploying,
  to: string | undefined,
): Promise<{ readonly target: DeploymentState | undefined } | Refusal> {
  if (to !== undefined && !isId(deployment.prefix, to)) {
    return invalid("/body/to", "is no id of a deployment", "Give one of `status.releases`.");
  }
  const target = targetOf(state, trigger, to);
  return refusalOf(state, trigger, target) ?? { target: await deploymentNamed(reads, target) };
}

/** Made anew when `isOvertaken` says that it was made from what is no more. */
export async function planDeployment(
  reads: Reads,
  state: ApplicationState,
  { trigger, to, deployment: id, ref, seen }: DeploymentAsked,
): Promise<ReadonlyArray<Part> | Refusal> {
  const found = await releaseFor(reads, state, trigger, to);
  if ("refused" in found) return found;
  const active = await deploymentNamed(reads, state.active);
  return requestDeployment(state, active, found.target, {
    deployment: id,
    trigger,
    ...(ref === undefined ? {} : { ref }),
    ...(seen === undefined ? {} : { seen }),
  });
}

export async function planCancelling(reads: Reads, id: string, reason?: string): Promise<ReadonlyArray<Part>> {
  return cancelDeployment((await reads.load(deployment, id)).state, reason);
}

/** Where an application is asked for by state; not there: refused. */
export async function ownApplication(
  reads: Reads,
  organisation: string,
  id: string,
): Promise<ApplicationState | Refusal> {
  const { state, organisation: owner } = await reads.load(application, id);
  return owner === organisation && state.exists
    ? state
    : { refused: "not-found", reason: "There is no such application." };
}
