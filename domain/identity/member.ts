/** Members: people, each in one organisation, with the roles that say what they may do. */
import { memberEvents, type ProfileSettings } from "@millrace/contracts/identity/access-events.ts";
import { ACCESS_LIMITS, type Binding, isOwnership } from "@millrace/contracts/identity/roles.ts";
import type { Circumstances, Decider, Decision, EventMeta, Refusal } from "../decider.ts";
import { rule } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { beyond, bindingText, type Giver, type Giving, hasBinding, TOO_MANY, without } from "./bindings.ts";

export interface Member {
  readonly id: string;
  readonly organisation: string;
  readonly name: string;
  readonly title: string;
  readonly email: string | null;
  readonly avatar: string | null;
  readonly settings: ProfileSettings;
  readonly bindings: ReadonlyArray<Binding>;
  readonly invitation: string;
  readonly generation: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly removedAt: string | null;
}

/** `null` takes a value off. */
export interface ProfileChange {
  readonly title?: string;
  readonly email?: string | null;
  readonly avatar?: string | null;
  readonly settings?: ProfileSettings;
}

export type MemberCommand =
  | {
      readonly do: "join";
      readonly name: string;
      readonly title: string;
      readonly email?: string;
      readonly bindings: ReadonlyArray<Binding>;
      readonly invitation: string;
    }
  | ({ readonly do: "profile"; readonly seen?: number } & ProfileChange)
  | ({ readonly do: "bind" | "unbind"; readonly seen?: number } & Giving)
  | {
      readonly do: "remove";
      readonly seen?: number;
      readonly giver: Giver;
      /** What all of the member's roles grant now. */
      readonly grants: ReadonlyArray<string>;
      /** Whether the one who planned this saw an owner. */
      readonly owner: boolean;
    };

export type MemberEvent = {
  [T in keyof typeof memberEvents]: { readonly type: T; readonly data: (typeof memberEvents)[T]["data"]["Type"] };
}[keyof typeof memberEvents];

const names = nameClaims("member", "Choose another name.");

const notThere: Refusal = { refused: "not-found", reason: "There is no such member." };

/** Made from what is no more: whoever planned it looks again. */
export const OVERTAKEN = "member-changed-meanwhile";
const overtaken = rule(OVERTAKEN, "The member was changed at the same moment.", "Try again.");

export const isOwner = ({ bindings }: Pick<Member, "bindings">): boolean => bindings.some(isOwnership);

function decide(command: MemberCommand, state: Member, { organisation }: Circumstances): Decision<MemberEvent> {
  if (command.do === "join") {
    if (state.generation > 0) {
      return { refused: "conflict", reason: "This member is there already.", fix: "Ask for another invitation." };
    }
    const { do: _, ...data } = command;
    return { events: [{ type: "MemberJoined", data }], claims: [names.claim(organisation, data.name, true)] };
  }
  if (state.generation === 0 || state.removedAt !== null) return notThere;
  if (command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  if (command.do === "profile") return changeProfile(command, state);
  const refusal = beyond(command.giver, command.grants);
  if (refusal !== undefined) return refusal;
  if (command.do === "remove") {
    if (command.owner !== isOwner(state)) return overtaken;
    return { events: [{ type: "MemberRemoved", data: {} }], claims: [names.claim(organisation, state.name, false)] };
  }
  const has = hasBinding(state.bindings, command.binding);
  if (command.do === "unbind") return { events: has ? [{ type: "MemberRoleTaken", data: command.binding }] : [] };
  if (has) return { events: [] };
  if (state.bindings.length >= ACCESS_LIMITS.bindings) return TOO_MANY;
  return { events: [{ type: "MemberRoleGiven", data: command.binding }] };
}

function changeProfile({ title, email, avatar, settings }: ProfileChange, state: Member): Decision<MemberEvent> {
  const changed = {
    ...(title === undefined || title === state.title ? {} : { title }),
    ...(email === undefined || email === state.email ? {} : { email }),
    ...(avatar === undefined || avatar === state.avatar ? {} : { avatar }),
    ...(settings === undefined || JSON.stringify(settings) === JSON.stringify(state.settings) ? {} : { settings }),
  };
  return { events: Object.keys(changed).length === 0 ? [] : [{ type: "ProfileChanged", data: changed }] };
}

function evolve(state: Member, event: MemberEvent, { organisation, time }: EventMeta): Member {
  const next = { ...state, generation: state.generation + 1, updatedAt: time };
  switch (event.type) {
    case "MemberJoined": {
      const { email = null, ...data } = event.data;
      return { ...next, ...data, email, organisation, createdAt: time };
    }
    case "ProfileChanged":
      return { ...next, ...event.data };
    case "MemberRoleGiven":
      return { ...next, bindings: [...state.bindings, event.data] };
    case "MemberRoleTaken":
      return { ...next, bindings: without(state.bindings, event.data) };
    case "MemberRemoved":
      return { ...next, removedAt: time };
  }
}

const decider: Decider<Member, MemberCommand, MemberEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    name: "",
    title: "",
    email: null,
    avatar: null,
    settings: {},
    bindings: [],
    invitation: "",
    generation: 0,
    createdAt: "",
    updatedAt: "",
    removedAt: null,
  }),
  decide,
  evolve,
};

/** A value or nothing of it. */
const shown = <K extends string>(name: K, value: string | null) => (value === null ? {} : { [name]: value });

const INVITATION = "inv_01kajzq4v0e8r9t2m5x7c3d6fg";

export const member: Kind<Member, MemberCommand, MemberEvent> = {
  context: "identity",
  kind: "member",
  prefix: "usr",
  collection: "members",
  decider,
  events: {
    MemberJoined: {
      version: 1,
      data: memberEvents.MemberJoined.data,
      examples: { 1: { name: "ada", title: "Ada", bindings: [{ role: "developer" }], invitation: INVITATION } },
      sentence: ({ title, bindings }) =>
        `joined as ${title}, with ${bindings.map(bindingText).join(", ") || "no role"}`,
    },
    ProfileChanged: {
      version: 1,
      data: memberEvents.ProfileChanged.data,
      examples: { 1: { title: "Ada L.", email: null } },
      sentence: (data) => `changed the profile: ${Object.keys(data).join(", ")}`,
    },
    MemberRoleGiven: {
      version: 1,
      data: memberEvents.MemberRoleGiven.data,
      examples: { 1: { role: "operator", at: "applications" } },
      sentence: (binding) => `gave the member ${bindingText(binding)}`,
    },
    MemberRoleTaken: {
      version: 1,
      data: memberEvents.MemberRoleTaken.data,
      examples: { 1: { role: "operator" } },
      sentence: (binding) => `took ${bindingText(binding)} from the member`,
    },
    MemberRemoved: {
      version: 1,
      data: memberEvents.MemberRemoved.data,
      examples: { 1: {} },
      sentence: () => "removed the member",
    },
  },
  publicEvents: memberEvents,
  generation: (state) => state.generation,
  exists: (state) => state.generation > 0 && state.removedAt === null,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    spec: {
      name: state.name,
      title: state.title,
      ...shown("email", state.email),
      ...shown("avatar", state.avatar),
      settings: state.settings,
      roles: state.bindings,
    },
    status: { invitation: state.invitation },
    generation: state.generation,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 1,
};
