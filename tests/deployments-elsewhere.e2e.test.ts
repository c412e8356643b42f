/** Deployments for a node whose worker is not there yet. Several workers on one node: tests/soak/deployments-several.soak.ts. */
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { suite } from "./harness/suite.ts";

const test = suite("deployments on other nodes", { timeoutMs: 240_000 });

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
