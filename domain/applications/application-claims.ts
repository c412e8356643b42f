/** What an application has for itself: its name in the organisation, its hosts in the whole installation. */
import type { Claim } from "../decider.ts";
import { nameClaims } from "../names.ts";
import { type ApplicationState, hostsOf } from "./application-state.ts";

export const applicationNames = nameClaims("application");

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
    claims: [applicationNames.claim(organisation, name, false), ...hosts.map((host) => hostClaim(host, false))],
  };
};
