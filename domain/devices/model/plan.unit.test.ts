/** Plans: which calls, in which order, what is refused, what comes back; drift three ways; what stands beside a configuration. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { suite } from "../../../tests/harness/suite.ts";
import { capabilitiesOf } from "./capabilities.ts";
import { type Configuration, configurationOf, fieldsOf } from "./configuration.ts";
import { differences } from "./difference.ts";
import { driftOf } from "./drift.ts";
import { afterWrites } from "./fixtures/device.ts";
import { gen1, gen3 } from "./fixtures/reports.ts";
import { identityOf, normalMac, revisionsOf } from "./identity.ts";
import { at, isObject, pathOf, withAt } from "./json.ts";
import { isRefused, type Plan, planOf, undoOf } from "./plan.ts";
import type { Json, Report } from "./report.ts";
import { secretsIn, withSecrets } from "./secrets.ts";
import { fitted } from "./template.ts";

const test = suite("plans of writes");

function planned(report: Report, desired: Configuration, applied: Configuration | null = null): Plan {
  const plan = planOf(report, desired, applied);
  assert.ok(!isRefused(plan), JSON.stringify(plan));
  return plan;
}
const calls = (plan: Plan) =>
  plan.writes.map(({ call }) => ("path" in call ? [call.path, call.query] : [call.method, call.params]));
const refusedOf = (report: Report, desired: Configuration) => {
  const plan = planOf(report, desired);
  assert.ok(isRefused(plan), "it was not refused");
  return plan.refused.map(({ component, path, reason }) => `${component}${path} ${reason}`);
};

test("Gen1 is written by its own names, one call for each path, only what differs", () => {
  const plan = planned(gen1(), {
    sys: { device: { name: "Cellar" }, sntp: { server: "10.0.0.1" } },
    "switch:1": { name: "Fan", auto_off: false, in_mode: "flip", power_limit: 1000, schedule_rules: [] },
    "input:1": { invert: true },
    coiot: { peer: "10.0.0.3:5683" },
    wifi: {
      sta1: {
        enable: true,
        ssid: "other",
        pass: { $secret: "sec_1" },
        ipv4mode: "static",
        ip: "10.0.0.5",
        netmask: "255.255.255.0",
        gw: "10.0.0.1",
      },
    },
  });
  assert.deepEqual(calls(plan), [
    ["/settings/relay/1", { name: "Fan", auto_off: "0", btn_type: "edge", schedule_rules: "", btn_reverse: "1" }],
    ["/settings", { name: "Cellar", sntp_server: "10.0.0.1", coiot_peer: "10.0.0.3:5683" }],
    [
      "/settings/sta1",
      {
        enabled: "true",
        ssid: "other",
        ipv4_method: "static",
        ip: "10.0.0.5",
        netmask: "255.255.255.0",
        gateway: "10.0.0.1",
        key: { $secret: "sec_1" },
      },
    ],
  ]);
  assert.deepEqual(
    plan.writes.map(({ cutsOff }) => cutsOff),
    [false, false, true],
  );
  assert.deepEqual([plan.reboot.when, plan.reboot.after], ["always", 2]);
});

test("a roller's fields are those of a cover, its button's name is another in writing", () => {
  const report = gen1("roller");
  const configuration = configurationOf(report);
  assert.equal(configuration["switch:0"], undefined);
  const plan = planned(report, {
    "cover:0": {
      button_type: "momentary",
      initial_state: "closed",
      obstruction_detection: { enable: true, direction: "both" },
      motor: { idle_power_thr: 5 },
    },
  });
  assert.deepEqual(calls(plan), [
    [
      "/settings/roller/0",
      { btn_type: "momentary", default_state: "close", obstacle_mode: "while_moving", off_power: "5" },
    ],
  ]);
});

test("Gen1's actions are filled and emptied, several addresses of one", () => {
  const report = gen1();
  const on = { event: "out_on_url", cid: 0, enable: true, urls: ["http://10.0.0.9/a", "http://10.0.0.9/b"] };
  assert.deepEqual(configurationOf(report).webhooks, [{ cid: 0, enable: true, event: "out_on_url", urls: on.urls }]);
  const plan = planned(report, {
    webhooks: [{ event: "out_off_url", cid: 0, enable: true, urls: ["http://x/1", "http://x/2"] }],
  });
  assert.deepEqual(calls(plan), [
    ["/settings/actions", { index: "0", name: "out_off_url", enabled: "true", "urls[]": ["http://x/1", "http://x/2"] }],
    ["/settings/actions", { index: "0", name: "out_on_url", enabled: "false", "urls[]": "" }],
  ]);
  assert.deepEqual(
    differences(
      { webhooks: [{ event: "out_off_url", cid: 0, enable: true, urls: ["http://x/1", "http://x/2"] }] },
      configurationOf(afterWrites(report, plan.writes)),
    ),
    [],
  );
  assert.deepEqual(refusedOf(report, { webhooks: [{ event: "out_onn_url", cid: 0, urls: [] }] }), [
    "webhooks/0/event unknown-field",
  ]);
});

test("another profile comes last, alone cuts off, and what needs it waits", () => {
  const plan = planned(gen3(), {
    sys: { device: { profile: "cover", name: "Blind" } },
    "cover:0": { name: "Blind" },
    schedules: [],
  });
  assert.deepEqual(calls(plan), [
    ["Sys.SetConfig", { config: { device: { name: "Blind" } } }],
    ["Shelly.SetProfile", { name: "cover" }],
  ]);
  assert.deepEqual(plan.again, ["cover:0", "schedules"]);
  assert.equal(plan.reboot.after, 1);
  const first = planned(gen1(), { sys: { device: { profile: "cover" } } });
  assert.deepEqual(calls(first), [["/settings", { mode: "roller" }]]);
  assert.deepEqual(
    first.writes.map(({ needsReboot, cutsOff }) => [needsReboot, cutsOff]),
    [["always", true]],
  );
});

test("login, network and profile in this order, after everything else and after the restart", () => {
  const plan = planned(
    { ...gen3(), methods: ["Mqtt.SetConfig", "WS.SetConfig", "Wifi.SetConfig", "Shelly.SetAuth", "Switch.SetConfig"] },
    {
      wifi: { sta: { ssid: "new", pass: { $secret: "sec_net" } } },
      auth: { enable: true, password: { $secret: "sec_login" } },
      mqtt: { enable: true, server: "10.0.0.2:1883", user: "me", pass: { $secret: "sec_mqtt" } },
      "switch:0": { name: "Lamp" },
    },
  );
  assert.deepEqual(calls(plan), [
    ["Switch.SetConfig", { id: 0, config: { name: "Lamp" } }],
    [
      "Mqtt.SetConfig",
      { config: { enable: true, server: "10.0.0.2:1883", user: "me", pass: { $secret: "sec_mqtt" } } },
    ],
    ["Shelly.SetAuth", { user: "admin", realm: "shelly2pmg3-aabbcc000002", ha1: { $secret: "sec_login" } }],
    ["Wifi.SetConfig", { config: { sta: { ssid: "new", pass: { $secret: "sec_net" } } } }],
  ]);
  assert.deepEqual([plan.reboot.when, plan.reboot.after], ["maybe", 2]);
  assert.deepEqual(plan.writes.flatMap(secretsIn), ["sec_mqtt", "sec_login", "sec_net"]);
  const used: string[] = [];
  const sent = plan.writes.map((write) =>
    withSecrets(write, (reference, use) => `${used.push(`${reference} ${use.as}`)}`),
  );
  assert.deepEqual(used, ["sec_mqtt plain", "sec_login ha1", "sec_net plain"]);
  assert.ok(!JSON.stringify(sent).includes("$secret"));
});

test("a secret is written once, and again with another network or when it is another", () => {
  const desired = { wifi: { sta: { ssid: "home", pass: { $secret: "sec_net" } } } };
  assert.equal(planned(gen3(), desired, desired).writes.length, 0);
  assert.equal(planned(gen3(), desired).writes.length, 1);
  const moved = { wifi: { sta: { ssid: "new", pass: { $secret: "sec_net" } } } };
  assert.deepEqual(calls(planned(gen3(), moved, desired)), [
    ["Wifi.SetConfig", { config: { sta: { ssid: "new", pass: { $secret: "sec_net" } } } }],
  ]);
});

test("what cannot be written is refused before anything is done, with the place and what to do", () => {
  assert.deepEqual(
    refusedOf(gen3(), {
      "switch:0": { in_modde: "follow", power_limit: "much", auto_on: 1, initial_state: "sometimes" },
      "switch:7": { name: "none" },
      sys: { device: { mac: "AABBCC000003" } },
      wifi: { sta: { ssid: "elsewhere" }, ap: { pass: "clear text" } },
      "input:0": { name: { $secret: "sec_1" } },
      auth: { enable: true },
    }).sort(),
    [
      "auth/enable secret-needed",
      "input:0/name secret-here",
      "switch:0/auto_on wrong-value",
      "switch:0/in_modde unknown-field",
      "switch:0/initial_state wrong-value",
      "switch:0/power_limit wrong-value",
      "switch:7 unknown-component",
      "sys/device/mac read-only",
      "wifi/ap/pass secret-here",
      "wifi/sta/ssid secret-needed",
    ],
  );
  const plan = planOf(gen3(), { "switch:0": { in_modde: "follow" } });
  assert.ok(isRefused(plan) && plan.refused[0]!.fix === "Did you mean in_mode?");
  assert.deepEqual(refusedOf(gen1(), { "switch:0": { auto_on: true, auto_on_delay: 0 } }), [
    "switch:0/auto_on wrong-value",
  ]);
  assert.deepEqual(refusedOf({ ...gen3(), methods: ["Sys.SetConfig"] }, { kvs: { a: 1 } }), ["kvs no-method"]);
});

test("schedules, webhooks, keys, scripts and virtual components: made, changed, removed, by the device's ids", () => {
  const report = gen3();
  const desired = configurationOf(report) as Record<string, any>;
  assert.deepEqual(planned(report, desired).writes, []);
  const changed = structuredClone(desired);
  changed.schedules[0].enable = true;
  changed.webhooks = [{ cid: 1, enable: true, event: "switch.off", name: "new", urls: ["http://10.0.0.9/off"] }];
  changed.kvs = { room: "cellar", floor: null, wing: "east" };
  changed.virtual = {
    "number:200": { max: 50 },
    "text:201": { name: "Note" },
    "group:200": { value: ["number:200", "text:201"] },
  };
  changed.scripts = [
    { name: "watch", enable: true, code: "x".repeat(2500) },
    { name: "other", enable: true, code: "y" },
  ];
  const plan = planned(report, changed);
  assert.deepEqual(
    calls(plan).map(([method, params]) => `${method} ${JSON.stringify(params)}`.slice(0, 60)),
    [
      'KVS.Delete {"key":"floor"}',
      'KVS.Set {"key":"room","value":"cellar"}',
      'KVS.Set {"key":"wing","value":"east"}',
      'Script.Stop {"id":1}',
      `Script.PutCode {"id":1,"code":"${"x".repeat(60)}`,
      `Script.PutCode {"id":1,"code":"${"x".repeat(60)}`,
      `Script.PutCode {"id":1,"code":"${"x".repeat(60)}`,
      'Script.Start {"id":1}',
      'Script.SetConfig {"id":1,"config":{"enable":true}}',
      'Script.Create {"name":"other"}',
      'Number.SetConfig {"id":200,"config":{"max":50}}',
      'Virtual.Add {"type":"text","id":201,"config":{"name":"Note"}}',
      'Group.Set {"id":200,"value":["number:200","text:201"]}',
      'Schedule.Update {"id":1,"enable":true}',
      'Webhook.Delete {"id":4}',
      'Webhook.Create {"cid":1,"enable":true,"event":"switch.off","name":"new","urls":["http:',
    ].map((line) => line.slice(0, 60)),
  );
  assert.deepEqual(plan.again, ["scripts/1"]);
  const once = afterWrites(report, plan.writes);
  const twice = afterWrites(once, planned(once, changed).writes);
  assert.deepEqual(differences(changed, configurationOf(twice)), []);
  assert.deepEqual(planned(twice, changed).writes, []);
  // And back again, however far it came.
  for (const reached of [once, twice]) {
    let back: Report = reached;
    for (let round = 0; round < 2; round++) back = afterWrites(back, planned(back, undoOf(report, plan)).writes);
    assert.deepEqual(configurationOf(back), desired);
  }
  assert.deepEqual(refusedOf(report, { kvs: { ["k".repeat(43)]: 1 } }), [`kvs/${"k".repeat(43)} too-much`]);
});

test("every entry but the named: a star that is null", () => {
  const report = gen3();
  assert.deepEqual(differences({ kvs: { room: "hall" } }, configurationOf(report)), []);
  assert.deepEqual(calls(planned(report, { kvs: { room: "hall", "*": null }, virtual: { "*": null } })), [
    ["KVS.Delete", { key: "floor" }],
    ["Virtual.Delete", { key: "group:200" }],
    ["Virtual.Delete", { key: "number:200" }],
  ]);
});

test("drift: who changed what, in fields, lists and secrets", () => {
  const observed = configurationOf(gen3());
  const wish = { "switch:0": { name: "Lamp", auto_on: true, power_limit: 100 }, mqtt: { pass: { $secret: "sec_2" } } };
  const applied = {
    "switch:0": { name: "Lamp", auto_on: false, power_limit: 200 },
    mqtt: { pass: { $secret: "sec_1" } },
  };
  const drift = driftOf(wish, applied, observed, [
    { component: "switch:0", at: "2026-11-21T12:00:00.000Z", source: "http" },
  ]);
  assert.deepEqual(
    drift.map(({ component, path, cause, by }) => `${component}/${path.join("/")} ${cause} ${by?.source ?? ""}`),
    ["switch:0/name device http", "switch:0/auto_on here ", "switch:0/power_limit both http", "mqtt/pass here "],
  );
  assert.equal(driftOf({ "switch:0": { name: "Lamp" } }, null, observed)[0]!.cause, "here");
  const schedules = structuredClone(observed.schedules) as any[];
  schedules[1].timespec = "0 0 9 * * *";
  const edited = driftOf(observed, observed, { ...observed, schedules });
  assert.deepEqual(
    edited.map(({ path, cause, observed }) => [path.join("/"), cause, observed]),
    [["1/timespec", "device", "0 0 9 * * *"]],
  );
  const added = driftOf(observed, observed, {
    ...observed,
    schedules: [...(observed.schedules as Json[]), { enable: true, timespec: "@sunrise", calls: [] }],
  });
  assert.deepEqual(
    added.map(({ path, cause }) => [path.join("/"), cause]),
    [["+2", "device"]],
  );
});

test("what is said of every switch holds for those that have it; one switch says more", () => {
  const gen1Configuration = configurationOf(gen1());
  const { configuration, left } = fitted(
    { "switch:*": { name: "any", auto_off: false, voltage_limit: 250 }, "switch:1": { name: "Fan" } },
    gen1Configuration,
  );
  assert.deepEqual(configuration, {
    "switch:0": { name: "any", auto_off: false },
    "switch:1": { name: "Fan", auto_off: false },
  });
  assert.deepEqual(left, ["switch:0/voltage_limit", "switch:1/voltage_limit"]);
  assert.deepEqual(differences({ "switch:0": { auto_on: false, auto_on_delay: 60 } }, gen1Configuration), []);
});

test("capabilities come from what a device says, of a kind never seen as well", () => {
  const types = (report: Report) => new Set(capabilitiesOf(report).map(({ type, key }) => `${type} ${key}`));
  const gen3Types = types({
    ...gen3(),
    methods: ["Schedule.Create", "Webhook.Create", "KVS.Set", "Script.Create", "Switch.Toggle"],
  });
  for (const one of [
    "switch switch:1",
    "meter switch:0",
    "energy switch:0",
    "number number:200",
    "bthomedevice bthomedevice:200",
    "schedules schedules",
    "scripts scripts",
    "wifi wifi",
  ])
    assert.ok(gen3Types.has(one), one);
  const gen1Types = types(gen1());
  for (const one of ["switch switch:1", "meter switch:1", "input input:0", "coiot coiot", "webhooks webhooks"])
    assert.ok(gen1Types.has(one), one);
  const unseen = gen1("relay", {
    pumps: [{ name: null, speed: 3, ison: true }],
    heater: { level: 2, mode: { night: true } },
  });
  assert.deepEqual(configurationOf(unseen)["pumps:0"], { name: null, speed: 3 });
  assert.deepEqual(calls(planned(unseen, { "pumps:0": { speed: 4 }, sys: { heater: { level: 1 } } })), [
    ["/settings/pump/0", { speed: "4" }],
    ["/settings", { heater_level: "1" }],
  ]);
  const never = {
    ...gen3(),
    config: { ...(gen3().config as object), "laser:0": { id: 0, colour: "red", beam: { width: 2 } } },
  };
  assert.deepEqual(calls(planned(never, { "laser:0": { beam: { width: 3 } } })), [
    ["Laser.SetConfig", { id: 0, config: { beam: { width: 3 } } }],
  ]);
});

test("an address that was lent is no configuration", () => {
  const report = gen3();
  (report.config as any).wifi.sta.ip = "10.0.0.7";
  assert.equal(at(configurationOf(report).wifi, ["sta", "ip"]), null);
});

test("what is no Shelly's answer is none, whatever it is", () => {
  for (const shelly of [
    null,
    1,
    "x",
    [],
    {},
    { gen: 9 },
    { gen: 2 },
    { type: "SHSW-1", mac: 5 },
    { gen: 3, mac: "nonsense" },
  ] as Json[]) {
    assert.ok("problem" in identityOf({ shelly }), JSON.stringify(shelly));
  }
  assert.equal(normalMac("aa:bb-cc.dd ee:ff"), "AABBCCDDEEFF");
  assert.deepEqual(revisionsOf(gen3().status), { cfg_rev: 12, kvs_rev: 3, schedule_rev: 1 });
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.constantFrom(1 as const, 2 as const), (value, other, generation) => {
      const [raw, status] = [value as Json, other as Json];
      const report = (
        generation === 1
          ? { generation, shelly: raw, settings: raw, status, actions: raw }
          : {
              generation,
              shelly: raw,
              config: raw,
              status,
              components: [raw, status],
              schedules: raw,
              webhooks: status,
              kvs: raw,
              scripts: status,
            }
      ) as Report;
      const configuration = configurationOf(report);
      assert.deepEqual(differences(configuration, configuration), []);
      capabilitiesOf(report);
      planOf(report, configuration);
    }),
    { numRuns: 300 },
  );
});

test("any fields changed are exactly those fields, and their plan brings them", () => {
  for (const report of [gen1(), gen1("roller"), gen3()]) {
    const before = configurationOf(report);
    const fields = Object.entries(before).flatMap(([component, value]) =>
      isObject(value) && !["kvs", "virtual", "auth"].includes(component)
        ? fieldsOf(value)
            .filter(
              (field) =>
                ["boolean", "number"].includes(typeof at(value, pathOf(field))) && !/auto_on$|auto_off$/.test(field),
            )
            .map((field) => ({ component, field }))
        : [],
    );
    fc.assert(
      fc.property(fc.subarray(fields, { minLength: 1 }), (chosen) => {
        const desired = chosen.reduce<Configuration>((all, { component, field }) => {
          const value = at(before[component], pathOf(field));
          return {
            ...all,
            [component]: withAt(
              all[component] ?? {},
              pathOf(field),
              typeof value === "number" ? value - 1 || 2 : !value,
            ),
          };
        }, {});
        const found = differences(desired, before).map(({ component, path }) => `${component} ${path.join(".")}`);
        assert.deepEqual(found.sort(), chosen.map(({ component, field }) => `${component} ${field}`).sort());
        const plan = planOf(report, {
          ...desired,
          "cover:0": desired["cover:0"] === undefined ? {} : { ...(desired["cover:0"] as object) },
        });
        if (isRefused(plan)) {
          assert.ok(
            plan.refused.every(({ reason }) => reason === "wrong-value" || reason === "unknown-component"),
            JSON.stringify(plan),
          );
          return;
        }
        assert.deepEqual(differences(desired, configurationOf(afterWrites(report, plan.writes))), []);
      }),
      { numRuns: 60 },
    );
  }
});

test.run();
