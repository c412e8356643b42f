/** The rules of tasks: what is next after every event, what is undone, what waits; and that any crash is gone on from. */
import assert from "node:assert/strict";
import type { Asked, Plan } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import * as fc from "fast-check";
import { suite } from "../../tests/harness/suite.ts";
import { isRefusal } from "../decider.ts";
import type { PlannedPart } from "../reads.ts";
import { ada, given, ORGANISATION, type Told, timeOf } from "../testing.ts";
import { device } from "./device.ts";
import { cancelTask, finishTask, requestTask } from "./request.ts";
import { task } from "./task.ts";
import type { TaskCommand } from "./task-command.ts";
import { interruptsTask, nextOfTask, type TaskStep } from "./task-next.ts";
import { isOver, type TaskState } from "./task-state.ts";

const test = suite("tasks on devices");

const id = "tsk_01kajzq4v0e8r9t2m5x7c3d6fg";
const dev = "dev_01kajzq4v0e8r9t2m5x7c3d6fg";
const worker = "attic:1:a";
const write = (component: string, cutsOff = false, needsReboot: "never" | "maybe" | "always" = "maybe") => ({
  component,
  call: { method: "X.SetConfig", params: {} },
  needsReboot,
  cutsOff,
});
const planOf = (writes: Plan["writes"]): Plan => ({
  target: { "switch:0": { on: true } },
  before: { "switch:0": { on: false } },
  differences: [],
  more: 0,
  writes,
});
const THREE = planOf([write("switch:0"), write("sys"), write("wifi", true)]);

/** A task by its commands, as agents give them, on a clock of its own. */
class Run {
  state: TaskState;
  now = Date.parse(timeOf(0));
  constructor(asked: Asked = { kind: "apply", dryRun: false }, expiresInMs = 3_600_000) {
    this.state = task.decider.initial(id);
    this.do({ do: "request", device: dev, name: "hall", site: "home", asked, expiresInMs });
  }
  do(command: TaskCommand): string | undefined {
    const now = new Date(this.now).toISOString();
    const decision = task.decider.decide(command, this.state, { organisation: ORGANISATION, actor: ada, now });
    if (isRefusal(decision)) return decision.refused === "rule" ? decision.rule : decision.refused;
    const meta = { organisation: ORGANISATION, actor: ada, time: now };
    for (const event of decision.events) this.state = task.decider.evolve(this.state, event, meta);
    return undefined;
  }
  get next(): TaskStep | number | undefined {
    const next = nextOfTask(this.state, this.now);
    return next === undefined ? undefined : "do" in next ? next.do : next.waitUntil;
  }
  begin(by = worker): { step: string; attempt: number } {
    const next = this.next as Extract<TaskStep, { kind: "step" }>;
    assert.equal(next.kind, "step", JSON.stringify(next));
    assert.equal(this.do({ do: "beginStep", step: next.step, attempt: next.attempt, worker: by }), undefined);
    return next;
  }
  complete(output: Extract<TaskCommand, { do: "completeStep" }>["output"] = {}): string {
    const { step, attempt } = this.begin();
    assert.equal(this.do({ do: "completeStep", step, attempt, worker, output }), undefined);
    return step;
  }
  fail(kind: "transient" | "permanent"): string {
    const { step, attempt } = this.begin();
    const error = { class: kind, code: "NO", message: "no\nanswer", fix: "Look" } as const;
    assert.equal(this.do({ do: "failStep", step, attempt, worker, ...error }), undefined);
    return step;
  }
  /** Completes everything that comes, until it ends. */
  rest(plan: Plan = THREE, back: Plan = planOf([write("sys")])): string[] {
    const steps: string[] = [];
    for (let i = 0; i < 60; i++) {
      const { next } = this;
      if (typeof next !== "object") break;
      if (next.kind !== "step") {
        const { command } = next.kind === "finish" ? finishTask(this.state, next)[0]! : { command: next };
        assert.equal(this.do(command as TaskCommand), undefined);
        continue;
      }
      const output = next.step === "plan" ? { plan } : next.step === "undo/plan" ? { plan: back } : {};
      steps.push(this.complete(output));
    }
    return steps;
  }
}

const started = (...more: ConstructorParameters<typeof Run>): Run => {
  const run = new Run(...more);
  assert.equal(run.do({ do: "start", worker }), undefined);
  return run;
};

test("an apply: read, plan, write, what may cut off last and guarded, verify", () => {
  const run = started();
  assert.deepEqual(run.rest(), ["read", "plan", "write:0", "write:1", "guard:2", "write:2", "confirm:2", "verify"]);
  assert.equal(run.state.state, "succeeded");
  const freed = finishTask({ ...run.state, state: "running" }, { outcome: "succeeded" })[1]!;
  assert.deepEqual(
    [freed.id, freed.command],
    [dev, { do: "end", task: id, outcome: "succeeded", applied: THREE.target }],
  );
  assert.equal(run.do({ do: "cancel" }), "task-over");
});

test("a reboot is done once, after everything that asked for one", () => {
  const run = started();
  run.complete();
  run.complete({ plan: planOf([write("a"), write("b"), write("wifi", true, "always")]) });
  run.complete({ restartRequired: true });
  run.complete({ restartRequired: true });
  assert.deepEqual(run.rest(), ["reboot", "guard:2", "write:2", "confirm:2", "reboot:end", "verify"]);
});

test("a dry run ends with its plan, and nothing that differs needs no write", () => {
  const dry = started({ kind: "apply", dryRun: true });
  assert.deepEqual(dry.rest(), ["read", "plan"]);
  assert.deepEqual(
    [dry.state.state, finishTask(dry.state, { outcome: "succeeded" })[1]!.command],
    ["succeeded", { do: "end", task: id, outcome: "succeeded" }],
  );
  assert.deepEqual(started().rest(planOf([])), ["read", "plan", "verify"]);
});

test("what fails is undone towards what was there, by reading first; the first cause is told", () => {
  const run = started();
  run.complete();
  run.complete({ plan: THREE });
  run.complete();
  assert.equal(run.fail("permanent"), "write:1");
  assert.equal(run.state.state, "undoing");
  assert.deepEqual(run.rest(), ["undo/read", "undo/plan", "undo/write:0", "undo/verify"]);
  const { state, failure, undone } = run.state;
  assert.deepEqual([state, failure?.step, failure?.message, undone], ["failed", "write:1", "no answer", "all"]);
});

test("a way back that fails for good is told as such; without a write there is none", () => {
  const run = started();
  assert.equal(run.fail("permanent"), "read");
  assert.deepEqual([run.rest(), run.state.state, run.state.undone], [[], "failed", "nothing"]);
  const stuck = started();
  stuck.complete();
  stuck.complete({ plan: THREE });
  stuck.fail("permanent");
  assert.equal(stuck.fail("permanent"), "undo/read");
  assert.deepEqual(stuck.rest(), []);
  assert.deepEqual([stuck.state.state, stuck.state.undone, stuck.state.failure?.step], ["failed", "not", "write:0"]);
  assert.match(stuck.state.failure!.message, /look at the device/);
});

test("a transient failure is tried again later; twenty in a row are the end", () => {
  const run = started();
  for (let i = 1; i <= LIMITS.attempts; i++) {
    run.fail("transient");
    assert.equal(typeof run.next, i < LIMITS.attempts ? "number" : "object", `${i}`);
    if (typeof run.next === "number") run.now = run.next;
  }
  assert.deepEqual(run.next, { kind: "giveUp", step: "read", reason: "poison" });
  assert.equal(run.do({ do: "giveUp", step: "read", reason: "deadline", worker }), "overtaken");
  assert.equal(run.do({ do: "giveUp", step: "read", reason: "poison", worker }), undefined);
  run.rest();
  assert.deepEqual([run.state.state, run.state.failure?.code], ["failed", "NO"]);
});

test("a sleeper is waited for, and its awakening gives new tries", () => {
  const run = started({ kind: "apply", dryRun: false }, 86_400_000);
  for (let i = 0; i < LIMITS.attempts + 5; i++) {
    run.begin();
    assert.equal(run.do({ do: "wait", for: "asleep", reason: "it sleeps" }), undefined);
    assert.equal(run.next, Date.parse(run.state.expiresAt));
    assert.equal(run.do({ do: "wait", for: "asleep", reason: "it sleeps" }), undefined);
    run.now += 60_000;
    assert.equal(run.do({ do: "resume" }), undefined);
  }
  assert.equal((run.next as { attempt: number }).attempt, LIMITS.attempts + 6);
  run.do({ do: "wait", for: "locked-out", reason: "429", untilMs: run.now + 30_000 });
  assert.equal(run.next, run.now + 30_000);
  // Whoever finds it there begins, without anybody having said that it is back.
  const attempt = LIMITS.attempts + 6;
  assert.equal(run.do({ do: "beginStep", step: "read", attempt, worker }), undefined);
  assert.equal(run.state.state, "running");
});

test("time that is up: before its turn, before a write, and after one", () => {
  const waiting = new Run();
  assert.equal(waiting.do({ do: "expire" }), "overtaken");
  waiting.now += 3_600_000;
  assert.deepEqual(waiting.next, { kind: "expire" });
  waiting.do({ do: "expire" });
  assert.deepEqual([waiting.state.state, waiting.state.undone], ["expired", "nothing"]);

  const idle = started();
  idle.complete();
  idle.now += 3_600_000;
  idle.do({ do: "expire" });
  assert.deepEqual(idle.next, { kind: "finish", outcome: "expired" });

  const half = started();
  half.complete();
  half.complete({ plan: THREE });
  half.complete();
  half.now += 3_600_000;
  half.do({ do: "expire" });
  assert.deepEqual(half.rest(), ["undo/read", "undo/plan", "undo/write:0", "undo/verify"]);
  assert.deepEqual([half.state.state, half.state.undone], ["expired", "all"]);
});

test("cancelled: at once before its turn, undone after a write, never in the middle of one", () => {
  const run = started();
  run.complete();
  run.complete({ plan: THREE });
  const step = run.next as TaskStep;
  const { attempt } = run.begin();
  run.do({ do: "cancel", reason: "The wrong one" });
  assert.equal(interruptsTask(run.state, step), false);
  assert.equal(interruptsTask(run.state, { kind: "step", step: "read", attempt: 1, deadlineAt: null }), true);
  assert.equal(run.do({ do: "completeStep", step: "write:0", attempt, worker }), "overtaken");
  run.rest();
  assert.deepEqual(
    [run.state.state, run.state.undone, run.state.cancellation?.reason],
    ["cancelled", "all", "The wrong one"],
  );
  const waiting = new Run();
  waiting.do({ do: "cancel" });
  assert.deepEqual([waiting.state.state, waiting.next], ["cancelled", undefined]);
});

test("the other kinds, and deadlines of what the device does by itself", () => {
  assert.deepEqual(started({ kind: "firmware", stage: "stable" }).rest(), ["check", "trigger", "await", "verify"]);
  assert.deepEqual(started({ kind: "reboot" }).rest(), ["check", "trigger", "await"]);
  assert.deepEqual(started({ kind: "action", component: "switch:0", action: "toggle" }).rest(), ["prepare", "act"]);
  assert.deepEqual(started({ kind: "authentication", scheme: "digest" }).rest(), ["check", "set", "confirm"]);
  assert.deepEqual(started({ kind: "read" }).rest(), ["read"]);
  const run = started({ kind: "firmware" });
  run.complete();
  run.complete();
  run.begin();
  run.now += 600_000;
  assert.deepEqual(run.next, { kind: "giveUp", step: "await", reason: "deadline" });
});

test("another agent goes on with the next attempt, and the first one is overtaken", () => {
  const run = started();
  const { step, attempt } = run.begin("attic:1:dead");
  assert.equal(run.begin("cellar:1:b").attempt, attempt + 1);
  assert.equal(run.do({ do: "completeStep", step, attempt, worker: "attic:1:dead" }), "overtaken");
  assert.equal(run.do({ do: "beginStep", step, attempt: 9, worker }), "overtaken");
  assert.equal(run.do({ do: "finish", outcome: "succeeded" }), "overtaken");
});

test("asking takes a place on the device in the same commit; what makes no sense is refused with a next step", () => {
  const story: Told[] = [
    ["DeviceAdded", { mac: "C4D8D5517C68", name: "hall", site: "home", tags: [], groups: [], expected: true }],
  ];
  const { state } = given(device, story);
  const asked = { kind: "read" } as const;
  assert.deepEqual(
    (requestTask(state, { task: id, asked }) as ReadonlyArray<PlannedPart>).map(({ command }) => command),
    [
      { do: "enqueue", task: id, kind: "read" },
      { do: "request", device: state.id, name: "hall", site: "home", asked, expiresInMs: LIMITS.expires.usual },
    ],
  );
  const refused = requestTask(state, { task: id, asked: { kind: "apply", dryRun: false } });
  assert.equal("rule" in refused && refused.rule, "nothing-wanted");
  const run = new Run();
  assert.deepEqual(cancelTask(run.state).length, 2);
  run.do({ do: "start", worker });
  assert.deepEqual(cancelTask(run.state).length, 1);
});

test("whatever happens, every task ends, and what it wrote is told of truly", () => {
  const ends = new Set<string>();
  const chance = fc.constantFrom("ok", "ok", "ok", "ok", "crash", "transient", "permanent", "sleep", "cancel", "late");
  fc.assert(
    fc.property(fc.array(chance, { maxLength: 40 }), fc.boolean(), (chances, reboots) => {
      const run = started();
      const left = [...chances];
      for (let i = 0; i < 400 && !isOver(run.state); i++) {
        const { next } = run;
        if (typeof next === "number") {
          run.now = next;
          continue;
        }
        assert.ok(next !== undefined, "a task that is not over has something to do or to wait for");
        if (next.kind === "finish") run.do(finishTask(run.state, next)[0]!.command as TaskCommand);
        else if (next.kind === "giveUp") run.do({ do: "giveUp", step: next.step, reason: next.reason, worker });
        else if (next.kind === "expire") run.do({ do: "expire" });
        else {
          const what = left.shift() ?? "ok";
          const plan = planOf(reboots ? [write("a", false, "always"), write("wifi", true)] : THREE.writes);
          if (what === "crash") run.begin(`dead:${i}`);
          else if (what === "transient" || what === "permanent") run.fail(what);
          else if (what === "sleep") run.do({ do: "wait", for: "asleep", reason: "zzz" });
          else if (what === "cancel") run.do({ do: "cancel" });
          else if (what === "late") run.now += 1_000_000;
          else run.complete(next.step.endsWith("plan") ? { plan } : {});
        }
      }
      const { state, undone } = run.state;
      assert.ok(isOver(run.state), JSON.stringify(run.state));
      ends.add(`${state} ${undone}`);
    }),
    { numRuns: 300, seed: 11 },
  );
  for (const end of ["succeeded null", "failed all", "failed not", "failed nothing", "cancelled all", "expired all"]) {
    assert.ok(ends.has(end), `${end} was never reached: ${[...ends].join(", ")}`);
  }
});

test.run();
