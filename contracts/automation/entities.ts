/** Schedules, as the API shows them. */
import * as Schema from "effect/Schema";
import { entity, Time } from "../http.ts";
import { Id, Name } from "../ids.ts";
import { Moment } from "../moments.ts";
import { Commands, LIMITS, TimeZone, Title } from "./values.ts";

export const ScheduleId = Id("sch", "Schedule id");

const degrees = (most: number, description: string, example: number) =>
  Schema.Finite.check(Schema.isBetween({ minimum: -most, maximum: most })).annotate({
    description,
    examples: [example],
  });
const whole = (least: number, most: number, description: string) =>
  Schema.Int.check(Schema.isBetween({ minimum: least, maximum: most })).annotate({ description });

export const CronWhen = Schema.Struct({
  kind: Schema.Literal("cron"),
  expression: Schema.String.check(Schema.isMinLength(9), Schema.isMaxLength(LIMITS.cron)).annotate({
    description: "Five fields as Vixie cron reads them: minute, hour, day of month, month, day of week",
    examples: ["30 3 * * 1-5"],
  }),
  timeZone: TimeZone,
}).annotate({ identifier: "CronWhen", description: "By the clock on the wall of a time zone" });
export const SunWhen = Schema.Struct({
  kind: Schema.Literal("sun"),
  event: Schema.Literals(["sunrise", "sunset"]),
  latitude: degrees(90, "Degrees, north positive", 52.52),
  longitude: degrees(180, "Degrees, east positive", 13.405),
  offsetMinutes: whole(-LIMITS.offsetMinutes, LIMITS.offsetMinutes, "So much later; before it: negative"),
}).annotate({
  identifier: "SunWhen",
  description: "By the sun of a place; days on which it neither rises nor sets are left out",
});
export const OnceWhen = Schema.Struct({ kind: Schema.Literal("once"), at: Moment }).annotate({
  identifier: "OnceWhen",
  description: "Once, at a moment in the future",
});
export const IntervalWhen = Schema.Struct({
  kind: Schema.Literal("interval"),
  everyMs: whole(LIMITS.intervalLeastMs, LIMITS.intervalMostMs, "Milliseconds from one to the next"),
  from: Moment.annotate({ description: "The first; left out: one interval after it is stored" }),
}).annotate({ identifier: "IntervalWhen", description: "Again and again, at the same distance" });

export const When = Schema.Union([CronWhen, SunWhen, OnceWhen, IntervalWhen]);
export type When = typeof When.Type;

export const Missed = Schema.Struct({
  policy: Schema.Literals(["skip", "once", "all"]).annotate({
    description:
      "Of what was due while nothing could be done: `skip` it, do it `once` (for the last), or `all` of it one after the other, the last `most`",
  }),
  most: whole(1, LIMITS.missed, "With `all`: so many at the most"),
}).annotate({ identifier: "MissedRuns" });
export type Missed = typeof Missed.Type;

const JitterMs = whole(
  0,
  LIMITS.jitterMs,
  "Up to so many milliseconds later; how many is always the same for one due time",
);

export const ScheduleSpec = Schema.Struct({
  name: Name,
  title: Schema.optionalKey(Title),
  when: When,
  jitterMs: JitterMs,
  missed: Missed,
  commands: Commands,
  paused: Schema.Boolean,
}).annotate({ identifier: "ScheduleSpec", description: "What people asked for" });
export type ScheduleSpec = typeof ScheduleSpec.Type;

/** Who stands behind what is done by itself: their permissions of that moment decide. */
export const Maker = Schema.Struct({
  token: Schema.String.annotate({
    description: "Id of the token by which it was last given its commands or its times",
  }),
  name: Schema.String,
}).annotate({ identifier: "AutomationMaker" });

export const CommandOutcome = Schema.Struct({
  action: Schema.String,
  outcome: Schema.Literals(["done", "refused", "given-up"]),
  on: Schema.optionalKey(Schema.String.annotate({ description: "Id of what it was done to" })),
  made: Schema.optionalKey(Schema.String.annotate({ description: "Id of what it made" })),
  rule: Schema.optionalKey(Schema.String.annotate({ description: "The rule that said no" })),
  reason: Schema.optionalKey(Schema.String),
  fix: Schema.optionalKey(Schema.String),
}).annotate({ identifier: "AutomatedOutcome" });
export type CommandOutcome = typeof CommandOutcome.Type;

export const Firing = Schema.Struct({
  due: Time.annotate({ description: "The time it was due; by hand: when somebody asked" }),
  cause: Schema.Literals(["due", "hand"]),
  late: Schema.Boolean.annotate({ description: "It was missed, and made up for" }),
  startedAt: Time,
  endedAt: Schema.optionalKey(Time),
  outcomes: Schema.Array(CommandOutcome).annotate({ description: "Of each command, as far as it has come" }),
}).annotate({ identifier: "ScheduleFiring" });

export const ScheduleStatus = Schema.Struct({
  state: Schema.Literals(["active", "firing", "paused", "ended"]),
  nextDueAt: Schema.optionalKey(Time.annotate({ description: "When it is done next, jitter included" })),
  firings: Schema.Int,
  failures: Schema.Int.annotate({ description: "Firings of which a command was refused or given up" }),
  skipped: Schema.Int.annotate({ description: "Due times that were passed over after an outage" }),
  firing: Schema.optionalKey(Firing.annotate({ description: "Under way" })),
  last: Schema.optionalKey(Firing),
}).annotate({ identifier: "ScheduleStatus" });

export const Schedule = Schema.Struct({
  ...entity(ScheduleId, ScheduleSpec, ScheduleStatus).fields,
  maker: Maker,
}).annotate({ identifier: "Schedule" });

export const DueTimes = Schema.Struct({
  items: Schema.Array(
    Schema.Struct({ due: Time, at: Time.annotate({ description: "When it is done, jitter included" }) }),
  ),
}).annotate({ identifier: "DueTimes" });
