/** A schedule as folded from its events. */
import type { CommandOutcome, Missed, When } from "@millrace/contracts/automation/entities.ts";
import type * as shape from "@millrace/contracts/automation/events.ts";
import type { EventMeta } from "../decider.ts";
import type { Action } from "./actions.ts";
import { dueAfter, firesAt } from "./due.ts";
import type { Doing } from "./firing.ts";

export type ScheduleEventType = keyof typeof shape.scheduleEvents;
export type ScheduleEvent = {
  [T in ScheduleEventType]: { readonly type: T; readonly data: (typeof shape)[T]["Type"] };
}[ScheduleEventType];

export interface Firing extends Doing {
  readonly due: string;
  readonly cause: "due" | "hand";
  readonly late: boolean;
  readonly hops: number;
  readonly endedAt?: string;
}

export interface Maker {
  readonly token: string;
  readonly name: string;
}

export interface ScheduleState {
  readonly id: string;
  readonly exists: boolean;
  readonly organisation: string;
  readonly generation: number;
  readonly name: string;
  readonly title: string | null;
  /** Null until it is created. */
  readonly when: When | null;
  readonly jitterMs: number;
  readonly missed: Missed;
  readonly commands: ReadonlyArray<Action>;
  readonly paused: boolean;
  /** RFC 3339: everything due up to here has been done or passed over. */
  readonly after: string;
  readonly maker: Maker;
  /** Under way. */
  readonly firing: Firing | null;
  readonly last: Firing | null;
  readonly firings: number;
  readonly failures: number;
  readonly skipped: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export const initial = (id: string): ScheduleState => ({
  id,
  exists: false,
  organisation: "",
  generation: 0,
  name: "",
  title: null,
  when: null,
  jitterMs: 0,
  missed: { policy: "once", most: 1 },
  commands: [],
  paused: false,
  after: "",
  maker: { token: "", name: "" },
  firing: null,
  last: null,
  firings: 0,
  failures: 0,
  skipped: 0,
  createdAt: "",
  updatedAt: "",
});

export function evolve(before: ScheduleState, event: ScheduleEvent, { organisation, time }: EventMeta): ScheduleState {
  const state = { ...before, updatedAt: time };
  const changed = { ...state, generation: before.generation + 1 };
  switch (event.type) {
    case "ScheduleCreated": {
      const { title = null, ...data } = event.data;
      return { ...changed, ...data, title, exists: true, organisation, createdAt: time };
    }
    case "ScheduleRetitled":
      return { ...changed, title: event.data.title };
    case "ScheduleTimed":
      return { ...changed, ...event.data };
    case "ScheduleCommandsChanged":
      return { ...changed, ...event.data };
    case "SchedulePaused":
      return { ...changed, paused: true };
    case "ScheduleResumed":
      return { ...changed, paused: false, after: event.data.after };
    case "DueTimesSkipped":
      return { ...state, after: event.data.to, skipped: before.skipped + event.data.count };
    case "ScheduleFired": {
      const { due, cause, late, hops = 0 } = event.data;
      const firing = { due, cause, late, hops, commands: before.commands, outcomes: [], startedAt: time };
      return { ...state, firing, firings: before.firings + 1, ...(cause === "due" ? { after: due } : {}) };
    }
    case "ScheduledCommandDone": {
      const { due: _, index: __, ...rest } = event.data;
      return { ...state, firing: withOutcome(before.firing, { ...rest, outcome: "done" }) };
    }
    case "ScheduleCompleted":
      return { ...state, firing: null, last: ended(before.firing, time) };
    case "ScheduleFailed": {
      const { due: _, index: __, ...rest } = event.data;
      const last = ended(withOutcome(before.firing, rest), time);
      return { ...state, firing: null, last, failures: before.failures + 1 };
    }
    case "ScheduleDeleted":
      return { ...changed, exists: false };
  }
}

const withOutcome = (firing: Firing | null, outcome: CommandOutcome): Firing | null =>
  firing === null ? null : { ...firing, outcomes: [...firing.outcomes, outcome] };

const ended = (firing: Firing | null, endedAt: string): Firing | null =>
  firing === null ? null : { ...firing, endedAt };

/** Whether nothing is due any more, ever. */
export const isOver = ({ exists, when, after, firing }: ScheduleState): boolean =>
  !exists ||
  (when !== null && firing === null && when.kind === "once" && dueAfter(when, Date.parse(after)) === undefined);

export const stateName = (state: ScheduleState): "active" | "firing" | "paused" | "ended" => {
  if (state.firing !== null) return "firing";
  if (isOver(state)) return "ended";
  return state.paused ? "paused" : "active";
};

/** When it is done next, milliseconds since 1970; undefined: it is paused, or over. */
export function nextDueAt({ id, when, jitterMs, missed, paused, after, exists }: ScheduleState): number | undefined {
  return !exists || paused || when === null ? undefined : firesAt({ id, when, jitterMs, missed }, Date.parse(after));
}

const shownFiring = ({ commands: _, hops: __, ...firing }: Firing) => firing;

export function represent(state: ScheduleState): unknown {
  const { id, organisation, generation, name, title, when, jitterMs, missed, commands, paused, maker } = state;
  const next = nextDueAt(state);
  return {
    id,
    organisation,
    generation,
    spec: { name, ...(title === null ? {} : { title }), when, jitterMs, missed, commands, paused },
    status: {
      state: stateName(state),
      ...(next === undefined ? {} : { nextDueAt: new Date(next).toISOString() }),
      firings: state.firings,
      failures: state.failures,
      skipped: state.skipped,
      ...(state.firing === null ? {} : { firing: shownFiring(state.firing) }),
      ...(state.last === null ? {} : { last: shownFiring(state.last) }),
    },
    maker,
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  };
}
