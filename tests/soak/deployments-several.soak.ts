/** Two orchestrators on one node: they share the work, one is killed, one hands over; one is frozen for longer than its lease, beside one that goes on. */
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { assertOnce, diskOf } from "../faults/deaths.ts";
import { eventually } from "../harness/eventually.ts";
import { openGrounds } from "../harness/orchestrator.ts";
import { suite } from "../harness/suite.ts";

const test = suite("several orchestrators", { timeoutMs: 240_000 });

test("two on one node share the work; one is killed, one hands over, and all is done once", async () => {
  const grounds = await openGrounds({ node: "shared", env: { MILLRACE_DEPLOYMENTS_AT_ONCE: "2" } });
  const workers = await Promise.all([grounds.start(), grounds.start()]);
  await Promise.all(workers.map((worker) => worker.ready()));
  const sites = await Promise.all(
    Array.from({ length: 5 }, (_, i) =>
      grounds.site(`shared-${i}`, grounds.repository({ "index.html": `site ${i}` }), {
        policy: { minHealthyTimeMs: 300 },
      }),
    ),
  );
  const made = await Promise.all(sites.map(({ id }) => grounds.deploy(id)));
  await Promise.all(made.map((id) => grounds.succeeds(id, 120_000)));
  const again = await Promise.all(sites.map(({ id }) => grounds.deploy(id)));
  await workers[0]!.process.kill();
  await Promise.all(again.map((id) => grounds.succeeds(id, 120_000)));
  const next = await grounds.start();
  await next.ready();
  const handed = await Promise.all(sites.map(({ id }) => grounds.deploy(id)));
  const { code } = await workers[1]!.process.stop("SIGTERM");
  assert.is(code, 0, "it hands over in time");
  await Promise.all(handed.map((id) => grounds.succeeds(id, 120_000)));
  const by = new Set<string>();
  for (const id of [...made, ...again, ...handed]) {
    const state = await assertOnce(grounds, id);
    for (const phase of Object.values(state.phases)) by.add(phase.worker);
  }
  assert.ok(by.size >= 2, "one alone did all of it");
  for (const [i, { host }] of sites.entries()) {
    const served = await grounds.get(host);
    assert.equal([served.text, served.deployment], [`site ${i}`, handed[i]]);
  }
});

const FROZEN = [["UPDATING_ROUTES.before", "UPDATING_ROUTES.after"]];

test("one is frozen for longer than its lease, and comes back when all has gone on: nothing twice, no stale route", async () => {
  for (const [round, places] of FROZEN.entries()) {
    await Promise.all(places.map((place, i) => freezeAt(`deployment.${place}`, `frozen-${round}-${i}`)));
  }
});

async function freezeAt(place: string, name: string): Promise<void> {
  // Each on a node of its own: several at once, beside each other.
  const own = await openGrounds({ node: name });
  const sleeper = await own.start(place, { MILLRACE_DIE_BY: "SIGSTOP" });
  const path = own.repository({ "index.html": "one" });
  const { id } = await own.site(name, path);
  const one = await own.deploy(id);
  await eventually(async () => (isFrozen(sleeper.pid) ? true : undefined), `it freezes at ${place}`, 60_000);
  await own.start();
  await own.succeeds(one, 60_000);
  own.commit(path, { "index.html": "two" });
  const two = await own.deploy(id);
  await own.succeeds(two, 60_000);
  const before = diskOf(own, id);
  sleeper.process.signal("SIGCONT");
  await sleeper.ready();
  // It has come back, and works: what it is given next, it does.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await assertOnce(own, one);
  await assertOnce(own, two);
  assert.equal(diskOf(own, id), before, `${place}: the disk is as it was`);
  assert.is((await own.application(id)).live?.deployment, two);
  const linked = before.find((name) => name.startsWith("/route ->"));
  assert.is(linked, "/route -> routes/2", place);
}

const isFrozen = (pid: number): boolean => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
};

test.run();
