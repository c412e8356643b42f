/** Tasks carried out on simulated devices by an agent over the real log: what becomes of the device, and what is told of it. */
import { task } from "@millrace/domain/devices/task.ts";
import * as assert from "uvu/assert";
import { freePort, openSite, type Site } from "../../../tests/harness/devices.ts";
import { eventually } from "../../../tests/harness/eventually.ts";
import { suite } from "../../../tests/harness/suite.ts";
import { shiftedClock } from "../../../tests/simulators/shelly/clock.ts";
import type { DeviceHandle } from "../../../tests/simulators/shelly/face.ts";

const test = suite("tasks of devices");

const clock = shiftedClock();
let site: Site;
let [plug, roller, locked, sleeper]: DeviceHandle[] = [];
const NETWORKS = { home: "first-password", other: "second-password" };

test.before(async () => {
  const stable = { version: "1.99.0", buildId: "20270101-000000/1.99.0-gabc1234" };
  const port = await freePort();
  const outbound = `ws://127.0.0.1:${port}/devices`;
  site = await openSite(
    {
      clock,
      networks: NETWORKS,
      devices: [
        { model: "SNSW-001X16EU", updates: { stable } },
        { model: "SHSW-25" },
        { model: "S3SW-001X16EU", password: "old" },
        { model: "SNSN-0013A", outbound },
      ],
      timing: { awakeMs: 10_000 },
    },
    { MILLRACE_DEVICES_LISTEN: `127.0.0.1:${port}` },
  );
  [plug, roller, locked, sleeper] = [...site.fleet.devices];
  for (const handle of site.fleet.devices) await site.add(handle, handle === locked ? "old" : undefined);
  await site.agent();
});

test("a reboot, an action, a reading, on each generation and with a login", async () => {
  for (const handle of [plug, roller, locked]) {
    const id = site.idOf(handle!);
    const boots = handle!.stats.boots;
    const rebooted = await site.done(id, { kind: "reboot" });
    assert.is(rebooted.state, "succeeded", JSON.stringify(rebooted.failure));
    assert.is(handle!.stats.boots, boots + 1);
    const acted = await site.done(id, { kind: "action", component: "switch:0", action: "toggle" });
    assert.is(acted.steps.prepare?.output?.action?.action, "on");
    assert.is(acted.state, "succeeded", JSON.stringify(acted.failure));
    assert.is((await site.done(id, { kind: "read" })).state, "succeeded");
  }
});

test("what is wanted is written, and nothing else; a dry run writes nothing", async () => {
  for (const handle of [plug, roller, locked]) {
    const id = site.idOf(handle!);
    await site.want(id, { "switch:0": { name: "Lamp" }, sys: { device: { name: "Hall" } } });
    const dry = await site.done(id, { kind: "apply", dryRun: true });
    assert.is(dry.state, "succeeded", JSON.stringify(dry.failure));
    assert.is(dry.steps.plan?.output?.plan?.differences.length, 2);
    assert.is((await site.device(id)).applied, null);
    const applied = await site.done(id, { kind: "apply", dryRun: false });
    assert.is(applied.state, "succeeded", JSON.stringify(applied.failure));
    const state = await site.device(id);
    assert.is(state.drift, null);
    assert.equal(state.applied?.configuration, state.desired);
    assert.is((state.observed as any)["switch:0"].name, "Lamp");
    const again = await site.done(id, { kind: "apply", dryRun: false });
    assert.is((await site.events(task, again.id)).at(-1)?.data.writes, 0);
  }
});

test("a write that fails is told, and what was written before it is taken back", async () => {
  const id = site.idOf(plug!);
  plug!.fault({ kind: "error", match: "Sys.SetConfig" });
  await site.want(id, { "switch:0": { name: "Other" }, sys: { device: { name: "Elsewhere" } } });
  const failed = await site.ask(id, { kind: "apply", dryRun: false });
  await eventually(
    async () => ((plug!.config("switch:0") as any).name === "Other" ? true : undefined),
    "the first write",
  );
  await site.cancel(failed);
  const state = await site.over(failed);
  plug!.heal();
  assert.is(state.state, "cancelled", JSON.stringify(state.failure));
  assert.is(state.undone, "all");
  assert.is((plug!.config("switch:0") as any).name, "Lamp");
  assert.is((await site.device(id)).drift?.fields.length, 2);
  await site.want(id, { "switch:7": { name: "None" } });
  const refused = await site.done(id, { kind: "apply", dryRun: false });
  assert.is(refused.failure?.code, "UNKNOWN_COMPONENT");
  assert.is(refused.undone, "nothing");
});

test("firmware: once, and nothing where nothing is newer", async () => {
  const id = site.idOf(plug!);
  const updated = await site.done(id, { kind: "firmware", stage: "stable" });
  assert.is(updated.state, "succeeded", JSON.stringify(updated.failure));
  assert.is((await site.device(id)).firmware?.version, "1.99.0");
  const calls = plug!.stats.calls["Shelly.Update"];
  assert.is((await site.done(id, { kind: "firmware" })).state, "succeeded");
  assert.is(plug!.stats.calls["Shelly.Update"], calls);
  const nowhere = await site.done(id, { kind: "firmware", url: "http://127.0.0.1:9/none.zip" });
  assert.is(nowhere.failure?.code, "OTA_ERROR", JSON.stringify(nowhere.failure));
});

test("another password: the device, the log and the agent have the same one", async () => {
  for (const [handle, password] of [
    [locked, "new"],
    [roller, "first"],
    [locked, null],
  ] as const) {
    const id = site.idOf(handle!);
    const credentials = password === null ? undefined : await site.credentials(id, handle!, password);
    const scheme = credentials?.scheme ?? "none";
    const set = await site.done(
      id,
      { kind: "authentication", scheme },
      credentials === undefined ? {} : { credentials },
    );
    assert.is(set.state, "succeeded", JSON.stringify(set.failure));
    assert.equal((await site.device(id)).credentials, credentials ?? null);
    assert.is((await site.done(id, { kind: "read" })).state, "succeeded");
    assert.is(handle!.stats.failedLogins, 0);
  }
});

test("another network: joined and kept, or taken back by the device itself", async () => {
  const id = site.idOf(locked!);
  const right = await site.secret("right", NETWORKS.other);
  const wrong = await site.secret("wrong", "not-the-password");
  const wanted = (ssid: string, secret: string) => ({
    wifi: { sta: { ssid, pass: { $secret: secret }, enable: true } },
  });
  await site.want(id, wanted("other", right));
  const joined = await site.done(id, { kind: "apply", dryRun: false });
  assert.is(joined.state, "succeeded", JSON.stringify(joined.failure));
  const wifi = locked!.config("wifi") as any;
  assert.is((locked!.status("wifi") as any).ssid, "other");
  assert.equal([wifi.sta.ssid, wifi.sta.enable, wifi.sta1.enable], ["other", true, false]);
  assert.equal((locked!.stored() as any).schedules ?? [], []);

  await site.want(id, wanted("home", wrong));
  const failing = await site.ask(id, { kind: "apply", dryRun: false });
  await eventually(async () => (locked!.online ? undefined : true), "the device is in no network");
  const job = Object.values((locked!.stored() as any).schedules)[0] as any;
  const minute = Number(/^0 (\d+) /.exec(job.timespec)![1]);
  const now = new Date(clock.now());
  clock.shift(
    (((minute - now.getUTCMinutes() + 60) % 60) * 60 - now.getUTCSeconds()) * 1_000 - now.getUTCMilliseconds(),
  );
  const failed = await site.over(failing);
  assert.is(failed.failure?.code, "NOT_JOINED", JSON.stringify(failed.failure));
  assert.is(failed.undone, "all");
  const back = locked!.config("wifi") as any;
  assert.is((locked!.status("wifi") as any).ssid, "other");
  assert.equal([back.sta.ssid, back.sta.enable, back.sta1.enable], ["other", true, false]);
  assert.equal((locked!.stored() as any).schedules ?? [], []);
});

test("a device that sleeps is waited for until it wakes", async () => {
  const id = site.idOf(sleeper!);
  sleeper!.wake();
  await eventually(async () => ((await site.device(id)).observed === null ? undefined : true), "it was read once");
  sleeper!.sleep();
  await eventually(async () => ((await site.device(id)).reach === "asleep" ? true : undefined), "it is known to sleep");
  await site.want(id, { sys: { device: { name: "Cellar" } } });
  const asked = await site.ask(id, { kind: "apply", dryRun: false });
  await eventually(async () => ((await site.task(asked)).waiting?.for === "asleep" ? true : undefined), "it waits");
  sleeper!.wake();
  const state = await site.over(asked);
  assert.is(state.state, "succeeded", JSON.stringify(state.failure));
  assert.is((sleeper!.config("sys") as any).device.name, "Cellar");
  sleeper!.sleep();
  await eventually(async () => ((await site.device(id)).reach === "asleep" ? true : undefined), "it sleeps again");
  const late = await site.done(id, { kind: "reboot" }, { expiresInMs: 1_000 });
  assert.is(late.state, "expired");
});

test.run();
