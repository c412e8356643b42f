/** Worker processes that are killed and frozen while work comes in: everything is finished, every outcome stands in the log once. */
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import * as assert from "uvu/assert";
import { dieAt, runMarches, takeover } from "./faults/marches.ts";
import { eventually } from "./harness/eventually.ts";
import { audit, command, sleep, spawnWorker } from "./harness/marching.ts";
import { startOwnNats, testFolder, testNats } from "./harness/servers.ts";
import { march, STEPS } from "./harness/steps.ts";
import { suite } from "./harness/suite.ts";

const test = suite("worker processes", { timeoutMs: 120_000 });

async function nats() {
  const { url, user, pass: password } = await testNats();
  return { url, user, password, name: "marching" };
}

test("three workers, killed and frozen under load: finished all, each outcome once, no wrong history", async () => {
  const result = await runMarches({
    nats: await nats(),
    world: testFolder("march"),
    workers: 3,
    marches: 60,
    everyMs: [400, 1_000],
    pauseMs: 300,
    sweepEveryMs: 5_000,
    deadlineMs: 90_000,
  });
  assert.equal(result.wrong, []);
  assert.is(result.finished, 60);
  assert.ok(result.kills >= 1 && result.freezes >= 1, JSON.stringify(result));
});

/** Places of the one unit that is at work, and places that others pass beside it: that one may be between its act and its record then. */
const BETWEEN_STEPS = ["worker.leased", "worker.recorded", "worker.recorded:2", "worker.releasing"];
const BESIDE = ["worker.acked", "worker.armed"];

for (const [places, mostReachedTwice] of [
  [BETWEEN_STEPS, 0],
  [BESIDE, BESIDE.length],
] as const) {
  test(`workers that die at ${places.join(", ")}, one after the other, are carried on from there`, async () => {
    const options = { nats: await nats(), world: testFolder("march"), node: "die-at", concurrency: 1 };
    const { survived, wrong, finished, reachedTwice } = await dieAt(options, places, 4);
    assert.equal(survived, []);
    assert.equal(wrong, []);
    assert.is(finished, 4 * places.length);
    assert.ok(reachedTwice <= mostReachedTwice, `${reachedTwice} steps were brought to the world twice`);
  });
}

test("NATS is killed in the middle of it and comes back: leases are forgotten, nothing else", async () => {
  const server = await startOwnNats();
  const result = await runMarches({
    nats: { url: server.url, user: server.user, password: server.password, name: "marching" },
    world: testFolder("march"),
    workers: 2,
    marches: 40,
    everyMs: [20_000, 30_000],
    pauseMs: 200,
    sweepEveryMs: 5_000,
    deadlineMs: 90_000,
    beside: async () => {
      await sleep(1_500);
      await server.kill();
      await sleep(1_000);
      await server.restart();
    },
  });
  assert.equal(result.wrong, []);
  assert.is(result.finished, 40);
});

test("killed, it is taken over at once on the same machine; frozen, when its lease is over", async () => {
  const options = { nats: await nats(), world: testFolder("march"), ttlMs: 4_000, effectMs: 60_000, node: "takeover" };
  const killed = await takeover(options, "SIGKILL", "mar_killed");
  assert.ok(killed < 4_000, `nobody waited for the lease: ${killed}`);
  await takeover(options, "SIGSTOP", "mar_frozen");
});

test("SIGTERM in the middle of work: handed over within ten seconds, no attempt is lost", async ({ defer }) => {
  const options = { nats: await nats(), world: testFolder("march"), ttlMs: 30_000, effectMs: 300, node: "term" };
  const log = await EventLog.open(options.nats, ["toy"]);
  defer(() => log.close());
  const first = spawnWorker(options);
  await first.says("working ");
  const ids = Array.from({ length: 6 }, (_, n) => `mar_term_${n}`);
  for (const id of ids) await command(log, id, { do: "ask" });
  await eventually(async () => (await log.aggregates.load(march, ids[0]!)).state.current, "under way");
  const second = spawnWorker(options);
  defer(() => second.child.kill("SIGKILL"));
  await second.says("working ");
  const began = Date.now();
  first.child.kill("SIGTERM");
  assert.is((await first.ended).code, 0);
  assert.ok(Date.now() - began < 10_000);
  await eventually(
    async () => {
      for (const id of ids) if ((await log.aggregates.load(march, id)).state.done !== STEPS) return undefined;
      return true;
    },
    "finished",
    25_000, // less than a lease: nobody waited for one
  );
  assert.equal((await audit(log.nats, options.world, ids)).wrong, []);
  second.child.kill("SIGTERM");
  assert.is((await second.ended).code, 0);
});

test.run();
