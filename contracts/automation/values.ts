/** Words and limits of the automation context: said once, used by the API's schemas and by the rules alike. */
import * as Schema from "effect/Schema";

export const LIMITS = {
  /** Code points of a title. */
  title: 200,
  /** Commands that one schedule or rule does. */
  commands: 10,
  /** Bytes of JSON of all of them. */
  commandsBytes: 64 * 1024,
  cron: 200,
  /** Milliseconds between due times of an interval. */
  intervalLeastMs: 10_000,
  intervalMostMs: 366 * 86_400_000,
  /** Minutes before or after the sun. */
  offsetMinutes: 720,
  jitterMs: 86_400_000,
  /** Missed due times that are made up for. */
  missed: 100,
  /** Due times that are shown ahead. */
  due: 100,
  /** How long a firing is tried, in milliseconds, before it is given up. Far less than aggregates remember commands. */
  firingMs: 3_600_000,
} as const;

export const Title = Schema.String.check(Schema.isPattern(/^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,199}$/u)).annotate({
  description: `One line, at most ${LIMITS.title} characters`,
  examples: ["Restart the shop at night"],
});

export const TimeZone = Schema.String.check(Schema.isPattern(/^[A-Za-z][A-Za-z0-9_+\-/]{0,63}$/u)).annotate({
  description: "Name of a time zone in the IANA database",
  examples: ["Europe/Berlin"],
});

/** References, or templates of them. */
const Target = Schema.String.check(
  Schema.isPattern(/^([a-z0-9][a-z0-9_-]{0,62}|\{\{[A-Za-z0-9_.[\]]{1,200}\}\})$/u),
).annotate({
  description: "What it is done to, by id or name; of a rule also `{{path}}`; nothing where it makes something",
});

const isAtMostBytes = (most: number) =>
  Schema.makeFilter((value: unknown) => JSON.stringify(value).length <= most || `at most ${most} characters of JSON`);

/** One command of the product, as a schedule or rule does it. */
export const Command = Schema.Struct({
  action: Schema.String.check(Schema.isPattern(/^[a-zA-Z]{1,32}\.[a-zA-Z]{1,64}$/u)).annotate({
    description: "Name of the operation, as in this document; those that can be used are listed in the guide",
    examples: ["applications.restartApplication"],
  }),
  on: Schema.optionalKey(Target),
  body: Schema.optionalKey(
    Schema.Record(Schema.String.check(Schema.isMaxLength(100)), Schema.Unknown).annotate({
      description: "The operation's body",
    }),
  ),
}).annotate({ identifier: "AutomatedCommand" });

export const Commands = Schema.Array(Command)
  .check(Schema.isMinLength(1), Schema.isMaxLength(LIMITS.commands), isAtMostBytes(LIMITS.commandsBytes))
  .annotate({ description: "Done one after the other; when one is refused, those after it are not done" });

export const RULES = {
  types: 20,
  kinds: 10,
  ids: 100,
  labels: 10,
  /** Characters of a condition. */
  expression: 2_000,
  perMinute: 60,
  perMinuteUsual: 10,
  /** Rules one after the other, each of which does what the next one waits for. */
  hops: 4,
  /** Runs of one rule that have not ended. */
  waiting: 60,
  /** Runs that are shown after they have ended. */
  shown: 10,
} as const;
