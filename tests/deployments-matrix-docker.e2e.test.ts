/**
 * Containers, whose worker dies inside each effect that is another than for sites, and after repairs and removal. `npm run soak` dies
 * everywhere.
 */
import { containersUnderDeaths } from "./faults/deaths-of-containers.ts";
import { testDocker } from "./harness/docker.ts";
import { suite } from "./harness/suite.ts";

const OF_CONTAINERS =
  /(BUILDING|UPDATING_ROUTES|CLEANUP|REMOVE_CONTAINERS|REMOVE_IMAGE)\.during$|heal\.after|tearDown\.after/;

const test = suite("deaths of containers", { timeoutMs: 500_000 });

test("a deployment that succeeds, and one that is undone", async (context) => {
  await testDocker(context);
  await containersUnderDeaths(context, (place) => OF_CONTAINERS.test(place));
});

test.run();
