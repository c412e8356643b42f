/** Applications deployed for real: a static site from a Git repository, through Caddy, with a worker that dies on the way. */

import { deployment } from "@millrace/domain/applications/deployment.ts";
import * as assert from "uvu/assert";
import { openGrounds } from "./harness/orchestrator.ts";
import { suite } from "./harness/suite.ts";

const test = suite("deployments", { timeoutMs: 120_000 });

test("a site from a repository is deployed and answers; a worker that is killed in the middle is gone on for", async () => {
  const grounds = await openGrounds();
  const first = await grounds.start("deployment.COPYING_FILES.after");
  const path = grounds.repository({ "index.html": "one" });
  const { id, host } = await grounds.site("shop", path);
  const made = await grounds.deploy(id);
  assert.is(await first.died(), "SIGKILL");
  await grounds.start();
  const state = await grounds.succeeds(made);
  const served = await grounds.get(host);
  assert.equal([served.status, served.text, served.deployment], [200, "one", made]);
  assert.is(state.phases.COPYING_FILES?.attempt, 2);
  assert.is(state.phases.COPYING_FILES?.adopted, true, "what the killed worker had made is used");
  const types = (await grounds.events(deployment, made)).map(({ type }) => type);
  assert.is(types.filter((type) => type === "DeploymentSucceeded").length, 1);
});

test.run();
