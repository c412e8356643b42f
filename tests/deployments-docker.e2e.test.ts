/** Applications in containers, deployed for real: built, started, switched to, rolled back, scaled, stopped, taken down; a soak ends them by hand. */
import { applicationSeen } from "@millrace/contracts/applications/asks.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import type { DockerEngine } from "@millrace/orchestrator/adapters/docker.ts";
import * as assert from "uvu/assert";
import { leftIn } from "./harness/docker.ts";
import { eventually } from "./harness/eventually.ts";
import { container, nodeApp, openDockerGrounds } from "./harness/node-app.ts";
import { type Grounds, ORGANISATION } from "./harness/orchestrator.ts";
import { deferToEndOfFile, suite, type TestContext } from "./harness/suite.ts";

const test = suite("deployments of containers", { timeoutMs: 240_000 });

const runningOf = async (engine: DockerEngine, application: string) =>
  (await engine.listContainers({ application })).filter(({ state }) => state === "running");

let opened: ReturnType<typeof openDockerGrounds> | undefined;
/** One node for all of them. */
const shared = (context: TestContext) =>
  (opened ??= openDockerGrounds(context).then(async (found) => {
    deferToEndOfFile(() => found.engine.close());
    await found.grounds.start();
    return found;
  }));

test("built, served, replaced, rolled back, scaled, stopped, started, deleted", async (context) => {
  const { grounds, scope, endpoint, image, engine } = await shared(context);
  const path = grounds.repository(nodeApp(image, "one"));
  const { id, host } = await container(grounds, "shop", path);
  const one = await grounds.deploy(id);
  await grounds.succeeds(one, 120_000);
  assert.equal(await answers(grounds, host), ["one", one]);

  grounds.commit(path, nodeApp(image, "two"));
  const two = await grounds.deploy(id);
  const isVerified = async () => ((await grounds.deployment(two)).state === "succeeded" ? true : undefined);
  await eventually(isVerified, "the second is verified", 120_000);
  assert.equal(await answers(grounds, host), ["two", two]);

  // While what served first is still being ended: that is not waited for, and is done by one or the other.
  const back = await grounds.deploy(id, { trigger: "rollback" });
  const rolled = await grounds.succeeds(back);
  assert.equal(await answers(grounds, host), ["one", back]);
  assert.is((await grounds.succeeds(two)).phases.CLEANUP?.state, "completed");
  assert.equal(
    (await runningOf(engine, id)).map((one) => one.deployment),
    [back],
    "the former ones are gone",
  );
  assert.is(rolled.phases.BUILDING?.attempt, 0, "nothing was built");

  await grounds.change(id, { do: "scale", instances: 3 });
  await grounds.settled(id);
  assert.is((await runningOf(engine, id)).length, 3);
  await grounds.change(id, { do: "scale", instances: 2 });
  await grounds.settled(id);
  assert.is((await runningOf(engine, id)).length, 2);
  assert.equal(await answers(grounds, host), ["one", back]);
  const seen = await ask(grounds.log.nats, applicationSeen, "local", { organisation: ORGANISATION, application: id });
  assert.equal(seen.containers!.map(({ slot, state, restarts }) => [slot, state, restarts]).sort(), [
    [0, "running", 0],
    [1, "running", 0],
  ]);

  await grounds.change(id, { do: "stop" });
  await grounds.settled(id);
  assert.is((await runningOf(engine, id)).length, 0);
  assert.is((await grounds.get(host)).status, 503);
  await grounds.change(id, { do: "start" });
  await grounds.settled(id);
  assert.equal(await answers(grounds, host), ["one", back]);
  assert.is((await runningOf(engine, id)).length, 2);

  await removed(grounds, id);
  assert.equal(await leftIn(endpoint, scope), [], "nothing is left in the engine");
  const events = (await grounds.events(deployment, two)).map(({ type }) => type);
  assert.is(events.filter((type) => type === "DeploymentSucceeded").length, 1);
});

async function removed(grounds: Grounds, id: string): Promise<void> {
  await grounds.remove(id);
  await eventually(async () => ((await grounds.application(id)).exists ? undefined : true), "it is gone", 30_000);
}

async function answers(grounds: Grounds, host: string): Promise<[string, string | undefined]> {
  const { text, deployment: from } = await grounds.get(host);
  return [text, from];
}

test("what goes wrong ends with a reason and a next step, and the former release serves", async (context) => {
  const { grounds, image, engine } = await shared(context);
  const path = grounds.repository(nodeApp(image, "one"));
  const { id, host } = await container(grounds, "bad", path, {
    policy: { minHealthyTimeMs: 0, healthyDeadlineMs: 6_000, progressDeadlineMs: 600_000 },
  });
  const one = await grounds.deploy(id);
  await grounds.succeeds(one, 120_000);
  const runs = async (wrong: string) => {
    const runtime = { port: 3000, env: wrong === "" ? {} : { WRONG: wrong } };
    await grounds.change(id, { do: "change", runtime });
  };
  const fails = async (code: string, phase: string) => {
    const { state, failure } = await grounds.ended(await grounds.deploy(id), 120_000);
    assert.equal([state, failure?.code, failure?.phase], ["failed", code, phase], JSON.stringify(failure));
    assert.ok(failure!.fix.length > 10);
    assert.equal(await answers(grounds, host), ["one", one], `after ${code}`);
    const deployments = (await engine.listContainers({ application: id })).map((found) => found.deployment);
    assert.equal(deployments, [one], "the failed one's containers are gone");
  };
  await runs("silent");
  await fails("NOT_READY", "UPDATING_ROUTES");
  await runs("exits");
  await fails("CONTAINER_EXITED", "UPDATING_ROUTES");
  await runs("");
  grounds.commit(path, { Dockerfile: `FROM ${image}\nRUN false\n` });
  await fails("BUILD_STEP_FAILED", "BUILDING");
  grounds.commit(path, { Dockerfile: "FRUM nothing\n" });
  await fails("BUILD_DOCKERFILE", "BUILDING");
  // What may come back is tried again until the deadline, which says what was in the way.
  await grounds.change(id, { do: "change", policy: { progressDeadlineMs: 5_000 } });
  grounds.commit(path, { Dockerfile: "FROM registry.invalid/nothing:1\n" });
  await fails("PROGRESS_DEADLINE", "BUILDING");
  await removed(grounds, id);
});

test.run();
