/** The answers of the simulator have the shape of what real devices answered, where captures of them stand beside the checkout. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { captures } from "../../harness/captures.ts";
import { suite } from "../../harness/suite.ts";
import { isObject } from "./auth.ts";
import { type DeviceSpec, type Fleet, type Json, manualClock, startFleet } from "./fleet.ts";
import { Gen1Device } from "./gen1-device.ts";
import { packetOf } from "./mdns.ts";
import { RpcDevice } from "./rpc-device.ts";

const test = suite("simulated Shelly devices against captures");

/** What may differ, and why. A text ends the path that it speaks of. */
const ALLOWED: ReadonlyArray<readonly [path: RegExp, why: string]> = [
  [/available_updates(\.|$)/, "what there was to update to on that day"],
  [/status\.sys\.alt\..*\.(stable|beta)$/, "which channels had other firmware on that day"],
  [/config\.sys\.ui_data(\.|$)/, "what the vendor's app keeps there"],
  [/status\.wifi\.(sta_ip6|channel)$/, "depends on network and firmware"],
  [/(status|settings)\.ext_(sensors|temperature|humidity)\./, "sensors that were plugged in"],
  [/status\.bthome\.errors$/, "whether Bluetooth was on"],
  [/shelly\.discoverable$/, "only shown when it is off, or by Gen1"],
];

const typeOf = (value: Json): string => (Array.isArray(value) ? "array" : value === null ? "null" : typeof value);

/** What differs in shape: keys, types, numbers of elements. Null stands for anything: a value that was not there then. */
function differences(ours: Json, theirs: Json, path: string): string[] {
  if (ALLOWED.some(([pattern]) => pattern.test(path)) || ours === null || theirs === null) return [];
  if (typeOf(ours) !== typeOf(theirs)) return [`${path}: ${typeOf(ours)}, captured ${typeOf(theirs)}`];
  if (Array.isArray(ours) && Array.isArray(theirs)) {
    const lists = ours.some(isObject) || theirs.some(isObject);
    if (lists && ours.length !== theirs.length) return [`${path}: ${ours.length}, captured ${theirs.length}`];
    const shared = ours.slice(0, theirs.length);
    return shared.flatMap((one, index) => differences(one, theirs[index]!, `${path}.${index}`));
  }
  if (!isObject(ours) || !isObject(theirs)) return [];
  return [...new Set([...Object.keys(ours), ...Object.keys(theirs)])].flatMap((key) => {
    const at = `${path}.${key}`;
    if (ALLOWED.some(([pattern]) => pattern.test(at))) return [];
    if (!(key in ours)) return [`${at}: not ours`];
    if (!(key in theirs)) return [`${at}: not captured`];
    return differences(ours[key]!, theirs[key]!, at);
  });
}

const CASES: ReadonlyArray<readonly [spec: DeviceSpec, prefix: string]> = [
  [{ model: "SHSW-1" }, ""],
  [{ model: "SHSW-1" }, "addon."],
  [{ model: "SHSW-25", profile: "relay" }, ""],
  [{ model: "SHSW-25", profile: "roller" }, "roller."],
  [{ model: "SHPLG-S" }, ""],
  [{ model: "SHRGBW2", profile: "color" }, ""],
  [{ model: "SHRGBW2", profile: "white" }, "white."],
  [{ model: "SHEM-3" }, ""],
  [{ model: "SHIX3-1" }, ""],
  [{ model: "SHDM-2" }, ""],
  [{ model: "SHTRV-01" }, ""],
  [{ model: "SNSW-001X16EU" }, ""],
  [{ model: "SNSW-102P16EU", profile: "switch" }, ""],
  [{ model: "SNSW-102P16EU", profile: "cover" }, "cover."],
  [{ model: "SNSN-0013A" }, ""],
  [{ model: "SPEM-003CEBEU", profile: "triphase" }, ""],
  [{ model: "SPEM-003CEBEU", profile: "monophase" }, "monophase."],
  [{ model: "S3SW-001X16EU" }, ""],
  [{ model: "S3SW-002P16EU", profile: "switch" }, ""],
  [{ model: "S3SW-002P16EU", profile: "cover" }, "cover."],
  [{ model: "S4SW-001X16EU" }, ""],
  [{ model: "S4EM-001PXCEU16", password: "x" }, ""],
  [{ model: "S3GW-1DBT001" }, ""],
];

const readJson = (folder: string, name: string): Json | undefined => {
  const file = join(folder, name);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Json) : undefined;
};

let fleet: Fleet;
test.before(async () => {
  fleet = await startFleet({
    devices: CASES.map(([spec]) => ({ ...spec, name: "Named" })),
    clock: manualClock(),
  });
});
test.after(() => fleet.close());

function answers(device: unknown): Record<string, Json> {
  if (device instanceof Gen1Device) {
    const said = { shelly: device.shelly(), settings: device.config(), status: device.status() };
    return { ...said, "coap.citd": device.describe(), "coap.cits": device.burst().payload };
  }
  if (device instanceof RpcDevice) return { shelly: device.info(), config: device.config(), status: device.status() };
  throw new Error("no device");
}

for (const [index, [{ model, profile }, prefix]] of CASES.entries()) {
  test(`${model} ${profile ?? ""}${prefix === "" ? "" : ` (${prefix}json)`}`, ({ skip }) => {
    const folder = captures(model);
    if (folder === undefined) skip("no captures of it here (MILLRACE_FIXTURES)");
    const found: string[] = [];
    let compared = 0;
    for (const [name, ours] of Object.entries(answers(fleet.devices[index]))) {
      const theirs = readJson(folder!, `${prefix}${name}.json`);
      if (theirs === undefined) continue;
      compared++;
      found.push(...differences(ours, theirs, name));
    }
    if (compared === 0) skip("no captures of this mode here");
    assert.deepEqual(found, []);
  });
}

/** Of a list of components, each kind once. */
const kinds = (list: Json): Record<string, Json> =>
  Object.fromEntries(
    (Array.isArray(list) ? list : []).flatMap((one) => (isObject(one) ? [[String(one.key).split(":")[0]!, one]] : [])),
  );

test("components that users made", ({ skip }) => {
  const folder = captures("S3SW-001X16EU");
  if (folder === undefined) skip("no captures here (MILLRACE_FIXTURES)");
  for (const [model, name] of [
    ["S3SW-001X16EU", "components.json"],
    ["S3SW-002P16EU", "components.json"],
  ] as const) {
    const theirs = readJson(captures(model)!, name);
    const device = fleet.devices.find((one) => one.model === model) as RpcDevice;
    const ours = device.call("Shelly.GetComponents", { dynamic_only: true, include: ["config", "status"] }, "http");
    assert.ok(isObject(theirs) && isObject(ours));
    assert.deepEqual(Object.keys(ours).sort(), Object.keys(theirs).sort());
    const [mine, real] = [kinds(ours.components!), kinds(theirs.components!)];
    assert.deepEqual(Object.keys(mine), Object.keys(real));
    // Titles and images are by option; what a sensor holds is of its kind.
    const found = differences(mine, real, model).filter(
      (one) => !/\.(titles|images)\.|bthomesensor\.status\.value/.test(one),
    );
    assert.deepEqual(found, []);
  }
});

test("what is told by mDNS", ({ skip }) => {
  let compared = 0;
  for (const [index, [{ model }, prefix]] of CASES.entries()) {
    const folder = captures(model);
    const theirs = folder === undefined ? undefined : readJson(folder, `${prefix}mdns.json`);
    if (!isObject(theirs)) continue;
    const device = fleet.devices[index] as RpcDevice | Gen1Device;
    const services = new Set<string>();
    const txt = new Set<string>();
    const collect = (records: Json) => {
      for (const record of Array.isArray(records) ? records : []) {
        if (!isObject(record)) continue;
        if (record.type === "SRV") services.add(String(record.name).split(".").slice(-3).join("."));
        if (record.type === "TXT" && Array.isArray(record.data))
          for (const one of record.data) txt.add(String(one).split("=")[0]!);
      }
    };
    collect([...((theirs.answers ?? []) as Json[]), ...((theirs.additionals ?? []) as Json[])]);
    const packet = packetOf(device)!;
    const ours = JSON.parse(JSON.stringify([...packet.answers, ...(packet.additionals ?? [])])) as Json[];
    const [realServices, realTxt] = [new Set(services), new Set(txt)];
    services.clear();
    txt.clear();
    collect(ours);
    for (const service of realServices) assert.ok(services.has(service), `${model} tells of ${service}`);
    for (const key of realTxt) assert.ok(txt.has(key), `${model} says ${key}`);
    compared++;
  }
  if (compared === 0) skip("no captures here (MILLRACE_FIXTURES)");
});

test("what a gateway says of its valve", ({ skip }) => {
  const folder = captures("_protocol");
  if (folder === undefined) skip("no captures here (MILLRACE_FIXTURES)");
  const device = fleet.devices.find(({ model }) => model === "S3GW-1DBT001") as RpcDevice;
  const [remote, components] = ["BluTrv.GetRemoteConfig", "Shelly.GetComponents"].map((method) =>
    readJson(folder!, `S3GW-1DBT001.${method}.json`),
  );
  assert.deepEqual(differences(device.call("BluTrv.GetRemoteConfig", { id: 200 }, "http"), remote!, "remote"), []);
  const ours = device.call("Shelly.GetComponents", { dynamic_only: true, include: ["config", "status"] }, "http");
  assert.ok(isObject(ours) && isObject(components));
  // Later firmware says more of a Bluetooth device (captured on a 2PM Gen3).
  const found = differences(kinds(ours.components!), kinds(components.components!), "components");
  assert.deepEqual(
    found.filter((one) => !/bthomedevice\.status\.fw_ver|bthomesensor\.status\.value/.test(one)),
    [],
  );
});

/** Left out of the simulator with a reason (README): none is needed to manage a device. */
const NOT_OURS =
  /^(HTTP|OTA|LNM|BTHomeControl|Service|XMOD|Object)\.|^Script\.Eval$|^BLE\.(AdvertiseOnce|.*Pair)|^Matter\.(FactoryReset|GetSetupCode)|^Schedule\.Eval$|^Input\.CheckExpression$|^Webhook\.ListAllSupported$|^BTHome\.(ResetEncryptionCounter|GetObjectInfos)$|^BTHomeDevice\.(ResetCounter|UpdateFirmware)$/;

test("methods that a real device lists", ({ skip }) => {
  const folder = captures("_protocol");
  if (folder === undefined) skip("no captures here (MILLRACE_FIXTURES)");
  const real = readJson(folder!, "S3SW-002P16EU.Shelly.ListMethods.json");
  const device = fleet.devices.find(({ model }) => model === "S3SW-002P16EU") as RpcDevice;
  const ours = [...device.methods.values()].map(({ name }) => name);
  assert.ok(isObject(real) && Array.isArray(real.methods));
  const missing = real.methods.map(String).filter((name) => !ours.includes(name) && !NOT_OURS.test(name));
  assert.deepEqual(missing, []);
});

test.run();
