/** The deployment: one attempt to make a release live. */
import { deploymentEvents } from "@millrace/contracts/applications/events.ts";
import type { Kind } from "../kind.ts";
import type { DeploymentCommand } from "./deployment-command.ts";
import { decide } from "./deployment-decide.ts";
import { deploymentEventDeclarations } from "./deployment-events.ts";
import { type DeploymentEvent, type DeploymentState, evolve, initial, isOver, represent } from "./deployment-state.ts";

export const deployment: Kind<DeploymentState, DeploymentCommand, DeploymentEvent> = {
  context: "applications",
  kind: "deployment",
  prefix: "dep",
  collection: "deployments",
  decider: { initial, evolve, decide },
  events: deploymentEventDeclarations,
  publicEvents: deploymentEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  over: isOver,
  parents: (state) => [state.application],
  represent,
  stateVersion: 1,
};

export type { DeploymentCommand, DeploymentEvent, DeploymentState };
