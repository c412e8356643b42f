/**
 * Containers, whose worker dies inside each effect, and after repairs and removal. What comes before and after is as for sites; `npm run soak`
 * dies everywhere.
 */
import { containersUnderDeaths } from "./faults/deaths-of-containers.ts";
import { testDocker } from "./harness/docker.ts";
import { suite } from "./harness/suite.ts";

const test = suite("deaths of containers", { timeoutMs: 500_000 });

test("a deployment that succeeds, and one that is undone", async (context) => {
  await testDocker(context);
  await containersUnderDeaths(context, (place) => /\.during$|heal\.after|tearDown\.after/.test(place));
});

test.run();
