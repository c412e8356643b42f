/** Builds under publishers that die at every step there is: each goes on to the end that it would have had. */
import assert from "node:assert/strict";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { carry, POINTS, Publishers } from "../faults/deaths-of-builds.ts";
import { eventually } from "../harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "../harness/gateway.ts";
import { develop } from "../harness/publisher.ts";
import { testPublishing } from "../harness/publishing.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("builds under deaths", { timeoutMs: 1_800_000 });

test("killed at every step, one after another", async (context) => {
  const publishing = await testPublishing(context);
  const nats = await testNats();
  const gateway = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
  await testProjector(gateway.config);
  const caller = callerOf(gateway);
  const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "soak", replicas: 1 } as const;
  const log = await EventLog.open(connection, ["publishing"]);
  context.defer(() => log.close());
  const world = { gateway, caller, log, data: testFolder("publisher"), publishing };
  const { id: repository } = (await caller.expect(201, "POST", "/repositories", { body: { name: "stable" } })).body;
  const first = new Publishers(world, []);
  first.start();
  await eventually(
    async () => (await caller.expect(200, "GET", "/repositories/stable")).body.status.state === "ready" || undefined,
    `the repository is ready: ${first.said()}`,
    60_000,
  );
  // So that others find objects of theirs.
  await carry({ ...world, repository }, await develop(publishing, "first"), first);
  await first.stop();
  for (const [index, point] of POINTS.entries()) {
    const publishers = new Publishers(world, [point]);
    publishers.start();
    await carry({ ...world, repository }, await develop(publishing, `${index}`), publishers);
    assert.deepEqual(publishers.died, [point], `nobody died at ${point}`);
    await publishers.stop();
  }
});

test.run();
