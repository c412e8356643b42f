/** Secrets: named values that are sealed before they reach the log, used by workers, and never shown again. */

import { secretEvents } from "@millrace/contracts/identity/events.ts";
import { Name } from "@millrace/contracts/ids.ts";
import * as Schema from "effect/Schema";
import type { Decider, Decision } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { Sealed } from "../sealed.ts";

export interface Secret {
  readonly id: string;
  readonly organisation: string;
  readonly name: string;
  readonly sealed: Sealed | null;
  readonly generation: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly erasedAt: string | null;
}

export type SecretCommand =
  | { readonly type: "StoreSecret"; readonly name: string; readonly sealed: Sealed }
  | { readonly type: "ReplaceSecret"; readonly seen?: number; readonly sealed: Sealed }
  | { readonly type: "EraseSecret"; readonly seen?: number };

const Stored = Schema.Struct({ name: Name, sealed: Sealed });
const Replaced = Schema.Struct({ sealed: Sealed });

export type SecretEvent =
  | { readonly type: "SecretStored"; readonly data: typeof Stored.Type }
  | { readonly type: "SecretReplaced"; readonly data: typeof Replaced.Type }
  | { readonly type: "SecretErased"; readonly data: Readonly<Record<string, never>> };

export const secretNames = nameClaims("secret", "Choose another name, or replace the value of that one.");

const decider: Decider<Secret, SecretCommand, SecretEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    name: "",
    sealed: null,
    generation: 0,
    createdAt: "",
    updatedAt: "",
    erasedAt: null,
  }),
  evolve: (state, event, { organisation, time }) => {
    const next = { ...state, generation: state.generation + 1, updatedAt: time };
    switch (event.type) {
      case "SecretStored":
        return { ...next, ...event.data, organisation, createdAt: time };
      case "SecretReplaced":
        return { ...next, sealed: event.data.sealed };
      case "SecretErased":
        return { ...next, sealed: null, erasedAt: time };
    }
  },
  decide: (command, state, { organisation }): Decision<SecretEvent> => {
    if (command.type === "StoreSecret") {
      if (state.generation > 0) {
        return { refused: "conflict", reason: "This secret exists already.", fix: "Use another Idempotency-Key." };
      }
      const { name, sealed } = command;
      return {
        events: [{ type: "SecretStored", data: { name, sealed } }],
        claims: [secretNames.claim(organisation, name, true)],
      };
    }
    if (state.generation === 0 || state.erasedAt !== null) {
      return { refused: "not-found", reason: "There is no such secret." };
    }
    if (command.seen !== undefined && command.seen !== state.generation) {
      return { refused: "precondition", expected: command.seen, actual: state.generation };
    }
    if (command.type === "ReplaceSecret")
      return { events: [{ type: "SecretReplaced", data: { sealed: command.sealed } }] };
    return {
      events: [{ type: "SecretErased", data: {} }],
      claims: [secretNames.claim(organisation, state.name, false)],
    };
  },
};

const SEALED = { v: 1, key: "k1", subject: "sec_01kajzq4v0e8r9t2m5x7c3d6fg", iv: "AAAAAAAAAAAAAAAA", data: "AAAA" };

export const secret: Kind<Secret, SecretCommand, SecretEvent> = {
  context: "identity",
  kind: "secret",
  prefix: "sec",
  collection: "secrets",
  decider,
  events: {
    SecretStored: {
      version: 1,
      data: Stored,
      examples: { 1: { name: "deploy-key", sealed: SEALED } },
      sentence: ({ name }) => `stored the secret "${name}"`,
      toPublic: ({ name }) => ({ name }),
    },
    SecretReplaced: {
      version: 1,
      data: Replaced,
      examples: { 1: { sealed: SEALED } },
      sentence: () => "replaced the secret's value",
      toPublic: () => ({}),
    },
    SecretErased: { version: 1, data: Schema.Struct({}), examples: { 1: {} }, sentence: () => "erased the secret" },
  },
  publicEvents: secretEvents,
  generation: (state) => state.generation,
  exists: (state) => state.generation > 0 && state.erasedAt === null,
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    spec: { name: state.name },
    status: {},
    generation: state.generation,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: secretNames.of,
  stateVersion: 1,
};
