/**
 * A token in flat-manager's form (JWT) that carries an id: nothing of it is kept until it is met or revoked, for it was signed
 * elsewhere. Revoked before it was ever used, it is refused at its first use.
 */
import * as shape from "@millrace/contracts/publishing/client-tokens.ts";
import * as Schema from "effect/Schema";
import type { Decider, Decision, DomainEvent } from "../decider.ts";
import type { Kind } from "../kind.ts";

export interface ClientToken {
  readonly id: string;
  readonly organisation: string;
  readonly tokenId: string;
  readonly name: string;
  /** Null: only its id is known. */
  readonly expiresAt: string | null;
  readonly uses: number;
  readonly lastUsedAt: string | null;
  readonly revokedAt: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type ClientTokenCommand =
  | ({ readonly do: "use" } & typeof shape.ClientTokenUsed.Type)
  | { readonly do: "revoke"; readonly tokenId: string };

const decider: Decider<ClientToken, ClientTokenCommand, DomainEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    tokenId: "",
    name: "",
    expiresAt: null,
    uses: 0,
    lastUsedAt: null,
    revokedAt: null,
    createdAt: "",
    updatedAt: "",
  }),
  evolve: (before, { type, data }, { organisation, time }) => {
    const state = { ...before, organisation, createdAt: before.createdAt || time, updatedAt: time };
    if (type === "ClientTokenRevoked") {
      return { ...state, ...(data as typeof shape.ClientTokenRevoked.Type), revokedAt: time };
    }
    const { count, ...used } = data as typeof shape.ClientTokenUsed.Type;
    return { ...state, ...used, uses: before.uses + count };
  },
  decide: (command, state): Decision<DomainEvent> => {
    if (command.do === "use") {
      const { do: _, ...data } = command;
      return { events: [{ type: "ClientTokenUsed", data }] };
    }
    const { tokenId } = command;
    return { events: state.revokedAt === null ? [{ type: "ClientTokenRevoked", data: { tokenId } }] : [] };
  },
};

const USED = {
  tokenId: "4f1c",
  name: "ci/upload",
  expiresAt: "2027-11-21T08:00:00.000Z",
  count: 3,
  lastUsedAt: "2026-11-21T08:00:00.000Z",
};

export const clientToken: Kind<ClientToken, ClientTokenCommand, DomainEvent> = {
  context: "publishing",
  kind: "clienttoken",
  prefix: "ctk",
  collection: "client-tokens",
  decider,
  events: {
    ClientTokenUsed: {
      version: 1,
      data: shape.ClientTokenUsed,
      examples: { 1: USED },
      sentence: ({ count }) => (count === 1 ? "used the signed token once" : `used the signed token ${count} times`),
    },
    ClientTokenRevoked: {
      version: 1,
      data: Schema.Struct(shape.ClientTokenRevoked.fields),
      examples: { 1: { tokenId: "4f1c" } },
      sentence: () => "revoked the signed token",
    },
  },
  publicEvents: shape.clientTokenEvents,
  generation: ({ createdAt, revokedAt }) => (createdAt === "" ? 0 : revokedAt === null ? 1 : 2),
  exists: ({ createdAt }) => createdAt !== "",
  represent: ({ id, organisation, tokenId, name, expiresAt, uses, lastUsedAt, revokedAt, ...times }) => ({
    id,
    organisation,
    spec: { tokenId, name, ...(expiresAt === null ? {} : { expiresAt }) },
    status: {
      uses,
      ...(lastUsedAt === null ? {} : { lastUsedAt }),
      ...(revokedAt === null ? {} : { revokedAt }),
    },
    generation: revokedAt === null ? 1 : 2,
    ...times,
  }),
  stateVersion: 1,
};
