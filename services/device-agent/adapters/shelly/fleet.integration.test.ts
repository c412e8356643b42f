/** The protocol library against the simulated fleet: reports of every model, logins in every dialect, and what devices do to whom. */

import { rangeOf } from "@millrace/domain/devices/scan.ts";
import fc from "fast-check";
import * as assert from "uvu/assert";
import { eventually } from "../../../../tests/harness/eventually.ts";
import { suite, type TestContext } from "../../../../tests/harness/suite.ts";
import { type DeviceHandle, type Fault, manualClock, startFleet } from "../../../../tests/simulators/shelly/fleet.ts";
import { searchMissing } from "../../search.ts";
import type { Address } from "./address.ts";
import type { Device } from "./device.ts";
import { ha1Of } from "./digest.ts";
import { DeviceFailure, type DeviceFailureKind } from "./failures.ts";
import { Fleet, type FleetListener } from "./fleet.ts";
import { Gate } from "./gate.ts";
import { Gen1Device } from "./gen1-device.ts";
import { isObject, type JsonObject } from "./json.ts";
import type { Credentials } from "./login.ts";
import { browse } from "./mdns.ts";
import { RpcDevice } from "./rpc-device.ts";
import { lookAt, scan } from "./scan.ts";

const test = suite("shelly fleet");

const gate = new Gate(64);
const at = ({ address, port }: DeviceHandle): Address => ({ host: address, port, scheme: "http" });

const loginOf = ({ id, generation }: DeviceHandle, password: string): Credentials =>
  generation === 1 ? { username: "admin", password } : { ha1: ha1Of(id, password) };

async function open({ defer }: TestContext, handle: DeviceHandle, password?: string): Promise<RpcDevice | Gen1Device> {
  const { identity, address } = await lookAt(at(handle), gate, 5_000);
  const credentials = async () => (password === undefined ? undefined : loginOf(handle, password));
  const made = { address, identity, gate, credentials };
  const device = identity.generation === 1 ? new Gen1Device(made) : new RpcDevice(made);
  defer(() => device.close());
  return device;
}

const kindOf = (promise: Promise<unknown>): Promise<DeviceFailureKind | string> =>
  promise.then(
    () => "done",
    (error: unknown) => (error instanceof DeviceFailure ? error.kind : String(error)),
  );

test("every model: who it is, its whole report, its status, by HTTP and by WebSocket", async (context) => {
  const fleet = await startFleet();
  context.defer(() => fleet.close());
  assert.ok(fleet.devices.length >= 10);
  for (const handle of fleet.devices.filter(({ online }) => online)) {
    const device = await open(context, handle);
    assert.is(device.identity.mac, handle.mac.toUpperCase());
    assert.is(device.identity.model, handle.model);
    const report = await device.report();
    assert.is(report.generation, handle.generation);
    if (report.generation === 1) {
      assert.ok(isObject(report.settings) && isObject(report.status), handle.model);
    } else {
      assert.equal(report.config, handle.config(), handle.model);
      assert.ok((report.methods ?? []).includes("Shelly.GetStatus"));
      assert.equal(isObject(report.schedules!) && report.schedules.jobs, [], handle.model);
      await (device as RpcDevice).link();
      assert.ok(isObject(await device.status()), handle.model);
    }
    assert.ok(handle.stats.mostAtOnce <= 1, `${handle.model}: ${handle.stats.mostAtOnce} at once`);
  }
});

test("logins: every dialect, by HTTP and by WebSocket; the right password makes no failed login", async (context) => {
  const dialects = ["1.x", "2.0.0", "2.0.1", "wall"] as const;
  const fleet = await startFleet({
    devices: [
      ...dialects.map((dialect) => ({ model: "SNSW-001X16EU", password: "right", dialect })),
      { model: "SHSW-25", password: "right" },
    ],
  });
  context.defer(() => fleet.close());
  for (const handle of fleet.devices) {
    const device = await open(context, handle, "right");
    for (let i = 0; i < 3; i++) await device.status();
    if (device instanceof RpcDevice) {
      assert.is(handle.stats.challenges, 1, handle.id);
      await device.link();
      for (let i = 0; i < 3; i++) await device.status();
      assert.ok(handle.stats.challenges <= 2);
      const wrong = await open(context, handle, "wrong");
      for (let i = 0; i < 4; i++) assert.is(await kindOf(wrong.status()), "wrong-credentials");
      assert.is(handle.stats.failedLogins, 1, "the second time it is only after a step");
    }
    const before = handle.stats.failedLogins;
    await device.setAuthentication(loginOf(handle, "changed"));
    assert.ok(isObject(await device.status()));
    await device.setAuthentication(null);
    assert.ok(isObject(await device.status()));
    assert.is(handle.stats.failedLogins, before);
  }
});

test("what answers wrongly is told apart, and the next call is served", async (context) => {
  const fleet = await startFleet({ devices: [{ model: "SNSW-001X16EU" }, { model: "SHSW-25" }] });
  context.defer(() => fleet.close());
  const expected: ReadonlyArray<readonly [Fault["kind"], DeviceFailureKind]> = [
    ["garbage", "garbled"],
    ["huge", "too-large"],
    ["drop", "unreachable"],
    ["other-mac", "another-device"],
    ["busy", "too-busy"],
    ["error", "device-error"],
  ];
  for (const handle of fleet.devices) {
    const device = await open(context, handle);
    for (const [kind, failure] of expected) {
      handle.fault({ kind, times: 1 });
      assert.is(await kindOf(device.identify()), failure, `${handle.model} ${kind}`);
      handle.heal();
      assert.is(await kindOf(device.identify()), "done", `${handle.model} after ${kind}`);
    }
    handle.fault({ kind: "silent" });
    const call =
      handle.generation === 1 ? { path: "/shelly", query: {} } : { method: "Shelly.GetDeviceInfo", params: {} };
    assert.is(await kindOf(device.call(call, 200)), "timeout");
    handle.heal();
  }
});

test("what is written is there when it is read again; a step that cuts off is no failure", async (context) => {
  const fleet = await startFleet({ devices: [{ model: "SNSW-001X16EU" }, { model: "SHSW-25" }] });
  context.defer(() => fleet.close());
  const [plus, old] = await Promise.all(fleet.devices.map((handle) => open(context, handle)));
  const config = { id: 0, config: { name: "Lamp" } };
  const step = { component: "switch:0", needsReboot: "maybe", cutsOff: false } as const;
  await plus!.write({ ...step, call: { method: "Switch.SetConfig", params: config } });
  assert.is((fleet.devices[0]!.config("switch:0") as JsonObject).name, "Lamp");
  await old!.write({ ...step, call: { path: "/settings/relay/0", query: { name: "Lamp & co" } } });
  const settings = (await old!.call({ path: "/settings", query: {} })) as { relays: { name: string }[] };
  assert.is(settings.relays[0]!.name, "Lamp & co");
  assert.is(await kindOf(plus!.call({ method: "No.Such", params: {} })), "not-found");
  assert.is(await kindOf(plus!.call({ method: "Switch.GetStatus", params: { id: 7 } })), "not-found");
  fleet.devices[0]!.fault({ kind: "drop", match: "Wifi" });
  const cut = { component: "wifi", call: { method: "Wifi.SetConfig", params: { config: {} } } } as const;
  assert.ok((await plus!.write({ ...cut, needsReboot: "never", cutsOff: true })).cut);
  await plus!.reboot();
  await old!.reboot();
  await eventually(
    async () => (fleet.devices.every(({ stats }) => stats.boots > 1) ? true : undefined),
    "both begin anew",
  );
});

test("HTTPS where nothing else is spoken: the certificate is pinned at first sight, another is refused", async (context) => {
  const fleet = await startFleet({ devices: [{ model: "S3SW-001X16EU", https: "enforced" }] });
  context.defer(() => fleet.close());
  const [handle] = fleet.devices;
  const found = await lookAt(at(handle!), gate, 5_000);
  assert.equal([found.address.scheme, found.address.pin], ["https", handle!.fingerprint]);
  const device = new RpcDevice({ ...found, gate, credentials: async () => undefined });
  context.defer(() => device.close());
  assert.ok(isObject(await device.status()));
  await device.link();
  assert.ok(isObject(await device.status()));
  const address = { ...found.address, pin: "0".repeat(64) };
  const other = new RpcDevice({ ...found, address, gate, credentials: async () => undefined });
  context.defer(() => other.close());
  const refused = await other.status().catch((error: DeviceFailure) => error);
  assert.ok(refused instanceof DeviceFailure && refused.kind === "certificate-changed");
  assert.is(refused.fingerprint, handle!.fingerprint);
});

interface Told {
  readonly what: string;
  readonly mac: string;
  readonly args: ReadonlyArray<unknown>;
}

function listen(): { readonly told: Told[]; readonly listener: FleetListener; of(what: string, mac: string): Told[] } {
  const told: Told[] = [];
  const names = ["seen", "lost", "away", "status", "revision", "event", "samples", "address", "trouble", "sighted"];
  const listener = Object.fromEntries(
    names.map((what) => [what, (mac: string, ...args: unknown[]) => void told.push({ what, mac, args })]),
  );
  const stranger = (found: unknown) => void told.push({ what: "stranger", mac: "", args: [found] });
  return {
    told,
    listener: { ...listener, stranger } as unknown as FleetListener,
    of: (what, mac) => told.filter((one) => one.what === what && one.mac === mac.toUpperCase()),
  };
}

async function keep(
  fleet: Fleet,
  handle: DeviceHandle,
  reach: "dial" | "poll" | "wait",
  lostAfterMs = 60_000,
): Promise<Device> {
  const { identity, address } = await lookAt(at(handle), gate, 5_000);
  return fleet.keep({ identity, address, reach, pollMs: 60_000, lostAfterMs });
}

test("kept: seen, what changes, what is measured, revisions, lost and back", async (context) => {
  const simulated = await startFleet({ devices: [{ model: "SNSW-001P16EU" }, { model: "SNSW-001X16EU" }].slice(1) });
  context.defer(() => simulated.close());
  const [handle] = simulated.devices;
  const { listener, of } = listen();
  const fleet = await Fleet.open({
    listener,
    credentials: async () => undefined,
    onError: (error) => assert.unreachable(String(error)),
  });
  context.defer(() => fleet.close());
  await keep(fleet, handle!, "dial", 1_500);
  const { mac } = handle!;
  await eventually(async () => of("seen", mac)[0], "being seen");
  await eventually(async () => of("revision", mac)[0], "its revisions");
  handle!.sense("switch:0", { output: true });
  await eventually(async () => {
    const status = fleet.status(mac.toUpperCase());
    return isObject(status?.["switch:0"]) && status["switch:0"].output === true ? true : undefined;
  }, "the change");
  const revisions = of("revision", mac).length;
  handle!.change("switch:0", { name: "by somebody" });
  await eventually(async () => (of("revision", mac).length > revisions ? true : undefined), "another revision");
  handle!.power(false);
  await eventually(async () => of("lost", mac)[0], "being lost");
  handle!.power(true);
  fleet.hint(mac.toUpperCase());
  await eventually(async () => of("seen", mac)[1], "being back", 30_000);
});

test("devices that dial in: known by what they answer; a sleeper comes, tells, and goes", async (context) => {
  const { listener, told, of } = listen();
  const fleet = await Fleet.open({
    listener,
    credentials: async () => undefined,
    dialIn: { port: 0, host: "127.0.0.1" },
    onError: (error) => assert.unreachable(String(error)),
  });
  context.defer(() => fleet.close());
  const outbound = `ws://127.0.0.1:${fleet.dialInPort}/devices`;
  const simulated = await startFleet({
    devices: [
      { model: "SNSW-001X16EU", outbound, password: "whatever" },
      { model: "S3SW-002P16EU", outbound },
      { model: "SNSN-0013A", outbound },
    ],
  });
  context.defer(() => simulated.close());
  const [mains, , sleeper] = simulated.devices;
  const nowhere: Address = { host: "", scheme: "http" };
  for (const handle of [mains!, sleeper!]) {
    const { mac, model, id, generation } = handle;
    const identity = { mac: mac.toUpperCase(), id, model, generation, firmware: "", login: false, shelly: {} };
    fleet.keep({ identity, address: nowhere, reach: "wait", pollMs: 60_000, lostAfterMs: 600_000 });
  }
  await eventually(async () => of("status", mains!.mac)[0], "the one that dialled in");
  assert.ok(isObject(await fleet.device(mains!.mac.toUpperCase())!.status()), "without a login on this channel");
  await eventually(async () => told.find(({ what }) => what === "stranger"), "somebody unknown");
  sleeper!.wake();
  await eventually(async () => of("status", sleeper!.mac)[0], "what the sleeper tells");
  sleeper!.sleep();
  await eventually(async () => of("away", sleeper!.mac)[0], "its going");
});

test("CoIoT: seen, measured, and asked for its whole status when a state changes", async (context) => {
  const { listener, of } = listen();
  const fleet = await Fleet.open({
    listener,
    credentials: async () => undefined,
    coiot: { port: 0, host: "127.0.0.1", multicast: false },
    onError: (error) => assert.unreachable(String(error)),
  });
  context.defer(() => fleet.close());
  const simulated = await startFleet({
    devices: [{ model: "SHSW-25", coiotPeer: `127.0.0.1:${fleet.coiotPort}` }],
    coiot: {},
  });
  context.defer(() => simulated.close());
  const [handle] = simulated.devices;
  await keep(fleet, handle!, "poll");
  const { mac } = handle!;
  await eventually(async () => of("status", mac)[0], "its first status");
  let on = false;
  await eventually(async () => {
    on = !on;
    handle!.sense("relays.0", { ison: on });
    await new Promise((resolve) => setTimeout(resolve, 200));
    return of("status", mac).length > 2 ? true : undefined;
  }, "statuses that followed what it told");
  assert.ok(of("samples", mac).length > 0);
});

test("a scan of addresses finds each device once", async (context) => {
  const simulated = await startFleet({
    count: 6,
    devices: [{ model: "SNSW-001X16EU" }, { model: "SHSW-1" }],
    base: "127.77.0.1",
  });
  context.defer(() => simulated.close());
  const macs: string[] = [];
  const found = await scan({
    ranges: ["127.77.0.0/27", "127.77.0.1-127.77.0.3"].map((text) => rangeOf(`${text}:${simulated.port}`)!),
    gate,
    timeoutMs: 5_000,
    onFound: ({ identity }) => macs.push(identity.mac),
  });
  assert.is(found, 6);
  assert.equal(macs.toSorted(), simulated.devices.map(({ mac }) => mac.toUpperCase()).toSorted());
});

test("mDNS: where devices are, each place once though each has two names", async (context) => {
  const port = 21_000 + (process.pid % 20_000);
  const group = "239.255.53.54";
  const devices = [{ model: "S4EM-001PXCEU16", name: "EM Mini Gen4" }, { model: "SHSW-1" }, { model: "SNSW-001X16EU" }];
  const simulated = await startFleet({ devices, mdns: { port, group } });
  context.defer(() => simulated.close());
  const told: string[] = [];
  const ended = new AbortController();
  const found = await browse({
    forMs: 15_000,
    signal: ended.signal,
    socket: { port, ip: group, bind: group, interface: "127.0.0.1", reuseAddr: true },
    onSighting: ({ host, port }) => {
      told.push(`${host}:${port}`);
      if (told.length === 3) ended.abort();
    },
  });
  assert.is(found, 3);
  assert.equal(told.toSorted(), simulated.devices.map(({ address, port }) => `${address}:${port}`).toSorted());

  // As long as one is missing it is listened for: who comes up elsewhere says so, and is looked at without a wait.
  const [moving] = simulated.devices;
  const looked: string[] = [];
  let missing = 1;
  const search = {
    missing: () => missing,
    look: async ({ host }: { readonly host: string }) => void looked.push(host),
    logger: { warn: () => {} } as never,
    socket: { port, ip: group, bind: group, interface: "127.0.0.1", reuseAddr: true },
  };
  const stopping = new AbortController();
  const searching = searchMissing(search, stopping.signal);
  context.defer(() => stopping.abort());
  await eventually(async () => (looked.length >= 3 ? true : undefined), "all are looked at");
  moving!.moveTo("127.20.7.7");
  await eventually(async () => (looked.includes("127.20.7.7") ? true : undefined), "it is looked at where it is now");
  missing = 0;
  stopping.abort();
  await searching;
});

test("lives of simulated devices: reached again within a step, and never ten failed logins", async (context) => {
  type Act = "poll" | "reboot" | "crowd" | "hour" | "minute";
  const acts = fc.array(fc.constantFrom<Act>("poll", "poll", "poll", "reboot", "crowd", "hour", "minute"), {
    maxLength: 12,
  });
  const clock = manualClock();
  const dialects = ["1.x", "2.0.0", "2.0.1", "wall"] as const;
  const fleet = await startFleet({
    clock,
    devices: dialects.map((dialect) => ({ model: "SNSW-001X16EU", password: "right", dialect })),
  });
  context.defer(() => fleet.close());
  let mine = 0;
  const bare = JSON.stringify({ id: 1, method: "Shelly.GetStatus" });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 3 }), acts, async (which, life) => {
      const handle = fleet.devices[which]!;
      const { identity } = await lookAt(at(handle), gate, 5_000);
      const now = () => mine;
      const credentials = async () => loginOf(handle, "right");
      const device = new RpcDevice({ address: at(handle), identity, gate, credentials, now });
      const pass = (ms: number) => {
        mine += ms;
        clock.advance(ms);
      };
      const before = handle.stats.failedLogins;
      for (const act of life) {
        if (act === "poll") await kindOf(device.status());
        else if (act === "hour") pass(3_700_000);
        else if (act === "minute") pass(61_000);
        else if (act === "crowd") {
          for (let i = 0; i < 33; i++) await fetch(`${handle.url}/rpc`, { method: "POST", body: bare });
        } else {
          handle.reboot();
          for (let i = 0; i < 10; i++) pass(100);
          await eventually(async () => (handle.online ? true : undefined), "it is back");
          // That its connections are cut is heard in real time.
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
      // What was waited for is over.
      pass(3_100);
      const first = await device.status().catch((error: DeviceFailure) => error);
      if (first instanceof DeviceFailure) {
        assert.is(first.again.when, "after", first.message);
        if (first.again.when === "after") pass(first.again.ms);
        assert.is(await kindOf(device.status()), "done", `${handle.id} after ${first.message}`);
      }
      assert.ok(handle.stats.failedLogins - before < 10);
      await device.close();
      pass(4_000_000);
    }),
    { numRuns: 20 },
  );
});

test.run();
