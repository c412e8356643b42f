/** What the world sees of schedules. Looser than the API's input: what once was said stays readable when a limit changes. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";

const text = (description: string) => Schema.String.annotate({ description });
const optional = (description: string) => Schema.optionalKey(text(description));
export const when = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("cron"), expression: Schema.String, timeZone: Schema.String }),
  Schema.Struct({
    kind: Schema.Literal("sun"),
    event: Schema.Literals(["sunrise", "sunset"]),
    latitude: Schema.Finite,
    longitude: Schema.Finite,
    offsetMinutes: Schema.Int,
  }),
  Schema.Struct({ kind: Schema.Literal("once"), at: Schema.String }),
  Schema.Struct({ kind: Schema.Literal("interval"), everyMs: Schema.Int, from: Schema.String }),
]).annotate({ description: "When it is due" });
const missed = Schema.Struct({ policy: Schema.Literals(["skip", "once", "all"]), most: Schema.Int });
export const commands = Schema.Array(
  Schema.Struct({
    action: Schema.String,
    on: Schema.optionalKey(Schema.String),
    body: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  }),
).annotate({ description: "What it does" });
export const maker = Schema.Struct({ token: Schema.String, name: Schema.String }).annotate({
  description: "By whose permission it is done",
});
const after = text("Only what is due after this moment counts");
const due = text("The time it was due");
const timing = { when, jitterMs: Schema.Int, missed, after };

export const ScheduleCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  title: optional("Its title"),
  ...timing,
  commands,
  paused: Schema.Boolean,
  maker,
});
export const ScheduleRetitled = Schema.Struct({ title: Schema.NullOr(text("The new title")) });
export const ScheduleTimed = Schema.Struct({ ...timing, maker });
export const ScheduleCommandsChanged = Schema.Struct({ commands, maker });
export const SchedulePaused = Schema.Struct({});
export const ScheduleResumed = Schema.Struct({ after });
export const DueTimesSkipped = Schema.Struct({
  from: text("The first that was passed over"),
  to: text("The last"),
  count: Schema.Int,
  more: Schema.Boolean.annotate({ description: "There were more than are counted" }),
});
export const ScheduleFired = Schema.Struct({
  due,
  cause: Schema.Literals(["due", "hand"]),
  late: Schema.Boolean.annotate({ description: "It was missed, and made up for" }),
  hops: Schema.optionalKey(Schema.Int.annotate({ description: "Rules between it and what somebody asked for" })),
});
const index = Schema.Int.annotate({ description: "Place of the command in the list, from 0" });
export const outcome = {
  index,
  action: Schema.String,
  on: optional("Id of what it was done to"),
  made: optional("Id of what it made"),
};
export const failure = {
  index,
  action: Schema.String,
  outcome: Schema.Literals(["refused", "given-up"]),
  rule: optional("The rule that said no"),
  reason: text("Why"),
  fix: optional("What would help"),
};
export const ScheduledCommandDone = Schema.Struct({ due, ...outcome });
export const ScheduleCompleted = Schema.Struct({ due });
export const ScheduleFailed = Schema.Struct({ due, ...failure });
export const ScheduleDeleted = Schema.Struct({ name: Schema.String });

export const scheduleEvents = {
  ScheduleCreated: { version: 1, data: ScheduleCreated, description: "A schedule was created." },
  ScheduleRetitled: { version: 1, data: ScheduleRetitled, description: "A schedule has another title." },
  ScheduleTimed: { version: 1, data: ScheduleTimed, description: "A schedule is due at other times." },
  ScheduleCommandsChanged: {
    version: 1,
    data: ScheduleCommandsChanged,
    description: "A schedule does something else.",
  },
  SchedulePaused: { version: 1, data: SchedulePaused, description: "A schedule was paused." },
  ScheduleResumed: { version: 1, data: ScheduleResumed, description: "A schedule goes on." },
  DueTimesSkipped: {
    version: 1,
    data: DueTimesSkipped,
    description: "Due times of a schedule were passed over after an outage.",
  },
  ScheduleFired: {
    version: 1,
    data: ScheduleFired,
    description: "A schedule was due, or somebody ran it: its commands are done now.",
  },
  ScheduledCommandDone: { version: 1, data: ScheduledCommandDone, description: "A command of a schedule was done." },
  ScheduleCompleted: { version: 1, data: ScheduleCompleted, description: "All commands of a firing were done." },
  ScheduleFailed: {
    version: 1,
    data: ScheduleFailed,
    description: "A command of a firing was refused or given up; those after it were not done.",
  },
  ScheduleDeleted: { version: 1, data: ScheduleDeleted, description: "A schedule was deleted." },
} satisfies PublicEvents;
