/** What is told by mDNS is put together and bounded. */
import { existsSync, readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { captures } from "../../../../tests/harness/captures.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { Heard } from "./mdns.ts";
import { toAddress } from "./scan.ts";

const test = suite("discovery");

const ptr = (service: string, instance: string) => ({ name: service, type: "PTR", data: `${instance}.${service}` });
const SHELLY = "_shelly._tcp.local";
const HTTP = "_http._tcp.local";

test("records of several packets become one place, told once; the second name of a device is the same place", () => {
  const heard = new Heard();
  const a = { name: "ShellyPlus1-AABBCCDDEEFF.local", type: "A", data: "192.168.1.7" };
  const srv = (instance: string) => ({
    name: `${instance}.${SHELLY}`,
    type: "SRV",
    data: { target: "shellyplus1-aabbccddeeff.local", port: 80 },
  });
  assert.equal(heard.add([ptr(SHELLY, "shellyplus1-aabbccddeeff"), srv("shellyplus1-aabbccddeeff")]), []);
  assert.equal(heard.add([a]), [{ host: "192.168.1.7", port: 80 }]);
  assert.equal(heard.add([ptr(SHELLY, "Kitchen Light"), srv("Kitchen Light"), a]), []);
});

test("of `_http._tcp` only who is named like a Shelly", () => {
  const heard = new Heard();
  const at = (instance: string, host: string) => [
    ptr(HTTP, instance),
    { name: `${instance}.${HTTP}`, type: "SRV", data: { target: `${instance}.local`, port: 80 } },
    { name: `${instance}.local`, type: "A", data: host },
  ];
  assert.equal(heard.add(at("printer", "192.168.1.8")), []);
  assert.equal(heard.add(at("shelly1-34945472A643", "192.168.1.9")), [{ host: "192.168.1.9", port: 80 }]);
});

test("ten thousand hostile names: no more is kept or told than is bounded, and a device is still found before them", () => {
  const heard = new Heard();
  let told = 0;
  for (let i = 0; i < 10_000; i++) {
    const name = `${"\u0000../%s\r\n<script>".repeat(i % 20)}shelly-${i}`;
    told += heard.add([
      ptr(SHELLY, name),
      { name: `${name}.${SHELLY}`, type: "SRV", data: { target: `${name}.local`, port: 80 } },
      { name: `${name}.local`, type: "A", data: toAddress(0x0a000000 + i) },
      { name, type: "SRV", data: null },
      { name, type: "A", data: "not an address" },
      { name: 7 as unknown as string, type: "PTR", data: {} },
      { name: SHELLY, type: "PTR", data: "x".repeat(10_000) },
    ]).length;
  }
  assert.ok(told <= 4_096, String(told));
  assert.ok(told > 100);
});

test("answers of real devices", ({ skip }) => {
  let found = 0;
  for (const model of ["SHSW-25", "SNSW-001X16EU", "SNSW-102P16EU", "S3SW-002P16EU", "S4SW-001X16EU"]) {
    const folder = captures(model);
    if (folder === undefined || !existsSync(`${folder}/mdns.json`)) continue;
    const packet = JSON.parse(readFileSync(`${folder}/mdns.json`, "utf8"));
    assert.is(new Heard().add([...packet.answers, ...packet.additionals]).length, 1, model);
    found += 1;
  }
  if (found === 0) skip("the captures of devices are not here");
});

test.run();
