/** The rules of devices, told as tables: what people may want of one, what agents report, what drifts, whose turn it is. */
import assert from "node:assert/strict";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import { suite } from "../../tests/harness/suite.ts";
import { given, ORGANISATION, type Told, timeOf } from "../testing.ts";
import { type Configuration, desiredOf } from "./configuration.ts";
import { device } from "./device.ts";
import type { DeviceReport } from "./device-command.ts";
import { nextOfDevice } from "./device-decide.ts";
import { exampleIdentity } from "./device-events.ts";
import { stateName } from "./device-state.ts";

const test = suite("devices");

const mac = "C4D8D5517C68";
const SPEC = { mac, name: "hall", site: "home", tags: ["b", "a"], groups: [], expected: true };
const added: Told = ["DeviceAdded", { ...SPEC, tags: ["a", "b"] }];
const firmware = { version: "1.7.5", build: "20260311-095847/1.7.5-g9979d16" };
const identified: Told = ["DeviceIdentified", { identity: exampleIdentity, firmware }];
const reached: Told = ["DeviceReached", {}];
const lamp = { "switch:0": { name: "Lamp", auto_off: true } };
const wanted: Told = ["DeviceConfigured", { configuration: lamp }];
const seen = (configuration: object): Told => ["ConfigurationObserved", { configuration, revisions: { cfg: 1 } }];
const task = "tsk_01kajzq4v0e8r9t2m5x7c3d6fg";
const task2 = "tsk_01kajzq4v0e8r9t2m5x7c3d6fh";
const profile = "prf_01kajzq4v0e8r9t2m5x7c3d6fg";
const report = (story: ReadonlyArray<Told>, told: DeviceReport, from = mac) =>
  given(device, story).when({ do: "report", mac: from, report: told });

test("a device is known by its MAC and its name, once in an organisation", () => {
  const made = given(device, []).when({ do: "add", spec: SPEC });
  made.happens(added);
  made.claims(
    { what: "device-name", value: `${ORGANISATION}/hall`, hold: true },
    { what: "device-mac", value: `${ORGANISATION}/${mac}`, hold: true },
  );
  given(device, [added]).when({ do: "add", spec: SPEC }).isRefused({ refused: "conflict" });
  given(device, [])
    .when({ do: "add", spec: { ...SPEC, mac: "C4:D8", name: "export", tags: ["No"], groups: ["x", "x"], pollMs: 1 } })
    .isRefused({
      refused: "invalid",
      pointers: ["/name", "/tags/0", "/groups/0", "/groups/1", "/groups", "/pollMs", "/mac"].map((at) => `/body${at}`),
    });
});

test("changing tells only what differs, moves the name's claim, and takes no site from under a task", () => {
  const change = (spec: object, story: ReadonlyArray<Told> = [added]) =>
    given(device, story).when({ do: "change", spec });
  change({ tags: ["b", "a", "a"], title: null }).happens();
  const renamed = change({ name: "lobby", title: "Lobby" });
  renamed.happens(["DeviceChanged", { name: "lobby", title: "Lobby" }]);
  renamed.claims(
    { what: "device-name", value: `${ORGANISATION}/hall`, hold: false },
    { what: "device-name", value: `${ORGANISATION}/lobby`, hold: true },
  );
  const queued: Told = ["TaskQueued", { task, kind: "apply" }];
  change({ site: "shed" }, [added, queued]).isRefused({ rule: "device-busy" });
  given(device, [added, queued]).when({ do: "remove" }).isRefused({ rule: "device-busy" });
  given(device, [added])
    .when({ do: "change", spec: { title: "x" }, seen: 7 })
    .isRefused({ refused: "precondition" });
});

test("what is wanted is checked: sizes, depth, names, and no password in clear", () => {
  const configure = (configuration: Configuration) => given(device, [added]).when({ do: "configure", configuration });
  configure(lamp).happens(wanted);
  configure({ wifi: { sta: { ssid: "x", pass: { $secret: "sec_01kajzq4v0e8r9t2m5x7c3d6fg" } } } }).leads((state) => {
    assert.equal(state.generation, 2);
  });
  const refused = (configuration: Configuration, pointer: string) =>
    configure(configuration).isRefused({ refused: "invalid", pointers: [`/body/configuration${pointer}`] });
  refused({ wifi: { sta: { pass: "hunter2" } } }, "/wifi/sta/pass");
  refused({ "Switch 0": {} }, "");
  refused({ sys: { text: "a\0b" } }, "/sys/text");
  refused({ sys: JSON.parse('{"__proto__": {"x": 1}}') }, "/sys/__proto__");
  refused({ sys: { text: "x".repeat(LIMITS.configurationBytes) } }, "");
  let deep: object = {};
  for (let i = 0; i < 20; i++) deep = { in: deep };
  refused({ sys: deep }, `/sys${"/in".repeat(LIMITS.configurationDepth - 1)}`);
});

test("profiles in their order, then own settings; values fill their texts", () => {
  const below = {
    id: profile,
    generation: 1,
    configuration: { "switch:*": { name: "{{room}} {{n}}", in: 1 }, sys: { a: [1], n: "{{n}}" } },
  };
  const above = { id: profile, generation: 1, configuration: { sys: { a: [2], b: 3 } } };
  const own = { "switch:1": { in: 2 } };
  const { desired, missing } = desiredOf([below, above], own, { n: 4 });
  assert.deepEqual(missing, ["room"]);
  assert.deepEqual(desired, { "switch:*": { name: " 4", in: 1 }, sys: { a: [2], n: 4, b: 3 }, "switch:1": { in: 2 } });
  assert.deepEqual(desiredOf([], null, {}), { desired: null, missing: [] });
});

test("with profiles it is said what they come to, and again when they change", () => {
  const resolved = { desired: lamp, profiles: [{ id: profile, generation: 1 }] };
  const use = { do: "configure", profiles: [profile] } as const;
  given(device, [added]).when(use).isRefused({ rule: "overtaken" });
  given(device, [added])
    .when({ ...use, resolved })
    .happens(["DeviceConfigured", { profiles: [profile] }], ["DesiredResolved", resolved]);
  const story: Told[] = [added, ["DeviceConfigured", { profiles: [profile] }], ["DesiredResolved", resolved]];
  const again = { desired: lamp, profiles: [{ id: profile, generation: 2 }] };
  given(device, story).when({ do: "resolve", generation: 2, resolved: again }).happens(["DesiredResolved", again]);
  given(device, story).when({ do: "resolve", generation: 2, resolved }).happens();
  given(device, story).when({ do: "resolve", generation: 1, resolved: again }).isRefused({ rule: "overtaken" });
});

test("only what differs becomes an event: lost and returned, moved, another firmware, counters", () => {
  const story = [added, identified, reached];
  const told: DeviceReport = { reach: "reachable", identity: exampleIdentity, firmware };
  report([added], told).happens(reached, identified);
  report(story, told).happens();
  report(story, { reach: "lost", reason: "no answer" }).happens(["DeviceLost", { reason: "no answer" }]);
  report([...story, ["DeviceLost", { reason: "x" }]], told).happens(["DeviceReturned", { awaySince: timeOf(3) }]);
  report([added], { reach: "lost" }).happens();
  report([...story, ["DeviceChanged", { expected: false }]], { reach: "lost" }).happens();
  report([...story, ["DeviceFellAsleep", {}]], told).happens(["DeviceWoke", {}]);
  const address = { host: "10.0.0.7", port: 80, scheme: "http" } as const;
  report(story, { address }).happens(["DeviceMoved", { address }]);
  const to = { version: "2.0.1", build: "b" };
  report(story, { firmware: to }).happens(["FirmwareChanged", { from: firmware, to }]);
  report([...story, seen(lamp)], { configuration: lamp, revisions: { cfg: 2 } }).happens([
    "RevisionsObserved",
    { revisions: { cfg: 2 } },
  ]);
  report(story, { reach: "reachable" }, "A8032AB636EC").isRefused({ rule: "another-device" });
});

test("the first certificate is trusted, another one is not, until a person says so", () => {
  const [one, other] = ["a".repeat(64), "b".repeat(64)];
  report([added], { fingerprint: one }).happens(["CertificatePinned", { fingerprint: one }]);
  const pinned: Told[] = [added, ["CertificatePinned", { fingerprint: one }]];
  report(pinned, { fingerprint: one }).happens();
  report(pinned, { fingerprint: other }).happens(["CertificateRejected", { fingerprint: other }]);
  const rejected: Told[] = [...pinned, ["CertificateRejected", { fingerprint: other }]];
  report(rejected, { fingerprint: other }).happens();
  assert.equal(stateName(given(device, rejected).state), "rejected");
  given(device, rejected).when({ do: "resetTrust" }).happens(["CertificateTrustReset", {}]);
});

test("what a device tells is checked and bounded", () => {
  const wild: DeviceReport = {
    reach: "reachable",
    reason: "a\nb",
    identity: { ...exampleIdentity, model: "\n", capabilities: Array(400).fill("x") },
    configuration: { sys: { text: "x".repeat(LIMITS.observedBytes) } },
    revisions: { "no name": 1 },
  };
  report([added], wild).isRefused({
    refused: "invalid",
    pointers: ["/reason", "/identity/model", "/identity/capabilities", "/configuration", "/revisions"].map(
      (at) => `/body${at}`,
    ),
  });
});

test("drift: exactly the field that differs, and who brought it out of step", () => {
  const drifted = (configuration: Configuration, story: ReadonlyArray<Told>) =>
    report(story, { configuration, source: "http" });
  const applied: Told = ["ConfigurationApplied", { task, applied: lamp }];
  const off = { "switch:0": { name: "Lamp", auto_off: false, more: 1 } };
  const field = { component: "switch:0", path: "/auto_off", desired: true, observed: false };
  const events = (cause: string, more: object): Told[] => [
    ["ConfigurationObserved", { configuration: off, revisions: {}, source: "http" }],
    ["DriftDetected", { fields: [{ ...field, cause, ...more }], more: 0, source: "http" }],
  ];
  const shown = (told: ReadonlyArray<Told>) => JSON.parse(JSON.stringify(told));
  for (const [story, cause, more] of [
    [[added, wanted, applied], "device", { applied: true }],
    [[added, wanted], "here", {}],
  ] as const) {
    drifted(off, story).leads(({ drift }) => {
      assert.deepEqual(shown([["", drift?.fields]]), [["", [{ ...field, cause, ...more }]]]);
    });
    assert.equal(events(cause, more).length, 2);
  }
  const story = [added, wanted, applied, ...events("device", { applied: true })];
  drifted(off, story).happens();
  assert.equal(
    stateName(
      given(
        device,
        [reached, ...story].sort((a) => (a === added ? -1 : 0)),
      ).state,
    ),
    "drifted",
  );
  drifted({ "switch:0": { name: "Lamp", auto_off: true } }, story).leads(({ drift }) => assert.equal(drift, null));
  // What is wanted follows the device: adopted.
  given(device, story)
    .when({ do: "adopt" })
    .happens(
      ["DeviceConfigured", { configuration: { "switch:0": { name: "Lamp", auto_off: false, more: 1 } } }],
      ["DriftResolved", {}],
    );
});

test("one task has its turn, the others wait in order", () => {
  const queued = (id: string): Told => ["TaskQueued", { task: id, kind: "reboot" }];
  const two = [added, queued(task), queued(task2)];
  assert.deepEqual(nextOfDevice(given(device, two).state), { do: { kind: "begin", task } });
  given(device, two).when({ do: "begin", task: task2 }).isRefused({ rule: "overtaken" });
  given(device, two)
    .when({ do: "dequeue", task: task2 })
    .happens(["TaskDequeued", { task: task2 }]);
  const begun: Told[] = [...two, ["TaskBegun", { task }]];
  assert.equal(nextOfDevice(given(device, begun).state), undefined);
  given(device, begun).when({ do: "dequeue", task }).isRefused({ rule: "overtaken" });
  given(device, begun).when({ do: "end", task: task2, outcome: "failed" }).isRefused({ rule: "overtaken" });
  const end = given(device, [...begun, wanted, seen(lamp)]).when({
    do: "end",
    task,
    outcome: "succeeded",
    applied: lamp,
  });
  end.happens(["ConfigurationApplied", { task, applied: lamp }], ["TaskEnded", { task, outcome: "succeeded" }]);
  end.leads((state) => assert.deepEqual(nextOfDevice(state), { do: { kind: "begin", task: task2 } }));
  const full = [added, ...Array.from({ length: LIMITS.queue }, (_, i) => queued(`${task.slice(0, -2)}${10 + i}`))];
  given(device, full).when({ do: "enqueue", task, kind: "read" }).isRefused({ rule: "queue-full" });
});

test.run();
