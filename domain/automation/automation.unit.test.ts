/** The rules of schedules and of automation rules, told as tables; and that each says what has happened. */
import assert from "node:assert/strict";
import { ACTIONS } from "@millrace/contracts/automation/actions.ts";
import { LIMITS, RULES } from "@millrace/contracts/automation/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import { isRefusal } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { fold, given, sentenceOf, type Told, timeOf } from "../testing.ts";
import { automation } from "./context.ts";
import { seesOf } from "./evaluate.ts";
import { rule } from "./rule.ts";
import { nextOfRule } from "./rule-decide.ts";
import { schedule } from "./schedule.ts";
import { nextOfSchedule } from "./schedule-decide.ts";

const test = suite("the rules of schedules and rules");

const maker = { token: "tok_01kajzq4v0e8r9t2m5x7c3d6fg", name: "ada" };
const opening = { action: "work.openItem", body: { type: "task", title: "Look" } };
const interval = { kind: "interval", everyMs: 60_000, from: timeOf(0) } as const;
const due = (index: number) => Date.parse(timeOf(index));
const created: Told = [
  "ScheduleCreated",
  {
    name: "tick",
    when: interval,
    jitterMs: 0,
    missed: { policy: "once", most: 1 },
    after: timeOf(0),
    commands: [opening, opening],
    paused: false,
    maker,
  },
];

test("a schedule fires once for each due time, and does its commands one after the other", () => {
  const begun = given(schedule, [created]);
  begun
    .when({ do: "fire", due: due(1), nowMs: due(1) })
    .happens(["ScheduleFired", { due: timeOf(1), cause: "due", late: false }]);
  begun.when({ do: "fire", due: due(2), nowMs: due(2) }).isRefused({ rule: "overtaken" });
  begun.when({ do: "fire", due: due(1), nowMs: due(1) - 1 }).isRefused({ rule: "overtaken" });
  begun
    .when({ do: "fire", due: due(1), nowMs: due(5) })
    .happens(
      ["DueTimesSkipped", { from: timeOf(1), to: timeOf(4), count: 4, more: false }],
      ["ScheduleFired", { due: timeOf(5), cause: "due", late: false }],
    );
  const fired: Told = ["ScheduleFired", { due: timeOf(1), cause: "due", late: false }];
  const firing = given(schedule, [created, fired]);
  firing.when({ do: "fire", due: due(2), nowMs: due(2) }).isRefused({ rule: "overtaken" });
  firing.when({ do: "run" }).isRefused({ rule: "firing-under-way" });
  const done = { due: timeOf(1), index: 0, action: opening.action, made: "itm_a" };
  firing.when({ do: "done", due: timeOf(1), index: 0, made: "itm_a" }).happens(["ScheduledCommandDone", done]);
  firing.when({ do: "done", due: timeOf(1), index: 1 }).isRefused({ rule: "overtaken" });
  firing.when({ do: "done", due: timeOf(0), index: 0 }).isRefused({ rule: "overtaken" });
  const half = given(schedule, [created, fired, ["ScheduledCommandDone", done]]);
  half
    .when({ do: "done", due: timeOf(1), index: 1 })
    .happens(
      ["ScheduledCommandDone", { due: timeOf(1), index: 1, action: opening.action }],
      ["ScheduleCompleted", { due: timeOf(1) }],
    );
  half.when({ do: "failed", due: timeOf(1), index: 1, outcome: "refused", reason: "no" }).leads((state) => {
    assert.deepEqual(
      [state.firing, state.failures, state.last?.outcomes.map(({ outcome }) => outcome)],
      [null, 1, ["done", "refused"]],
    );
    assert.equal(state.after, timeOf(1));
  });
});

test("what is next of a schedule: wait, fire, do, give up, nothing", () => {
  const begun = fold(schedule, [created]);
  assert.deepEqual(nextOfSchedule(begun, due(0)), { waitUntil: due(1) });
  assert.deepEqual(nextOfSchedule(begun, due(1)), { do: { kind: "fire", due: due(1) } });
  const firing = fold(schedule, [created, ["ScheduleFired", { due: timeOf(1), cause: "due", late: false }]]);
  const step = { kind: "command", index: 0, command: opening };
  assert.deepEqual(nextOfSchedule(firing, due(1)), { do: step });
  assert.deepEqual(nextOfSchedule(firing, due(1) + LIMITS.firingMs + 1), { do: { ...step, kind: "giveUp" } });
  assert.equal(nextOfSchedule(fold(schedule, [created, ["SchedulePaused", {}]]), due(9)), undefined);
  const resumed = fold(schedule, [created, ["SchedulePaused", {}], ["ScheduleResumed", { after: timeOf(7) }]]);
  assert.deepEqual(nextOfSchedule(resumed, due(7)), { waitUntil: due(8) });
  assert.equal(nextOfSchedule(fold(schedule, [created, ["ScheduleDeleted", { name: "tick" }]]), due(9)), undefined);
  const once: Told = ["ScheduleCreated", { ...(created[1] as object), when: { kind: "once", at: timeOf(3) } }];
  const over = fold(schedule, [
    once,
    ["ScheduleFired", { due: timeOf(3), cause: "due", late: false }],
    ["ScheduleCompleted", { due: timeOf(3) }],
  ]);
  assert.deepEqual([nextOfSchedule(over, due(9)), schedule.over!(over)], [undefined, true]);
});

test("who changes what a schedule does, or when, stands behind it; the title changes nobody", () => {
  const ben = { token: "tok_01kajzq4v0e8r9t2m5x7c3d6fh", name: "ben" };
  const begun = given(schedule, [created]);
  begun
    .when({ do: "change", spec: { title: "Tick" }, maker: ben })
    .leads((state) => assert.deepEqual(state.maker, maker));
  begun.when({ do: "change", spec: { jitterMs: 5 }, maker: ben }).leads((state) => assert.deepEqual(state.maker, ben));
  begun
    .when({ do: "change", spec: { commands: [opening] }, maker: ben })
    .leads((state) => assert.deepEqual(state.maker, ben));
  begun.when({ do: "change", spec: { jitterMs: 60_000 }, maker: ben }).isRefused({ pointers: ["/body/jitterMs"] });
  begun.when({ do: "change", spec: { commands: [] }, maker: ben }).isRefused({ pointers: ["/body/commands"] });
  begun.when({ do: "pause", seen: 9 }).isRefused({ refused: "precondition" });
  given(schedule, []).when({ do: "run" }).isRefused({ refused: "not-found" });
});

const waits = { kind: "event", context: "work", types: ["ItemOpened"] } as const;
const made: Told = [
  "RuleCreated",
  {
    name: "tell",
    when: waits,
    condition: null,
    timeZone: "UTC",
    commands: [opening],
    perMinute: 2,
    since: timeOf(0),
    maker,
    enabled: true,
  },
];
const happened = (place: string, hops = 1, more: object = {}) => ({
  do: "trigger" as const,
  event: { id: place, type: "ItemOpened", kind: "item", entity: "itm_a" },
  made: { commands: [opening] },
  chain: { hops, correlation: "req_1", causation: "c1" },
  forbidden: false,
  late: false,
  ...more,
});
const triggered = (run: number, place: string): Told => {
  const { event, chain } = happened(place);
  return ["RuleTriggered", { run, event, commands: [opening], chain }];
};

test("a rule is done once for each event, in order, not in circles, and not too often", () => {
  const begun = given(rule, [made]);
  begun.when(happened("7.1")).happens(triggered(1, "7.1"));
  const once = given(rule, [made, triggered(1, "7.1")]);
  once.when(happened("7.1")).happens();
  once.when(happened("7.0")).happens();
  once.when(happened("6.9")).happens();
  once.when(happened("7.2"), { now: timeOf(9) }).happens(triggered(2, "7.2"));
  once.when(happened("6.9", 1, { late: true }), { now: timeOf(9) }).happens(triggered(2, "6.9"));
  const minute = Math.floor(due(1) / 60_000);
  const passed = (reason: string): Told => ["RulePassedOver", { reason, minute }];
  begun.when(happened("8.0", RULES.hops + 1)).happens(passed("circle"));
  begun.when(happened("8.0", 1, { forbidden: true })).happens(passed("permission-gone"));
  begun.when(happened("8.0", 1, { made: { fault: "{{x}} is not there" } })).leads((state) => {
    assert.deepEqual([state.failures, state.runs.length, state.last[0]?.fault], [1, 0, "{{x}} is not there"]);
  });
  const full: Told[] = [made, triggered(1, "1.0"), triggered(2, "2.0")];
  const now = timeOf(2);
  const told: Told = ["RulePassedOver", { reason: "too-often", minute: minute + 1 }];
  // Two stand at minutes of their own; a third and fourth within one are too often.
  const busy = { ...fold(rule, full), minute: { minute: minute + 1, count: 2 } };
  const decided = rule.decider.decide(happened("3.0"), busy, {
    organisation: busy.organisation,
    actor: { kind: "system", id: "", name: "" },
    now,
  });
  assert.ok(!isRefusal(decided));
  assert.deepEqual(decided.events, [{ type: told[0], data: told[1] }]);
  const again = rule.decider.evolve(busy, decided.events[0]!, {
    organisation: "o",
    actor: { kind: "system", id: "", name: "" },
    time: now,
  });
  assert.deepEqual(
    rule.decider.decide(happened("4.0"), again, {
      organisation: "o",
      actor: { kind: "system", id: "", name: "" },
      now,
    }),
    { events: [] },
  );
  given(rule, [made, ["RuleDisabled", {}]])
    .when(happened("8.0"))
    .happens();
});

test("runs of a rule end one after the other; what waits is next", () => {
  const two: Told[] = [made, triggered(1, "1.0"), triggered(2, "2.0")];
  const state = fold(rule, two);
  assert.deepEqual(nextOfRule(state, due(1)), { do: { kind: "command", index: 0, command: opening } });
  const running = given(rule, two);
  running.when({ do: "done", run: 2, index: 0 }).isRefused({ rule: "overtaken" });
  running.when({ do: "done", run: 1, index: 0, made: "itm_b" }).leads((after) => {
    assert.deepEqual([after.runs.map(({ run }) => run), after.last[0]?.outcomes[0]?.made], [[2], "itm_b"]);
  });
  running.when({ do: "failed", run: 1, index: 0, outcome: "given-up", reason: "no" }).leads((after) => {
    assert.deepEqual([after.runs.length, after.failures], [1, 1]);
  });
  const timed: Told = ["RuleCreated", { ...(made[1] as object), when: interval, since: timeOf(0) }];
  assert.deepEqual(nextOfRule(fold(rule, [timed]), due(0)), { waitUntil: due(1) });
  const asked = given(rule, [timed]);
  asked.when({ do: "due", due: due(1) }).happens(["RuleDue", { due: timeOf(1), held: false }]);
  asked.when({ do: "due", due: due(0) }).isRefused({ rule: "overtaken" });
  asked.when({ do: "due", due: due(1), made: { commands: [opening] } }).leads((after) => {
    assert.deepEqual([after.runs[0]?.due, after.since], [timeOf(1), timeOf(1)]);
  });
});

test("a rule is checked by what it sees", () => {
  const spec = {
    name: "tell",
    when: waits,
    commands: [{ ...opening, body: { type: "task", title: "{{event.data.title}}" } }],
  };
  const create = (over: object) =>
    given(rule, []).when({ do: "create", spec: { ...spec, ...over }, maker, sees: seesOf(waits) });
  create({}).leads((state) => assert.deepEqual([state.enabled, state.perMinute], [true, RULES.perMinuteUsual]));
  create({ condition: "event.data.nope == 1" }).isRefused({ pointers: ["/body/condition"] });
  create({ timeZone: "Mars" }).isRefused({ pointers: ["/body/timeZone"] });
  create({ commands: [{ ...opening, body: { type: "task", title: "{{nope}}" } }] }).isRefused({
    pointers: ["/body/commands/0/body/title"],
  });
});

test("each event says what has happened, and each action is one of the API's", () => {
  for (const kind of [schedule, rule] as Kind[]) {
    for (const [type, { examples }] of Object.entries(kind.events)) {
      const said = sentenceOf(kind, type, examples[1]);
      assert.match(said, /^[a-z].{3,}/s, `${type}: ${said}`);
    }
  }
  assert.ok("rule" in automation.kinds && "schedule" in automation.kinds);
  for (const [name, { permission, target, makes }] of Object.entries(ACTIONS)) {
    assert.ok(permission.startsWith(`${(target ?? makes)!.split(".")[0]}:`), name);
    assert.ok(target !== null || makes !== null, name);
  }
});

test.run();
