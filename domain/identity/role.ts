/** Roles of an organisation's own making. Those that come with the product stand in the contracts. */
import { roleEvents } from "@millrace/contracts/identity/access-events.ts";
import { type BuiltInRole, builtInRole } from "@millrace/contracts/identity/roles.ts";
import type { Circumstances, Decider, Decision, Refusal } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { beyond, type Giver } from "./bindings.ts";

export interface Role {
  readonly id: string;
  readonly organisation: string;
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly grants: ReadonlyArray<string>;
  readonly generation: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly deletedAt: string | null;
}

export type RoleCommand =
  | {
      readonly do: "define";
      readonly name: string;
      readonly title: string;
      readonly description: string;
      readonly grants: ReadonlyArray<string>;
      readonly giver: Giver;
    }
  | {
      readonly do: "change";
      readonly seen?: number;
      readonly title?: string;
      readonly description?: string;
      readonly grants?: ReadonlyArray<string>;
      readonly giver: Giver;
    }
  | { readonly do: "delete"; readonly seen?: number; readonly giver: Giver };

export type RoleEvent = {
  [T in keyof typeof roleEvents]: { readonly type: T; readonly data: (typeof roleEvents)[T]["data"]["Type"] };
}[keyof typeof roleEvents];

const names = nameClaims("role", "Choose another name.");

const notThere: Refusal = { refused: "not-found", reason: "There is no such role." };

function decide(command: RoleCommand, state: Role, { organisation }: Circumstances): Decision<RoleEvent> {
  if (command.do === "define") {
    if (state.generation > 0) {
      return { refused: "conflict", reason: "This role exists already.", fix: "Use another Idempotency-Key." };
    }
    if (builtInRole(command.name) !== undefined) return names.taken(command.name);
    const { do: _, giver, ...data } = command;
    const refusal = beyond(giver, data.grants);
    if (refusal !== undefined) return refusal;
    return { events: [{ type: "RoleDefined", data }], claims: [names.claim(organisation, data.name, true)] };
  }
  if (state.generation === 0 || state.deletedAt !== null) return notThere;
  if (command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  // What it has now is taken from, and what it gets is given to, everybody who has the role.
  const touched = command.do === "delete" ? state.grants : differing(state.grants, command.grants ?? state.grants);
  const refusal = beyond(command.giver, touched);
  if (refusal !== undefined) return refusal;
  if (command.do === "delete") {
    return { events: [{ type: "RoleDeleted", data: {} }], claims: [names.claim(organisation, state.name, false)] };
  }
  const { title, description, grants } = command;
  const changed = {
    ...(title === undefined || title === state.title ? {} : { title }),
    ...(description === undefined || description === state.description ? {} : { description }),
    ...(grants === undefined || grants.join() === state.grants.join() ? {} : { grants }),
  };
  return { events: Object.keys(changed).length === 0 ? [] : [{ type: "RoleChanged", data: changed }] };
}

const differing = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): string[] => [
  ...a.filter((grant) => !b.includes(grant)),
  ...b.filter((grant) => !a.includes(grant)),
];

const decider: Decider<Role, RoleCommand, RoleEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    name: "",
    title: "",
    description: "",
    grants: [],
    generation: 0,
    createdAt: "",
    updatedAt: "",
    deletedAt: null,
  }),
  decide,
  evolve: (state, event, { organisation, time }) => {
    const next = { ...state, generation: state.generation + 1, updatedAt: time };
    switch (event.type) {
      case "RoleDefined":
        return { ...next, ...event.data, organisation, createdAt: time };
      case "RoleChanged":
        return { ...next, ...event.data };
      case "RoleDeleted":
        return { ...next, deletedAt: time };
    }
  },
};

export const role: Kind<Role, RoleCommand, RoleEvent> = {
  context: "identity",
  kind: "role",
  prefix: "rol",
  collection: "roles",
  decider,
  events: {
    RoleDefined: {
      version: 1,
      data: roleEvents.RoleDefined.data,
      examples: { 1: { name: "deployer", title: "Deployer", description: "", grants: ["applications:deploy"] } },
      sentence: ({ name, grants }) => `defined the role "${name}" with ${grants.join(", ") || "no grants"}`,
    },
    RoleChanged: {
      version: 1,
      data: roleEvents.RoleChanged.data,
      examples: { 1: { grants: ["applications:deploy", "applications:read"] } },
      sentence: ({ grants, ...others }) =>
        [
          ...(grants === undefined ? [] : [`gave the role the grants ${grants.join(", ") || "(none)"}`]),
          ...(Object.keys(others).length === 0 ? [] : [`changed the role's ${Object.keys(others).join(" and ")}`]),
        ].join(" and "),
    },
    RoleDeleted: {
      version: 1,
      data: roleEvents.RoleDeleted.data,
      examples: { 1: {} },
      sentence: () => "deleted the role",
    },
  },
  publicEvents: roleEvents,
  generation: (state) => state.generation,
  exists: (state) => state.generation > 0 && state.deletedAt === null,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    spec: { name: state.name, title: state.title, description: state.description, grants: state.grants },
    status: { builtIn: false },
    generation: state.generation,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 1,
};

/** A role that comes with the product, as the API shows it. */
export const representBuiltInRole = ({ name, ...spec }: BuiltInRole, organisation: Pick<Role, "id" | "createdAt">) => ({
  id: name,
  organisation: organisation.id,
  spec: { name, ...spec },
  status: { builtIn: true },
  generation: 0,
  createdAt: organisation.createdAt,
  updatedAt: organisation.createdAt,
});
