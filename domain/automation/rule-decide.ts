/** The rules of rules, and what is to be done about one now. */
import type { ChangeRule, CreateRule, RuleWhen } from "@millrace/contracts/automation/rules.ts";
import { LIMITS, RULES } from "@millrace/contracts/automation/values.ts";
import { type Circumstances, type Decision, type Refusal, rule } from "../decider.ts";
import { Faults } from "../faults.ts";
import { nameClaims } from "../names.ts";
import { isZone } from "../zone.ts";
import type { Action } from "./actions.ts";
import { dueAfter } from "./due.ts";
import { parseCondition } from "./expression.ts";
import { type DoingStep, isLast, isNext, nextOf, outcomeOf, type Report } from "./firing.ts";
import { type Chain, minuteOf, type RuleEvent, type RuleState, type Trigger } from "./rule-state.ts";
import { checkTiming, completed } from "./schedule-decide.ts";
import type { Maker } from "./schedule-state.ts";
import { templateFaults } from "./template.ts";
import type { Type } from "./types.ts";

interface Seen {
  readonly seen?: number;
}

/** Type of what it can see, or what is wrong with what it waits for: made at the edge, where all contexts are known. */
export type Sees = { readonly type: Type } | { readonly pointer: string; readonly fault: string };

/** What it comes to: its commands with their values, or why they could not be made. */
export type Made = { readonly commands: ReadonlyArray<Action> } | { readonly fault: string };

export type RuleCommand =
  | { readonly do: "create"; readonly spec: typeof CreateRule.Type; readonly maker: Maker; readonly sees: Sees }
  | (Seen & {
      readonly do: "change";
      readonly spec: typeof ChangeRule.Type;
      readonly maker: Maker;
      /** Of what it will wait for. */
      readonly sees: Sees;
    })
  | (Seen & { readonly do: "enable" | "disable" | "delete" })
  /** An event has come for which its condition holds. */
  | {
      readonly do: "trigger";
      readonly event: Trigger;
      readonly made: Made;
      readonly chain: Chain;
      /** Its maker may not read this any more. */
      readonly forbidden: boolean;
      /** Others that came after it were heard before. */
      readonly late: boolean;
    }
  /** A due time has come; `made` is left out when the condition does not hold, or it is too late. */
  | { readonly do: "due"; readonly due: number; readonly made?: Made }
  | (Report & { readonly run: number });

type Answer = Decision<RuleEvent>;

const { of: ruleNameClaim, claim } = nameClaims("rule");

export { ruleNameClaim };

const notThere: Refusal = { refused: "not-found", reason: "There is no such rule." };
const overtaken = rule("overtaken", "Somebody else has gone on meanwhile.", "Load it again, and see what is next.");

export function decide(command: RuleCommand, state: RuleState, around: Circumstances): Answer {
  if (command.do === "create") return create(command, state, around);
  if (!state.exists) return notThere;
  if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change":
      return change(command, state, around.now);
    case "enable":
      return { events: state.enabled ? [] : [{ type: "RuleEnabled", data: { since: around.now } }] };
    case "disable":
      return { events: state.enabled ? [{ type: "RuleDisabled", data: {} }] : [] };
    case "delete":
      return {
        events: [{ type: "RuleDeleted", data: { name: state.name } }],
        claims: [claim(around.organisation, state.name, false)],
      };
    case "trigger":
      return trigger(command, state, around.now);
    case "due":
      return due(command, state, around.now);
    default:
      return report(command, state);
  }
}

interface Acting {
  readonly when: RuleWhen;
  readonly condition: string | null;
  readonly timeZone: string;
  readonly commands: ReadonlyArray<Action>;
}

function check({ when, condition, timeZone, commands }: Acting, sees: Sees, nowMs: number): Refusal | undefined {
  const faults = new Faults();
  if (!isZone(timeZone)) faults.add("/timeZone", "is no time zone of the IANA database");
  if (when.kind !== "event") checkTiming(when, 0, nowMs, faults);
  faults.most("/commands", commands.length, LIMITS.commands);
  if ("fault" in sees) return faults.add(sees.pointer, sees.fault).refusal();
  if (condition !== null) {
    const read = parseCondition(condition, sees.type);
    if ("fault" in read) faults.add("/condition", read.fault);
  }
  for (const { pointer, detail } of templateFaults(commands, sees.type, "/commands")) faults.add(pointer, detail);
  return faults.refusal();
}

const withTimes = (when: (typeof CreateRule.Type)["when"], now: string): RuleWhen =>
  when.kind === "event" ? when : completed(when, Date.parse(now));

function create(
  { spec, maker, sees }: Extract<RuleCommand, { do: "create" }>,
  state: RuleState,
  { organisation, now }: Circumstances,
): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This rule exists already.", fix: "Use another Idempotency-Key." };
  }
  const { name, title, condition = null, timeZone = "UTC", commands, enabled = true } = spec;
  const { perMinute = RULES.perMinuteUsual } = spec;
  const when = withTimes(spec.when, now);
  const refusal = check({ when, condition, timeZone, commands }, sees, Date.parse(now));
  if (refusal !== undefined) return refusal;
  const shown = title === undefined ? {} : { title };
  const data = { name, ...shown, when, condition, timeZone, commands, perMinute, since: now, maker, enabled };
  return { events: [{ type: "RuleCreated", data }], claims: [claim(organisation, name, true)] };
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function change({ spec, maker, sees }: Extract<RuleCommand, { do: "change" }>, state: RuleState, now: string): Answer {
  const events: RuleEvent[] = [];
  if (spec.title !== undefined && spec.title !== state.title) {
    events.push({ type: "RuleRetitled", data: { title: spec.title } });
  }
  const before = { when: state.when!, condition: state.condition, timeZone: state.timeZone, commands: state.commands };
  const after = {
    when: spec.when === undefined ? before.when : withTimes(spec.when, now),
    condition: spec.condition === undefined ? before.condition : spec.condition,
    timeZone: spec.timeZone ?? before.timeZone,
    commands: spec.commands ?? before.commands,
  };
  const { perMinute = state.perMinute } = spec;
  if (!same([before, state.perMinute], [after, perMinute])) {
    const refusal = check(after, sees, Date.parse(now));
    if (refusal !== undefined) return refusal;
    const { commands, ...rest } = after;
    events.push({ type: "RuleChanged", data: { ...rest, commands: storable(commands), perMinute, since: now, maker } });
  }
  return { events };
}

/** As events hold them. */
const storable = (commands: ReadonlyArray<Action>) =>
  commands as ReadonlyArray<Action & { readonly body?: Readonly<Record<string, unknown>> }>;

/** Places `<sequence>.<index>` in the order of their context. */
function isAfter(place: string, other: string): boolean {
  const [a, b] = [place.split(".").map(Number), other.split(".").map(Number)];
  return a[0] === b[0] ? a[1]! > b[1]! : a[0]! > b[0]!;
}

type PassedOver = Extract<RuleEvent, { type: "RulePassedOver" }>["data"]["reason"];

/** Once a minute for each reason: what is not done must not fill the log. */
function passOver(reason: PassedOver, { told }: RuleState, now: string): Answer {
  const minute = minuteOf(now);
  if (told.minute === minute && told.reasons.includes(reason)) return { events: [] };
  return { events: [{ type: "RulePassedOver", data: { reason, minute } }] };
}

function trigger(
  { event, made, chain, forbidden, late }: Extract<RuleCommand, { do: "trigger" }>,
  state: RuleState,
  now: string,
): Answer {
  if (!state.enabled) return { events: [] };
  // Heard once more after a crash; what is late is told apart by its command id.
  if (!late && state.place !== null && !isAfter(event.id, state.place)) return { events: [] };
  if (forbidden) return passOver("permission-gone", state, now);
  if (chain.hops > RULES.hops) return passOver("circle", state, now);
  return begin({ event }, made, chain, state, now);
}

function begin(
  what: { readonly event: Trigger } | { readonly due: string },
  made: Made,
  chain: Chain,
  state: RuleState,
  now: string,
): Answer {
  if (state.runs.length >= RULES.waiting) return passOver("too-many-waiting", state, now);
  const { minute, count } = state.minute;
  if (minute === minuteOf(now) && count >= state.perMinute) return passOver("too-often", state, now);
  const run = state.triggers + 1;
  if ("fault" in made) return { events: [{ type: "RuleFaulted", data: { run, ...what, fault: made.fault } }] };
  return { events: [{ type: "RuleTriggered", data: { run, ...what, commands: storable(made.commands), chain } }] };
}

function due({ due: at, made }: Extract<RuleCommand, { do: "due" }>, state: RuleState, now: string): Answer {
  const { when, since } = state;
  const first = when === null || when.kind === "event" ? undefined : dueAfter(when, Date.parse(since));
  if (!state.enabled || first === undefined || at < first) return overtaken;
  const time = new Date(at).toISOString();
  const looked: RuleEvent = { type: "RuleDue", data: { due: time, held: made !== undefined } };
  if (made === undefined) return { events: [looked] };
  const key = `${state.id}.${time}`;
  const chain = { hops: 1, correlation: key, causation: key };
  const begun = begin({ due: time }, made, chain, state, now);
  return "refused" in begun ? begun : { events: [looked, ...begun.events] };
}

function report({ run: number, ...told }: Report & { readonly run: number }, { runs }: RuleState): Answer {
  const run = runs[0];
  if (run === undefined || run.run !== number || !isNext(run, told.index)) return overtaken;
  const { index } = told;
  const { outcome: _, ...rest } = outcomeOf(run, told);
  if (told.do === "failed") {
    const { reason, outcome } = told;
    return { events: [{ type: "RuleFailed", data: { run: number, index, ...rest, reason, outcome } }] };
  }
  const events: RuleEvent[] = [{ type: "RuleCommandDone", data: { run: number, index, ...rest } }];
  if (isLast(run, index)) events.push({ type: "RuleCompleted", data: { run: number } });
  return { events };
}

export type RuleStep = { readonly kind: "due" } | DoingStep;

/** What is to be done now, or when. */
export function nextOfRule(
  state: RuleState,
  nowMs: number,
): undefined | { readonly do: RuleStep } | { readonly waitUntil: number } {
  const run = state.runs[0];
  if (run !== undefined) {
    const step = nextOf(run, nowMs);
    return step === undefined ? undefined : { do: step };
  }
  const { when, since, enabled, exists } = state;
  if (!exists || !enabled || when === null || when.kind === "event") return undefined;
  const at = dueAfter(when, Date.parse(since));
  if (at === undefined) return undefined;
  return at <= nowMs ? { do: { kind: "due" } } : { waitUntil: at };
}
