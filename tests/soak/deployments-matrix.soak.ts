/** Static sites and containers, whose worker dies at every place of every effect. */
import { containersUnderDeaths } from "../faults/deaths-of-containers.ts";
import { sitesUnderDeaths } from "../faults/deaths-of-sites.ts";
import { testDocker } from "../harness/docker.ts";
import { suite } from "../harness/suite.ts";

const test = suite("deaths, everywhere", { timeoutMs: 1_000_000 });

sitesUnderDeaths(test);

test("containers: a deployment that succeeds, and one that is undone", async (context) => {
  await testDocker(context);
  await containersUnderDeaths(context);
});

test.run();
