/** Devices as documents and documents as commands: what comes in of files, what is wrong with them, and what is left alone. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { device } from "./device.ts";
import type { DeviceState } from "./device-state.ts";
import { filesOf } from "./exports.ts";
import { type Fleet, fileOfDevice, isSelected, planOf } from "./sync-documents.ts";

const test = suite("devices as documents");

const MACS = ["A0DD00000001", "A0DD00000002"] as const;
const PROFILE = "prf_01kajzq4v0e8r9t2m5x7c3d6fg";
const SECRET = "sec_01kajzq4v0e8r9t2m5x7c3d6fg";

const stateOf = (nth: number, more: Partial<DeviceState> = {}): DeviceState => ({
  ...device.decider.initial(`dev_0000000000000000000000000${nth}`),
  exists: true,
  organisation: "org_00000000000000000000000000",
  generation: 1,
  mac: MACS[nth]!,
  name: `lamp-${nth}`,
  site: "home",
  tags: ["floor/1"],
  configuration: { "switch:0": { in_mode: "follow" } },
  desired: { "switch:0": { in_mode: "follow" } },
  createdAt: "2026-01-01T00:00:00.000Z",
  ...more,
});

const profileState = {
  id: PROFILE,
  generation: 3,
  spec: { name: "eco", title: null, configuration: { sys: { device: { name: "{{room}}" } } }, reapply: false },
};

const fleetOf = (...devices: DeviceState[]): Fleet => ({
  organisation: "org_00000000000000000000000000",
  devices,
  profiles: new Map([[PROFILE, profileState as never]]),
  groups: new Map([["grp_01kajzq4v0e8r9t2m5x7c3d6fg", "downstairs"]]),
});
const OPTIONS = { site: "home", select: null };

const planned = (fleet: Fleet, files: Record<string, string>, options: Parameters<typeof planOf>[2] = OPTIONS) =>
  planOf(new Map(Object.entries(files)), fleet, options);
const faultsIn = (fleet: Fleet, text: string, options?: Parameters<typeof planOf>[2]) => {
  const plan = planned(fleet, { "a.toml": text }, options);
  return "faults" in plan ? plan.faults.map(({ place, detail }) => `${place} ${detail}`) : [];
};

test("what is written and taken in again changes nothing", () => {
  const fleet = fleetOf(
    stateOf(0, { profiles: [PROFILE], values: { room: "Hall" }, groups: ["grp_01kajzq4v0e8r9t2m5x7c3d6fg"] }),
    stateOf(1, { configuration: null, desired: null, tags: [] }),
  );
  const files = Object.fromEntries(
    fleet.devices.map((state) => fileOfDevice(state, fleet)).map((one) => [one.file, one.text]),
  );
  assert.match(files["lamp-0.toml"]!, /profiles = \[ "eco" \]/);
  const plan = planned(fleet, files);
  assert.ok(!("faults" in plan), JSON.stringify(plan));
  assert.deepEqual([plan.steps, plan.incoming, plan.same], [[], [], 2]);
  assert.deepEqual(
    filesOf("toml", fleet.devices, fleet).map(({ name, text }) => [name, text]),
    Object.entries(files).sort(),
  );
});

test("only what is said changes, and a profile is resolved with what the file says", () => {
  const fleet = fleetOf(stateOf(0, { values: { room: "Hall" } }));
  const text = `[device]\nmac = "${MACS[0]}"\nprofiles = ["eco"]\n\n["switch:0"]\nin_mode = "detached"\n`;
  const plan = planned(fleet, { "a.toml": text });
  assert.ok(!("faults" in plan), JSON.stringify(plan));
  assert.deepEqual(plan.steps[0]!.fields, ["device/profiles", "switch:0/in_mode"]);
  const [change, configure] = plan.incoming[0]!.commands;
  assert.deepEqual(change, { do: "change", spec: {} });
  assert.deepEqual(configure, {
    do: "configure",
    configuration: { "switch:0": { in_mode: "detached" } },
    profiles: [PROFILE],
    resolved: {
      desired: { sys: { device: { name: "Hall" } }, "switch:0": { in_mode: "detached" } },
      profiles: [{ id: PROFILE, generation: 3 }],
    },
  });
});

test("what is wrong is told at its place: unknown names, values that profiles lack, the same device twice, others' devices", () => {
  const fleet = fleetOf(stateOf(0), stateOf(1));
  const about = (more: string) => `[device]\nmac = "${MACS[0]}"\n${more}`;
  assert.match(faultsIn(fleet, about('groups = ["nobody"]\n'))[0]!, /^device\.groups names nobody/);
  assert.match(faultsIn(fleet, about('profiles = ["eco"]\n'))[0]!, /^device\.values lack .*room/);
  assert.match(faultsIn(fleet, about('name = "lamp-0"\ntags = ["No Tag"]\n'))[0]!, /tags/);
  const select = { tag: "floor/2" };
  assert.match(faultsIn(fleet, about('tags = ["floor/2"]\n'), { site: "home", select })[0]!, /none of the devices/);
  const twice = planned(fleet, { "a.toml": about(""), "b.toml": about("") });
  assert.ok("faults" in twice && twice.faults[0]!.file === "b.toml");
});

test("a secret is named only where it was named already, or by who may name it", () => {
  const pass = { $secret: SECRET };
  const text = `[device]\nmac = "${MACS[0]}"\n\n[mqtt]\npass = { "$secret" = "${SECRET}" }\n`;
  assert.match(faultsIn(fleetOf(stateOf(0)), text)[0]!, /mqtt\.pass names a secret/);
  assert.deepEqual(faultsIn(fleetOf(stateOf(0)), text, { ...OPTIONS, mayName: (secret) => secret === SECRET }), []);
  assert.deepEqual(faultsIn(fleetOf(stateOf(0, { configuration: { mqtt: { pass } } })), text), []);
  const elsewhere = fleetOf(stateOf(0, { configuration: { wifi: { sta: { pass } } } }));
  assert.equal(faultsIn(elsewhere, text).length, 1);
});

test("a selection holds as a list would find", () => {
  const state = stateOf(0, { drift: { fields: [], more: 0, since: "" } as never });
  assert.ok(isSelected({ tag: "floor/1", site: "home", drifted: true }, state));
  assert.ok(isSelected(null, state));
  assert.ok(!isSelected({ tag: "floor/1", drifted: false }, state));
  assert.ok(!isSelected({ model: "SHSW-25" }, state));
});

test.run();
