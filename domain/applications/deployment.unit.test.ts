/** The way of a deployment, told as stories: what is next, what is refused, how it ends. */
import assert from "node:assert/strict";
import { COMPENSATIONS, PHASES } from "@millrace/contracts/applications/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import type { Refusal } from "../decider.ts";
import { represent } from "./deployment-state.ts";
import { APP, SHOP, SITE, World } from "./fixtures/world.ts";
import { deadlineOf, interruptsDeployment, nextOfApplication, nextOfDeployment } from "./next.ts";

const test = suite("deployments");

function begun(spec = SHOP, policy = {}): { world: World; id: string } {
  const world = new World();
  world.create(spec, { policy });
  return { world, id: asked(world) };
}

/** Asks for one; a refusal is a fault of the test. */
function asked(world: World, trigger: "manual" | "rollback" | "restart" = "manual", to?: string): string {
  const id = world.ask(trigger, to);
  assert.equal(typeof id, "string", JSON.stringify(id));
  return id as string;
}

/** With a release live. */
function live(spec = SHOP, policy = {}): { world: World; first: string } {
  const { world, id } = begun(spec, policy);
  world.settle();
  assert.equal(world.app.live?.deployment, id);
  return { world, first: id };
}

const isRule = (refusal: Refusal | undefined | string, name: string): Refusal & { refused: "rule" } => {
  assert.ok(
    typeof refusal === "object" && refusal.refused === "rule" && refusal.rule === name,
    JSON.stringify(refusal),
  );
  return refusal as Refusal & { refused: "rule" };
};

test("nothing wrong: placed, activated, six phases, live, tidied up", () => {
  const { world, id } = begun();
  assert.deepEqual(nextOfApplication(world.app), { do: { kind: "place" } });
  world.step("done");
  assert.equal(world.app.node, "local");
  assert.deepEqual(nextOfApplication(world.app), { do: { kind: "activate", deployment: id } });
  world.step("done");
  assert.equal(world.app.active, id);
  for (const phase of PHASES) {
    const next = nextOfDeployment(world.deployment(id), world.now);
    assert.ok(next !== undefined && "do" in next && next.do.kind === "phase");
    assert.deepEqual([next.do.phase, next.do.attempt], [phase, 1]);
    world.step("done");
  }
  assert.deepEqual(nextOfDeployment(world.deployment(id), world.now), { do: { kind: "finish", outcome: "succeeded" } });
  world.step("done");
  const { app } = world;
  assert.deepEqual([app.live?.deployment, app.live?.generation, app.live?.instances], [id, 1, 2]);
  assert.deepEqual([app.active, app.problem, app.live?.verified], [null, null, true]);
  const tidying = nextOfDeployment(world.deployment(id), world.now);
  assert.deepEqual(tidying, { do: { kind: "phase", phase: "CLEANUP", attempt: 1, deadlineAt: null } });
  world.step("done");
  assert.equal(world.step("done"), false);
});

test("an attempt whose worker died is taken over by the next, and counts", () => {
  const { world, id } = begun();
  world.until(id, "BUILDING");
  const next = nextOfDeployment(world.deployment(id), world.now);
  assert.ok(next !== undefined && "do" in next && next.do.kind === "phase");
  assert.deepEqual([next.do.phase, next.do.attempt], ["BUILDING", 2]);
  assert.ok(
    interruptsDeployment(world.deployment(id), { kind: "phase", phase: "BUILDING", attempt: 0, deadlineAt: 0 }),
  );
  world.step("late");
  assert.equal(world.deployment(id).phases.BUILDING?.attempt, 3);
  world.settle();
  assert.equal(world.deployment(id).state, "succeeded");
});

test("who comes from behind is overtaken, whatever is recorded", () => {
  const { world, id } = begun();
  world.until(id, "BUILDING");
  const { worker } = world.deployment(id).phases.BUILDING!;
  isRule(world.doTo(id, { ...world.completion(id, "BUILDING", 1, "another"), adopted: true }), "overtaken");
  isRule(world.doTo(id, world.completion(id, "BUILDING", 2, worker)), "overtaken");
  isRule(world.doTo(id, world.completion(id, "COPYING_FILES", 1, worker)), "overtaken");
  const begin = { do: "beginPhase", phase: "BUILDING", worker, node: "local" } as const;
  isRule(world.doTo(id, { ...begin, attempt: 1 }), "overtaken");
  isRule(world.doTo(id, { ...begin, attempt: 3 }), "overtaken");
  isRule(world.doTo(id, { ...begin, attempt: 2, node: "elsewhere" }), "overtaken");
  isRule(world.doTo(id, { do: "finish", outcome: "succeeded" }), "overtaken");
  isRule(world.doTo(id, { do: "expire", reason: "progress", phase: "BUILDING", worker }), "overtaken");
  isRule(world.doTo(id, { do: "beginCompensation", step: "REMOVE_IMAGE", attempt: 1, worker }), "overtaken");
  assert.equal(world.doTo(id, world.completion(id, "BUILDING", 1, worker)), undefined);
  isRule(world.doTo(id, world.completion(id, "BUILDING", 1, worker)), "overtaken");
});

test("what fails for now is tried again later, and later, by the log", () => {
  const { world, id } = begun();
  world.step("done");
  world.step("done");
  const waits: number[] = [];
  for (let attempt = 1; attempt <= 8; attempt++) {
    world.step("transient");
    const next = nextOfDeployment(world.deployment(id), world.now);
    assert.ok(next !== undefined && "waitUntil" in next);
    waits.push(next.waitUntil - world.now);
    world.step("done");
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
});

test("a failure for good is undone, and ends it; the former release stays", () => {
  const { world, first } = live();
  const id = asked(world);
  world.until(id, "COPYING_FILES");
  world.step("permanent");
  assert.equal(world.deployment(id).state, "compensating");
  world.settle();
  const { state, failure, compensations } = world.deployment(id);
  assert.deepEqual([state, failure?.code, failure?.phase], ["failed", "BROKEN", "COPYING_FILES"]);
  assert.deepEqual(Object.keys(compensations), ["REMOVE_IMAGE", "REMOVE_RELEASE"]);
  assert.deepEqual([world.app.live?.deployment, world.app.problem?.code], [first, "BROKEN"]);
  assert.equal(world.app.problem?.phase, "COPYING_FILES");
});

test("a deadline counts from the log: a pause does not stretch it", () => {
  const { world, id } = begun(SHOP, { progressDeadlineMs: 60_000, healthyDeadlineMs: 30_000, minHealthyTimeMs: 0 });
  world.until(id, "BUILDING");
  const began = Date.parse(world.deployment(id).startedAt!);
  assert.equal(deadlineOf(world.deployment(id), "BUILDING"), began + 60_000);
  world.step("transient");
  world.now = began + 60_000;
  assert.deepEqual(nextOfDeployment(world.deployment(id), world.now), {
    do: { kind: "expire", reason: "progress", phase: "BUILDING" },
  });
  world.settle();
  assert.equal(world.deployment(id).failure?.code, "PROGRESS_DEADLINE");
  assert.equal(world.deployment(id).failure?.class, "timeout");

  const second = asked(world);
  world.until(second, "HEALTH_CHECK");
  const checked = Date.parse(world.deployment(second).phases.HEALTH_CHECK!.startedAt);
  world.step("crash");
  assert.equal(deadlineOf(world.deployment(second), "HEALTH_CHECK"), checked + 30_000, "from the first attempt");
  world.now = checked + 30_000;
  world.settle();
  assert.deepEqual(
    [world.deployment(second).state, world.deployment(second).failure?.code],
    ["failed", "HEALTHY_DEADLINE"],
  );
});

test("unhealthy behind the switch: back to the former release, everything undone in order", () => {
  const { world, first } = live();
  const id = asked(world);
  world.until(id, "HEALTH_CHECK");
  world.step("permanent");
  const order: string[] = [];
  for (;;) {
    const next = nextOfDeployment(world.deployment(id), world.now);
    if (next === undefined || !("do" in next)) break;
    if (next.do.kind === "compensate") order.push(next.do.step);
    world.step("done");
    if (next.do.kind === "finish") break;
  }
  assert.deepEqual(order, COMPENSATIONS);
  const { state, rolledBackTo } = world.deployment(id);
  assert.deepEqual([state, rolledBackTo], ["rolledBack", first]);
  assert.equal(world.app.live?.deployment, first);
});

test("unhealthy, and the policy is to keep it: it stays, failed and unverified", () => {
  const { world } = live(SHOP, { autoRevert: false });
  const id = asked(world);
  world.until(id, "HEALTH_CHECK");
  world.step("permanent");
  world.settle();
  assert.equal(world.deployment(id).state, "failed");
  assert.deepEqual([world.app.live?.deployment, world.app.live?.verified], [id, false]);
  assert.equal(world.app.problem?.code, "BROKEN");
});

test("cancelled before the switch: cancelled. Behind it: rolled back. Succeeded: refused, with what to do", () => {
  const { world, first } = live();
  const early = asked(world);
  world.until(early, "UPDATING_ROUTES");
  assert.equal(world.cancel(early), undefined);
  assert.equal(world.deployment(early).phases.UPDATING_ROUTES?.state, "interrupted");
  assert.equal(world.cancel(early), undefined, "once more says nothing new");
  world.settle();
  assert.equal(world.deployment(early).state, "cancelled");
  assert.equal(world.deployment(early).compensations.RESTORE_ROUTES?.state, "completed", "it may have switched");

  const late = asked(world);
  world.until(late, "HEALTH_CHECK");
  assert.equal(world.cancel(late), undefined);
  world.settle();
  assert.equal(world.deployment(late).state, "rolledBack");
  assert.equal(world.app.live?.deployment, first);
  assert.match(isRule(world.cancel(first), "deployment-over").fix, /Roll back/);
});

test("cancelled while it waits: gone from the queue at once", () => {
  const { world, id } = begun();
  assert.equal(world.cancel(id), undefined);
  assert.equal(world.deployment(id).state, "cancelled");
  assert.equal(world.step("done"), false);
});

test("a newer one takes the place of what waits, and interrupts what has not begun to update routes", () => {
  const { world, first } = live();
  const running = asked(world);
  world.until(running, "BUILDING");
  const waiting = asked(world);
  assert.equal(world.deployment(running).state, "compensating");
  const newest = asked(world);
  assert.deepEqual([world.deployment(waiting).state, world.deployment(waiting).supersededBy], ["superseded", newest]);
  world.settle();
  assert.deepEqual([world.deployment(running).state, world.deployment(running).supersededBy], ["superseded", waiting]);
  assert.equal(world.app.live?.deployment, newest);
  assert.equal(world.app.previous?.deployment, first);

  const switching = asked(world);
  world.until(switching, "UPDATING_ROUTES");
  const after = asked(world);
  assert.equal(world.deployment(switching).state, "running", "it ends first");
  world.settle();
  assert.equal(world.deployment(switching).state, "succeeded");
  assert.equal(world.app.live?.deployment, after);
});

test("a rollback uses the release that there is, as it ran then", () => {
  const { world, first } = live();
  world.do({ do: "change", runtime: { env: { MODE: "new" } }, health: { path: "/new" } });
  world.do({ do: "scale", instances: 4 });
  world.settle();
  assert.deepEqual(world.app.settled, { wanted: "running", instances: 4 }, "scaled without a deployment");
  const second = asked(world);
  world.settle();
  assert.deepEqual(world.deployment(second).requested?.runtime?.env, { MODE: "new" });

  const back = asked(world, "rollback");
  const { requested, release, seq } = world.deployment(back);
  assert.deepEqual([release?.deployment, seq], [first, 3]);
  assert.deepEqual([requested?.runtime?.env, requested?.health.path, requested?.runtime?.instances], [{}, "/", 4]);
  world.step("done");
  const { PULLING_SOURCE, BUILDING } = world.deployment(back).phases;
  assert.deepEqual([PULLING_SOURCE?.adopted, PULLING_SOURCE?.attempt, BUILDING?.adopted], [true, 0, true]);
  const next = nextOfDeployment(world.deployment(back), world.now);
  assert.ok(next !== undefined && "do" in next && next.do.kind === "phase" && next.do.phase === "COPYING_FILES");
  world.settle();
  assert.equal(world.app.live?.commit, world.deployment(first).phases.PULLING_SOURCE?.output?.commit);
  assert.equal(world.app.live?.generation, 3, "routes never go back in number");

  const kept = isRule(world.ask("rollback", "dep_00000000000000000000000009"), "release-not-kept");
  assert.ok(kept.fix.includes(second));
});

test("what has been tidied away cannot be gone back to", () => {
  const { world, first } = live(SITE, { keepReleases: 2 });
  asked(world);
  world.settle();
  asked(world);
  world.settle();
  isRule(world.ask("rollback", first), "release-not-kept");
});

test("a restart runs the live release with today's variables", () => {
  const { world, first } = live();
  world.do({ do: "change", runtime: { env: { MODE: "new" } } });
  const id = asked(world, "restart");
  assert.equal(world.deployment(id).release?.deployment, first);
  assert.deepEqual(world.deployment(id).requested?.runtime?.env, { MODE: "new" });
  world.settle();
  assert.equal(world.app.live?.deployment, id);
  const never = new World();
  never.create(SHOP);
  isRule(never.ask("restart"), "nothing-live");
});

test("what cannot be undone is given up after twenty attempts, said aloud, and the rest goes on", () => {
  const { world } = live();
  const id = asked(world);
  world.until(id, "HEALTH_CHECK");
  world.step("permanent");
  while (world.deployment(id).compensations.RESTORE_ROUTES?.state !== "abandoned") world.step("transient");
  assert.equal(world.deployment(id).compensations.RESTORE_ROUTES?.attempt, 20);
  world.settle();
  const { state, compensations } = world.deployment(id);
  assert.equal(state, "failed");
  assert.equal(compensations.REMOVE_RELEASE?.state, "completed");
  assert.equal(world.app.problem?.code, "COMPENSATION_ABANDONED");
  assert.match(world.app.problem?.message ?? "", /RESTORE_ROUTES could not be done: it is broken/);
});

test("tidying up that fails changes no verdict", () => {
  const { world, id } = begun();
  world.until(id, "CLEANUP");
  world.step("permanent");
  assert.deepEqual([world.deployment(id).state, world.step("done")], ["succeeded", false]);
  assert.equal(world.deployment(id).phases.CLEANUP?.state, "failed");
});

test("it says that it waits, and why, until it goes on", () => {
  const { world, id } = begun();
  const reason = "No worker of the node local is there.";
  assert.equal(world.doTo(id, { do: "wait", reason }), undefined);
  const { updatedAt } = world.deployment(id);
  world.doTo(id, { do: "wait", reason });
  assert.equal(world.deployment(id).updatedAt, updatedAt, "said once");
  assert.deepEqual((represent(world.deployment(id)) as { status: { waiting: unknown } }).status.waiting, {
    reason,
    since: updatedAt,
  });
  world.settle();
  assert.equal(world.deployment(id).waiting, null);
  isRule(world.doTo(id, { do: "wait", reason }), "overtaken");
});

test("what the world says is cut to what an event may hold", () => {
  const { world, id } = begun();
  world.until(id, "BUILDING");
  const { worker, attempt } = world.deployment(id).phases.BUILDING!;
  const message = `\u0000\ud800${"long ".repeat(10_000)}`;
  const failed = {
    do: "failPhase",
    phase: "BUILDING",
    attempt,
    worker,
    class: "permanent",
    code: "not a code",
  } as const;
  assert.equal(world.doTo(id, { ...failed, message, fix: message }), undefined);
  const { failure } = world.deployment(id);
  assert.equal(failure?.code, "UNKNOWN");
  assert.ok(failure !== null && failure.message.length <= 2_000 && failure.message.isWellFormed());
  assert.ok(!failure.message.includes("\u0000"));
});

test("removing: what waits and what runs is cancelled, then everything is taken down, then names are free", () => {
  const { world } = live();
  const running = asked(world);
  world.until(running, "UPDATING_ROUTES");
  const waiting = asked(world);
  assert.equal(world.remove(), undefined);
  assert.deepEqual([world.deployment(waiting).state, world.deployment(running).state], ["cancelled", "compensating"]);
  assert.equal(nextOfApplication(world.app), undefined, "what runs ends first");
  isRule(world.do({ do: "start" }), "application-removing");
  assert.equal(world.remove(), undefined, "asked again it is so already");
  while (!(nextOfApplication(world.app) !== undefined)) world.step("done");
  assert.deepEqual(nextOfApplication(world.app), { do: { kind: "tearDown" } });
  world.settle();
  assert.equal(world.app.exists, false);
  assert.equal(world.do({ do: "start" })?.refused, "not-found");
  assert.equal(world.app.id, APP);
});

test("removing what no worker has ever taken needs none", () => {
  const { world, id } = begun();
  assert.equal(world.remove(), undefined);
  assert.deepEqual([world.app.exists, world.deployment(id).state], [false, "cancelled"]);
});

test("stopped and started, without a deployment", () => {
  const { world } = live();
  assert.equal(world.do({ do: "stop" }), undefined);
  assert.deepEqual(nextOfApplication(world.app), { do: { kind: "settle", wanted: "stopped", instances: 0 } });
  world.settle();
  assert.deepEqual(world.app.settled, { wanted: "stopped", instances: 0 });
  isRule(world.ask("manual"), "application-stopped");
  world.do({ do: "start" });
  world.settle();
  assert.deepEqual(world.app.settled, { wanted: "running", instances: 2 });
});

test.run();
