/** Tokens: how programs and people act on the API. Only the hash of the secret is ever kept. */

import { Timestamp, tokenEvents } from "@millrace/contracts/identity/events.ts";
import { Name } from "@millrace/contracts/ids.ts";
import { Grant, mayGrant } from "@millrace/contracts/permissions.ts";
import * as Schema from "effect/Schema";
import { type Circumstances, type Claim, type Decider, type Decision, invalid, rule } from "../decider.ts";
import type { Kind } from "../kind.ts";

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
      /** What the creator holds itself: nobody gives what they do not have. */
      readonly granter: ReadonlyArray<string>;
    }
  | { readonly type: "RecordTokenUse"; readonly count: number; readonly lastUsedAt: string }
  | { readonly type: "RevokeToken"; readonly seen?: number };

const Created = Schema.Struct({
  name: Name,
  hash: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u)),
  last8: Schema.String.check(Schema.isMaxLength(8)),
  grants: Schema.Array(Grant),
  expiresAt: Schema.optionalKey(Timestamp),
  installation: Schema.Boolean,
});
const Used = Schema.Struct({ count: Schema.Int, lastUsedAt: Timestamp });

export type TokenEvent =
  | { readonly type: "TokenCreated"; readonly data: typeof Created.Type }
  | { readonly type: "TokenUsed"; readonly data: typeof Used.Type }
  | { readonly type: "TokenRevoked"; readonly data: Readonly<Record<string, never>> };

const byName = (organisation: string, name: string) => ({ what: "token-name", value: `${organisation}/${name}` });

const nameClaim = (organisation: string, name: string, hold: boolean): Claim => ({
  ...byName(organisation, name),
  hold,
  taken: {
    refused: "conflict",
    reason: `Another token of the organisation is called "${name}".`,
    fix: "Choose another name, or revoke that token first.",
  },
});

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
  const beyond = token.grants.filter((grant) => !mayGrant(granter, grant));
  if (beyond.length > 0) {
    return rule(
      "grant-beyond-own",
      `Your token does not hold ${beyond.join(", ")} itself.`,
      "Grant only what your own token allows, or ask somebody who holds it.",
    );
  }
  return { events: [{ type: "TokenCreated", data: token }], claims: [nameClaim(organisation, token.name, true)] };
}

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
        const { expiresAt = null, ...rest } = event.data;
        const by = `${actor.kind}:${actor.id}:${actor.name}`;
        return { ...state, ...rest, expiresAt, organisation, createdAt: time, updatedAt: time, createdBy: by };
      }
      case "TokenUsed":
        return { ...state, uses: state.uses + event.data.count, lastUsedAt: event.data.lastUsedAt };
      case "TokenRevoked":
        return { ...state, revokedAt: time, updatedAt: time };
    }
  },
  decide: (command, state, circumstances) => {
    if (command.type === "CreateToken") return create(command, state, circumstances);
    if (state.createdAt === "") return { refused: "not-found", reason: "There is no such token." };
    if (command.type === "RecordTokenUse") {
      return { events: [{ type: "TokenUsed", data: { count: command.count, lastUsedAt: command.lastUsedAt } }] };
    }
    if (state.revokedAt !== null) return { refused: "not-found", reason: "There is no such token." };
    if (command.seen !== undefined && command.seen !== 1) {
      return { refused: "precondition", expected: command.seen, actual: 1 };
    }
    return {
      events: [{ type: "TokenRevoked", data: {} }],
      claims: [nameClaim(circumstances.organisation, state.name, false)],
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
    TokenRevoked: { version: 1, data: Schema.Struct({}), examples: { 1: {} }, sentence: () => "revoked the token" },
  },
  publicEvents: tokenEvents,
  generation: (state) => (state.createdAt === "" ? 0 : state.revokedAt === null ? 1 : 2),
  exists: (state) => state.createdAt !== "" && state.revokedAt === null,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    spec: {
      name: state.name,
      grants: state.grants,
      installation: state.installation,
      ...(state.expiresAt === null ? {} : { expiresAt: state.expiresAt }),
    },
    status: {
      last8: state.last8,
      uses: state.uses,
      createdBy: state.createdBy,
      ...(state.lastUsedAt === null ? {} : { lastUsedAt: state.lastUsedAt }),
    },
    generation: state.revokedAt === null ? 1 : 2,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: byName,
  stateVersion: 1,
};
