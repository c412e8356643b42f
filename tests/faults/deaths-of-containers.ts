/** Containers, whose worker dies at places of every effect: one set of containers, one image, one route, nothing left over. */
import * as assert from "uvu/assert";
import { leftIn } from "../harness/docker.ts";
import { eventually } from "../harness/eventually.ts";
import { container, nodeApp, openDockerGrounds } from "../harness/node-app.ts";
import type { TestContext } from "../harness/suite.ts";
import { assertOnce, dieAtEach, diskOf, HEAL_PLACES, POINTS, placesOf, SUCCESS_PLACES } from "./deaths.ts";

/**
 * A deployment that succeeds, and one that is undone.
 */
export async function containersUnderDeaths(context: TestContext): Promise<void> {
  const { grounds, scope, endpoint, image, engine } = await openDockerGrounds(context);
  context.defer(() => engine.close());
  const quietly = await grounds.start();
  const path = grounds.repository(nodeApp(image, "one"));
  const { id, host } = await container(grounds, "deadly-box", path, {
    policy: { minHealthyTimeMs: 0, keepReleases: 1, progressDeadlineMs: 3_600_000, healthyDeadlineMs: 600_000 },
  });
  await grounds.succeeds(await grounds.deploy(id), 120_000);
  await quietly.process.stop();

  grounds.commit(path, nodeApp(image, "two"));
  let made = "";
  const alive = await dieAtEach(grounds, SUCCESS_PLACES, async () => {
    made = await grounds.deploy(id);
  });
  await grounds.succeeds(made, 120_000);
  await assertOnce(grounds, made);
  const served = await grounds.get(host);
  assert.equal([served.status, served.text, served.deployment], [200, "two", made]);
  await oneOfEach(made);
  const disk = diskOf(grounds, id);
  assert.equal(
    disk.filter((name) => /\/\.(new|gone)/.test(name)),
    [],
    "nothing half made is left",
  );

  await alive.process.stop();
  grounds.commit(path, nodeApp(image, "three"));
  await grounds.change(id, {
    do: "change",
    runtime: { port: 3000, env: { WRONG: "silent" } },
    policy: { healthyDeadlineMs: 3_000 },
  });
  let undone = "";
  const compensations = ["RESTORE_ROUTES", "RESTORE_SYMLINKS", "REMOVE_CONTAINERS", "REMOVE_IMAGE", "REMOVE_RELEASE"];
  const undoing = await dieAtEach(grounds, placesOf(...compensations), async () => {
    undone = await grounds.deploy(id);
  });
  const state = await grounds.ended(undone, 120_000);
  assert.equal([state.state, state.failure?.phase], ["failed", "UPDATING_ROUTES"]);
  await assertOnce(grounds, undone);
  const still = await grounds.get(host);
  assert.equal([still.status, still.text, still.deployment], [200, "two", made], "the former release serves");
  await oneOfEach(made);
  const but = (name: string) => !name.startsWith("/generation");
  assert.equal(diskOf(grounds, id).filter(but), disk.filter(but), "nothing is left over");

  await undoing.process.stop();
  const healing = await dieAtEach(grounds, HEAL_PLACES, async () => {
    for (const { id: container } of await engine.listContainers()) await engine.removeContainer(container);
  });
  await eventually(async () => ((await grounds.get(host)).text === "two" ? true : undefined), "it runs again", 60_000);
  await grounds.settled(id);
  await oneOfEach(made);

  await healing.process.stop();
  const removing = POINTS.map((point) => `application.tearDown.${point}`);
  await dieAtEach(grounds, removing, () => grounds.remove(id));
  await eventually(async () => ((await grounds.application(id)).exists ? undefined : true), "it is gone", 60_000);
  assert.equal([await leftIn(endpoint, scope), diskOf(grounds, id)], [[], []], "nothing is left of it");

  async function oneOfEach(deployment: string): Promise<void> {
    const containers = await engine.listContainers();
    assert.equal(
      containers.map((one) => [one.deployment, one.slot, one.state]),
      [[deployment, 0, "running"]],
    );
    const kinds = (await leftIn(endpoint, scope)).map((left) => left.split("/")[1]);
    assert.equal(kinds.sort(), ["containers", "images", "networks"], "one container, one image, one network");
  }
}
