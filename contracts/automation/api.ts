/** What happens by itself: schedules. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import { accepted, changeHeaders, entityParams, ORGANISATION, says, textFilter } from "../http.ts";
import { diffOf, historyOf } from "../past.ts";
import { CronWhen, DueTimes, IntervalWhen, Missed, OnceWhen, Schedule, ScheduleSpec, SunWhen } from "./entities.ts";
import { LIMITS } from "./values.ts";

const { optionalKey } = Schema;

/** As people give it: what can be left out has a default. */
export const WhenAsked = Schema.Union([
  CronWhen,
  Schema.Struct({ ...SunWhen.fields, offsetMinutes: optionalKey(SunWhen.fields.offsetMinutes) }).annotate({
    identifier: "SunWhenAsked",
  }),
  OnceWhen,
  Schema.Struct({ ...IntervalWhen.fields, from: optionalKey(IntervalWhen.fields.from) }).annotate({
    identifier: "IntervalWhenAsked",
  }),
]);
export const MissedAsked = Schema.Struct({
  policy: Missed.fields.policy,
  most: optionalKey(Missed.fields.most),
}).annotate({
  identifier: "MissedRunsAsked",
});

const { name, title, jitterMs, commands, paused } = ScheduleSpec.fields;
export const CreateSchedule = Schema.Struct({
  name,
  title,
  when: WhenAsked,
  jitterMs: optionalKey(jitterMs),
  missed: optionalKey(MissedAsked),
  commands,
  paused: optionalKey(paused),
}).annotate({
  identifier: "CreateSchedule",
  description: "Left out: no jitter, missed runs are made up for once, not paused",
  examples: [
    {
      name: "nightly-restart",
      when: { kind: "cron", expression: "30 3 * * *", timeZone: "Europe/Berlin" },
      commands: [{ action: "applications.restartApplication", on: "shop" }],
    },
  ],
});
export const ChangeSchedule = Schema.Struct({
  title: optionalKey(Schema.NullOr(title.schema)),
  when: optionalKey(WhenAsked),
  jitterMs: optionalKey(jitterMs),
  missed: optionalKey(MissedAsked),
  commands: optionalKey(commands),
}).annotate({
  identifier: "ChangeSchedule",
  description: "What is left out stays. Whoever changes times or commands stands behind it from now on",
});

const schedules = `${ORGANISATION}/schedules` as const;
const schedule = `${schedules}/:id` as const;
const act = { params: entityParams, headers: changeHeaders, success: Schedule };

export const automationApi = HttpApiGroup.make("automation")
  .add(
    createOf("createSchedule", schedules, CreateSchedule, Schedule).annotateMerge(
      says(
        "automation:edit",
        "Create a schedule",
        "It does its commands by your permissions: you need those of each command now, and it needs them each time.",
      ),
    ),
  )
  .add(
    listOf("listSchedules", schedules, Schedule, {
      name: textFilter("Its name"),
      state: optionalKey(Schema.Literals(["active", "firing", "paused", "ended"])),
      maker: textFilter("Id of the token that stands behind it"),
    }).annotateMerge(says("automation:read", "List schedules", "Sorts by createdAt, updatedAt, name and nextDueAt.")),
  )
  .add(
    getOf("getSchedule", schedule, Schedule).annotateMerge(
      says("automation:read", "A schedule by id or name, as it is or as it was"),
    ),
  )
  .add(
    HttpApiEndpoint.get("dueTimesOfSchedule", `${schedule}/due-times`, {
      params: entityParams,
      query: {
        limit: optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: LIMITS.due }))),
      },
      success: DueTimes,
    }).annotateMerge(says("automation:read", "When a schedule is due next", "Ten times if `limit` is left out.")),
  )
  .add(
    HttpApiEndpoint.patch("changeSchedule", schedule, { ...act, payload: ChangeSchedule }).annotateMerge(
      says("automation:edit", "Change a schedule", "What is under way goes on as it was."),
    ),
  )
  .add(
    HttpApiEndpoint.post("pauseSchedule", `${schedule}/pause`, act).annotateMerge(
      says("automation:edit", "Pause a schedule; what is under way ends first"),
    ),
  )
  .add(
    HttpApiEndpoint.post("resumeSchedule", `${schedule}/resume`, act).annotateMerge(
      says("automation:edit", "Resume a schedule", "What was due while it was paused was not missed."),
    ),
  )
  .add(
    HttpApiEndpoint.post("runSchedule", `${schedule}/run`, { ...act, success: accepted(Schedule) }).annotateMerge(
      says(
        "automation:edit",
        "Run a schedule now",
        "Its commands are done once, by its maker's permissions; you need those of each command, too.",
      ),
    ),
  )
  .add(
    deleteOf("deleteSchedule", schedule).annotateMerge(
      says("automation:delete", "Delete a schedule; its past can still be read"),
    ),
  )
  .add(historyOf("historyOfSchedule", schedule).annotateMerge(says("automation:read", "What happened to a schedule")))
  .add(
    diffOf("diffSchedule", schedule).annotateMerge(
      says("automation:read", "What differs between two moments of a schedule"),
    ),
  )
  .annotateMerge(
    OpenApi.annotations({ title: "Automation", description: "What happens by itself, and by whose permission" }),
  );
