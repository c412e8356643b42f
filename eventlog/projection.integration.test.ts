/** Projections: what is in the tables equals a fresh fold of the log, whatever happens meanwhile. */
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { account, accounts, appendRaw, perform, randomFrom, someCommand } from "./fixtures/ledger.ts";
import {
  assertExact,
  caughtUp,
  checkpoints,
  eventually,
  openWorld,
  type ProjectorOptions,
  shownOf,
  startProjector,
  type World,
} from "./fixtures/projecting.ts";
import { type Checkpoint, requestRebuild, waitForProjected } from "./projection-checkpoint.ts";

const test = suite("projections");

async function world({ defer }: TestContext): Promise<World> {
  const opened = await openWorld();
  defer(() => opened.close());
  return opened;
}

function projector({ defer }: TestContext, of: World, options?: ProjectorOptions) {
  const started = startProjector(of, options);
  defer(() => started.stop());
  return started;
}

/** Random commands on a few accounts, many at once. */
async function write(of: World, count: number, seed: number, ids = 40): Promise<void> {
  const random = randomFrom(seed);
  for (let done = 0; done < count; ) {
    const batch = Array.from({ length: Math.min(32, count - done) }, () =>
      perform(of.log, `acc_${Math.floor(random() * ids)}`, someCommand(random)),
    );
    done += batch.length;
    await Promise.all(batch);
  }
}

test("rows equal a fresh fold of the log, live and caught up", async (t) => {
  const of = await world(t);
  await write(of, 300, 1);
  projector(t, of, { batchMost: 37 });
  await write(of, 300, 2);
  await caughtUp(of);
  await assertExact(of);
  const hidden = await of.postgres.query("SELECT FROM projection.accounts_v1_b1 WHERE gone");
  assert.ok(hidden.length > 0, "closed accounts keep their state");
});

test("an empty log is shown as an empty view at once", async (t) => {
  const of = await world(t);
  assert.is(await waitForProjected(of.postgres, "ledger", ["accounts"], 0, 1).catch((error) => error.because), "missing");
  projector(t, of);
  await eventually("shown", () => shownOf(of, "accounts"));
  assert.equal(await of.postgres.query("SELECT * FROM v.accounts"), []);
  const seq = await perform(of.log, "acc_1", { type: "Open", owner: "a" });
  assert.is(await waitForProjected(of.postgres, "ledger", ["accounts"], seq, 5_000), "there");
  assert.is(await waitForProjected(of.postgres, "ledger", ["accounts"], seq + 1, 50), "behind");
  assert.is(await waitForProjected(of.postgres, "ledger", ["nothing"], seq, 50), "not-shown");
  await assertExact(of);
});

test("a rebuild runs beside, is switched, twice in a row, and a second request joins the first", async (t) => {
  const of = await world(t);
  await write(of, 200, 3);
  projector(t, of);
  await caughtUp(of);
  for (const expected of [2, 3]) {
    const [first, second] = await Promise.all([requestRebuild(of.postgres, "accounts"), requestRebuild(of.postgres, "accounts")]);
    assert.is(first[0]!.build, expected);
    assert.is(second[0]!.build, expected);
    assert.equal([first[0]!.asked, second[0]!.asked].sort(), ["before", "now"]);
    await write(of, 50, 4 + expected);
    await eventually("the new build is shown", async () => (await shownOf(of, "accounts"))?.build === expected);
    await caughtUp(of);
    await assertExact(of);
  }
  await eventually("old tables are gone", async () => {
    const tables = await of.postgres.query("SELECT FROM pg_tables WHERE schemaname = 'projection' AND tablename LIKE 'accounts%'");
    return tables.length === 1;
  });
  assert.equal(await requestRebuild(of.postgres, "unknown"), []);
});

test.run();
