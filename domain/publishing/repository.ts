/** A repository: asked for, made by a publisher on one node's disk, with a key that signs. */
import * as shape from "@millrace/contracts/publishing/repositories.ts";
import * as Schema from "effect/Schema";
import { type Decider, type Decision, type DomainEvent, type EventMeta, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { Sealed } from "../sealed.ts";
import { excerpt, first } from "../sentences.ts";

const { REPOSITORY_LIMITS: LIMITS, REPOSITORY_PATTERNS: PATTERNS } = shape;

export type RepositoryStateName = (typeof shape.REPOSITORY_STATES)[number];
export type RepositoryFailure = typeof shape.RepositoryFailed.Type;

export interface RepositoryKey {
  readonly fingerprint: string;
  readonly user: string;
  readonly publicKey: string;
  readonly sealed: Sealed;
}

export interface RepositoryState {
  readonly id: string;
  readonly organisation: string;
  readonly generation: number;
  readonly name: string;
  readonly title: string | null;
  readonly collectionId: string | null;
  /** Null: there has never been one. */
  readonly state: RepositoryStateName | null;
  /** Null: no publisher has begun. Then it stays there. */
  readonly node: string | null;
  readonly attempt: number;
  readonly worker: string;
  readonly key: RepositoryKey | null;
  readonly failure: RepositoryFailure | null;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly readyAt: string | null;
}

interface Attempted {
  readonly attempt: number;
  readonly worker: string;
}
export type RepositoryCommand =
  | {
      readonly do: "create";
      readonly name: string;
      readonly title?: string | undefined;
      readonly collectionId?: string | undefined;
    }
  | { readonly do: "change"; readonly title?: string | null | undefined; readonly seen?: number }
  | { readonly do: "retry" }
  /** By a publisher, before it touches anything. */
  | (Attempted & { readonly do: "begin"; readonly node: string })
  | (Attempted & { readonly do: "keepKey"; readonly key: RepositoryKey })
  | (Attempted & { readonly do: "finish" })
  | (Attempted & { readonly do: "fail"; readonly failure: RepositoryFailure });

/** What a publisher is to do. */
export type RepositoryStep =
  | { readonly kind: "begin"; readonly attempt: number }
  | { readonly kind: "giveUp"; readonly attempt: number };

/** Pure: the same for every publisher. Who asks holds the lease, so an attempt that is under way is one that broke off. */
export function nextOfRepository(state: RepositoryState): { readonly do: RepositoryStep } | undefined {
  if (state.state !== "pending" && state.state !== "making") return undefined;
  const { attempt } = state;
  return { do: attempt < LIMITS.attempts ? { kind: "begin", attempt: attempt + 1 } : { kind: "giveUp", attempt } };
}

const names = nameClaims("repository");
const title = says((text) => PATTERNS.title.test(text), `one line of at most ${LIMITS.title} characters`);
const collectionId = says(
  (text) => text.length <= LIMITS.collectionId && PATTERNS.collectionId.test(text),
  "two or more parts of letters, digits and _ with dots between, none beginning with a digit",
);

function evolve(
  before: RepositoryState,
  { type, data }: DomainEvent,
  { time, organisation }: EventMeta,
): RepositoryState {
  const state = { ...before, updatedAt: time };
  switch (type) {
    case "RepositoryCreated": {
      const asked = data as typeof shape.RepositoryCreated.Type;
      return { ...state, ...asked, organisation, generation: 1, state: "pending", createdAt: time };
    }
    case "RepositoryRetitled":
      return { ...state, ...(data as typeof shape.RepositoryRetitled.Type), generation: before.generation + 1 };
    case "RepositoryBegun":
      return { ...state, ...(data as typeof shape.RepositoryBegun.Type), state: "making" };
    case "RepositoryKeyMade":
      return { ...state, key: data as RepositoryKey };
    case "RepositoryMade":
      return { ...state, state: "ready", failure: null, readyAt: time };
    case "RepositoryFailed":
      return { ...state, state: "failed", failure: data as RepositoryFailure };
    case "RepositoryRetried":
      return { ...state, state: "pending", attempt: 0, failure: null };
    default:
      return before;
  }
}

const overtaken = rule("overtaken", "Another attempt is under way, or it is over.", "Let it pass.");

function create(
  command: Extract<RepositoryCommand, { do: "create" }>,
  state: RepositoryState,
  organisation: string,
): Decision<DomainEvent> {
  if (state.state !== null) {
    return { refused: "conflict", reason: "This repository exists already.", fix: "Use another Idempotency-Key." };
  }
  const { do: _, ...asked } = command;
  const faults = new Faults()
    .check("/title", title, asked.title)
    .check("/collectionId", collectionId, asked.collectionId);
  const data = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
  const claims = [names.claim(organisation, asked.name, true)];
  return faults.refusal() ?? { events: [{ type: "RepositoryCreated", data }], claims };
}

/** What only the publisher does whose attempt it is. */
function report(command: Extract<RepositoryCommand, Attempted>, state: RepositoryState): Decision<DomainEvent> {
  if (command.do === "begin") {
    const { attempt, worker, node } = command;
    const isNext = nextOfRepository(state) !== undefined && attempt === state.attempt + 1;
    if (!isNext || (state.node !== null && state.node !== node)) return overtaken;
    return { events: [{ type: "RepositoryBegun", data: { node, attempt, worker } }] };
  }
  if (state.state !== "making" || command.attempt !== state.attempt || command.worker !== state.worker)
    return overtaken;
  switch (command.do) {
    case "keepKey":
      // One key, whatever breaks off afterwards.
      return state.key === null ? { events: [{ type: "RepositoryKeyMade", data: command.key }] } : overtaken;
    case "finish":
      if (state.key === null) return overtaken;
      return { events: [{ type: "RepositoryMade", data: { attempt: command.attempt } }] };
    case "fail":
      return { events: [{ type: "RepositoryFailed", data: command.failure }] };
  }
}

const decider: Decider<RepositoryState, RepositoryCommand, DomainEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    generation: 0,
    name: "",
    title: null,
    collectionId: null,
    state: null,
    node: null,
    attempt: 0,
    worker: "",
    key: null,
    failure: null,
    createdAt: "",
    updatedAt: "",
    readyAt: null,
  }),
  evolve,
  decide: (command, state, { organisation }): Decision<DomainEvent> => {
    if (command.do === "create") return create(command, state, organisation);
    if (state.state === null) return { refused: "not-found", reason: "There is no such repository." };
    if (command.do === "change") {
      if (command.seen !== undefined && command.seen !== state.generation) {
        return { refused: "precondition", expected: command.seen, actual: state.generation };
      }
      if (command.title === undefined || command.title === state.title) return { events: [] };
      const faults = new Faults().check("/title", title, command.title ?? undefined);
      return faults.refusal() ?? { events: [{ type: "RepositoryRetitled", data: { title: command.title } }] };
    }
    if (command.do === "retry") {
      if (state.state !== "failed") {
        return rule("not-failed", `The repository is ${state.state}.`, "Nothing: only one that failed is tried again.");
      }
      return { events: [{ type: "RepositoryRetried", data: {} }] };
    }
    return report(command, state);
  },
};

const KEY = {
  fingerprint: "9F3C1A2B4D5E6F708192A3B4C5D6E7F801234567",
  user: "Our applications",
  publicKey: "mDMEZ…",
};
const SEALED = { v: 1, key: "k1", subject: "rep_01kajzq4v0e8r9t2m5x7c3d6fg", iv: "AA", data: "AA" } as const;

export const repository: Kind<RepositoryState, RepositoryCommand> = {
  context: "publishing",
  kind: "repository",
  prefix: "rep",
  collection: "repositories",
  decider,
  events: {
    RepositoryCreated: first(
      shape.RepositoryCreated,
      { name: "stable", title: "Our applications", collectionId: "org.example.Stable" },
      ({ name }) => `asked for the repository "${name}"`,
    ),
    RepositoryRetitled: first(shape.RepositoryRetitled, { title: "Ours" }, ({ title: text }) =>
      text === null ? "took its title off" : `titled it "${excerpt(text)}"`,
    ),
    RepositoryBegun: first(
      shape.RepositoryBegun,
      { node: "local", attempt: 1, worker: "attic:1:a" },
      ({ node, attempt }) => `began to make it on the node ${node}${attempt > 1 ? `, attempt ${attempt}` : ""}`,
    ),
    RepositoryKeyMade: {
      version: 1,
      data: Schema.Struct({ ...shape.RepositoryKeyMade.fields, sealed: Sealed }),
      examples: { 1: { ...KEY, sealed: SEALED } },
      sentence: ({ fingerprint }: RepositoryKey) => `made its key ${fingerprint.slice(-16)}`,
      toPublic: ({ sealed: _, ...shown }: RepositoryKey) => shown,
    },
    RepositoryMade: first(shape.RepositoryMade, { attempt: 1 }, () => "made it"),
    RepositoryFailed: first(
      shape.RepositoryFailed,
      { code: "TOOLS_MISSING", reason: "ostree is not installed.", fix: "Run mill setup." },
      ({ code, reason }) => `could not make it (${code}): ${excerpt(reason)}`,
    ),
    RepositoryRetried: first(shape.RepositoryRetried, {}, () => "asked for another try"),
  },
  publicEvents: shape.repositoryEvents,
  generation: (state) => state.generation,
  exists: (state) => state.state !== null,
  over: ({ state }) => state === "ready" || state === "failed",
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    generation: state.generation,
    spec: {
      name: state.name,
      ...(state.title === null ? {} : { title: state.title }),
      ...(state.collectionId === null ? {} : { collectionId: state.collectionId }),
    },
    status: {
      state: state.state,
      ...(state.node === null ? {} : { node: state.node }),
      ...(state.key === null ? {} : { key: shown(state.key) }),
      ...(state.failure === null ? {} : { failure: state.failure }),
      ...(state.readyAt === null ? {} : { readyAt: state.readyAt }),
    },
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 1,
};

const shown = ({ fingerprint, user, publicKey }: RepositoryKey) => ({ fingerprint, user, publicKey });
