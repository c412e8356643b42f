/** The agent dies in the middle of what it does to a device, and another goes on: done once, or taken back. */
import { randomBytes } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";
import { bulk, isBulkOver } from "@millrace/domain/devices/bulk.ts";
import { task } from "@millrace/domain/devices/task.ts";
import * as assert from "uvu/assert";
import { openSite, type Site } from "../../../tests/harness/devices.ts";
import { eventually } from "../../../tests/harness/eventually.ts";
import { suite } from "../../../tests/harness/suite.ts";

const test = suite("deaths of the agent");

let site: Site;
test.before(async () => {
  site = await openSite({ devices: [{ model: "S3SW-001X16EU" }, { model: "S3SW-001X16EU" }] });
  for (const handle of site.fleet.devices) await site.add(handle);
});

const JOB = { enable: true, timespec: "0 0 7 * * *", calls: [{ method: "Switch.Set", params: { id: 0, on: true } }] };

/** All of them, one by one and for each kind of work, stand in tests/soak/device-deaths.soak.ts. */
const POINTS = ["task.begin.recorded", "task.plan.before", "task.write.after", "task.finish.before"];

test("one agent after the other dies in the middle of an apply: what was made is not made twice, and it ends once", async () => {
  const [handle] = site.fleet.devices;
  const id = site.idOf(handle!);
  await site.want(id, { schedules: [JOB], sys: { device: { name: "Hall" } } });
  const asked = await site.ask(id, { kind: "apply", dryRun: false });
  for (const point of POINTS) await site.died(await site.start(point));
  await site.agent();
  const state = await site.over(asked, 60_000);
  assert.is(state.state, "succeeded", JSON.stringify(state.failure));
  assert.is(handle!.stats.calls["Schedule.Create"], 1);
  assert.ok((state.steps["write:0"]?.attempt ?? 0) > 1, "the write was begun again");
  assert.is((handle!.config("sys") as any).device.name, "Hall");
  const ends = (await site.events(task, asked)).filter(({ type }) => type === "TaskSucceeded");
  assert.is(ends.length, 1);
});

test("a bulk operation asks each device once, and ends with the counts of its tasks", async () => {
  const devices = site.fleet.devices.map((handle) => site.idOf(handle));
  const id = makeId("blk", Date.now(), randomBytes(10));
  const spec = { asked: { kind: "reboot" }, devices, atOnce: 1, haltAtPercent: 100, expiresInMs: 600_000 } as const;
  await site.execute([{ kind: bulk, id, command: { do: "request", ...spec } }]);
  const look = async () => {
    const { state } = await site.log.aggregates.load(bulk, id);
    return isBulkOver(state) ? state : undefined;
  };
  const state = await eventually(look, "the bulk operation ends", 60_000);
  assert.is(state.counts.succeeded, 2);
  const asked = (await site.events(bulk, id)).filter(({ type }) => type === "BulkTaskAsked");
  for (const { data } of asked) {
    const types = (await site.events(task, data.task)).map(({ type }) => type);
    assert.is(types.filter((type) => type === "TaskSucceeded").length, 1);
  }
});

test.run();
