/** The application: where it comes from, how it runs, and what of it is live. */
import { applicationEvents } from "@millrace/contracts/applications/events.ts";
import type { Kind } from "../kind.ts";
import { applicationNames } from "./application-claims.ts";
import type { ApplicationCommand } from "./application-command.ts";
import { decide } from "./application-decide.ts";
import { applicationEventDeclarations } from "./application-events.ts";
import { type ApplicationEvent, type ApplicationState, evolve, initial, represent } from "./application-state.ts";

export const application: Kind<ApplicationState, ApplicationCommand, ApplicationEvent> = {
  context: "applications",
  kind: "application",
  prefix: "app",
  collection: "applications",
  decider: { initial, evolve, decide },
  events: applicationEventDeclarations,
  publicEvents: applicationEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent,
  nameClaim: applicationNames.of,
  stateVersion: 1,
};

export type { ApplicationCommand, ApplicationEvent, ApplicationState };
