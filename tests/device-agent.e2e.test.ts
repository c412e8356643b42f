/** The device agent against the simulated fleet: what is added becomes known, what changes is told, and what one agent leaves another takes. */
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { deviceStatus, holderOfSite } from "@millrace/contracts/devices/asks.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { ha1Of } from "@millrace/device-agent/adapters/shelly/digest.ts";
import { AGENT_SETTINGS } from "@millrace/device-agent/config.ts";
import { startDeviceAgent } from "@millrace/device-agent/start.ts";
import { type DeviceCommand, type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { executeAll, ownContext } from "@millrace/eventlog/execute.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { readSeries } from "@millrace/eventlog/series-read.ts";
import { readSettings } from "@millrace/eventlog/settings.ts";
import { startBound } from "@millrace/local/process.ts";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { eventsOf } from "./harness/orchestrator.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { deferToEndOfFile, suite, type TestContext } from "./harness/suite.ts";
import { type DeviceHandle, type DeviceSpec, type Fleet, startFleet } from "./simulators/shelly/fleet.ts";

const test = suite("device agent", { timeoutMs: 300_000 });

const ORGANISATION = "org_00000000000000000000000000";
const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");
const nats = await testNats();
const log = await EventLog.open({ url: nats.url, user: nats.user, password: nats.pass, name: "test" }, ["devices"]);
deferToEndOfFile(() => log.close());
const sealing = await Sealing.open({ nats: log.nats, masterKeys: parseMasterKeys(MASTER_KEY) });
deferToEndOfFile(() => sealing.close());

const environmentOf = (site: string): Record<string, string> => ({
  MILLRACE_NATS_URL: nats.url,
  MILLRACE_NATS_USER: nats.user,
  MILLRACE_NATS_PASSWORD: nats.pass,
  MILLRACE_SITE: site,
  MILLRACE_MASTER_KEY: MASTER_KEY,
  MILLRACE_LEASE_SECONDS: "2",
  MILLRACE_DEVICES_POLL_SECONDS: "5",
  MILLRACE_DEVICES_LOST_SECONDS: "2",
  MILLRACE_DEVICES_SAMPLE_SECONDS: "1",
  MILLRACE_DATA: testFolder("agent"),
  MILLRACE_LOG_LEVEL: "warn",
});

async function agent({ defer }: TestContext, site: string, more: Readonly<Record<string, string>> = {}) {
  const config = readSettings(AGENT_SETTINGS, { ...environmentOf(site), ...more });
  const running = await startDeviceAgent(config, makeLogger({ service: "device-agent", level: "warn" }), "test");
  defer(() => running.stop());
  return running;
}

let macs = 0xa0dd0b000000;
const newMac = (): string => {
  macs += 1;
  return macs.toString(16).toUpperCase();
};

async function simulate({ defer }: TestContext, ...devices: ReadonlyArray<DeviceSpec>): Promise<Fleet> {
  const fleet = await startFleet({ devices: devices.map((spec) => ({ ...spec, mac: newMac() })) });
  defer(() => fleet.close());
  return fleet;
}

async function command(id: string, asked: DeviceCommand): Promise<void> {
  const outcome = await executeAll(log, [{ kind: device, id, command: asked }], ownContext("test", ORGANISATION));
  assert.ok("ok" in outcome, JSON.stringify(outcome));
}

async function add({ mac, address: host, port }: DeviceHandle, site: string, pollMs?: number): Promise<string> {
  const id = makeId("dev", Date.now(), randomBytes(10));
  const address = { host, port, scheme: "http" as const };
  const own = { name: `d-${mac.toLowerCase()}`, tags: [], groups: [], expected: true };
  const spec = { mac: mac.toUpperCase(), site, address, ...own, ...(pollMs === undefined ? {} : { pollMs }) };
  await command(id, { do: "add", spec });
  return id;
}

const stateOf = async (id: string): Promise<DeviceState> => (await log.aggregates.load(device, id)).state;

const until = (id: string, what: string, holds: (state: DeviceState) => boolean, ms = 60_000): Promise<DeviceState> =>
  eventually(
    async () => {
      const state = await stateOf(id);
      return holds(state) ? state : undefined;
    },
    what,
    ms,
  );

const typesOf = async (id: string) => (await eventsOf(log, device, id)).map(({ type }) => type);

test("what is added becomes known; what is changed on the device is told with who did it; nothing else is written", async (context) => {
  const fleet = await simulate(context, { model: "SNSW-001X16EU" }, { model: "SHSW-25" });
  await agent(context, "hall");
  const [plus, old] = fleet.devices;
  const ids = await Promise.all(fleet.devices.map((handle) => add(handle, "hall")));
  const [known, gen1] = await Promise.all(
    ids.map((id) => until(id, "it is known", ({ observed }) => observed !== null)),
  );
  assert.equal([known!.reach, known!.identity?.model, known!.identity?.gen], ["reachable", "SNSW-001X16EU", 2]);
  assert.equal([gen1!.reach, gen1!.identity?.gen], ["reachable", 1]);
  assert.is(known!.authentication.state, "open");
  assert.ok("switch:0" in known!.observed! && "switch:0" in gen1!.observed!);
  const before = await typesOf(ids[0]!);
  plus!.change("switch:0", { name: "by somebody" });
  await until(
    ids[0]!,
    "the change",
    ({ observed }) => (observed!["switch:0"] as { name?: string }).name === "by somebody",
  );
  old!.change("relay/0", { name: "me too" });
  await until(
    ids[1]!,
    "the change of Gen1",
    ({ observed }) => (observed!["switch:0"] as { name?: string }).name === "me too",
  );
  assert.equal((await typesOf(ids[0]!)).slice(before.length), ["ConfigurationObserved"]);
  const owner = { organisation: ORGANISATION, context: "devices", kind: "device", id: ids[0]! };
  await eventually(async () => {
    const now = Date.now();
    const found = await readSeries(log.nats, owner, { fromMs: now - 600_000, toMs: now + 60_000, stepMs: 60_000 });
    return found.some(({ metric }) => metric === "uptime_seconds") ? true : undefined;
  }, "what it measures");
  const status = await ask(log.nats, deviceStatus, holderOfSite("hall"), {
    organisation: ORGANISATION,
    device: ids[0]!,
  });
  assert.ok("status" in status && "switch:0" in status.status, JSON.stringify(status));
});

test("lost and back, at another address; removed, it is left alone", async (context) => {
  const fleet = await simulate(context, { model: "SNSW-001X16EU" });
  const running = await agent(context, "attic");
  const [handle] = fleet.devices;
  const id = await add(handle!, "attic");
  await until(id, "it is known", ({ observed }) => observed !== null);
  handle!.power(false);
  await until(id, "it is lost", ({ reach }) => reach === "lost");
  handle!.power(true);
  handle!.moveTo("127.20.9.9");
  await eventually(async () => {
    await running.watch.look("127.20.9.9", handle!.port);
    return (await stateOf(id)).address?.host === "127.20.9.9" ? true : undefined;
  }, "it is found elsewhere");
  // Called in vain often enough to be called once a minute only: who is found elsewhere is called at once.
  await until(id, "it is back", ({ reach }) => reach === "reachable");
  assert.ok((await typesOf(id)).includes("DeviceReturned"));
  await command(id, { do: "remove" });
  await eventually(async () => (running.watch.mine(id) ? undefined : true), "it is let go of");
});

test("a login: missing, it is said; given, it opens; the password is nowhere", async (context) => {
  const fleet = await simulate(context, { model: "SNSW-001X16EU", password: "sesame-open", dialect: "2.0.1" });
  await agent(context, "cellar");
  const [handle] = fleet.devices;
  const id = await add(handle!, "cellar");
  const shut = await until(id, "it is refused", ({ authentication }) => authentication.state === "rejected");
  assert.equal([shut.reach, shut.identity?.hostname, shut.observed], ["reachable", handle!.id, null]);
  assert.is(handle!.stats.failedLogins, 0);
  const hash = ha1Of(handle!.id, "sesame-open");
  const sealed = await sealing.seal({ organisation: ORGANISATION, subject: id }, hash);
  await command(id, { do: "storeCredentials", credentials: { scheme: "digest", sealed } });
  const open = await until(id, "it opens", ({ observed }) => observed !== null);
  assert.is(open.authentication.state, "accepted");
  const told = JSON.stringify(await eventsOf(log, device, id));
  assert.not.match(told, hash);
  assert.not.match(told, "sesame-open");
});

test("one that sleeps: it comes, is known, sleeps, wakes; what dials in is told apart by what it answers", async (context) => {
  const running = await agent(context, "shed", { MILLRACE_DEVICES_LISTEN: "127.0.0.1:0" });
  const outbound = `ws://127.0.0.1:${running.fleet.dialInPort}`;
  const fleet = await simulate(context, { model: "SNSN-0013A", outbound });
  const [sleeper] = fleet.devices;
  const id = await add(sleeper!, "shed");
  const waking = async (holds: (state: DeviceState) => boolean, what: string) =>
    eventually(
      async () => {
        if (!sleeper!.online) sleeper!.wake();
        const state = await stateOf(id);
        return holds(state) ? state : undefined;
      },
      what,
      60_000,
    );
  const known = await waking(({ observed }) => observed !== null, "it is known");
  assert.ok(known.identity?.sleeps && "temperature:0" in known.observed!);
  sleeper!.sleep();
  await until(id, "it sleeps", ({ reach }) => reach === "asleep");
  await waking(({ reach }) => reach === "reachable", "it is awake");
  assert.ok((await typesOf(id)).includes("DeviceWoke"));
  assert.not.ok((await typesOf(id)).includes("DeviceLost"));
});

test("two agents share a site; what the one held that is killed, the other takes, and nothing is driven by two", async (context) => {
  const { defer } = context;
  const fleet = await simulate(context, ...Array.from({ length: 12 }, () => ({ model: "SNSW-001X16EU" })));
  const start = async (more: Readonly<Record<string, string>>) => {
    const started = await startBound({
      name: "agent",
      command: process.execPath,
      args: [fileURLToPath(new URL("../services/device-agent/main.ts", import.meta.url))],
      inputPipe: true,
      env: { ...process.env, ...environmentOf("barn"), MILLRACE_PARENT_PIPE: "1", ...more },
      logFile: `${testFolder("agent")}/agent.log`,
    });
    defer(() => started.kill());
    return started;
  };
  const dying = await start({ MILLRACE_DIE_AT: "device.report.after:5" });
  const ids = await Promise.all(fleet.devices.map((handle) => add(handle, "barn")));
  await eventually(async () => dying.exit(), "it dies at the fifth that it found", 60_000);
  const started = await start({});
  await Promise.all(ids.map((id) => until(id, "it is known", ({ observed }) => observed !== null)));
  for (const id of ids) {
    const types = await typesOf(id);
    assert.is(new Set(types).size, types.length, `${id} was told twice: ${types}`);
  }
  const second = await agent(context, "barn");
  await eventually(async () => (second.lanes.held().length === 8 ? true : undefined), "a fair share", 60_000);
  await eventually(
    async () => (second.watch.size === ids.filter((id) => second.watch.mine(id)).length ? true : undefined),
    "its devices",
  );
  await started.kill();
  await eventually(async () => (second.watch.size === 12 ? true : undefined), "all devices", 60_000);
  for (const handle of fleet.devices) handle.change("switch:0", { name: "after" });
  const named = ({ observed }: DeviceState) => (observed!["switch:0"] as { name?: string }).name === "after";
  await Promise.all(ids.map((id) => until(id, "it is told by the second", named)));
  for (const { stats, id } of fleet.devices) assert.ok(stats.mostAtOnce <= 1, `${id}: ${stats.mostAtOnce}`);
});

test.run();
