/** The schedule: commands of the product, done at certain times, by the permission of whoever made it. */

import type { When } from "@millrace/contracts/automation/entities.ts";
import * as shape from "@millrace/contracts/automation/events.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { excerpt, first } from "../sentences.ts";
import { decide, type ScheduleCommand, scheduleNameClaim } from "./schedule-decide.ts";
import {
  evolve,
  initial,
  isOver,
  represent,
  type ScheduleEvent,
  type ScheduleEventType,
  type ScheduleState,
} from "./schedule-state.ts";

const DUE = "2026-11-21T03:30:00.000Z";
const RESTART = "applications.restartApplication";

/** When it is due, as one would say it. */
export function whenSaid(when: When): string {
  switch (when.kind) {
    case "cron":
      return `at ${when.expression} (${when.timeZone})`;
    case "sun": {
      const { event, offsetMinutes: minutes } = when;
      return minutes === 0 ? `at ${event}` : `${Math.abs(minutes)} min ${minutes < 0 ? "before" : "after"} ${event}`;
    }
    case "once":
      return `once at ${when.at}`;
    case "interval":
      return `every ${when.everyMs / 1_000} s`;
  }
}

const listedActions = (commands: ReadonlyArray<{ readonly action: string; readonly on?: string }>): string =>
  excerpt(commands.map(({ action, on }) => (on === undefined ? action : `${action} ${on}`)).join(", "));

const when: When = { kind: "cron", expression: "30 3 * * *", timeZone: "Europe/Berlin" };
const timing = { when, jitterMs: 0, missed: { policy: "once", most: 1 }, after: "2026-11-20T08:00:00.000Z" } as const;
const commands = [{ action: RESTART, on: "shop" }];
const maker = { token: "tok_01kajzq4v0e8r9t2m5x7c3d6fg", name: "ada" };

const declarations: Readonly<Record<ScheduleEventType, EventDeclaration>> = {
  ScheduleCreated: first(
    shape.ScheduleCreated,
    { name: "nightly", ...timing, commands, paused: false, maker },
    ({ name, when: at, commands: what }) => `created the schedule "${name}" ${whenSaid(at)}: ${listedActions(what)}`,
  ),
  ScheduleRetitled: first(shape.ScheduleRetitled, { title: "At night" }, ({ title }) =>
    title === null ? "took the title off" : `titled it "${title}"`,
  ),
  ScheduleTimed: first(shape.ScheduleTimed, { ...timing, maker }, (data) => `made it due ${whenSaid(data.when)}`),
  ScheduleCommandsChanged: first(
    shape.ScheduleCommandsChanged,
    { commands, maker },
    (data) => `changed what it does: ${listedActions(data.commands)}`,
  ),
  SchedulePaused: first(shape.SchedulePaused, {}, () => "paused it"),
  ScheduleResumed: first(shape.ScheduleResumed, { after: DUE }, () => "resumed it"),
  DueTimesSkipped: first(
    shape.DueTimesSkipped,
    { from: DUE, to: DUE, count: 1, more: false },
    ({ count, more, from, to }) =>
      `passed over ${more ? "more than " : ""}${count} due ${count === 1 ? "time" : "times"} from ${from} to ${to}`,
  ),
  ScheduleFired: first(shape.ScheduleFired, { due: DUE, cause: "due", late: false }, ({ due, cause, late }) =>
    cause === "hand" ? "ran it" : `did what was due at ${due}${late ? ", late" : ""}`,
  ),
  ScheduledCommandDone: first(
    shape.ScheduledCommandDone,
    { due: DUE, index: 0, action: RESTART, on: "app_01kajzq4v0e8r9t2m5x7c3d6fg" },
    ({ action }) => `did ${action}`,
  ),
  ScheduleCompleted: first(shape.ScheduleCompleted, { due: DUE }, () => "completed all of it"),
  ScheduleFailed: first(
    shape.ScheduleFailed,
    { due: DUE, index: 0, action: RESTART, outcome: "refused", rule: "nothing-live", reason: "Nothing is live." },
    ({ action, outcome, reason }) =>
      `could not do ${action}, which was ${outcome === "refused" ? "refused" : "given up"}: ${excerpt(reason)}`,
  ),
  ScheduleDeleted: first(shape.ScheduleDeleted, { name: "nightly" }, ({ name }) => `deleted the schedule "${name}"`),
};

export const schedule: Kind<ScheduleState, ScheduleCommand, ScheduleEvent> = {
  context: "automation",
  kind: "schedule",
  prefix: "sch",
  collection: "schedules",
  decider: { initial, evolve, decide },
  events: declarations,
  publicEvents: shape.scheduleEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  over: isOver,
  represent,
  nameClaim: scheduleNameClaim,
  stateVersion: 1,
};

export type { Maker } from "./schedule-state.ts";
export type { ScheduleCommand, ScheduleEvent, ScheduleState };
