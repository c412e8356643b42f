/** Several orchestrators: two on one node share the work, one killed, one that hands over; and two nodes (`npm run soak` freezes one). */
import * as assert from "uvu/assert";
import { assertOnce } from "./faults/deaths.ts";
import { eventually } from "./harness/eventually.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { suite } from "./harness/suite.ts";

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

/** Where one is frozen: before effects that would do harm when they are done late, and before reports that come too late. */
test("a node without a worker: the deployment waits and says for what; with one it goes on", async () => {
  const near = await openGrounds({ node: "near" });
  const far = await openGrounds({ node: "far" });
  await near.start();
  const path = far.repository({ "index.html": "far away" });
  const { id, host } = await far.site("far", path);
  const made = await far.deploy(id);
  const waiting = await eventually(
    async () => (await far.deployment(made)).waiting ?? undefined,
    "it says what it waits for",
    60_000,
  );
  assert.match(waiting.reason, /"far"/);
  await far.start();
  await far.succeeds(made);
  assert.is((await far.get(host)).text, "far away");
  assert.is((await near.get(host)).status, 404, "the other node does not serve it");
});

test.run();
