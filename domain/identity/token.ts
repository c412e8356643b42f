/** Tokens: how programs and people act on the API. Only the hash of the secret is ever kept. */

import { Timestamp, tokenEvents } from "@millrace/contracts/identity/events.ts";
import { ACCESS_LIMITS, Binding } from "@millrace/contracts/identity/roles.ts";
import { Name } from "@millrace/contracts/ids.ts";
import { Grant } from "@millrace/contracts/permissions.ts";
import * as Schema from "effect/Schema";
import { type Circumstances, type Decider, type Decision, invalid, rule } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { beyond, bindingText, type Giver, type Giving, hasBinding, TOO_MANY, without } from "./bindings.ts";

export interface Token {
  readonly id: string;
  readonly organisation: string;
  readonly name: string;
  /** SHA-256 of the secret, hex. Never shown. */
  readonly hash: string;
  readonly last8: string;
  readonly grants: ReadonlyArray<string>;
  readonly expiresAt: string | null;
  /** May act on every organisation and create new ones. */
  readonly installation: boolean;
  /** Whose it is: it may do what both they and its grants allow. Null: nobody's, it stands for itself. */
  readonly member: string | null;
  /** Roles of its own; only of one that is nobody's. */
  readonly bindings: ReadonlyArray<Binding>;
  readonly generation: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly createdBy: string;
  readonly revokedAt: string | null;
  readonly uses: number;
  readonly lastUsedAt: string | null;
}

export type TokenCommand =
  | {
      readonly type: "CreateToken";
      readonly name: string;
      readonly hash: string;
      readonly last8: string;
      readonly grants: ReadonlyArray<string>;
      readonly expiresAt?: string;
      readonly installation: boolean;
      readonly member?: string;
      /** What the creator holds itself: nobody gives what they do not have. */
      readonly granter: Giver;
    }
  | ({ readonly type: "GiveTokenRole" | "TakeTokenRole"; readonly seen?: number } & Giving)
  | { readonly type: "RecordTokenUse"; readonly count: number; readonly lastUsedAt: string }
  | { readonly type: "RevokeToken"; readonly seen?: number };

const Created = Schema.Struct({
  name: Name,
  hash: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u)),
  last8: Schema.String.check(Schema.isMaxLength(8)),
  grants: Schema.Array(Grant),
  expiresAt: Schema.optionalKey(Timestamp),
  installation: Schema.Boolean,
  member: Schema.optionalKey(Schema.String),
});
const Used = Schema.Struct({ count: Schema.Int, lastUsedAt: Timestamp });

export type TokenEvent =
  | { readonly type: "TokenCreated"; readonly data: typeof Created.Type }
  | { readonly type: "TokenUsed"; readonly data: typeof Used.Type }
  | { readonly type: "TokenRoleGiven" | "TokenRoleTaken"; readonly data: Binding }
  | { readonly type: "TokenRevoked"; readonly data: Readonly<Record<string, never>> };

const names = nameClaims("token", "Choose another name, or revoke that token first.");

function create(
  { type: _, granter, ...token }: Extract<TokenCommand, { type: "CreateToken" }>,
  state: Token,
  { organisation, now }: Circumstances,
): Decision<TokenEvent> {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This token exists already.", fix: "Use another Idempotency-Key." };
  }
  if (token.expiresAt !== undefined && token.expiresAt <= now) {
    return invalid("/body/expiresAt", "lies in the past", "Give a time in the future, or leave it out.");
  }
  const refusal = beyond(granter, token.grants);
  if (refusal !== undefined) return refusal;
  return { events: [{ type: "TokenCreated", data: token }], claims: [names.claim(organisation, token.name, true)] };
}

function changeRoles(
  { type, binding, grants, giver }: Extract<TokenCommand, { readonly binding: Binding }>,
  state: Token,
): Decision<TokenEvent> {
  if (state.member !== null || state.installation) return NOT_ITS_OWN;
  const refusal = beyond(giver, grants);
  if (refusal !== undefined) return refusal;
  const has = hasBinding(state.bindings, binding);
  if (has === (type === "GiveTokenRole")) return { events: [] };
  if (type === "TakeTokenRole") return { events: [{ type: "TokenRoleTaken", data: binding }] };
  if (state.bindings.length >= ACCESS_LIMITS.bindings) return TOO_MANY;
  return { events: [{ type: "TokenRoleGiven", data: binding }] };
}

const NOT_ITS_OWN = rule(
  "token-of-somebody",
  "The token is a person's, or the installation's: it has no roles of its own.",
  "Give the role to the member, or make a token that stands for itself.",
);

const decider: Decider<Token, TokenCommand, TokenEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    name: "",
    hash: "",
    last8: "",
    grants: [],
    expiresAt: null,
    installation: false,
    member: null,
    bindings: [],
    generation: 0,
    createdAt: "",
    updatedAt: "",
    createdBy: "",
    revokedAt: null,
    uses: 0,
    lastUsedAt: null,
  }),
  evolve: (state, event, { organisation, actor, time }) => {
    switch (event.type) {
      case "TokenCreated": {
        const { expiresAt = null, member = null, ...rest } = event.data;
        const by = `${actor.kind}:${actor.id}:${actor.name}`;
        const whose = { organisation, member, generation: 1 };
        return { ...state, ...rest, expiresAt, ...whose, createdAt: time, updatedAt: time, createdBy: by };
      }
      case "TokenUsed":
        return { ...state, uses: state.uses + event.data.count, lastUsedAt: event.data.lastUsedAt };
      case "TokenRoleGiven":
      case "TokenRoleTaken": {
        const others = without(state.bindings, event.data);
        const bindings = event.type === "TokenRoleGiven" ? [...others, event.data] : others;
        return { ...state, bindings, generation: state.generation + 1, updatedAt: time };
      }
      case "TokenRevoked":
        return { ...state, revokedAt: time, generation: state.generation + 1, updatedAt: time };
    }
  },
  decide: (command, state, circumstances) => {
    if (command.type === "CreateToken") return create(command, state, circumstances);
    if (state.createdAt === "") return { refused: "not-found", reason: "There is no such token." };
    if (command.type === "RecordTokenUse") {
      return { events: [{ type: "TokenUsed", data: { count: command.count, lastUsedAt: command.lastUsedAt } }] };
    }
    if (state.revokedAt !== null) return { refused: "not-found", reason: "There is no such token." };
    if (command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    if (command.type !== "RevokeToken") return changeRoles(command, state);
    return {
      events: [{ type: "TokenRevoked", data: {} }],
      claims: [names.claim(circumstances.organisation, state.name, false)],
    };
  },
};

const HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

export const token: Kind<Token, TokenCommand, TokenEvent> = {
  context: "identity",
  kind: "token",
  prefix: "tok",
  collection: "tokens",
  decider,
  events: {
    TokenCreated: {
      version: 1,
      data: Created,
      examples: { 1: { name: "ci", hash: HASH, last8: "x7Qp2aB9", grants: ["work:*"], installation: false } },
      sentence: ({ name, grants }) => `created the token "${name}" with ${grants.join(", ") || "no grants"}`,
      toPublic: ({ hash: _, ...shown }) => shown,
    },
    TokenUsed: {
      version: 1,
      data: Used,
      examples: { 1: { count: 3, lastUsedAt: "2026-11-21T08:00:00.000Z" } },
      sentence: ({ count }) => (count === 1 ? "used the token once" : `used the token ${count} times`),
    },
    TokenRoleGiven: {
      version: 1,
      data: Binding,
      examples: { 1: { role: "operator", at: "applications" } },
      sentence: (binding) => `gave the token ${bindingText(binding)}`,
    },
    TokenRoleTaken: {
      version: 1,
      data: Binding,
      examples: { 1: { role: "operator" } },
      sentence: (binding) => `took ${bindingText(binding)} from the token`,
    },
    TokenRevoked: { version: 1, data: Schema.Struct({}), examples: { 1: {} }, sentence: () => "revoked the token" },
  },
  publicEvents: tokenEvents,
  generation: (state) => state.generation,
  exists: (state) => state.createdAt !== "" && state.revokedAt === null,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    spec: {
      name: state.name,
      grants: state.grants,
      installation: state.installation,
      ...(state.member === null ? {} : { member: state.member }),
      ...(state.bindings.length === 0 ? {} : { roles: state.bindings }),
      ...(state.expiresAt === null ? {} : { expiresAt: state.expiresAt }),
    },
    status: {
      last8: state.last8,
      uses: state.uses,
      createdBy: state.createdBy,
      ...(state.lastUsedAt === null ? {} : { lastUsedAt: state.lastUsedAt }),
    },
    generation: state.generation,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 2,
};
