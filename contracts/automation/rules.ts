/** Automation rules: on an event or at a time, if a condition holds, commands of the product. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import {
  booleanFilter,
  changeHeaders,
  entity,
  entityParams,
  ORGANISATION,
  pageQuery,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { Id, Name, Reference } from "../ids.ts";
import { Moment } from "../moments.ts";
import { diffOf, historyOf } from "../past.ts";
import { WhenAsked } from "./api.ts";
import { CommandOutcome, Maker, When } from "./entities.ts";
import { Command, Commands, RULES, TimeZone, Title } from "./values.ts";

const { optionalKey } = Schema;

export const RuleId = Id("rul", "Rule id");

const some = <S extends Schema.Top>(schema: S, most: number) =>
  Schema.Array(schema).check(Schema.isMinLength(1), Schema.isMaxLength(most));

export const EventWhen = Schema.Struct({
  kind: Schema.Literal("event"),
  context: Schema.String.check(Schema.isPattern(/^[a-z]{1,32}$/u)).annotate({ examples: ["work"] }),
  types: some(Schema.String.check(Schema.isPattern(/^([A-Z][A-Za-z0-9]{0,63}\*?|\*)$/u)), RULES.types).annotate({
    description: "Types of events; with `*` at the end all that begin so",
    examples: [["DeploymentFailed"]],
  }),
  kinds: optionalKey(some(Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9-]{0,31}$/u)), RULES.kinds)).annotate({
    description: "Only of these kinds of entity",
  }),
  ids: optionalKey(some(Reference, RULES.ids)).annotate({ description: "Only of these entities, by id" }),
  labels: optionalKey(some(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(63)), RULES.labels)).annotate({
    description: "Only of entities that have all of these labels",
  }),
}).annotate({ identifier: "EventWhen", description: "On an event" });
export type EventWhen = typeof EventWhen.Type;

export const RuleWhen = Schema.Union([EventWhen, ...When.members]);
export type RuleWhen = typeof RuleWhen.Type;

/** The permission to read what a rule waits for; undefined: it waits for a time. */
export const forRulesToRead = (when: { readonly kind: string }): string | undefined =>
  when.kind === "event" ? `${(when as EventWhen).context}:read` : undefined;

const Expression = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(RULES.expression)).annotate({
  description: "Condition over `event`, `entity` and `time`; left out: it always holds. The guide tells the language",
  examples: ['event.data.group == "completed" and "urgent" in entity.spec.labels'],
});
const PerMinute = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: RULES.perMinute })).annotate({
  description: "What comes more often is passed over, and an event says so",
});

export const RuleSpec = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  when: RuleWhen,
  condition: optionalKey(Expression),
  timeZone: TimeZone.annotate({ description: "In which `time` is told" }),
  commands: Commands.annotate({ description: "Texts in them may hold `{{path}}`" }),
  perMinute: PerMinute,
  enabled: Schema.Boolean,
}).annotate({ identifier: "RuleSpec" });

export const RuleRun = Schema.Struct({
  at: Time,
  event: optionalKey(
    Schema.Struct({ id: Schema.String, type: Schema.String, kind: Schema.String, entity: Schema.String }),
  ).annotate({ description: "What it was done for; of a time nothing" }),
  due: optionalKey(Time),
  endedAt: optionalKey(Time),
  fault: optionalKey(Schema.String.annotate({ description: "Why its commands could not be made" })),
  outcomes: Schema.Array(CommandOutcome),
}).annotate({ identifier: "RuleRun" });

export const RuleStatus = Schema.Struct({
  state: Schema.Literals(["active", "disabled"]),
  nextDueAt: optionalKey(Time),
  triggers: Schema.Int.annotate({ description: "How often it was done" }),
  failures: Schema.Int,
  passedOver: Schema.Int.annotate({ description: "Minutes in which it was passed over, for whichever reason" }),
  waiting: Schema.Int.annotate({ description: "Runs that have not ended" }),
  last: Schema.Array(RuleRun).annotate({ description: "The last ten that have ended, newest first" }),
}).annotate({ identifier: "RuleStatus" });

export const Rule = Schema.Struct({ ...entity(RuleId, RuleSpec, RuleStatus).fields, maker: Maker }).annotate({
  identifier: "Rule",
});

const { name, title, commands, enabled } = RuleSpec.fields;
const asked = {
  when: Schema.Union([EventWhen, ...WhenAsked.members]),
  condition: optionalKey(Expression),
  timeZone: optionalKey(TimeZone),
  commands,
  perMinute: optionalKey(PerMinute),
};
export const CreateRule = Schema.Struct({ name, title, ...asked, enabled: optionalKey(enabled) }).annotate({
  identifier: "CreateRule",
  description: "Left out: every event, UTC, ten times a minute at the most, enabled",
  examples: [
    {
      name: "tell-of-failures",
      when: { kind: "event", context: "applications", types: ["DeploymentFailed"] },
      commands: [
        { action: "work.openItem", body: { type: "incident", title: "Deployment of {{entity.spec.name}} failed" } },
      ],
    },
  ],
});
export const ChangeRule = Schema.Struct({
  title: optionalKey(Schema.NullOr(title.schema)),
  when: optionalKey(asked.when),
  condition: optionalKey(Schema.NullOr(Expression)),
  timeZone: asked.timeZone,
  commands: optionalKey(commands),
  perMinute: asked.perMinute,
}).annotate({
  identifier: "ChangeRule",
  description: "What is left out stays. Whoever changes more than the title stands behind it from now on",
});

export const DryRun = Schema.Struct({
  items: Schema.Array(
    Schema.Struct({
      at: Time,
      event: optionalKey(
        Schema.Struct({ id: Schema.String, type: Schema.String, kind: Schema.String, entity: Schema.String }),
      ),
      due: optionalKey(Time),
      commands: Schema.Array(Command).annotate({ description: "What it would have done" }),
      fault: optionalKey(Schema.String.annotate({ description: "Why it could not have done it" })),
    }),
  ),
  looked: Schema.Int.annotate({ description: "Events that were looked at for this page" }),
  upTo: Time.annotate({ description: "All up to here has been looked at" }),
  nextCursor: optionalKey(Schema.String),
}).annotate({ identifier: "RuleDryRun" });

const rules = `${ORGANISATION}/rules` as const;
const rule = `${rules}/:id` as const;
const act = { params: entityParams, headers: changeHeaders, success: Rule };

export const rulesApi = HttpApiGroup.make("rules")
  .add(
    createOf("createRule", rules, CreateRule, Rule).annotateMerge(
      says(
        "automation:edit",
        "Create a rule",
        "It reads and does by your permissions: you need those of its events and of each command now, and it needs them each time.",
      ),
    ),
  )
  .add(
    listOf("listRules", rules, Rule, {
      name: textFilter("Its name"),
      enabled: booleanFilter("Whether it is enabled"),
      context: textFilter("Context of the events it is for"),
      maker: textFilter("Id of the token that stands behind it"),
    }).annotateMerge(says("automation:read", "List rules", "Sorts by createdAt, updatedAt and name.")),
  )
  .add(
    getOf("getRule", rule, Rule).annotateMerge(says("automation:read", "A rule by id or name, as it is or as it was")),
  )
  .add(
    HttpApiEndpoint.patch("changeRule", rule, { ...act, payload: ChangeRule }).annotateMerge(
      says("automation:edit", "Change a rule"),
    ),
  )
  .add(
    HttpApiEndpoint.post("enableRule", `${rule}/enable`, act).annotateMerge(
      says("automation:edit", "Enable a rule", "What has happened meanwhile is not made up for."),
    ),
  )
  .add(
    HttpApiEndpoint.post("disableRule", `${rule}/disable`, act).annotateMerge(
      says("automation:edit", "Disable a rule; what is under way ends first"),
    ),
  )
  .add(
    HttpApiEndpoint.get("dryRunRule", `${rule}/dry-run`, {
      params: entityParams,
      query: { ...pageQuery, from: optionalKey(Moment), to: optionalKey(Moment) },
      success: DryRun,
    }).annotateMerge(
      says(
        "automation:read",
        "What a rule would have done",
        "By the events of the past, left out: of the last seven days. Nothing is done. How often it may be done in a minute is not looked at.",
      ),
    ),
  )
  .add(
    deleteOf("deleteRule", rule).annotateMerge(says("automation:delete", "Delete a rule; its past can still be read")),
  )
  .add(historyOf("historyOfRule", rule).annotateMerge(says("automation:read", "What happened to a rule")))
  .add(diffOf("diffRule", rule).annotateMerge(says("automation:read", "What differs between two moments of a rule")))
  .annotateMerge(OpenApi.annotations({ title: "Rules", description: "What is done when something happens" }));
