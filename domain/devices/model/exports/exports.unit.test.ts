/** Files out and in: the same to the byte, no secret, no state, every slip told with its place; lists that hostile names cannot leave. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { suite } from "../../../../tests/harness/suite.ts";
import { type Configuration, configurationOf } from "../configuration.ts";
import { captured, NO_CAPTURES } from "../fixtures/captured.ts";
import { gen1, gen3 } from "../fixtures/reports.ts";
import { type Identity, identityOf } from "../identity.ts";
import { isObject } from "../json.ts";
import type { Json, Report } from "../report.ts";
import { type Document, importPlan } from "./document.ts";
import { fleetFromJson, fleetJson } from "./fleet.ts";
import { csvOf, dhcpOf, hostsOf, type Listed } from "./lists.ts";
import { documentFromToml, tomlOf } from "./toml.ts";

const test = suite("devices in files");

const documentFor = (report: Report): Document => {
  const { mac, name, model, app, generation } = identityOf(report) as Identity;
  return {
    device: { mac, ...(name === null ? {} : { name }), model, app, generation, tags: ["cellar"] },
    configuration: configurationOf(report),
  };
};
const read = (text: string, known?: Configuration): Document => {
  const found = documentFromToml(text, () => known);
  assert.ok(!("faults" in found), JSON.stringify(found));
  return found;
};
const faultsOf = (text: string, known?: Configuration) => {
  const found = documentFromToml(text, () => known);
  assert.ok("faults" in found, "nothing was found wrong");
  return found.faults.map(({ place, line, detail, fix }) => `${line ?? ""} ${place} ${detail}: ${fix}`.trim());
};

test("TOML, there and back: the same, to the byte, of captures too", ({ skip }) => {
  const reports = [gen1(), gen1("roller"), gen3(), ...captured().map(({ report }) => report)];
  for (const report of reports) {
    const document = documentFor(report);
    const text = tomlOf(document);
    assert.deepEqual(read(text, document.configuration), document);
    assert.equal(tomlOf(read(text, document.configuration)), text);
    for (const state of ["cfg_rev", "fw_id", "unixtime", "ison", "AABBCCDDEEFF"])
      assert.ok(!text.includes(state), state);
    // A device that nobody has seen is taken at its word.
    assert.deepEqual(read(text), document);
  }
  if (reports.length === 3) skip(`captures: ${NO_CAPTURES}`);
});

test("a file is read by people: names, tables by component, what is unset", () => {
  const text = tomlOf({
    device: { mac: "AABBCC000001", name: 'Hall "1"', tags: ["a"] },
    configuration: {
      "switch:0": { name: null, auto_off: true, auto_off_delay: 60 },
      wifi: { sta: { ssid: "home", pass: { $secret: "sec_1" } } },
    },
  });
  assert.equal(
    text,
    [
      "[device]",
      'mac = "AABBCC000001"',
      'name = "Hall \\"1\\""',
      'tags = [ "a" ]',
      "",
      '["switch:0"]',
      'unset = [ "name" ]',
      "auto_off = true",
      "auto_off_delay = 60",
      "",
      "[wifi.sta]",
      'ssid = "home"',
      "",
      "[wifi.sta.pass]",
      '"$secret" = "sec_1"',
      "",
    ].join("\n"),
  );
});

test("whatever stands in keys and values comes back from TOML as it was", () => {
  const name = fc.oneof(
    fc.string({ unit: "grapheme", minLength: 1 }),
    fc.constantFrom("unset", "_unset", "__unset", "a.b", "#", '"'),
  );
  const { tree } = fc.letrec<{ tree: Json; leaf: Json }>((tie) => ({
    leaf: fc.oneof(
      fc.constant(null),
      fc.boolean(),
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.string({ unit: "grapheme" }),
    ) as fc.Arbitrary<Json>,
    tree: fc.oneof(
      { maxDepth: 3 },
      tie("leaf"),
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(name, tie("tree"), { maxKeys: 3 }),
    ) as fc.Arbitrary<Json>,
  }));
  fc.assert(
    fc.property(fc.dictionary(name, tree, { maxKeys: 4 }), (kvs) => {
      const document: Document = {
        device: { mac: "AABBCC000001" },
        configuration: { kvs: JSON.parse(JSON.stringify(kvs)) },
      };
      assert.deepEqual(read(tomlOf(document)), document);
    }),
    { numRuns: 300 },
  );
});

test("a slip is refused with its place and what was probably meant", () => {
  const known = configurationOf(gen3());
  const file = [
    "[device]",
    'mac = "AA:BB:CC:00:00:02"',
    'nmae = "x"',
    "",
    '["switch:0"]',
    "name = 1",
    'in_modde = "follow"',
    "",
    '["swich:1"]',
    "auto_on = true",
    "",
    "[wifi.sta]",
    'pass = "hunter2"',
    "",
    "[wifi.sta1]",
    'sssid = "x"',
    "",
  ];
  assert.deepEqual(faultsOf(file.join("\n"), known), [
    "3 device.nmae is not known: Did you mean name?",
    "6 switch:0.name is a text: Give a value that it can have.",
    "7 switch:0.in_modde is not known: Did you mean in_mode?",
    "9 swich:1 is not known: Did you mean switch:1?",
    '13 wifi.sta.pass is a secret in clear: Store it as a secret, and write { "$secret" = "<its id>" }.',
    "16 wifi.sta1.sssid is not known: Did you mean sta1.ssid?",
  ]);
  assert.deepEqual(faultsOf("[device]\nmac = 1\n"), [
    "2 device.mac has a value of another kind: See what an export writes for mac.",
  ]);
  assert.match(faultsOf('[device\nmac = "x"')[0]!, /^1 {2}/);
  assert.match(faultsOf("")[0]!, /device is missing/);
  assert.match(faultsOf(`a = ${"[".repeat(100)}`)[0]!, /\S/);
  assert.match(faultsOf("#".repeat(300_000))[0]!, /at most/);
});

test("the fleet as JSON, there and back", () => {
  const documents = [documentFor(gen3()), documentFor(gen1())];
  const text = fleetJson(documents);
  assert.deepEqual(
    fleetFromJson(text),
    documents.toSorted((a, b) => (a.device.mac < b.device.mac ? -1 : 1)),
  );
  assert.equal(fleetJson(fleetFromJson(text) as Document[]), text);
  for (const wrong of [
    "",
    "[]",
    '{"format":"millrace.devices","version":2,"devices":[]}',
    text.replace('"mac"', '"mak"'),
  ]) {
    assert.ok("faults" in fleetFromJson(wrong), wrong.slice(0, 40));
  }
});

test("what an import would do is told before", () => {
  const [a, b] = [documentFor(gen1()), documentFor(gen3())];
  const changed: Document = {
    device: { ...b.device, name: "Other" },
    configuration: { ...b.configuration, "switch:0": { ...(b.configuration["switch:0"] as object), name: "Lamp" } },
  };
  const plan = importPlan([a, b], [changed, { device: { mac: "AABBCC000009" }, configuration: {} }]);
  assert.deepEqual(plan, [
    { mac: "AABBCC000001", name: "Hall", step: "gone", fields: [] },
    { mac: "AABBCC000002", name: "Other", step: "change", fields: ["device/name", "switch:0/name"] },
    { mac: "AABBCC000009", name: null, step: "add", fields: [] },
  ]);
  assert.deepEqual(
    (importPlan([a], [a]) as any[]).map(({ step }) => step),
    ["same"],
  );
  assert.ok("faults" in importPlan([], [a, a]));
});

const listed = (mac: string, more: Partial<Listed> = {}): Listed => ({
  mac,
  name: null,
  hostname: `shelly1-${mac}`,
  address: null,
  model: "SHSW-1",
  generation: 1,
  firmware: "1.14.0",
  reach: "reachable",
  groups: [],
  tags: [],
  ...more,
});

test("lists of ordinary devices", () => {
  const devices = [
    listed("AABBCC000002", { name: "Küche: Licht", address: "10.0.0.7" }),
    listed("AABBCC000001", { tags: ["a", "b"] }),
  ];
  assert.equal(
    csvOf(devices),
    "mac,name,hostname,address,model,generation,firmware,reach,groups,tags\r\n" +
      "AA:BB:CC:00:00:01,,shelly1-AABBCC000001,,SHSW-1,1,1.14.0,reachable,,a b\r\n" +
      "AA:BB:CC:00:00:02,Küche: Licht,shelly1-AABBCC000002,10.0.0.7,SHSW-1,1,1.14.0,reachable,,\r\n",
  );
  assert.equal(
    hostsOf(devices, "iot.lan"),
    "10.0.0.7\tkuche-licht.iot.lan kuche-licht\t# AA:BB:CC:00:00:02 Küche: Licht\n",
  );
  assert.equal(
    dhcpOf(devices, "dnsmasq"),
    "dhcp-host=aa:bb:cc:00:00:01,shelly1-aabbcc000001\n# Küche: Licht\ndhcp-host=aa:bb:cc:00:00:02,10.0.0.7,kuche-licht\n",
  );
  assert.match(
    dhcpOf(devices, "isc"),
    /# Küche: Licht\nhost kuche-licht \{\n {2}hardware ethernet aa:bb:cc:00:00:02;\n {2}fixed-address 10\.0\.0\.7;\n/,
  );
  assert.deepEqual(JSON.parse(dhcpOf(devices, "kea")).reservations[1], {
    "hw-address": "aa:bb:cc:00:00:02",
    "ip-address": "10.0.0.7",
    hostname: "kuche-licht",
    "user-context": { name: "Küche: Licht" },
  });
});

test("a hostile name stays a name, in every list", () => {
  const evil = fc.oneof(
    fc.constantFrom(
      "a\nhost evil {",
      "# } \r\n10.0.0.1 bank",
      '";\n}',
      "=cmd|' /C calc'!A0",
      'x","y',
      "\u2028dhcp-host=1,2",
      "}",
      "\0",
      "$(reboot)",
      "\u202Eevil",
      "-1",
    ),
    fc.string({ unit: "grapheme" }),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(evil, evil, evil), { maxLength: 4 }), (names) => {
      const devices = names.map(([name, hostname, tag], index) =>
        listed(`AABBCC00000${index}`, {
          name,
          hostname,
          tags: [tag],
          address: index === 3 ? "10.0.0.1\n" : `10.0.0.${index}`,
        }),
      );
      const [hosts, dnsmasq, isc] = [hostsOf(devices), dhcpOf(devices, "dnsmasq"), dhcpOf(devices, "isc")];
      const addressed = devices.filter(({ address }) => !address!.includes("\n")).length;
      assert.equal(hosts.split("\n").length - 1, addressed);
      for (const line of hosts.split("\n").slice(0, -1)) assert.match(line, /^10\.0\.0\.\d\t[a-z0-9-]+\t# [^\n\r]*$/);
      for (const line of dnsmasq.split("\n").slice(0, -1))
        assert.match(line, /^(# .*|dhcp-host=[0-9a-f:]{17}(,10\.0\.0\.\d)?,[a-z0-9-]+)$/);
      assert.equal(isc.match(/^host [a-z0-9-]+ \{$/gm)?.length ?? 0, devices.length);
      assert.equal(isc.match(/^\}$/gm)?.length ?? 0, devices.length);
      assert.equal(JSON.parse(dhcpOf(devices, "kea")).reservations.length, devices.length);
      const rows = parsedCsv(csvOf(devices));
      assert.equal(rows.length, devices.length + 1);
      for (const row of rows) {
        assert.equal(row.length, 10);
        for (const value of row) assert.doesNotMatch(value, /^[=+\-@\t\r]/);
      }
    }),
    { numRuns: 200 },
  );
});

/** RFC 4180, as a reader that is not ours reads it. */
function parsedCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1)!.push(quoted === undefined ? plain! : quoted.replaceAll('""', '"'));
    if (end === "\r\n") rows.push([]);
  }
  return rows.slice(0, -1);
}

test("a document holds no object that is none", () => {
  assert.ok(isObject(JSON.parse(fleetJson([documentFor(gen1())]))));
});

test.run();
