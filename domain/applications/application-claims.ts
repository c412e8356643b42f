/** What an application has for itself: its name in the organisation, its hosts in the whole installation. */
import type { Claim } from "../decider.ts";
import { type ApplicationState, hostsOf } from "./application-state.ts";

/** Where the name of an application is claimed: by it an application is found without a database. */
export const applicationNameClaim = (organisation: string, name: string): Pick<Claim, "what" | "value"> => ({
  what: "application-name",
  value: `${organisation}/${name}`,
});

export const nameClaim = (organisation: string, name: string, hold: boolean): Claim => ({
  ...applicationNameClaim(organisation, name),
  hold,
  taken: {
    refused: "conflict",
    reason: `Another application of the organisation is called "${name}".`,
    fix: "Choose another name, or change that one.",
  },
});

/** A host belongs to one application of the whole installation. */
export const hostClaim = (host: string, hold: boolean): Claim => ({
  what: "host",
  value: host,
  hold,
  taken: {
    refused: "conflict",
    reason: `The host ${host} belongs to another application.`,
    fix: "Choose another host, or take it off that application first.",
  },
});

/** The end: names and hosts are free again. */
export const removal = (state: ApplicationState, organisation: string) => {
  const { name } = state.spec!;
  const hosts = hostsOf(state);
  return {
    events: [{ type: "ApplicationRemoved", data: { name, hosts } }] as const,
    claims: [nameClaim(organisation, name, false), ...hosts.map((host) => hostClaim(host, false))],
  };
};
