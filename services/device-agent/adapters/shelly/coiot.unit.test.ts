/** CoIoT: packets built here by RFC 7252, and what their numbers mean by the descriptions that devices give. */
import { existsSync, readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { captures } from "../../../../tests/harness/captures.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { coapGet, parseCoap, parseCoiot } from "./coap.ts";
import { componentOf, configCountOf, describe, samplesOfCoiot, stateChanged } from "./coiot.ts";

const test = suite("coiot");

/** A packet as devices send it: options by their distance from the one before. */
function packet(options: ReadonlyArray<readonly [number, Buffer]>, payload: string, code = 30): Buffer {
  let before = 0;
  const nibble = (value: number) => (value < 13 ? value : value < 269 ? 13 : 14);
  const more = (value: number) => {
    if (value < 13) return Buffer.alloc(0);
    if (value < 269) return Buffer.from([value - 13]);
    const two = Buffer.alloc(2);
    two.writeUInt16BE(value - 269);
    return two;
  };
  const parts = options.map(([number, value]) => {
    const delta = number - before;
    before = number;
    const first = Buffer.from([(nibble(delta) << 4) | nibble(value.length)]);
    return Buffer.concat([first, more(delta), more(value.length), value]);
  });
  const head = Buffer.from([0x50, code, 0, 1]);
  return Buffer.concat([head, ...parts, Buffer.from([0xff]), Buffer.from(payload)]);
}

const told = (G: unknown, serial = 7) =>
  packet(
    [
      [3332, Buffer.from("SHSW-25#3494547BF36C#2")],
      [3412, Buffer.from([0, 38])],
      [3420, Buffer.from([0, serial])],
    ],
    JSON.stringify({ G }),
  );

const DESCRIPTION = describe({
  blk: [
    { I: 1, D: "relay_0" },
    { I: 4, D: "device" },
    { I: 2, D: "emeter_0" },
  ],
  sen: [
    { I: 9103, T: "EVC", D: "cfgChanged", R: "U16", L: 4 },
    { I: 1101, T: "S", D: "output", R: "0/1", L: 1 },
    { I: 4101, T: "P", D: "power", U: "W", L: 1 },
    { I: 4103, T: "E", D: "energy", U: "Wmin", L: 1 },
    { I: 4106, T: "E", D: "energy", U: "Wh", L: 2 },
    { I: 3104, T: "T", D: "deviceTemp", U: "C", L: 4 },
    { I: 7, T: "T" },
  ],
});

test("a packet is read: who, how long it holds, which change, what", () => {
  const message = parseCoiot(told([[0, 1101, 1], [0, 9103, 3], "x", [0, "y", 1]]))!;
  assert.equal(
    { ...message, values: [...message.values] },
    {
      type: "SHSW-25",
      device: "3494547BF36C",
      serial: 7,
      validitySeconds: 3.8,
      values: [
        [1101, 1],
        [9103, 3],
      ],
    },
  );
  assert.is(configCountOf(message), 3);
});

test("energy is converted by the unit that the description gives, and what was not measured is none", () => {
  const message = parseCoiot(
    told([
      [0, 4101, 60.5],
      [0, 4103, 6_000],
      [0, 4106, 6_000],
      [0, 3104, 999],
      [0, 4999, 1],
    ]),
  )!;
  assert.equal(samplesOfCoiot(message, DESCRIPTION), [
    { metric: "power_watts", value: 60.5, labels: { component: "switch:0" } },
    { metric: "energy_watt_hours", value: 100, labels: { component: "switch:0" } },
    { metric: "energy_watt_hours", value: 6_000, labels: { component: "em1:0" } },
  ]);
  assert.is(componentOf("device"), "sys");
});

test("a change of state is news, another measurement is not", () => {
  const at = (output: number, power: number) =>
    parseCoiot(
      told([
        [0, 1101, output],
        [0, 4101, power],
      ]),
    )!;
  assert.ok(stateChanged(undefined, at(0, 1), DESCRIPTION));
  assert.not.ok(stateChanged(at(0, 1), at(0, 2), DESCRIPTION));
  assert.ok(stateChanged(at(0, 1), at(1, 1), DESCRIPTION));
});

test("what is no such packet is nothing, whatever bytes come", () => {
  const good = told([[0, 1101, 1]]);
  for (let length = 0; length < good.length - 1; length++) assert.is(parseCoiot(good.subarray(0, length)), undefined);
  for (let at = 0; at < good.length; at++) {
    for (const value of [0, 0x7f, 0xf0, 0xff])
      parseCoiot(Buffer.concat([good.subarray(0, at), Buffer.from([value]), good.subarray(at + 1)]));
  }
  const from = [3332, Buffer.from("SHSW-1#3494547BF36C#2")] as const;
  assert.is(parseCoiot(packet([from], "[1]")), undefined);
  assert.is(parseCoiot(packet([from], '{"G":1}')), undefined);
  assert.is(parseCoiot(packet([from], '{"G":[]}', 1)), undefined);
  assert.is(parseCoiot(packet([[3332, Buffer.from("SHSW-1#../../x#2")]], '{"G":[]}')), undefined);
  assert.is(describe("x").size + describe({ blk: 1, sen: [] }).size, 0);
});

test("the question for a status is what this side reads as one", () => {
  const asked = parseCoap(coapGet("/cit/s", 513))!;
  assert.is(asked.code, 1);
  assert.equal(
    asked.options.map(([number, value]) => [number, String(value)]),
    [
      [11, "cit"],
      [11, "s"],
    ],
  );
});

test("descriptions and statuses of real devices", ({ skip }) => {
  let seen = 0;
  for (const model of ["SHSW-1", "SHSW-25", "SHEM-3", "SHRGBW2"]) {
    const folder = captures(model);
    if (folder === undefined || !existsSync(`${folder}/coap.citd.json`)) continue;
    const [citd, cits] = ["citd", "cits"].map((name) =>
      JSON.parse(readFileSync(`${folder}/coap.${name}.json`, "utf8")),
    );
    const description = describe(citd);
    assert.is(description.size, citd.sen.length, model);
    const message = parseCoiot(told(cits.G))!;
    assert.is(message.values.size, cits.G.length);
    assert.is(configCountOf(message), 0);
    const watts = samplesOfCoiot(message, description).filter(({ metric }) => metric === "power_watts");
    assert.is(watts.length, citd.sen.filter(({ D }: { D: string }) => D === "power").length, model);
    seen += 1;
  }
  if (seen === 0) skip("the captures of devices are not here");
});

test.run();
