/**
 * The process: an aggregate that goes on by itself from what other contexts told. It takes note of events, each once; decides on a
 * command, which stands in its log before it is issued and has an id made of the process's own version; and notes what came of it.
 */
import * as shape from "@millrace/contracts/automation/processes.ts";
import * as Schema from "effect/Schema";
import { type Decider, type Decision, type Refusal, rule } from "../decider.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { excerpt, first, listed } from "../sentences.ts";
import type { ProcessNext, ProcessTypes, Settled, Step } from "./process-type.ts";
import { PROCESSES } from "./process-types.ts";

export interface Pending extends Step {
  readonly command: string;
  /** RFC 3339: when it was decided. */
  readonly since: string;
  readonly correlation: string;
  readonly causation: string;
  readonly hops: number;
}

export interface ProcessState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  /** How many events it has: what the ids of its commands are made of. */
  readonly version: number;
  readonly type: string;
  readonly key: string;
  readonly memory: any;
  /** The last sequence of each context that it took note of. */
  readonly noted: Readonly<Record<string, number>>;
  /** `<context>:<sequence>` of what came late: it had been set aside. The newest hundred. */
  readonly late: ReadonlyArray<string>;
  readonly pending: Pending | null;
  /** What the last event that it heard was caused by. */
  readonly cause: { readonly correlation: string; readonly causation: string; readonly hops: number };
  readonly heard: number;
  readonly done: number;
  readonly refused: number;
  readonly last: {
    readonly step: string;
    readonly outcome: "done" | "refused";
    readonly reason?: string;
    readonly at: string;
  } | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface NoteEvents {
  readonly do: "note";
  readonly type: string;
  readonly key: string;
  readonly context: string;
  readonly seq: number;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly late: boolean;
  readonly events: ReadonlyArray<string>;
  readonly notes: ReadonlyArray<unknown>;
  readonly correlation: string;
  readonly causation: string;
  readonly hops: number;
}

export type ProcessCommand =
  | NoteEvents
  /** @property version of the process that the step was chosen on */
  | (Step & { readonly do: "decide"; readonly version: number })
  | { readonly do: "settle"; readonly command: string; readonly outcome: Settled; readonly fix?: string };

const Heard = Schema.Struct({
  ...shape.EventHeard.fields,
  atMs: Schema.Number,
  late: Schema.Boolean,
  notes: Schema.Array(Schema.Json),
  correlation: Schema.String,
  causation: Schema.String,
  hops: Schema.Int,
});
const Decided = Schema.Struct({ ...shape.CommandDecided.fields, body: Schema.optionalKey(Schema.Json) });
const Refused = Schema.Struct({ ...shape.CommandRefused.fields, refused: Schema.String });

export type ProcessEvent =
  | { readonly type: "ProcessBegan"; readonly data: typeof shape.ProcessBegan.Type }
  | { readonly type: "EventHeard"; readonly data: typeof Heard.Type }
  | { readonly type: "CommandDecided"; readonly data: typeof Decided.Type }
  | { readonly type: "CommandDone"; readonly data: typeof shape.CommandDone.Type }
  | { readonly type: "CommandRefused"; readonly data: typeof Refused.Type };

const LATE_MOST = 100;
/** Characters of JSON. */
const MEMORY_MOST = 64 * 1024;

const initial = (id: string): ProcessState => ({
  id,
  exists: false,
  organisation: "",
  version: 0,
  type: "",
  key: "",
  memory: null,
  noted: {},
  late: [],
  pending: null,
  cause: { correlation: "", causation: "", hops: 0 },
  heard: 0,
  done: 0,
  refused: 0,
  last: null,
  createdAt: "",
  updatedAt: "",
});

const overtaken: Refusal = rule("overtaken", "The process has gone on meanwhile.", "Let it pass.");

/** @param types those that this release knows; a process of another type is left as it is */
const decider = (types: ProcessTypes): Decider<ProcessState, ProcessCommand, ProcessEvent> => ({
  initial,
  evolve: (before, event, { organisation, time }) => {
    const state = { ...before, version: before.version + 1, updatedAt: time };
    const type = types[event.type === "ProcessBegan" ? event.data.type : state.type];
    switch (event.type) {
      case "ProcessBegan":
        return { ...state, ...event.data, exists: true, organisation, memory: type?.initial ?? null, createdAt: time };
      case "EventHeard": {
        const { context, seq, atMs, late, notes, correlation, causation, hops, events } = event.data;
        return {
          ...state,
          memory: notes.reduce((memory: any, note) => type?.note(memory, note, atMs) ?? memory, state.memory),
          noted: late ? state.noted : { ...state.noted, [context]: seq },
          late: late ? [...state.late, `${context}:${seq}`].slice(-LATE_MOST) : state.late,
          heard: state.heard + events.length,
          cause: { correlation, causation, hops },
        };
      }
      case "CommandDecided":
        return { ...state, pending: { ...(event.data as Step & { command: string }), ...state.cause, since: time } };
      case "CommandDone": {
        const { step, subject, made } = event.data;
        const outcome: Settled = { done: subject, ...(made === undefined ? {} : { made }) };
        const memory = type?.settled(state.memory, step, outcome, Date.parse(time)) ?? state.memory;
        return { ...state, memory, pending: null, done: state.done + 1, last: { step, outcome: "done", at: time } };
      }
      case "CommandRefused": {
        const { step, refused, reason, rule } = event.data;
        const outcome: Settled = { refused, reason, ...(rule === undefined ? {} : { rule }) };
        const memory = type?.settled(state.memory, step, outcome, Date.parse(time)) ?? state.memory;
        const last = { step, outcome: "refused" as const, reason, at: time };
        return { ...state, memory, pending: null, refused: state.refused + 1, last };
      }
    }
  },
  decide: (command, state): Decision<ProcessEvent> => {
    switch (command.do) {
      case "note":
        return note(types, command, state);
      case "decide": {
        const { do: _, version, ...step } = command;
        if (!state.exists || state.pending !== null || state.version !== version) return overtaken;
        return {
          events: [
            {
              type: "CommandDecided",
              data: { ...(step as Step & { body?: any }), command: `${state.id}.${version + 1}` },
            },
          ],
        };
      }
      case "settle": {
        const { outcome, fix } = command;
        if (state.pending?.command !== command.command) return overtaken;
        const { step } = state.pending;
        const about = { step, command: command.command };
        if ("done" in outcome) {
          const { done: subject, made } = outcome;
          return {
            events: [{ type: "CommandDone", data: { ...about, subject, ...(made === undefined ? {} : { made }) } }],
          };
        }
        return {
          events: [{ type: "CommandRefused", data: { ...about, ...outcome, ...(fix === undefined ? {} : { fix }) } }],
        };
      }
    }
  },
});

function note(types: ProcessTypes, command: NoteEvents, state: ProcessState): Decision<ProcessEvent> {
  const { do: _, type: name, key, ...heard } = command;
  const { context, seq, late, notes, atMs } = heard;
  const known = late ? state.late.includes(`${context}:${seq}`) : seq <= (state.noted[context] ?? 0);
  if (known) return { events: [] };
  const type = types[name];
  if (type === undefined)
    return rule("unknown-type", `There is no type of process "${name}".`, "Upgrade this service.");
  const memory = notes.reduce(
    (before, one) => type.note(before, one, atMs),
    state.exists ? state.memory : type.initial,
  );
  if (JSON.stringify(memory).length > MEMORY_MOST) {
    return rule(
      "process-full",
      "The process has more to look after than it can hold.",
      "See what it waits for, and end some of it.",
    );
  }
  const began: ProcessEvent[] = state.exists ? [] : [{ type: "ProcessBegan", data: { type: name, key } }];
  return { events: [...began, { type: "EventHeard", data: heard as typeof Heard.Type }] };
}

const command = "prc_01kajzq4v0e8r9t2m5x7c3d6fg.3";
const step = "tick dep_01kajzq4v0e8r9t2m5x7c3d6fg itm_01kajzq4v0e8r9t2m5x7c3d6fg";
const item = "itm_01kajzq4v0e8r9t2m5x7c3d6fg";

const events: Readonly<Record<ProcessEvent["type"], EventDeclaration>> = {
  ProcessBegan: first(
    shape.ProcessBegan,
    { type: "change-follows-deployment", key: "app_01kajzq4v0e8r9t2m5x7c3d6fg" },
    ({ type, key }) => `began the process ${type} for ${key}`,
  ),
  EventHeard: {
    ...first(
      Heard,
      {
        context: "applications",
        seq: 17,
        atMs: 1_795_000_000_000,
        late: false,
        events: ["DeploymentSucceeded"],
        notes: [{ verified: true }],
        correlation: "req_1",
        causation: "req_1",
        hops: 0,
      },
      ({ context, events }) => `heard ${listed(events)} of ${context}`,
    ),
    toPublic: ({ context, seq, events }) => ({ context, seq, events }),
  },
  CommandDecided: {
    ...first(
      Decided,
      { step, command, action: "work.changeLine", on: item, body: { line: "deployed", done: true } },
      ({ action, on }) => `decided on ${action}${on === undefined ? "" : ` of ${on}`}`,
    ),
    toPublic: ({ body: _, ...data }) => data,
  },
  CommandDone: first(
    shape.CommandDone,
    { step, command, subject: { context: "work", kind: "item", id: item } },
    ({ subject, made }) => (made === undefined ? `did it to ${subject.id}` : `made ${made}`),
  ),
  CommandRefused: {
    ...first(
      Refused,
      { step, command, refused: "not-found", reason: "There is no such item." },
      ({ reason }) => `was refused: ${excerpt(reason)}`,
    ),
    toPublic: ({ refused: _, ...data }) => data,
  },
};

const represent = (state: ProcessState): unknown => {
  const { pending, last } = state;
  const shown = ({ step, command, action, on }: Pending) => ({
    step,
    command,
    action,
    ...(on === undefined ? {} : { on }),
  });
  return {
    id: state.id,
    organisation: state.organisation,
    generation: 1,
    spec: { type: state.type, key: state.key },
    status: {
      state: pending === null ? "waiting" : "acting",
      heard: state.heard,
      done: state.done,
      refused: state.refused,
      ...(pending === null ? {} : { pending: shown(pending) }),
      ...(last === null ? {} : { last }),
      memory: state.memory,
    },
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
};

export const processKind = (types: ProcessTypes): Kind<ProcessState, ProcessCommand, ProcessEvent> => ({
  context: "automation",
  kind: "process",
  prefix: "prc",
  collection: "processes",
  decider: decider(types),
  events,
  publicEvents: shape.processEvents,
  generation: () => 1,
  exists: (state) => state.exists,
  represent,
  stateVersion: 1,
});

export const process = processKind(PROCESSES);

export type ProcessStep = { readonly decide: Step; readonly version: number } | { readonly issue: Pending };

/** What is to be done now: what was decided is issued before anything else is. */
export const nextOfProcess =
  (types: ProcessTypes) =>
  (state: ProcessState, nowMs: number): undefined | { readonly do: ProcessStep } | { readonly waitUntil: number } => {
    if (!state.exists) return undefined;
    if (state.pending !== null) return { do: { issue: state.pending } };
    const next: ProcessNext = types[state.type]?.next(state.memory, nowMs);
    if (next === undefined || "waitUntil" in next) return next;
    return { do: { decide: next, version: state.version } };
  };
