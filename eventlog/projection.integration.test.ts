/** Projections: what is in the tables equals a fresh fold of the log, whatever happens meanwhile. */
import type { Kind } from "@millrace/domain/kind.ts";
import type { View } from "@millrace/domain/view.ts";
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
import { requestRebuild, retire, waitForProjected } from "./projection-checkpoint.ts";

const test = suite("projections", { timeoutMs: 120_000 });

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
  assert.is(
    await waitForProjected(of.postgres, "ledger", ["accounts"], 0, 1).catch((error) => error.because),
    "missing",
  );
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
    const [first, second] = await Promise.all([
      requestRebuild(of.postgres, "accounts"),
      requestRebuild(of.postgres, "accounts"),
    ]);
    assert.is(first[0]!.build, expected);
    assert.is(second[0]!.build, expected);
    assert.equal([first[0]!.asked, second[0]!.asked].sort(), ["before", "now"]);
    await write(of, 50, 4 + expected);
    await eventually("the new build is shown", async () => (await shownOf(of, "accounts"))?.build === expected);
    await caughtUp(of);
    await assertExact(of);
  }
  await eventually("old tables are gone", async () => {
    const tables = await of.postgres.query(
      "SELECT FROM pg_tables WHERE schemaname = 'projection' AND tablename LIKE 'accounts%'",
    );
    return tables.length === 1;
  });
  assert.equal(await requestRebuild(of.postgres, "unknown"), []);
});

test("two rebuilders at once: one folds, both end with the same table", async (t) => {
  const of = await world(t);
  await write(of, 300, 5);
  projector(t, of, { batchMost: 20 });
  projector(t, of, { batchMost: 20 });
  await caughtUp(of);
  await Promise.all([1, 2, 3].map(() => requestRebuild(of.postgres, "accounts")));
  await requestRebuild(of.postgres, "history");
  await eventually("the new builds are shown", async () => {
    const [a, b] = [await shownOf(of, "accounts"), await shownOf(of, "history")];
    return a?.build === 2 && b?.build === 2;
  });
  await caughtUp(of);
  await assertExact(of);
});

test("a rebuild that was interrupted goes on from its own checkpoint", async (t) => {
  const of = await world(t);
  await write(of, 400, 6);
  const first = projector(t, of);
  await caughtUp(of);
  await first.stop();
  await requestRebuild(of.postgres, "accounts");
  const slow: View = {
    ...accounts,
    columns: { ...accounts.columns, owner: { ...accounts.columns.owner!, value: slowly } },
  };
  const interrupted = projector(t, of, { views: [slow], batchMost: 10 });
  const building = async () => (await checkpoints(of)).find((row) => row.name === "accounts" && !row.shown);
  await eventually("half of it is done", async () => ((await building())?.seq ?? 0) > 100);
  await interrupted.stop();
  const at = await building();
  assert.ok(at !== undefined && at.seq > 100 && at.seq < (await of.log.head("ledger")), "in the middle");
  assert.is((await shownOf(of, "accounts"))!.build, 1, "readers still see the old one");

  const folded: number[] = [];
  const told: View = {
    ...accounts,
    columns: { ...accounts.columns, owner: { ...accounts.columns.owner!, value: told1 } },
  };
  function told1(state: { owner: string }): string {
    folded.push(1);
    return state.owner;
  }
  projector(t, of, { views: [told] });
  await eventually("it is shown", async () => (await shownOf(of, "accounts"))?.build === 2);
  assert.ok(folded.length <= 400 - at.seq + 50, `${folded.length} folds after ${at.seq} were done`);
  await assertExact(of);
});

/** Twenty to thirty events in a tenth of a second. */
function slowly(state: { owner: string }): string {
  const until = performance.now() + 4;
  while (performance.now() < until);
  return state.owner;
}

test("two projectors on one log are exact; the other takes over when one ends or freezes", async (t) => {
  const of = await world(t);
  const projectors = [projector(t, of), projector(t, of)];
  await write(of, 200, 7);
  await caughtUp(of);
  await assertExact(of);
  const working = projectors.find((one) => one.status().some(({ state }) => state === "following"))!;
  await working.stop();
  await write(of, 100, 8);
  await caughtUp(of);
  await assertExact(of);
});

test("who lost the checkpoint drops its work", async (t) => {
  const of = await world(t);
  await write(of, 100, 9);
  projector(t, of, { batchMost: 5 });
  projector(t, of, { batchMost: 5 });
  const epochs = async () => (await checkpoints(of)).map(({ epoch }) => epoch);
  await eventually(
    "the lease of each has changed hands under load",
    async () => {
      // As if whoever holds it were frozen: the other takes it and both write.
      await of.postgres.run("UPDATE millrace.projection SET owner_until = '-infinity'");
      await write(of, 20, Math.random() * 1e9);
      return Math.min(...(await epochs())) > 6;
    },
    40_000,
  );
  await caughtUp(of);
  await assertExact(of);
});

test("a build that another has replaced is given up in silence, its table being gone already", async (t) => {
  const of = await world(t);
  const failures: unknown[] = [];
  const log = { info: () => {}, warn: () => {}, error: (...said: unknown[]) => void failures.push(said) };
  projector(t, of, { lookMs: 2_000, log });
  await write(of, 50, 3);
  await caughtUp(of);
  // What another projector does, between two looks of this one.
  for (const { name, context, build, table } of (await checkpoints(of)).filter(({ shown }) => shown)) {
    await of.postgres.transaction(async (tx) => {
      await retire(tx, { name, context }, build);
      await tx.run(`DROP TABLE projection."${table}" CASCADE`);
    });
  }
  // Of those that it does not know yet, it asks PostgreSQL first.
  await write(of, 20, 4, 4_000);
  await caughtUp(of);
  await assertExact(of);
  assert.equal(failures, []);
});

test("a newer version is built beside and switched: readers see the old or the new, whole", async (t) => {
  const of = await world(t);
  await write(of, 300, 11);
  const old = projector(t, of);
  await caughtUp(of);
  const count = (await of.postgres.query("SELECT FROM v.accounts")).length;
  await old.stop();

  const upgraded: View = {
    ...accounts,
    version: 2,
    columns: { owner: accounts.columns.owner!, moves: { type: "bigint", value: (state) => state.moves, sort: true } },
  };
  const seen = new Map<string, number>();
  const stop = new AbortController();
  const reading = Promise.all(
    [1, 2, 3, 4].map(async () => {
      while (!stop.signal.aborted) {
        const rows = await of.postgres.query("SELECT * FROM v.accounts");
        const shape = `${rows.length} with ${Object.keys(rows[0] ?? {}).includes("moves") ? "moves" : "balance"}`;
        seen.set(shape, (seen.get(shape) ?? 0) + 1);
      }
    }),
  );
  projector(t, of, { views: [upgraded], batchMost: 20 });
  await eventually("version 2 is shown", async () => (await shownOf(of, "accounts"))?.version === 2);
  await new Promise((resolve) => setTimeout(resolve, 100));
  stop.abort();
  await reading;
  assert.equal([...seen.keys()].sort(), [`${count} with balance`, `${count} with moves`]);
  const rows = await of.postgres.query<{ state: { moves: number }; moves: number }>(
    "SELECT state, moves FROM v.accounts",
  );
  for (const row of rows) assert.is(row.moves, row.state.moves);
});

test("an older release leaves a newer one alone, and takes over when the upgrade was taken back", async (t) => {
  const of = await world(t);
  await write(of, 100, 12);
  const newer: View = { ...accounts, version: 2 };
  const upgraded = projector(t, of, { views: [newer], takeoverMs: 1_500 });
  await caughtUp(of);
  const old = projector(t, of, { takeoverMs: 1_500 });
  await write(of, 50, 13);
  await caughtUp(of);
  assert.is((await shownOf(of, "accounts"))!.version, 2);
  assert.equal(
    old.status().filter(({ name }) => name === "accounts"),
    [],
  );
  await upgraded.stop();
  await eventually("version 1 is shown again", async () => (await shownOf(of, "accounts"))?.version === 1);
  await caughtUp(of);
  await assertExact(of);
  projector(t, of, { views: [newer], takeoverMs: 1_500 });
  await eventually("and version 2 after the next upgrade", async () => (await shownOf(of, "accounts"))?.version === 2);
});

test("a view that no release knows any more goes", async (t) => {
  const of = await world(t);
  await write(of, 20, 14);
  const first = projector(t, of, { views: [accounts, { ...accounts, name: "forgotten" }], takeoverMs: 500 });
  await caughtUp(of, ["accounts", "forgotten"]);
  await first.stop();
  projector(t, of, { takeoverMs: 500 });
  await eventually("its row is gone", async () => (await checkpoints(of)).every(({ name }) => name !== "forgotten"));
  assert.is(await of.postgres.query("SELECT FROM v.forgotten").catch((error) => error.because), "missing");
});

test("a reader that waits for what it wrote reads it: many writers, no hole", async (t) => {
  const of = await world(t);
  projector(t, of);
  await eventually("shown", async () => (await shownOf(of, "accounts")) && (await shownOf(of, "history")));
  let reads = 0;
  const writers = Array.from({ length: 8 }, async (_, n) => {
    for (let i = 0; i < 25; i++) {
      const id = `acc_w${n}_${i}`;
      const seq = await perform(of.log, id, { type: "Open", owner: `o${n}` });
      assert.is(await waitForProjected(of.postgres, "ledger", [], seq, 10_000), "there");
      // Everything up to the position is there, whoever wrote it.
      const [row] = await of.postgres.query<{ n: number }>(
        "SELECT count(DISTINCT seq)::int AS n FROM v.history WHERE seq <= $1",
        [seq],
      );
      assert.is(row!.n, seq);
      assert.is((await of.postgres.query("SELECT FROM v.accounts WHERE id = $1", [id])).length, 1);
      reads++;
    }
  });
  await Promise.all(writers);
  assert.is(reads, 200);
  await assertExact(of);
});

test("an event of a later release stops the projection before it; an upgrade goes on", async (t) => {
  const of = await world(t);
  await perform(of.log, "acc_1", { type: "Open", owner: "a" });
  await perform(of.log, "acc_1", { type: "Move", amount: 5 });
  const first = projector(t, of);
  await caughtUp(of);
  const unknown = await appendRaw(of.log, "acc_1", [{ type: "Moved", v: 2, data: { cents: 700 } }]);
  await perform(of.log, "acc_2", { type: "Open", owner: "b" });
  await eventually("both stand still", async () => {
    const rows = await checkpoints(of);
    return rows.every(({ state, seq }) => state === "stopped" && seq === unknown - 1);
  });
  const [row] = await checkpoints(of);
  assert.match(row!.stoppedReason!, /does not know ledger\.account Moved version 2 at 3: upgrade it/);
  assert.ok(first.status().every(({ state }) => state === "stopped"));
  assert.is((await of.postgres.query("SELECT FROM v.accounts")).length, 1, "nothing after it is folded");

  const moved = account.events.Moved!;
  const next: Kind = {
    ...account,
    events: {
      ...account.events,
      Moved: {
        ...moved,
        version: 2,
        upcasts: { 1: ({ amount }) => ({ cents: amount * 100 }) },
        sentence: ({ cents }) => `moved ${cents} cents`,
      },
    },
    decider: {
      ...account.decider,
      evolve: (state, event, meta) =>
        event.type === "Moved"
          ? { ...state, balance: state.balance + event.data.cents / 100 }
          : account.decider.evolve(state, event, meta),
    },
  };
  // The newer release runs beside the older one, which does not get in its way.
  const second = projector(t, of, {
    views: [{ ...accounts, kind: next }],
    contexts: [{ name: "ledger", kinds: { account: next } }],
  });
  await caughtUp(of);
  const balances = await of.postgres.query("SELECT id, balance FROM v.accounts ORDER BY id");
  assert.equal(balances, [
    { id: "acc_1", balance: 12 },
    { id: "acc_2", balance: 0 },
  ]);
  const said = await of.postgres.query<{ sentence: string }>(
    "SELECT sentence FROM v.history WHERE id = 'acc_1' ORDER BY seq",
  );
  assert.equal(
    said.map(({ sentence }) => sentence),
    ["opened it for a", "moved 5", "moved 700 cents"],
  );
  assert.ok((await checkpoints(of)).every(({ state, stoppedReason }) => state === "active" && stoppedReason === null));
  await first.stop();
  await second.stop();
});

test("a checkpoint beyond the log's end stands still until a rebuild is asked for", async (t) => {
  const of = await world(t);
  await write(of, 50, 15);
  const first = projector(t, of);
  await caughtUp(of);
  await first.stop();
  await of.postgres.run("UPDATE millrace.projection SET seq = 100000");
  projector(t, of);
  await eventually("it says why", async () =>
    /older log restored/.test((await shownOf(of, "accounts"))?.stoppedReason ?? ""),
  );
  await requestRebuild(of.postgres, "accounts");
  await requestRebuild(of.postgres, "history");
  await eventually("the rebuild is shown", async () => (await shownOf(of, "accounts"))?.build === 2);
  await eventually("the rebuild is shown", async () => (await shownOf(of, "history"))?.build === 2);
  // With a checkpoint beyond the end there is nothing that it would have to pass first: it may have a little left.
  await caughtUp(of);
  await assertExact(of);
});

test("a log that was restored and has grown past the checkpoint is folded anew", async (t) => {
  const of = await world(t);
  await write(of, 50, 15);
  const first = projector(t, of);
  await caughtUp(of);
  await first.stop();
  const [checkpoint] = await of.postgres.query<{ mark: string }>("SELECT mark FROM millrace.projection LIMIT 1");
  assert.match(checkpoint!.mark, /^\d+@\d{19}$/);
  // As it would be had another log been folded: the same sequence, another time, other rows.
  await of.postgres.run("UPDATE millrace.projection SET mark = regexp_replace(mark, '@.*', '@1700000000000000000')");
  await write(of, 20, 15);
  projector(t, of);
  for (const name of ["accounts", "history"])
    await eventually("it is built anew", async () => (await shownOf(of, name))?.build === 2);
  await caughtUp(of);
  await assertExact(of);
});

test("the search finds by words and by the beginning of the last, and forgets what is gone", async (t) => {
  const of = await world(t);
  projector(t, of);
  await perform(of.log, "acc_1", { type: "Open", owner: "kitchen-lamp upstairs" });
  await perform(of.log, "acc_2", { type: "Open", owner: "Küche, Licht" });
  await perform(of.log, "acc_1", { type: "Label", label: "zigbee" });
  await caughtUp(of);
  const find = async (typed: string) =>
    (
      await of.postgres.query<{ id: string }>(
        "SELECT id FROM v.search WHERE document @@ millrace.search_query($1) ORDER BY id",
        [typed],
      )
    ).map(({ id }) => id);
  for (const typed of ["kitchen", "kit", "kitchen-la", "LAMP", "lamp kitch", '"kitchen lamp"', "zig", "lamp -kü"]) {
    assert.equal(await find(typed), ["acc_1"], typed);
  }
  assert.equal(await find("küc"), ["acc_2"]);
  assert.equal(await find("lamp or licht"), ["acc_1", "acc_2"]);
  for (const typed of [
    "itchen",
    "kitchen -lamp",
    "",
    "   ",
    "-",
    '"',
    "' & | ! ( ) : * <->",
    "a:*b\\",
    '-"kitchen lamp',
    "kitchen (",
  ]) {
    await find(typed);
  }
  assert.equal(await find("itchen"), []);
  assert.equal(await find("kitchen -lamp"), []);
  assert.equal(await find(""), []);
  const [row] = await of.postgres.query(
    "SELECT context, kind, organisation, title, text FROM v.search WHERE id = 'acc_1'",
  );
  assert.equal(row, {
    context: "ledger",
    kind: "account",
    organisation: "org_test",
    title: "kitchen-lamp upstairs",
    text: "zigbee",
  });
  await perform(of.log, "acc_1", { type: "Close" });
  await caughtUp(of);
  assert.equal(await find("kitchen"), []);
});

test.run();
