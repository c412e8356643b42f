/** A thousand kills over three hundred deployments of ten applications, asked for all the while. SOAK_KILLS and SOAK_DEPLOYMENTS change the numbers. */
import * as assert from "uvu/assert";
import { deployUnderKills } from "../faults/deploying.ts";
import { testDocker } from "../harness/docker.ts";
import { suite } from "../harness/suite.ts";

const test = suite("deployments under kills, long", { timeoutMs: 2 * 60 * 60_000 });

test("no request fails, nothing is done twice, nothing is stuck", async (context) => {
  const report = await deployUnderKills({
    applications: 10,
    containers: 5,
    deployments: Number(process.env.SOAK_DEPLOYMENTS ?? 300),
    kills: Number(process.env.SOAK_KILLS ?? 1_000),
    clients: 8,
    docker: await testDocker(context),
    betweenMs: [100, 1_500],
  });
  console.log(JSON.stringify({ ...report, failed: report.failed.length }));
  assert.equal(report.failed.slice(0, 10), []);
});

test.run();
