/**
 * Subscribers: credentials for NATS with a part of the feed that they may read. Only the hash of the password is ever kept. What they read at a
 * moment is what their filter says *and* what the token of their maker may read then: that is composed where it is asked (the gateway).
 */
import { Timestamp } from "@millrace/contracts/identity/events.ts";
import * as shape from "@millrace/contracts/integrations/subscribers.ts";
import type { EventsFilter } from "@millrace/contracts/integrations/values.ts";
import * as Schema from "effect/Schema";
import {
  type Circumstances,
  type Decider,
  type Decision,
  type DomainEvent,
  invalid,
  type Refusal,
} from "../decider.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { excerpt } from "../sentences.ts";
import { filterText } from "./destination-events.ts";

export interface SubscriberFields {
  readonly name: string;
  readonly description: string;
  readonly events: EventsFilter;
  readonly expiresAt: string | null;
}

export interface SubscriberState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly spec: SubscriberFields | null;
  /** Id of the token whose rights it reads by. */
  readonly maker: string;
  /** SHA-256 of the password, hex. Never shown. */
  readonly hash: string;
  readonly last8: string;
  readonly previous: { readonly hash: string; readonly until: string } | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

type Seen = { readonly seen?: number };
type Secret = { readonly hash: string; readonly last8: string };

export type SubscriberCommand =
  | ({ readonly do: "create"; readonly spec: SubscriberFields; readonly maker: string } & Secret)
  | ({
      readonly do: "change";
      readonly spec: Partial<Omit<SubscriberFields, "name">>;
      /** Given where it changes what is read. */
      readonly maker?: string;
    } & Seen)
  | ({ readonly do: "rotate"; readonly until: string; readonly maker: string } & Secret & Seen)
  | ({ readonly do: "revoke" } & Seen);

const names = nameClaims("subscriber");

/** How many subjects a filter comes to; a list that is left out is one wildcard. */
export const subjectsOf = ({ context, kind, id, type }: EventsFilter): number =>
  [context, kind, id, type].reduce((product, values) => product * (values?.length ?? 1), 1);

function faultOf({ events, expiresAt }: Partial<SubscriberFields>, now: string): Refusal | undefined {
  if (events !== undefined && subjectsOf(events) > shape.SUBSCRIBER_LIMITS.subjects) {
    return invalid(
      "/body/events",
      `comes to ${subjectsOf(events)} subjects (its lists multiplied); at most ${shape.SUBSCRIBER_LIMITS.subjects}`,
      "Leave out a list, or make several subscribers.",
    );
  }
  if (expiresAt != null && expiresAt <= now) {
    return invalid("/body/expiresAt", "lies in the past", "Give a time in the future, or leave it out.");
  }
  return undefined;
}

const happens = (what: string, data: unknown): Decision<DomainEvent> => ({
  events: [{ type: `Subscriber${what}`, data }],
});

function decide(
  command: SubscriberCommand,
  state: SubscriberState,
  { organisation, now }: Circumstances,
): Decision<DomainEvent> {
  if (command.do === "create") {
    if (state.createdAt !== "") {
      return { refused: "conflict", reason: "This subscriber exists already.", fix: "Use another Idempotency-Key." };
    }
    const { spec, hash, last8, maker } = command;
    const data = { ...spec, last8, hash, maker };
    return (
      faultOf(spec, now) ?? {
        events: [{ type: "SubscriberCreated", data }],
        claims: [names.claim(organisation, spec.name, true)],
      }
    );
  }
  const { spec } = state;
  if (!state.exists || spec === null) return { refused: "not-found", reason: "There is no such subscriber." };
  if (command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change": {
      const wrong = faultOf(command.spec, now);
      if (wrong !== undefined) return wrong;
      const changes = Object.entries(command.spec).filter(
        ([key, value]) => JSON.stringify(value) !== JSON.stringify(spec[key as keyof SubscriberFields]),
      );
      const maker = command.maker === undefined || command.maker === state.maker ? {} : { maker: command.maker };
      if (changes.length === 0 && maker.maker === undefined) return { events: [] };
      return happens("Changed", { ...Object.fromEntries(changes), ...maker });
    }
    case "rotate": {
      const { hash, last8, until, maker } = command;
      return happens("SecretRotated", { last8, oldUntil: until, hash, maker });
    }
    case "revoke":
      return { ...happens("Revoked", { name: spec.name }), claims: [names.claim(organisation, spec.name, false)] };
  }
}

const decider: Decider<SubscriberState, SubscriberCommand, DomainEvent> = {
  initial: (id) => ({
    id,
    exists: false,
    organisation: "",
    generation: 0,
    spec: null,
    maker: "",
    hash: "",
    last8: "",
    previous: null,
    createdAt: "",
    updatedAt: "",
  }),
  evolve: (before, event, meta) => {
    // biome-ignore lint/suspicious/noExplicitAny: of which event the data is, its type says
    const data = event.data as any;
    const state = { ...before, updatedAt: meta.time, generation: before.generation + 1 };
    switch (event.type) {
      case "SubscriberCreated": {
        const { hash, last8, maker, ...spec } = data;
        const { organisation, time: createdAt } = meta;
        return { ...state, exists: true, organisation, spec, hash, last8, maker, createdAt };
      }
      case "SubscriberChanged": {
        const { maker = before.maker, ...changes } = data;
        return { ...state, spec: { ...before.spec, ...changes }, maker };
      }
      case "SubscriberSecretRotated": {
        const { hash, last8, maker, oldUntil } = data;
        const previous = oldUntil <= meta.time ? null : { hash: before.hash, until: oldUntil };
        return { ...state, hash, last8, maker, previous };
      }
      case "SubscriberRevoked":
        return { ...state, exists: false, previous: null };
      default:
        return before;
    }
  },
  decide,
};

const Hash = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u));
const HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
const MAKER = "tok_01kajzq4v0e8r9t2m5x7c3d6fg";
const Created = Schema.Struct({ ...shape.SubscriberCreated.fields, hash: Hash, maker: Schema.String });
const Changed = Schema.Struct({ ...shape.SubscriberChanged.fields, maker: Schema.optionalKey(Schema.String) });
const Rotated = Schema.Struct({
  ...shape.SubscriberSecretRotated.fields,
  oldUntil: Timestamp,
  hash: Hash,
  maker: Schema.String,
});

const shown = ({ hash: _, maker: __, ...rest }: { readonly hash?: unknown; readonly maker?: unknown }): unknown => rest;

const declarations: Readonly<Record<string, EventDeclaration>> = {
  SubscriberCreated: {
    version: 1,
    data: Created,
    examples: {
      1: {
        name: "warehouse",
        description: "",
        events: { context: ["work"] },
        expiresAt: null,
        last8: "x7Qp2aB9",
        hash: HASH,
        maker: MAKER,
      },
    },
    sentence: ({ name, events }) => `made the credentials "${name}" for NATS, for ${filterText(events)}`,
    toPublic: shown,
  },
  SubscriberChanged: {
    version: 1,
    data: Changed,
    examples: { 1: { events: { context: ["work"], type: ["ItemOpened"] }, maker: MAKER } },
    sentence: ({ events, description, expiresAt }) =>
      [
        ...(events === undefined ? [] : [`chose ${filterText(events)}`]),
        ...(description === undefined ? [] : [`described it: ${excerpt(description)}`]),
        ...(expiresAt === undefined ? [] : [expiresAt === null ? "took its end away" : `made it end at ${expiresAt}`]),
      ].join(", ") || "took it over",
    toPublic: shown,
  },
  SubscriberSecretRotated: {
    version: 1,
    data: Rotated,
    examples: { 1: { last8: "aB9x7Qp2", oldUntil: "2026-11-22T08:00:00.000Z", hash: HASH, maker: MAKER } },
    sentence: ({ oldUntil }) => `gave it another password; the old one lets in until ${oldUntil}`,
    toPublic: shown,
  },
  SubscriberRevoked: {
    version: 1,
    data: shape.SubscriberRevoked,
    examples: { 1: { name: "warehouse" } },
    sentence: ({ name }) => `revoked the credentials "${name}"`,
  },
};

export const subscriber: Kind<SubscriberState, SubscriberCommand> = {
  context: "integrations",
  kind: "subscriber",
  prefix: "sub",
  collection: "subscribers",
  decider,
  events: declarations,
  publicEvents: shape.subscriberEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: ({ id, organisation, generation, spec, last8, maker, previous, createdAt, updatedAt }) => {
    const { expiresAt = null, ...rest } = spec ?? {};
    return {
      id,
      organisation,
      generation,
      spec: { ...rest, ...(expiresAt === null ? {} : { expiresAt }) },
      status: { last8, maker, ...(previous === null ? {} : { oldSecretUntil: previous.until }) },
      createdAt,
      updatedAt,
    };
  },
  nameClaim: names.of,
  stateVersion: 1,
};
