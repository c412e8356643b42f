/** A rule as folded from its events. */
import type { CommandOutcome } from "@millrace/contracts/automation/entities.ts";
import type * as shape from "@millrace/contracts/automation/rule-events.ts";
import type { RuleWhen } from "@millrace/contracts/automation/rules.ts";
import { RULES } from "@millrace/contracts/automation/values.ts";
import type { EventMeta } from "../decider.ts";
import type { Action } from "./actions.ts";
import { dueAfter } from "./due.ts";
import type { Doing } from "./firing.ts";
import type { Maker } from "./schedule-state.ts";

export type RuleEventType = keyof typeof shape.ruleEvents;
export type RuleEvent = {
  [T in RuleEventType]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[RuleEventType];

/** The event that a run is for. */
export interface Trigger {
  /** `<sequence>.<index>` in its context. */
  readonly id: string;
  readonly type: string;
  readonly kind: string;
  readonly entity: string;
}

/** Where it comes from, for what it commands. */
export interface Chain {
  readonly hops: number;
  readonly correlation: string;
  readonly causation: string;
}

export interface Run extends Doing {
  readonly run: number;
  readonly event?: Trigger;
  readonly due?: string;
  readonly chain: Chain;
  readonly endedAt?: string;
  readonly fault?: string;
}

export interface RuleState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly name: string;
  readonly title: string | null;
  /** Null until it is created. */
  readonly when: RuleWhen | null;
  readonly condition: string | null;
  readonly timeZone: string;
  readonly commands: ReadonlyArray<Action>;
  readonly perMinute: number;
  readonly enabled: boolean;
  /** RFC 3339: what happened, or was due, up to here is not looked at any more. */
  readonly since: string;
  readonly maker: Maker;
  /** Id of the last event that it was done for. */
  readonly place: string | null;
  /** Not ended, in order; the first is under way. */
  readonly runs: ReadonlyArray<Run>;
  readonly triggers: number;
  readonly failures: number;
  readonly passedOver: number;
  /** Minutes since 1970, and how often it was done in that one. */
  readonly minute: { readonly minute: number; readonly count: number };
  /** The minute of which it was last told, and why. */
  readonly told: { readonly minute: number; readonly reasons: ReadonlyArray<string> };
  readonly last: ReadonlyArray<Run>;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export const initial = (id: string): RuleState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  name: "",
  title: null,
  when: null,
  condition: null,
  timeZone: "UTC",
  commands: [],
  perMinute: RULES.perMinuteUsual,
  enabled: false,
  since: "",
  maker: { token: "", name: "" },
  place: null,
  runs: [],
  triggers: 0,
  failures: 0,
  passedOver: 0,
  minute: { minute: 0, count: 0 },
  told: { minute: 0, reasons: [] },
  last: [],
  createdAt: "",
  updatedAt: "",
});

export const minuteOf = (time: string): number => Math.floor(Date.parse(time) / 60_000);

const counted = ({ minute, count }: RuleState["minute"], now: number) =>
  minute === now ? { minute, count: count + 1 } : { minute: now, count: 1 };

export function evolve(before: RuleState, event: RuleEvent, { organisation, time }: EventMeta): RuleState {
  const state = { ...before, updatedAt: time };
  const changed = { ...state, generation: before.generation + 1 };
  switch (event.type) {
    case "RuleCreated": {
      const { title = null, ...data } = event.data;
      return { ...changed, ...data, title, exists: true, organisation, createdAt: time };
    }
    case "RuleRetitled":
      return { ...changed, title: event.data.title };
    case "RuleChanged":
      // Places of another context's events say nothing of this one's.
      return { ...changed, ...event.data, place: null };
    case "RuleEnabled":
      return { ...changed, enabled: true, since: event.data.since };
    case "RuleDisabled":
      return { ...changed, enabled: false };
    case "RuleTriggered": {
      const run: Run = { ...event.data, outcomes: [], startedAt: time };
      return { ...begun(state, event.data, time), runs: [...before.runs, run] };
    }
    case "RuleFaulted": {
      const { run, event: trigger, due, fault } = event.data;
      const what = { ...(trigger === undefined ? {} : { event: trigger }), ...(due === undefined ? {} : { due }) };
      const chain = { hops: 0, correlation: "", causation: "" };
      const ended: Run = { run, ...what, commands: [], outcomes: [], startedAt: time, endedAt: time, fault, chain };
      return { ...begun(state, event.data, time), failures: before.failures + 1, last: shown(ended, before.last) };
    }
    case "RuleDue":
      return { ...state, since: event.data.due };
    case "RulePassedOver": {
      const { minute, reason } = event.data;
      const reasons = before.told.minute === minute ? [...before.told.reasons, reason] : [reason];
      return { ...state, passedOver: before.passedOver + 1, told: { minute, reasons } };
    }
    case "RuleCommandDone": {
      const { run, index: _, ...rest } = event.data;
      return {
        ...state,
        runs: before.runs.map((one) => (one.run === run ? withOutcome(one, { ...rest, outcome: "done" }) : one)),
      };
    }
    case "RuleCompleted":
      return ended(state, event.data.run, time);
    case "RuleFailed": {
      const { run, index: _, ...rest } = event.data;
      const runs = before.runs.map((one) => (one.run === run ? withOutcome(one, rest) : one));
      return { ...ended({ ...state, runs }, run, time), failures: before.failures + 1 };
    }
    case "RuleDeleted":
      return { ...changed, exists: false, enabled: false };
  }
}

const begun = (state: RuleState, { event }: { readonly event?: Trigger }, time: string): RuleState => ({
  ...state,
  triggers: state.triggers + 1,
  minute: counted(state.minute, minuteOf(time)),
  ...(event === undefined ? {} : { place: event.id }),
});

const withOutcome = (run: Run, outcome: CommandOutcome): Run => ({ ...run, outcomes: [...run.outcomes, outcome] });

const shown = (run: Run, last: ReadonlyArray<Run>): ReadonlyArray<Run> => [run, ...last].slice(0, RULES.shown);

function ended(state: RuleState, run: number, endedAt: string): RuleState {
  const found = state.runs.find((one) => one.run === run);
  if (found === undefined) return state;
  // What it did stands in its outcomes: shown runs keep no bodies.
  const last = shown({ ...found, endedAt, commands: [] }, state.last);
  return { ...state, runs: state.runs.filter((one) => one.run !== run), last };
}

/** When it is due next, milliseconds since 1970; undefined: it waits for events, or is disabled. */
export function nextDueAt({ when, enabled, since }: RuleState): number | undefined {
  return when === null || when.kind === "event" || !enabled ? undefined : dueAfter(when, Date.parse(since));
}

const shownRun = ({ run: _, commands: __, chain: ___, startedAt: at, ...rest }: Run) => ({ at, ...rest });

export function represent(state: RuleState): unknown {
  const { id, organisation, generation, name, title, when, condition, timeZone, commands, perMinute, enabled } = state;
  const next = nextDueAt(state);
  return {
    id,
    organisation,
    generation,
    spec: {
      name,
      ...(title === null ? {} : { title }),
      when,
      ...(condition === null ? {} : { condition }),
      timeZone,
      commands,
      perMinute,
      enabled,
    },
    status: {
      state: enabled ? "active" : "disabled",
      ...(next === undefined ? {} : { nextDueAt: new Date(next).toISOString() }),
      triggers: state.triggers,
      failures: state.failures,
      passedOver: state.passedOver,
      waiting: state.runs.length,
      last: state.last.map(shownRun),
    },
    maker: state.maker,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
}
