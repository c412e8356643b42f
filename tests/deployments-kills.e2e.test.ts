/** The short form of the soak: deployments under load, with the orchestrators and all around them killed. */
import * as assert from "uvu/assert";
import { deployUnderKills } from "./faults/deploying.ts";
import { testDocker } from "./harness/docker.ts";
import { suite, type TestContext } from "./harness/suite.ts";

const test = suite("deployments under kills", { timeoutMs: 400_000 });

test("four kills while sites and containers are deployed: no request fails, nothing is done twice, nothing is stuck", async (context) => {
  const docker = await orNone(context);
  const report = await deployUnderKills({
    applications: 2,
    containers: docker === undefined ? 0 : 1,
    deployments: 4,
    kills: 4,
    clients: 3,
    docker,
    betweenMs: [200, 900],
  });
  assert.equal(report.failed.slice(0, 5), []);
  assert.ok(report.deployments >= 4, `${report.deployments} deployments`);
  assert.ok(report.requests > 100, `${report.requests} requests`);
});

/** Where there can be no engine, all are static sites. */
async function orNone(context: TestContext) {
  try {
    return await testDocker(context);
  } catch {
    return undefined;
  }
}

test.run();
