/** Where requests of ours may go: every hostile form of an address is seen through. */
import assert from "node:assert/strict";
import { suite } from "../tests/harness/suite.ts";
import { Addresses, hostOf } from "./addresses.ts";

const test = suite("addresses");
const none = new Addresses();

/** As a URL names them: decimal, octal, hexadecimal, short, mapped, compatible, translated, tunnelled. */
const HOSTILE = [
  ..."127.0.0.1 127.1 2130706433 0177.0.0.1 0x7f000001 0x7f.1 127.0.0.1. 0 0.0.0.0 127.255.255.254".split(" "),
  ..."10.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 198.18.0.1 192.0.0.192 255.255.255.255".split(" "),
  ..."169.254.169.254 2852039166 0251.0376.0251.0376 0xa9fea9fe 100.100.100.200 168.63.129.16 224.0.0.1".split(" "),
  ..."[::] [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:a9fe:a9fe]".split(" "),
  ..."[64:ff9b::7f00:1] [64:ff9b:1::a00:1] [2002:7f00:1::] [2001::1] [fe80::1] [fd00:ec2::254] [fc00::1]".split(" "),
  ..."[fec0::1] [ff02::1] [2001:db8::1] [::ffff:0:7f00:1] ①②⑦.⓪.⓪.①".split(" "),
];
const HARMLESS = [..."8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 [2606:4700:4700::1111] [::ffff:8.8.8.8]".split(" ")];

test("hostile forms are refused before a name is asked for, harmless ones are not", () => {
  for (const host of HOSTILE) assert.notEqual(none.refusedIn(`http://${host}/`), undefined, host);
  for (const host of HARMLESS) assert.equal(none.refusedIn(`http://${host}/`), undefined, host);
  assert.equal(none.refusedIn("http://example.com/"), undefined);
  assert.equal(none.isAllowed("not an address"), false);
});

test("a name is judged by every address it leads to, each resolved once", async () => {
  let asked = 0;
  const leads =
    (...addresses: string[]) =>
    async () => {
      asked++;
      return addresses;
    };
  assert.deepEqual(await none.of("good.example", leads("8.8.8.8", "2606:4700::1")), ["8.8.8.8", "2606:4700::1"]);
  for (const bad of ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1"]) {
    await assert.rejects(none.of("bad.example", leads("8.8.8.8", bad)), /may not be sent to/);
  }
  await assert.rejects(none.of("nothing.example", leads()), /has no address/);
  assert.equal(asked, 7);
});

test("the socket is opened to what was judged, though the name leads elsewhere a moment later", async () => {
  const answers = [["8.8.8.8"], ["127.0.0.1"]];
  const lookup = none.lookup(async () => answers.shift()!);
  const ask = (all: boolean) =>
    new Promise((resolve, reject) =>
      lookup("rebinding.example", { all }, (error, address) => (error === null ? resolve(address) : reject(error))),
    );
  assert.deepEqual(await ask(true), [{ address: "8.8.8.8", family: 4 }]);
  await assert.rejects(ask(false), /leads to 127\.0\.0\.1/);
});

test("what the operator allows is allowed, and nothing beside it", () => {
  const home = new Addresses(["192.168.1.0/24", "fd12:3456::/32"]);
  assert.deepEqual(
    ["192.168.1.7", "192.168.2.7", "fd12:3456::1", "fd13::1", "127.0.0.1"].map((address) => home.isAllowed(address)),
    [true, false, true, false, false],
  );
  for (const wrong of ["192.168.1.0", "192.168.1.0/33", "home/8", "::/129", ""]) {
    assert.throws(() => new Addresses([wrong]), /no range of addresses/);
  }
  assert.equal(hostOf("http://[::1]:80/"), "::1");
});

test.run();
