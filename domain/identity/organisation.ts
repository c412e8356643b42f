/** Organisations: everything else belongs to exactly one. */

import { OrganisationSettings, organisationEvents, Title } from "@millrace/contracts/identity/events.ts";
import { Name } from "@millrace/contracts/ids.ts";
import * as Schema from "effect/Schema";
import { type Claim, type Decider, type Decision, type Refusal, rule } from "../decider.ts";
import type { Kind } from "../kind.ts";

export interface Organisation {
  readonly id: string;
  readonly name: string;
  readonly title: string;
  readonly settings: OrganisationSettings;
  readonly generation: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly archivedAt: string | null;
  /** Ids of the members who own it. */
  readonly owners: ReadonlyArray<string>;
}

export type OrganisationCommand =
  | {
      readonly type: "CreateOrganisation";
      readonly name: string;
      readonly title: string;
      readonly settings?: OrganisationSettings;
    }
  | {
      readonly type: "ChangeOrganisation";
      /** Generation the caller saw; left out: any. */
      readonly seen?: number;
      readonly name?: string;
      readonly title?: string;
      readonly settings?: Partial<OrganisationSettings>;
    }
  | { readonly type: "ArchiveOrganisation"; readonly seen?: number }
  /** Go with the change of the member, all or nothing: so two owners cannot remove each other at the same moment. */
  | { readonly type: "AddOwner"; readonly member: string }
  | { readonly type: "RemoveOwner"; readonly member: string };

const data = {
  OrganisationCreated: Schema.Struct({ name: Name, title: Title, settings: OrganisationSettings }),
  OrganisationRenamed: Schema.Struct({ from: Name, name: Name }),
  OrganisationChanged: Schema.Struct({
    title: Schema.optionalKey(Title),
    settings: Schema.optionalKey(OrganisationSettings),
  }),
  OrganisationArchived: Schema.Struct({}),
  OwnerAdded: Schema.Struct({ member: Schema.String }),
  OwnerRemoved: Schema.Struct({ member: Schema.String }),
};

export type OrganisationEvent = {
  [T in keyof typeof data]: { readonly type: T; readonly data: (typeof data)[T]["Type"] };
}[keyof typeof data];

/** Unique in the installation. */
const byName = (name: string) => ({ what: "organisation-name", value: name });

const nameClaim = (name: string, hold: boolean): Claim => ({
  ...byName(name),
  hold,
  taken: {
    refused: "conflict",
    reason: `Another organisation is called "${name}".`,
    fix: "Choose another name; names of organisations are unique in the installation.",
  },
});

const notThere: Refusal = { refused: "not-found", reason: "There is no such organisation." };
const archived = rule(
  "organisation-archived",
  "The organisation is archived: it can be read, and changed no more.",
  "Create another organisation.",
);

function decide(command: OrganisationCommand, state: Organisation): Decision<OrganisationEvent> {
  if (command.type === "CreateOrganisation") {
    if (state.generation > 0) {
      return { refused: "conflict", reason: "This organisation exists already.", fix: "Use another Idempotency-Key." };
    }
    const { name, title, settings = { timeZone: "UTC" } } = command;
    return {
      events: [{ type: "OrganisationCreated", data: { name, title, settings } }],
      claims: [nameClaim(name, true)],
    };
  }
  if (state.generation === 0) return notThere;
  if (command.type === "AddOwner" || command.type === "RemoveOwner") return changeOwners(command, state);
  if (command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  if (command.type === "ArchiveOrganisation") {
    return state.archivedAt === null ? { events: [{ type: "OrganisationArchived", data: {} }] } : { events: [] };
  }
  if (state.archivedAt !== null) return archived;
  return change(command, state);
}

const LAST_OWNER = rule(
  "last-owner",
  "It is the only owner of the organisation.",
  "Make somebody else an owner first: `mill members give <name> owner`.",
);

function changeOwners(
  { type, member }: { readonly type: "AddOwner" | "RemoveOwner"; readonly member: string },
  { owners }: Organisation,
): Decision<OrganisationEvent> {
  const isOwner = owners.includes(member);
  if (type === "AddOwner") return { events: isOwner ? [] : [{ type: "OwnerAdded", data: { member } }] };
  if (!isOwner) return { events: [] };
  return owners.length === 1 ? LAST_OWNER : { events: [{ type: "OwnerRemoved", data: { member } }] };
}

function change(
  command: Extract<OrganisationCommand, { type: "ChangeOrganisation" }>,
  state: Organisation,
): Decision<OrganisationEvent> {
  const events: OrganisationEvent[] = [];
  const claims: Claim[] = [];
  if (command.name !== undefined && command.name !== state.name) {
    events.push({ type: "OrganisationRenamed", data: { from: state.name, name: command.name } });
    claims.push(nameClaim(command.name, true), nameClaim(state.name, false));
  }
  const settings = { ...state.settings, ...command.settings };
  const changed = {
    ...(command.title !== undefined && command.title !== state.title ? { title: command.title } : {}),
    ...(settings.timeZone !== state.settings.timeZone ? { settings } : {}),
  };
  if (Object.keys(changed).length > 0) events.push({ type: "OrganisationChanged", data: changed });
  return { events, claims };
}

const decider: Decider<Organisation, OrganisationCommand, OrganisationEvent> = {
  initial: (id) => ({
    id,
    name: "",
    title: "",
    settings: { timeZone: "UTC" },
    generation: 0,
    createdAt: "",
    updatedAt: "",
    archivedAt: null,
    owners: [],
  }),
  evolve: (state, event, { time }) => {
    // Owners are no part of what is asked for: nobody's copy grows stale by them.
    if (event.type === "OwnerAdded") return { ...state, owners: [...state.owners, event.data.member] };
    if (event.type === "OwnerRemoved") {
      return { ...state, owners: state.owners.filter((id) => id !== event.data.member) };
    }
    const next = { ...state, generation: state.generation + 1, updatedAt: time };
    switch (event.type) {
      case "OrganisationCreated":
        return { ...next, ...event.data, createdAt: time };
      case "OrganisationRenamed":
        return { ...next, name: event.data.name };
      case "OrganisationChanged":
        return { ...next, ...event.data };
      case "OrganisationArchived":
        return { ...next, archivedAt: time };
    }
  },
  decide,
};

export const organisation: Kind<Organisation, OrganisationCommand, OrganisationEvent> = {
  context: "identity",
  kind: "organisation",
  prefix: "org",
  collection: "organisations",
  decider,
  events: {
    OrganisationCreated: {
      version: 1,
      data: data.OrganisationCreated,
      examples: { 1: { name: "home", title: "The home", settings: { timeZone: "UTC" } } },
      sentence: ({ name }) => `created the organisation "${name}"`,
    },
    OrganisationRenamed: {
      version: 1,
      data: data.OrganisationRenamed,
      examples: { 1: { from: "home", name: "house" } },
      sentence: ({ from, name }) => `renamed the organisation from "${from}" to "${name}"`,
    },
    OrganisationChanged: {
      version: 1,
      data: data.OrganisationChanged,
      examples: { 1: { title: "Our house" } },
      sentence: ({ title, settings }) =>
        [
          title === undefined ? [] : [`changed the title to "${title}"`],
          settings === undefined ? [] : [`set the time zone to ${settings.timeZone}`],
        ]
          .flat()
          .join(" and "),
    },
    OrganisationArchived: {
      version: 1,
      data: data.OrganisationArchived,
      examples: { 1: {} },
      sentence: () => "archived the organisation",
    },
    OwnerAdded: {
      version: 1,
      data: data.OwnerAdded,
      examples: { 1: { member: "usr_01kajzq4v0e8r9t2m5x7c3d6fg" } },
      sentence: ({ member }) => `made ${member} an owner of the organisation`,
    },
    OwnerRemoved: {
      version: 1,
      data: data.OwnerRemoved,
      examples: { 1: { member: "usr_01kajzq4v0e8r9t2m5x7c3d6fg" } },
      sentence: ({ member }) => `took the organisation's ownership from ${member}`,
    },
  },
  publicEvents: organisationEvents,
  generation: (state) => state.generation,
  exists: (state) => state.generation > 0,
  represent: (state) => ({
    id: state.id,
    organisation: state.id,
    spec: { name: state.name, title: state.title, settings: state.settings },
    status: state.archivedAt === null ? {} : { archivedAt: state.archivedAt },
    generation: state.generation,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: (_, name) => byName(name),
  stateVersion: 2,
};
