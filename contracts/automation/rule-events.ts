/** What the world sees of rules. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { commands, failure, maker, outcome, when } from "./events.ts";

const texts = Schema.Array(Schema.String);
const ruleWhen = Schema.Union([
  Schema.Struct({
    kind: Schema.Literal("event"),
    context: Schema.String,
    types: texts,
    kinds: Schema.optionalKey(texts),
    ids: Schema.optionalKey(texts),
    labels: Schema.optionalKey(texts),
  }),
  ...when.members,
]).annotate({ description: "When it is looked at" });
const condition = Schema.NullOr(Schema.String).annotate({ description: "What must hold; null: nothing" });
const since = Schema.String.annotate({ description: "Only what happens after this moment counts" });
const acting = {
  when: ruleWhen,
  condition,
  timeZone: Schema.String,
  commands,
  perMinute: Schema.Int,
  since,
  maker,
};
const title = Schema.String;
const run = Schema.Int.annotate({ description: "Number of the run, from 1" });

export const RuleCreated = Schema.Struct({
  name: Schema.String,
  title: Schema.optionalKey(title),
  ...acting,
  enabled: Schema.Boolean,
});
export const RuleRetitled = Schema.Struct({ title: Schema.NullOr(title) });
export const RuleChanged = Schema.Struct(acting);
export const RuleEnabled = Schema.Struct({ since });
export const RuleDisabled = Schema.Struct({});
export const RuleTriggered = Schema.Struct({
  run,
  event: Schema.optionalKey(
    Schema.Struct({
      id: Schema.String.annotate({ description: "Its id as a CloudEvent" }),
      type: Schema.String,
      kind: Schema.String,
      entity: Schema.String.annotate({ description: "Id of the entity that it happened to" }),
    }),
  ),
  due: Schema.optionalKey(Schema.String.annotate({ description: "The time it was due" })),
  commands,
  chain: Schema.Struct({
    hops: Schema.Int.annotate({ description: "Rules between this and what somebody asked for, this one too" }),
    correlation: Schema.String,
    causation: Schema.String,
  }),
});
export const RuleDue = Schema.Struct({
  due: Schema.String,
  held: Schema.Boolean.annotate({ description: "The condition" }),
});
export const RulePassedOver = Schema.Struct({
  reason: Schema.Literals(["too-often", "too-many-waiting", "circle", "permission-gone"]),
  minute: Schema.Int.annotate({ description: "Minutes since 1970: once a minute it is told" }),
});
export const RuleCommandDone = Schema.Struct({ run, ...outcome });
export const RuleCompleted = Schema.Struct({ run });
export const RuleFailed = Schema.Struct({ run, ...failure });
export const RuleFaulted = Schema.Struct({
  run,
  event: RuleTriggered.fields.event,
  due: RuleTriggered.fields.due,
  fault: Schema.String.annotate({ description: "Why its commands could not be made" }),
});
export const RuleDeleted = Schema.Struct({ name: Schema.String });

export const ruleEvents = {
  RuleCreated: { version: 1, data: RuleCreated, description: "A rule was created." },
  RuleRetitled: { version: 1, data: RuleRetitled, description: "A rule has another title." },
  RuleChanged: { version: 1, data: RuleChanged, description: "A rule does something else, or at other times." },
  RuleEnabled: { version: 1, data: RuleEnabled, description: "A rule was enabled." },
  RuleDisabled: { version: 1, data: RuleDisabled, description: "A rule was disabled." },
  RuleTriggered: {
    version: 1,
    data: RuleTriggered,
    description: "What a rule waits for has happened: its commands are done now.",
  },
  RuleDue: { version: 1, data: RuleDue, description: "A rule was due, and its condition was looked at." },
  RulePassedOver: { version: 1, data: RulePassedOver, description: "A rule was not done; told once a minute." },
  RuleCommandDone: { version: 1, data: RuleCommandDone, description: "A command of a rule was done." },
  RuleCompleted: { version: 1, data: RuleCompleted, description: "All commands of a run were done." },
  RuleFailed: { version: 1, data: RuleFailed, description: "A command of a run was refused or given up." },
  RuleFaulted: { version: 1, data: RuleFaulted, description: "The commands of a run could not be made." },
  RuleDeleted: { version: 1, data: RuleDeleted, description: "A rule was deleted." },
} satisfies PublicEvents;
