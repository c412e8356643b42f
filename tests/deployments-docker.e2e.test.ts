/** Applications in containers, deployed for real: built, started, switched to, rolled back, scaled, stopped, healed, taken down. */

import { deployment } from "@millrace/domain/applications/deployment.ts";
import { openDocker } from "@millrace/orchestrator/adapters/docker.ts";
import * as assert from "uvu/assert";
import { leftIn, testDocker } from "./harness/docker.ts";
import { eventually } from "./harness/eventually.ts";
import { container, nodeApp } from "./harness/node-app.ts";
import { type Grounds, openGrounds } from "./harness/orchestrator.ts";
import { suite, type TestContext } from "./harness/suite.ts";

const test = suite("deployments of containers", { timeoutMs: 240_000 });

async function dockerGrounds(context: TestContext, node = "local") {
  const docker = await testDocker(context);
  const scope = docker.scope();
  const grounds = await openGrounds({
    node,
    env: { MILLRACE_DOCKER_HOST: docker.endpoint, MILLRACE_DOCKER_SCOPE: scope, MILLRACE_DOCKER_PORTS: "20000-23999" },
  });
  return {
    grounds,
    scope,
    endpoint: docker.endpoint,
    image: await docker.node(),
    engine: openDocker({ scope, endpoint: docker.endpoint }),
  };
}

const runningOf = async (engine: ReturnType<typeof openDocker>, application: string) =>
  (await engine.listContainers({ application })).filter(({ state }) => state === "running");

test("built, served, replaced, rolled back, scaled, stopped, started, deleted", async (context) => {
  const { grounds, scope, endpoint, image, engine } = await dockerGrounds(context);
  context.defer(() => engine.close());
  await grounds.start();
  const path = grounds.repository(nodeApp(image, "one"));
  const { id, host } = await container(grounds, "shop", path);
  const one = await grounds.deploy(id);
  await grounds.succeeds(one, 120_000);
  assert.equal(await answers(grounds, host), ["one", one]);

  grounds.commit(path, nodeApp(image, "two"));
  const two = await grounds.deploy(id);
  await grounds.succeeds(two);
  assert.equal(await answers(grounds, host), ["two", two]);
  assert.equal(
    (await runningOf(engine, id)).map((one) => one.deployment),
    [two],
    "the former is gone",
  );

  const back = await grounds.deploy(id, { trigger: "rollback" });
  const rolled = await grounds.succeeds(back);
  assert.equal(await answers(grounds, host), ["one", back]);
  assert.is(rolled.phases.BUILDING?.attempt, 0, "nothing was built");

  await grounds.change(id, { do: "scale", instances: 3 });
  await grounds.settled(id);
  assert.is((await runningOf(engine, id)).length, 3);
  await grounds.change(id, { do: "scale", instances: 2 });
  await grounds.settled(id);
  assert.is((await runningOf(engine, id)).length, 2);
  assert.equal(await answers(grounds, host), ["one", back]);

  await grounds.change(id, { do: "stop" });
  await grounds.settled(id);
  assert.is((await runningOf(engine, id)).length, 0);
  assert.is((await grounds.get(host)).status, 503);
  await grounds.change(id, { do: "start" });
  await grounds.settled(id);
  assert.equal(await answers(grounds, host), ["one", back]);
  assert.is((await runningOf(engine, id)).length, 2);

  await grounds.remove(id);
  await eventually(async () => ((await grounds.application(id)).exists ? undefined : true), "it is gone", 30_000);
  assert.equal(await leftIn(endpoint, scope), [], "nothing is left in the engine");
  const events = (await grounds.events(deployment, two)).map(({ type }) => type);
  assert.is(events.filter((type) => type === "DeploymentSucceeded").length, 1);
});

async function answers(grounds: Grounds, host: string): Promise<[string, string | undefined]> {
  const { text, deployment: from } = await grounds.get(host);
  return [text, from];
}

test.run();
