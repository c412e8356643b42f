/** A projector killed at every place where it could be half done: whoever comes next makes it whole. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { perform, randomFrom, someCommand } from "./fixtures/ledger.ts";
import {
  assertExact,
  caughtUp,
  checkpoints,
  eventually,
  openWorld,
  shownOf,
  type World,
} from "./fixtures/projecting.ts";
import type { ProcessSettings } from "./fixtures/projector-process.ts";
import { requestRebuild } from "./projection-checkpoint.ts";

const test = suite("projectors that are killed", { timeoutMs: 180_000 });
const PROCESS = fileURLToPath(new URL("fixtures/projector-process.ts", import.meta.url));

async function world({ defer }: TestContext): Promise<World> {
  const opened = await openWorld();
  defer(() => opened.close());
  return opened;
}

/** Starts one; ends it with the test at the latest. */
function start(
  { defer }: TestContext,
  of: World,
  options: { dieAt?: string; batchMost?: number; unfoldable?: number } = {},
) {
  const { dieAt, batchMost = 20, ...rest } = options;
  const settings: ProcessSettings = { nats: of.nats, postgresUrl: of.postgresUrl, batchMost, ...rest };
  const child = spawn(process.execPath, [PROCESS, JSON.stringify(settings)], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }) },
  });
  const ended = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  defer(kill);
  return { child, ended, kill };
}

const died = async ({ child, ended }: { child: ChildProcess; ended: Promise<unknown> }): Promise<void> => {
  await Promise.race([
    ended,
    new Promise((_, reject) => setTimeout(() => reject(new Error("it did not die there")), 60_000).unref()),
  ]);
  assert.is(child.signalCode, "SIGKILL");
};

async function write(of: World, count: number, seed: number): Promise<void> {
  const random = randomFrom(seed);
  for (let i = 0; i < count; i++) await perform(of.log, `acc_${Math.floor(random() * 15)}`, someCommand(random));
}

const BATCH = ["projection-before-transaction", "projection-after-checkpoint", "projection-after-commit"];
const SWITCH = ["projection-before-switch", "projection-in-switch", "projection-after-switch"];

test("around a batch's transaction, one after the other, at rest and while more is written", async (t) => {
  const of = await world(t);
  await write(of, 150, 0);
  // So many at once that what is there takes each of them several batches.
  for (const place of BATCH) await died(start(t, of, { dieAt: `${place}:3`, batchMost: 4 }));
  for (const [i, place] of BATCH.entries()) {
    const dead = died(start(t, of, { dieAt: `${place}:10` }));
    const stop = new AbortController();
    const writing = (async () => {
      for (let n = 0; !stop.signal.aborted; n++) await write(of, 3, i * 1_000 + n);
    })();
    await dead.finally(() => stop.abort());
    await writing;
  }
  start(t, of);
  await caughtUp(of);
  await assertExact(of);
});

test("around the switch to a rebuilt projection, one after the other", async (t) => {
  const of = await world(t);
  await write(of, 100, 20);
  const first = start(t, of);
  await caughtUp(of);
  await first.kill();
  const count = (await of.postgres.query("SELECT FROM v.accounts")).length;
  await requestRebuild(of.postgres, "accounts");
  for (const place of SWITCH) {
    await died(start(t, of, { dieAt: `${place}:1` }));
    assert.is((await of.postgres.query("SELECT FROM v.accounts")).length, count, "readers see one build, whole");
    assert.is((await shownOf(of, "accounts"))!.build, place === "projection-after-switch" ? 2 : 1, place);
  }
  start(t, of);
  await write(of, 20, 30);
  await eventually("only the new build is there", async () => {
    const builds = (await checkpoints(of)).filter(({ name }) => name === "accounts");
    return builds.length === 1 && builds[0]!.build === 2 && builds[0]!.shown;
  });
  await caughtUp(of);
  await assertExact(of);
});

test("between the pointer of a dead letter and its checkpoint", async (t) => {
  const of = await world(t);
  await perform(of.log, "acc_1", { type: "Open", owner: "a" });
  await perform(of.log, "acc_1", { type: "Move", amount: 13 });
  await perform(of.log, "acc_2", { type: "Open", owner: "b" });
  await died(start(t, of, { dieAt: "projection-after-checkpoint:1", unfoldable: 13 }));
  await died(start(t, of, { dieAt: "projection-after-checkpoint:1", unfoldable: 13 }));
  start(t, of, { unfoldable: 13 });
  await caughtUp(of);
  const letters = await of.deadLetters.list();
  assert.equal(
    letters.map(({ aggregate, attempts }) => [aggregate, attempts]),
    [["acc_1", 1]],
  );
  await assertExact(of, ["acc_1"]);
});

test("frozen for longer than its lease, then awake again beside its successor", async (t) => {
  const of = await world(t);
  const projectors = [start(t, of), start(t, of)];
  await caughtUp(of);
  for (const [round, frozen] of projectors.entries()) {
    // Whichever holds the leases: both are frozen in turn.
    frozen.child.kill("SIGSTOP");
    await write(of, 30, 60 + round);
    await caughtUp(of);
    frozen.child.kill("SIGCONT");
    await write(of, 30, 70 + round);
  }
  await caughtUp(of);
  await assertExact(of);
});

test("at random moments, two at once, under load", async (t) => {
  const of = await world(t);
  const random = randomFrom(99);
  let projectors = [start(t, of), start(t, of)];
  await caughtUp(of);
  for (let round = 0; round < 4; round++) {
    await write(of, 60, 40 + round);
    if (round === 2) await requestRebuild(of.postgres, "accounts");
    const victim = random() < 0.5 ? 0 : 1;
    await projectors[victim]!.kill();
    projectors = projectors.map((one, i) => (i === victim ? start(t, of) : one));
  }
  await caughtUp(of);
  await assertExact(of);
});

for (const place of ["deadletters.park.before", "deadletters.park.after"]) {
  test(`at ${place}: the aggregate is set aside once, and its pointer stands`, async (t) => {
    const of = await world(t);
    await perform(of.log, "acc_bad", { type: "Open", owner: "ada" });
    await perform(of.log, "acc_bad", { type: "Move", amount: 13 });
    await died(start(t, of, { unfoldable: 13, dieAt: place }));
    start(t, of, { unfoldable: 13 });
    await caughtUp(of);
    await eventually("its pointer stands", async () => (await of.deadLetters.list()).length === 1);
    const rows = await of.postgres.query<{ aggregate: string }>("SELECT aggregate FROM millrace.parked");
    assert.equal(rows, [{ aggregate: "acc_bad" }]);
  });
}

test.run();
