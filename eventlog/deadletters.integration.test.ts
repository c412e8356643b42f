/** Dead letters of projections: one aggregate is set aside, all others go on, and it comes back when it can be folded. */
import type { Kind } from "@millrace/domain/kind.ts";
import type { View } from "@millrace/domain/view.ts";
import * as assert from "uvu/assert";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { deadLetterId } from "./deadletters.ts";
import { account, accounts, appendRaw, perform } from "./fixtures/ledger.ts";
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
import { requestRebuild } from "./projection-checkpoint.ts";

const test = suite("dead letters", { timeoutMs: 120_000 });

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

/** The rules of a release with a defect: an amount of 13 cannot be folded. */
const superstitious: Kind = {
  ...account,
  decider: {
    ...account.decider,
    evolve: (state, event, meta) => {
      if (event.type === "Moved" && event.data.amount === 13) throw new RangeError("13 brings\nbad luck");
      return account.decider.evolve(state, event, meta);
    },
  },
};
const defect: ProjectorOptions = { views: [{ ...accounts, kind: superstitious }] };

/** acc_bad is at 5 when 13 comes, and goes on after it; acc_good knows nothing of that. */
async function poisoned(of: World): Promise<number> {
  for (const id of ["acc_bad", "acc_good"]) await perform(of.log, id, { type: "Open", owner: id });
  await perform(of.log, "acc_bad", { type: "Move", amount: 5 });
  const seq = await perform(of.log, "acc_bad", { type: "Move", amount: 13 });
  await perform(of.log, "acc_bad", { type: "Move", amount: 100 });
  await perform(of.log, "acc_good", { type: "Move", amount: 1 });
  return seq;
}

const balances = async (of: World) =>
  Object.fromEntries(
    (await of.postgres.query<{ id: string; balance: number }>("SELECT id, balance FROM v.accounts ORDER BY id")).map(
      ({ id, balance }) => [id, balance],
    ),
  );

const LETTER = deadLetterId({
  consumer: "projection:accounts",
  context: "ledger",
  kind: "account",
  aggregate: "acc_bad",
});

test("an event that cannot be folded sets its aggregate aside, as a pointer; a corrected release takes it back", async (t) => {
  const of = await world(t);
  const first = projector(t, of, defect);
  const seq = await poisoned(of);
  await caughtUp(of);
  assert.equal(await balances(of), { acc_bad: 5, acc_good: 1 }, "as of before; the other goes on");
  await assertExact(of, ["acc_bad"]);
  const [letter, ...more] = await of.deadLetters.list();
  assert.equal(more, []);
  const { at, ...rest } = letter!;
  assert.ok(Math.abs(Date.now() - Date.parse(at)) < 60_000);
  assert.equal(rest, {
    id: LETTER,
    stream: "EVT_LEDGER",
    seq,
    consumer: "projection:accounts",
    context: "ledger",
    kind: "account",
    aggregate: "acc_bad",
    organisation: "org_test",
    cause: "RangeError: 13 brings bad luck",
    attempts: 1,
  });
  const history = await of.postgres.query("SELECT FROM v.history WHERE id = 'acc_bad'");
  assert.is(history.length, 4, "another projection is not concerned");
  await perform(of.log, "acc_bad", { type: "Move", amount: 1 });
  await caughtUp(of);
  const [parked] = await of.postgres.query("SELECT aggregate, seq, skipped, last_seq FROM millrace.parked");
  assert.equal(parked, { aggregate: "acc_bad", seq, skipped: 2, last_seq: seq + 3 });

  const again = await of.deadLetters.retry(LETTER, "token:a");
  assert.is(again.outcome, "failed");
  assert.is("letter" in again && again.letter.attempts, 2);
  assert.is(first.status().find(({ name }) => name === "accounts")!.parked, 1);
  await first.stop();

  projector(t, of);
  await caughtUp(of);
  await eventually("it follows", async () => (await shownOf(of, "accounts"))?.owner !== null);
  assert.equal(await balances(of), { acc_bad: 5, acc_good: 1 }, "set aside until somebody says so");
  assert.equal(await of.deadLetters.retry(LETTER, "token:a"), { outcome: "recovered" });
  assert.equal(await balances(of), { acc_bad: 119, acc_good: 1 });
  await perform(of.log, "acc_bad", { type: "Move", amount: 1 });
  await caughtUp(of);
  await assertExact(of);
  assert.equal(await of.deadLetters.list(), []);
  assert.equal(await of.deadLetters.asks(), []);
  assert.equal(await of.postgres.query("SELECT FROM millrace.parked"), []);
  assert.equal(await of.deadLetters.retry(LETTER, "token:a"), { outcome: "not-found" });
});

test("dropped: the row goes, who and why stay known, later events are left out, a rebuild keeps to it", async (t) => {
  const of = await world(t);
  projector(t, of, defect);
  const seq = await poisoned(of);
  await caughtUp(of);
  assert.equal(await of.deadLetters.drop(LETTER, "token:a", "a test account"), { outcome: "dropped" });
  assert.equal(await balances(of), { acc_good: 1 });
  assert.equal(await of.deadLetters.list(), []);
  const dropped = await of.deadLetters.whyDropped(LETTER);
  assert.equal([dropped?.by, dropped?.why, dropped?.seq], ["token:a", "a test account", seq]);
  await perform(of.log, "acc_bad", { type: "Move", amount: 1 });
  await caughtUp(of);
  assert.equal(await balances(of), { acc_good: 1 });
  await requestRebuild(of.postgres, "accounts");
  await eventually("rebuilt", async () => (await shownOf(of, "accounts"))?.build === 2);
  await caughtUp(of);
  assert.equal(await of.deadLetters.list(), []);
  assert.equal(await balances(of), { acc_bad: 5, acc_good: 1 }, "what could be folded, as in every build");
});

test("asked while no projector is there: it stands in the log and is done when one is back", async (t) => {
  const of = await world(t);
  const first = projector(t, of, defect);
  await poisoned(of);
  await caughtUp(of);
  await first.stop();
  const answer = await of.deadLetters.retry(LETTER, "token:a", 200);
  assert.is(answer.outcome, "accepted");
  projector(t, of);
  await eventually("taken back", async () => (await of.deadLetters.get(LETTER)) === undefined);
  await caughtUp(of);
  await assertExact(of);
});

test("a corrected release that builds anew needs no retry: the pointer goes with the old build", async (t) => {
  const of = await world(t);
  const first = projector(t, of, defect);
  await poisoned(of);
  await caughtUp(of);
  assert.is((await of.deadLetters.list()).length, 1);
  await first.stop();
  projector(t, of, { views: [{ ...accounts, version: 2 }] });
  await eventually("switched", async () => (await shownOf(of, "accounts"))?.version === 2);
  await eventually("no pointer", async () => (await of.deadLetters.list()).length === 0);
  await assertExact(of);
});

test("a rebuild that lacks what is shown is held back until that is settled", async (t) => {
  const of = await world(t);
  const first = projector(t, of);
  await poisoned(of);
  await caughtUp(of);
  await first.stop();
  const second = projector(t, of, defect);
  await requestRebuild(of.postgres, "accounts");
  const building = async () => (await checkpoints(of)).find(({ name, shown }) => name === "accounts" && !shown);
  await eventually("held back", async () => /held back: 1 aggregates/.test((await building())?.stoppedReason ?? ""));
  assert.is((await shownOf(of, "accounts"))!.build, 1);
  assert.equal(await balances(of), { acc_bad: 118, acc_good: 1 }, "the shown one has it");
  await second.stop();
  projector(t, of);
  await eventually(
    "the corrected release folds it and shows the new build",
    async () => (await shownOf(of, "accounts"))?.build === 2,
  );
  await caughtUp(of);
  await assertExact(of);
  await eventually("no pointer", async () => (await of.deadLetters.list()).length === 0);
});

test("what PostgreSQL cannot store is set aside like what cannot be folded, and nothing else is", async (t) => {
  const of = await world(t);
  // Everything in one batch: the one bad row must be found among the others.
  for (let i = 0; i < 60; i++) await perform(of.log, `acc_${i}`, { type: "Open", owner: `o${i}` });
  await perform(of.log, "acc_17", { type: "Label", label: "before" });
  await perform(of.log, "acc_17", { type: "Label", label: "a\0b" });
  await perform(of.log, "acc_18", { type: "Label", label: "\ud800" });
  await perform(of.log, "acc_19", { type: "Label", label: "after" });
  projector(t, of);
  await caughtUp(of);
  const letters = await of.deadLetters.list({ consumer: "projection:accounts" });
  assert.equal(letters.map(({ aggregate }) => aggregate).sort(), ["acc_17", "acc_18"]);
  assert.match(letters[0]!.cause, /StatementRefused: .*\(22P0[25]\)/);
  const told = await of.deadLetters.list({ consumer: "projection:history" });
  assert.equal(told.map(({ aggregate }) => aggregate).sort(), ["acc_17", "acc_18"]);
  await assertExact(of, ["acc_17", "acc_18"]);
  for (const { id } of letters) assert.is((await of.deadLetters.retry(id, "a")).outcome, "failed");
  await perform(of.log, "acc_20", { type: "Label", label: "later" });
  await caughtUp(of);
  await assertExact(of, ["acc_17", "acc_18"]);
});

test("too many at once are a defect of the release: the projection stops and nothing is lost", async (t) => {
  const of = await world(t);
  for (let i = 0; i < 30; i++) {
    await perform(of.log, `acc_${i}`, { type: "Open", owner: "o" });
    await perform(of.log, `acc_${i}`, { type: "Move", amount: 13 });
  }
  const first = projector(t, of, { ...defect, parkedMost: 10 });
  await eventually("it stands still", async () => {
    const row = (await checkpoints(of)).find(({ name }) => name === "accounts");
    return (
      row?.state === "stopped" &&
      /more than 10 aggregates .*13 brings bad luck.*correct this release/.test(row.stoppedReason ?? "")
    );
  });
  assert.is(await shownOf(of, "accounts"), undefined);
  await first.stop();
  projector(t, of);
  await caughtUp(of);
  await assertExact(of);
});

test("columns, search and sentences that throw are dead letters too", async (t) => {
  const of = await world(t);
  for (const id of ["acc_1", "acc_2", "acc_3"]) await perform(of.log, id, { type: "Open", owner: id });
  const refuse = (text: string) => {
    throw new Error(`no ${text}`);
  };
  const view: View = {
    ...accounts,
    columns: {
      ...accounts.columns,
      owner: { ...accounts.columns.owner!, value: ({ owner }) => (owner === "acc_1" ? refuse("column") : owner) },
    },
    search: ({ owner }) => ({ title: owner === "acc_2" ? refuse("search") : owner, text: "" }),
  };
  const opened = {
    ...account.events.Opened!,
    sentence: ({ owner }: { owner: string }) => (owner === "acc_3" ? refuse("sentence") : ""),
  };
  projector(t, of, {
    views: [view],
    contexts: [{ name: "ledger", kinds: { account: { ...account, events: { ...account.events, Opened: opened } } } }],
  });
  await caughtUp(of);
  const letters = await of.deadLetters.list();
  const told = letters.map(({ consumer, aggregate, cause }) => `${consumer} ${aggregate} ${cause}`).sort();
  assert.equal(told, [
    "projection:accounts acc_1 Error: no column",
    "projection:accounts acc_2 Error: no search",
    "projection:history acc_3 Error: no sentence",
  ]);
});

test("pointers and rows come together again: a lost bucket is filled from the rows", async (t) => {
  const of = await world(t);
  const first = projector(t, of, defect);
  await poisoned(of);
  await caughtUp(of);
  await first.stop();
  await of.log.nats.jsm.streams.delete("KV_DEAD_LETTERS");
  projector(t, of, defect);
  await eventually(
    "the pointer is back",
    async () => (await of.deadLetters.get(LETTER).catch(() => undefined))?.aggregate === "acc_bad",
  );
});

test("a commit that does not follow on what was folded is not folded over it", async (t) => {
  const of = await world(t);
  projector(t, of);
  await perform(of.log, "acc_1", { type: "Open", owner: "a" });
  await caughtUp(of);
  await of.postgres.run("UPDATE projection.accounts_v1_b1 SET version = 7");
  // A projector that does not have the row in memory.
  await of.postgres.run("UPDATE millrace.projection SET epoch = epoch + 1");
  await eventually("it began afresh", async () => (await shownOf(of, "accounts"))!.owner !== null);
  await appendRaw(of.log, "acc_1", [{ type: "Moved", data: { amount: 1 } }]);
  await caughtUp(of);
  await eventually("set aside", async () => (await of.deadLetters.list()).length > 0);
  assert.match((await of.deadLetters.list())[0]!.cause, /ends at version 2, what was folded at 8/);
});

test.run();
