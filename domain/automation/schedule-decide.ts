/** The rules of schedules, and what is to be done about one now. */
import type { ChangeSchedule, CreateSchedule } from "@millrace/contracts/automation/api.ts";
import type { Missed, When } from "@millrace/contracts/automation/entities.ts";
import { LIMITS } from "@millrace/contracts/automation/values.ts";
import { type Circumstances, type Decision, type Refusal, rule } from "../decider.ts";
import { Faults } from "../faults.ts";
import { nameClaims } from "../names.ts";
import { isZone } from "../zone.ts";
import { type Action, actionFaults } from "./actions.ts";
import { parseCron } from "./cron.ts";
import { dueAfter, jitterOf, smallestGap, turnoutOf } from "./due.ts";
import { type DoingStep, isLast, isNext, nextOf, outcomeOf, type Report } from "./firing.ts";
import type { Maker, ScheduleEvent, ScheduleState } from "./schedule-state.ts";

interface Seen {
  /** The generation the asker saw; left out: any. */
  readonly seen?: number;
}

export type ScheduleCommand =
  | { readonly do: "create"; readonly spec: typeof CreateSchedule.Type; readonly maker: Maker }
  | (Seen & { readonly do: "change"; readonly spec: typeof ChangeSchedule.Type; readonly maker: Maker })
  | (Seen & { readonly do: "pause" | "resume" | "delete" })
  /** Now, whatever is due. */
  | (Seen & { readonly do: "run"; readonly hops?: number })
  /** What workers report: of this due time, which is refused as overtaken when another is next. */
  | { readonly do: "fire"; readonly due: number; readonly nowMs: number }
  | (Report & { readonly due: string });

type Answer = Decision<ScheduleEvent>;

const { of: scheduleNameClaim, claim } = nameClaims("schedule");

export { scheduleNameClaim };

const notThere: Refusal = { refused: "not-found", reason: "There is no such schedule." };
const overtaken = rule("overtaken", "Somebody else has gone on meanwhile.", "Load it again, and see what is next.");

export function decide(command: ScheduleCommand, state: ScheduleState, around: Circumstances): Answer {
  if (command.do === "create") return create(command, state, around);
  if (!state.exists) return notThere;
  if ("seen" in command && command.seen !== undefined && command.seen !== state.generation) {
    return { refused: "precondition", expected: command.seen, actual: state.generation };
  }
  switch (command.do) {
    case "change":
      return change(command, state, around.now);
    case "pause":
      return { events: state.paused ? [] : [{ type: "SchedulePaused", data: {} }] };
    case "resume":
      return { events: state.paused ? [{ type: "ScheduleResumed", data: { after: around.now } }] : [] };
    case "run":
      return run(command.hops, state, around.now);
    case "delete":
      return {
        events: [{ type: "ScheduleDeleted", data: { name: state.name } }],
        claims: [claim(around.organisation, state.name, false)],
      };
    case "fire":
      return fire(command, state);
    default:
      return report(command, state);
  }
}

/** With what was left out. @param now milliseconds since 1970 */
export function completed(when: (typeof CreateSchedule.Type)["when"], now: number): When {
  switch (when.kind) {
    case "sun":
      return { ...when, offsetMinutes: when.offsetMinutes ?? 0 };
    case "interval":
      return { ...when, from: when.from ?? new Date(now + when.everyMs).toISOString() };
    default:
      return when;
  }
}

const withMost = (missed: (typeof CreateSchedule.Type)["missed"], before: Missed): Missed =>
  missed === undefined ? before : { policy: missed.policy, most: missed.most ?? (missed.policy === "all" ? 10 : 1) };

/** What is wrong with times; a time that never comes is. */
export function checkTiming(when: When, jitterMs: number, nowMs: number, faults = new Faults()): Faults {
  if (when.kind === "cron") {
    const cron = parseCron(when.expression);
    if ("fault" in cron) return faults.add("/when/expression", cron.fault);
    if (!isZone(when.timeZone)) return faults.add("/when/timeZone", "is no time zone of the IANA database");
  }
  if (dueAfter(when, nowMs) === undefined) return faults.add(...NEVER[when.kind]);
  const gap = jitterMs === 0 ? undefined : smallestGap(when, nowMs);
  if (gap !== undefined && jitterMs >= gap) {
    faults.add("/jitterMs", `is not less than the ${gap} ms from one due time to the next`);
  }
  return faults;
}

const NEVER: Readonly<Record<When["kind"], readonly [pointer: string, detail: string]>> = {
  cron: ["/when/expression", "never comes: no calendar has such a day"],
  sun: ["/when/latitude", "the sun neither rises nor sets there for more than a year"],
  once: ["/when/at", "lies in the past"],
  interval: ["/when/from", "never comes"],
};

/** What is wrong with commands. */
export function checkCommands(commands: ReadonlyArray<Action>, faults = new Faults()): Faults {
  faults.most("/commands", commands.length, LIMITS.commands);
  if (commands.length === 0) faults.add("/commands", "is empty");
  for (const [i, command] of commands.entries()) {
    for (const { pointer, detail } of actionFaults(command, `/commands/${i}`)) faults.add(pointer, detail);
  }
  return faults;
}

function create(
  { spec, maker }: Extract<ScheduleCommand, { do: "create" }>,
  state: ScheduleState,
  { organisation, now }: Circumstances,
): Answer {
  if (state.createdAt !== "") {
    return { refused: "conflict", reason: "This schedule exists already.", fix: "Use another Idempotency-Key." };
  }
  const { name, title, jitterMs = 0, commands, paused = false } = spec;
  const when = completed(spec.when, Date.parse(now));
  const refusal = checkCommands(commands, checkTiming(when, jitterMs, Date.parse(now))).refusal();
  if (refusal !== undefined) return refusal;
  const missed = withMost(spec.missed, { policy: "once", most: 1 });
  const shown = title === undefined ? {} : { title };
  const data = { name, ...shown, when, jitterMs, missed, after: now, commands, paused, maker };
  return { events: [{ type: "ScheduleCreated", data }], claims: [claim(organisation, name, true)] };
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function change(
  { spec, maker }: Extract<ScheduleCommand, { do: "change" }>,
  state: ScheduleState,
  now: string,
): Answer {
  const events: ScheduleEvent[] = [];
  const faults = new Faults();
  if (spec.title !== undefined && spec.title !== state.title) {
    events.push({ type: "ScheduleRetitled", data: { title: spec.title } });
  }
  const when = spec.when === undefined ? state.when! : completed(spec.when, Date.parse(now));
  const { jitterMs = state.jitterMs } = spec;
  const missed = withMost(spec.missed, state.missed);
  if (!same([when, jitterMs, missed], [state.when, state.jitterMs, state.missed])) {
    checkTiming(when, jitterMs, Date.parse(now), faults);
    events.push({ type: "ScheduleTimed", data: { when, jitterMs, missed, after: now, maker } });
  }
  if (spec.commands !== undefined && !same(spec.commands, state.commands)) {
    checkCommands(spec.commands, faults);
    events.push({ type: "ScheduleCommandsChanged", data: { commands: spec.commands, maker } });
  }
  return faults.refusal() ?? { events };
}

function run(hops: number | undefined, state: ScheduleState, now: string): Answer {
  if (state.firing !== null) {
    return rule("firing-under-way", "It is being done at this moment.", "Run it again when that has ended.");
  }
  const counted = hops === undefined || hops === 0 ? {} : { hops };
  return { events: [{ type: "ScheduleFired", data: { due: now, cause: "hand", late: false, ...counted } }] };
}

const rfc = (ms: number): string => new Date(ms).toISOString();

const timingOf = ({ id, when, jitterMs, missed }: ScheduleState) => ({ id, when: when!, jitterMs, missed });

function fire({ due: asked, nowMs }: Extract<ScheduleCommand, { do: "fire" }>, state: ScheduleState): Answer {
  const after = Date.parse(state.after);
  if (state.firing !== null || state.paused || dueAfter(state.when!, after) !== asked) return overtaken;
  const turnout = turnoutOf(timingOf(state), after, nowMs);
  if (turnout === undefined) return overtaken;
  const { due, late, skipped } = turnout;
  const events: ScheduleEvent[] = [];
  if (skipped !== undefined) {
    const { from, to, count, more } = skipped;
    events.push({ type: "DueTimesSkipped", data: { from: rfc(from), to: rfc(to), count, more } });
  }
  if (due !== undefined) events.push({ type: "ScheduleFired", data: { due: rfc(due), cause: "due", late } });
  return { events };
}

function report({ due, ...told }: Report & { readonly due: string }, { firing }: ScheduleState): Answer {
  if (!isNext(firing, told.index) || firing.due !== due) return overtaken;
  const { index } = told;
  const { outcome, ...rest } = outcomeOf(firing, told);
  if (told.do === "failed") {
    const { reason, outcome: how } = told;
    return { events: [{ type: "ScheduleFailed", data: { due, index, ...rest, reason, outcome: how } }] };
  }
  const { action, on, made } = { on: undefined, made: undefined, ...rest };
  const done = { ...(on === undefined ? {} : { on }), ...(made === undefined ? {} : { made }) };
  const events: ScheduleEvent[] = [{ type: "ScheduledCommandDone", data: { due, index, action, ...done } }];
  if (isLast(firing, index)) events.push({ type: "ScheduleCompleted", data: { due } });
  return { events };
}

export type ScheduleStep = { readonly kind: "fire"; readonly due: number } | DoingStep;

/** What is to be done now, or when. */
export function nextOfSchedule(
  state: ScheduleState,
  nowMs: number,
): undefined | { readonly do: ScheduleStep } | { readonly waitUntil: number } {
  if (!state.exists || state.when === null) return undefined;
  if (state.firing !== null) {
    const step = nextOf(state.firing, nowMs);
    return step === undefined ? undefined : { do: step };
  }
  if (state.paused) return undefined;
  const due = dueAfter(state.when, Date.parse(state.after));
  if (due === undefined) return undefined;
  if (turnoutOf(timingOf(state), Date.parse(state.after), nowMs) !== undefined) return { do: { kind: "fire", due } };
  return { waitUntil: firstAt(state, due) };
}

const firstAt = (state: ScheduleState, due: number): number => due + jitterOf(state.id, due, state.jitterMs);
