/** What a simulated Gen2+ device answers, over HTTP and WebSocket. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { eventually } from "../../harness/eventually.ts";
import { suite } from "../../harness/suite.ts";
import { sha256 } from "./auth.ts";
import { ask, Client, call, get, refusal } from "./bare-client.ts";
import { type Dialect, type Fleet, type Json, type JsonObject, manualClock, startFleet } from "./fleet.ts";
import { RpcDevice } from "./rpc-device.ts";

const test = suite("calls of simulated devices");
const clock = manualClock(Date.UTC(2026, 10, 1, 11, 57));
const DIALECTS: readonly Dialect[] = ["1.x", "2.0.0", "2.0.1"];
let fleet: Fleet;
const at = (index: number) => fleet.devices[index]!;
const plus1 = () => at(0);
const plus2pm = () => at(1);
const gen3 = () => at(2);

test.before(async () => {
  fleet = await startFleet({
    clock,
    devices: [
      { model: "SNSW-001X16EU", name: "Hall" },
      { model: "SNSW-102P16EU", profile: "cover" },
      { model: "S3SW-001X16EU" },
      ...DIALECTS.map((dialect) => ({ model: "S4SW-001X16EU", password: "sesame", dialect })),
      { model: "SAWD-0A1XX10EU1", password: "sesame" },
    ],
  });
});
test.after(() => fleet.close());

/** curl's own digest, against ours. @returns undefined where there is no curl. */
async function curl(...args: string[]): Promise<{ status: number; text: string } | undefined> {
  try {
    const { stdout } = await promisify(execFile)("curl", ["-s", "-m", "20", "-w", "\n%{http_code}", ...args]);
    const end = stdout.lastIndexOf("\n");
    return { status: Number(stdout.slice(end + 1)), text: stdout.slice(0, end) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

for (const [index, dialect] of DIALECTS.entries()) {
  test(`curl logs in with its digest (${dialect})`, async ({ skip }) => {
    const device = at(3 + index);
    const url = `${device.url}/rpc/Switch.GetConfig?id=0`;
    const found = await curl("--digest", "-u", "admin:sesame", url);
    if (found === undefined) skip("no curl here");
    assert.equal(found!.status, 200);
    assert.equal(JSON.parse(found!.text).id, 0);
    const frame = '{"id":7,"method":"Switch.Set","params":{"id":0,"on":true}}';
    const posted = await curl("--digest", "-u", "admin:sesame", "-d", frame, `${device.url}/rpc`);
    assert.deepEqual(JSON.parse(posted!.text), { id: 7, src: device.id, result: { was_on: false } });
    assert.equal(device.stats.failedLogins, 0);
    // Two in one go: over one connection where the firmware keeps it, with a counter that rises.
    const twice = await curl("--digest", "-u", "admin:sesame", url, url);
    assert.equal(twice!.status, 200);
    assert.equal(device.stats.failedLogins, 0);
    assert.equal((await curl("--digest", "-u", "admin:wrong", url))!.status, 401);
    assert.equal(device.stats.failedLogins, 1);
  });
}

test("without a login only who it is is told", async () => {
  const device = at(3);
  assert.equal((await get(device, "/shelly")).status, 200);
  const info = await ask(device, "Shelly.GetDeviceInfo");
  assert.deepEqual([info.auth_en, info.auth_domain, info.gen, info.model], [true, device.id, 4, "S4SW-001X16EU"]);
  const answer = await fetch(`${device.url}/rpc/Sys.GetStatus`);
  assert.equal(answer.status, 401);
  assert.match(
    answer.headers.get("www-authenticate")!,
    /^Digest qop="auth", realm="shelly1g4-[0-9a-f]{12}", nonce="\d+", /,
  );
  assert.equal(answer.headers.get("server"), "ShellyHTTP/1.0.0");
  assert.equal(answer.headers.get("connection"), "close");
});

test("frames log in with what the challenge says", async () => {
  for (const index of [3, 4, 5, 6]) {
    const device = at(index);
    const client = await Client.open(device);
    const { error } = await client.call("Sys.GetStatus");
    const { code, message } = error as JsonObject;
    assert.equal(code, 401);
    const { nonce, realm, nc } = JSON.parse(String(message)) as JsonObject;
    assert.equal(typeof nonce, index === 4 || index === 5 ? "string" : "number");
    const ha1 = sha256(`admin:${realm}:sesame`);
    const response = sha256(`${ha1}:${nonce}:1:9:auth:${sha256("dummy_method:dummy_uri")}`);
    const auth: JsonObject = {
      realm: realm!,
      username: "admin",
      nonce: nonce!,
      nc: nc!,
      cnonce: 9,
      response,
      algorithm: "SHA-256",
    };
    const { result } = await client.call("Sys.GetStatus", {}, { auth });
    assert.equal((result as JsonObject).mac, device.mac);
    client.socket.terminate();
  }
});

test("errors have the codes of the field", async () => {
  const device = plus1();
  assert.deepEqual(await refusal(device, "Toaster.Toast"), {
    status: 404,
    body: { code: 404, message: "No handler for Toaster.Toast" },
  });
  assert.deepEqual(await refusal(device, "Switch.GetStatus", { id: 7 }), {
    status: 500,
    body: { code: -105, message: "Bad id=7" },
  });
  assert.equal((await refusal(device, "Switch.GetStatus")).body.code, -103);
  assert.equal((await refusal(device, "Switch.Set", { id: 0, on: "yes" })).body.code, -103);
  // Names are matched without case, values come in the query, too.
  assert.deepEqual(JSON.parse((await get(device, "/rpc/switch.set?id=0&on=true&toggle_after=5")).text), {
    was_on: false,
  });
  await clock.advance(5_000);
  assert.equal((device.status("switch:0") as JsonObject).output, false);
  const client = await Client.open(device);
  assert.deepEqual((await client.call("Toaster.Toast")).error, { code: 404, message: "No handler for Toaster.Toast" });
  client.socket.terminate();
});

test("a change of configuration is checked, counted and told", async () => {
  const device = plus1();
  const client = await Client.open(device);
  await client.call("Shelly.GetStatus");
  const before = (device.config("sys") as JsonObject).cfg_rev as number;
  const changed = await ask(device, "Switch.SetConfig", {
    id: 0,
    config: { name: "Lamp", auto_off: true, unknown: 1 },
  });
  assert.deepEqual(changed, { restart_required: false });
  const event = await client.event("config_changed");
  assert.deepEqual([event.component, event.id, event.cfg_rev], ["switch:0", 0, before + 1]);
  assert.equal((await ask(device, "Switch.GetConfig", { id: 0 })).name, "Lamp");
  // The same again is no change.
  await ask(device, "Switch.SetConfig", { id: 0, config: { name: "Lamp" } });
  assert.equal((device.config("sys") as JsonObject).cfg_rev, before + 1);
  const wrong: Array<[string, JsonObject]> = [
    ["Switch.SetConfig", { id: 0, config: { name: "x".repeat(65) } }],
    ["Switch.SetConfig", { id: 0, config: { auto_off_delay: "soon" } }],
    ["Switch.SetConfig", { id: 0, config: { initial_state: "maybe" } }],
    ["Wifi.SetConfig", { config: { ap: { is_open: true } } }],
    ["Wifi.SetConfig", { config: { sta: { ip: "not an address" } } }],
    ["Sys.SetConfig", { config: { device: { discoverable: null } } }],
    ["Mqtt.SetConfig", { config: 5 }],
  ];
  for (const [method, params] of wrong)
    assert.equal((await refusal(device, method, params)).body.code, -103, JSON.stringify(params));
  assert.equal((device.config("sys") as JsonObject).cfg_rev, before + 1);
  // Read-only fields are left as they are.
  await ask(device, "Sys.SetConfig", { config: { cfg_rev: 1, device: { mac: "0".repeat(12), fw_id: "x" } } });
  assert.equal((device.config("sys") as JsonObject).cfg_rev, before + 1);
  client.socket.terminate();
});

test("what takes a reboot says so, and is asked for until it was", async () => {
  const device = plus1();
  const config = { enable: true, server: "broker:1883", user: "u", pass: "secret" };
  assert.deepEqual(await ask(device, "MQTT.SetConfig", { config }), { restart_required: true });
  assert.ok(!JSON.stringify(device.config()).includes("secret"));
  assert.equal((device.status("sys") as JsonObject).restart_required, true);
  const client = await Client.open(device);
  assert.equal((await ask(device, "Shelly.Reboot", { delay_ms: 500 })) as Json, null);
  assert.equal((await refusal(device, "Shelly.Reboot", { delay_ms: 10 })).body.code, -103);
  const boots = device.stats.boots;
  await clock.advance(60);
  assert.equal(device.online, false);
  await assert.rejects(fetch(`${device.url}/shelly`));
  await clock.advance(200);
  assert.deepEqual([device.online, device.stats.boots], [true, boots + 1]);
  await eventually(async () => client.closed || undefined, "the socket was cut");
  const sys = await ask(device, "Sys.GetStatus");
  assert.deepEqual([sys.restart_required, sys.reset_reason], [false, 3]);
  assert.ok((sys.uptime as number) < 5);
});

test("components come in pages", async () => {
  const device = gen3();
  const keys: string[] = [];
  let total = 1;
  let pages = 0;
  for (; keys.length < total; pages++) {
    const page = await ask(device, "Shelly.GetComponents", { offset: keys.length, include: ["status", "config"] });
    total = page.total as number;
    keys.push(...(page.components as JsonObject[]).map(({ key }) => String(key)));
  }
  assert.ok(pages > 1);
  assert.equal(new Set(keys).size, total);
  for (const key of ["sys", "switch:0", "number:200", "group:200"]) assert.ok(keys.includes(key), key);
  assert.ok(!("number:200" in (await ask(device, "Shelly.GetConfig"))));
  const made = await ask(device, "Shelly.GetComponents", { dynamic_only: true });
  assert.deepEqual(
    made.components,
    ["button", "enum", "group", "number", "text"].map((kind) => ({ key: `${kind}:200` })),
  );
  assert.equal((await ask(device, "Shelly.GetComponents", { keys: ["sys"] })).total, 1);
});

test("virtual components are added, set and deleted", async () => {
  const device = gen3();
  const client = await Client.open(device);
  await client.call("Shelly.GetDeviceInfo");
  assert.deepEqual(await ask(device, "Virtual.Add", { type: "boolean", config: { name: "Away" } }), { id: 200 });
  assert.equal((await client.event("component_added")).target, "boolean:200");
  await ask(device, "Boolean.Set", { id: 200, value: true });
  assert.equal((await ask(device, "Boolean.GetStatus", { id: 200 })).value, true);
  assert.equal((await refusal(device, "Boolean.Set", { id: 200, value: 3 })).body.code, -103);
  assert.equal((await refusal(device, "Number.Set", { id: 200, value: 101 })).body.code, -103);
  for (let i = 0; i < 4; i++) await ask(device, "Virtual.Add", { type: "text" });
  assert.equal((await refusal(device, "Virtual.Add", { type: "text" })).body.code, -108);
  await ask(device, "Virtual.Delete", { key: "boolean:200" });
  assert.equal((await refusal(device, "Virtual.Delete", { key: "boolean:200" })).body.code, -105);
  assert.equal((await client.event("component_removed")).target, "boolean:200");
  client.socket.terminate();
});

test("schedules run by the device's clock", async () => {
  const device = plus2pm();
  const calls = [{ method: "Cover.GoToPosition", params: { id: 0, pos: 40 } }];
  const made = await ask(device, "Schedule.Create", { enable: true, timespec: "0 0,30 12 * * SUN", calls });
  assert.deepEqual(made, { id: 1, rev: 2 });
  for (const timespec of ["0 0 012 * * *", "* * * *", "0 61 * * * *", "0 0 0 * * XYZ"]) {
    assert.equal((await refusal(device, "Schedule.Create", { timespec, calls })).body.code, -103, timespec);
  }
  assert.equal(
    (await refusal(device, "Schedule.Create", { timespec: "0 0 1 * * *", calls: Array(6).fill(calls[0]) })).body.code,
    -103,
  );
  // 2026-11-01 is a Sunday.
  await clock.advance(Date.UTC(2026, 10, 1, 12, 0, 0) - clock.now());
  await clock.advance(1_000);
  const { state, current_pos } = device.status("cover:0") as JsonObject;
  assert.deepEqual([state, current_pos], ["stopped", 40]);
  for (let i = 0; i < 19; i++) await ask(device, "Schedule.Create", { timespec: "0 0 1 * * *", calls });
  assert.equal((await refusal(device, "Schedule.Create", { timespec: "0 0 1 * * *", calls })).body.code, -108);
  assert.deepEqual(await ask(device, "Schedule.Update", { id: 1, enable: false }), { rev: 22 });
  assert.equal(((await ask(device, "Schedule.List")).jobs as JsonObject[])[0]!.enable, false);
  assert.equal((await refusal(device, "Schedule.Delete", { id: 99 })).body.code, -105);
});

test("webhooks are kept in their bounds", async () => {
  const device = plus2pm();
  const hook = { cid: 0, enable: true, event: "cover.open", urls: ["http://house/opened"] };
  assert.deepEqual(await ask(device, "Webhook.Create", hook), { id: 1, rev: 1 });
  assert.equal((await refusal(device, "Webhook.Create", { ...hook, event: "switch.on" })).body.code, -103);
  assert.equal(
    (await refusal(device, "Webhook.Create", { ...hook, urls: Array(6).fill("http://a/") })).body.code,
    -103,
  );
  assert.equal(
    (await refusal(device, "Webhook.Create", { ...hook, urls: [`http://a/${"x".repeat(300)}`] })).body.code,
    -103,
  );
  await ask(device, "Webhook.Update", { id: 1, name: "open" });
  const { hooks, rev } = await ask(device, "Webhook.List");
  assert.deepEqual([rev, (hooks as JsonObject[])[0]!.name], [2, "open"]);
});

test("keys and values, guarded by an etag", async () => {
  const device = plus1();
  const { etag, rev } = await ask(device, "KVS.Set", { key: "room", value: "hall" });
  assert.equal(rev, 1);
  assert.deepEqual(await ask(device, "KVS.Get", { key: "room" }), { etag, value: "hall" });
  assert.equal((await refusal(device, "KVS.Set", { key: "room", value: "x", etag: "another" })).body.code, -109);
  await ask(device, "KVS.Set", { key: "room", value: "attic", etag: etag! });
  assert.equal((await refusal(device, "KVS.Get", { key: "none" })).body.code, -105);
  assert.equal((await refusal(device, "KVS.Set", { key: "k".repeat(43), value: "x" })).body.code, -103);
  assert.equal((await refusal(device, "KVS.Set", { key: "k", value: "x".repeat(254) })).body.code, -103);
  for (let i = 0; i < 49; i++) await ask(device, "KVS.Set", { key: `k${i}`, value: i });
  assert.equal((await refusal(device, "KVS.Set", { key: "one more", value: 1 })).body.code, -108);
  const many = await ask(device, "KVS.GetMany", { match: "k1*" });
  assert.deepEqual([(many.items as Json[]).length, many.total], [10, 11]);
  assert.deepEqual(Object.keys((await ask(device, "KVS.List", { match: "room" })).keys as JsonObject), ["room"]);
  assert.equal((device.status("sys") as JsonObject).kvs_rev, 51);
});

test("scripts take their code in pieces", async () => {
  const device = plus1();
  assert.deepEqual(await ask(device, "Script.Create", { name: "watch" }), { id: 1 });
  const code = `print("${"å".repeat(700)}");`.repeat(2);
  let sent = 0;
  for (let from = 0; from < code.length; from += 1024) {
    const piece = code.slice(from, from + 1024);
    sent = (await ask(device, "Script.PutCode", { id: 1, code: piece, append: from > 0 })).len as number;
  }
  assert.equal(sent, code.length);
  assert.equal((await refusal(device, "Script.PutCode", { id: 1, code: "x".repeat(1025) })).body.code, -103);
  let read = "";
  for (let left = 1; left > 0; ) {
    const piece = await ask(device, "Script.GetCode", { id: 1, offset: read.length });
    read += piece.data as string;
    left = piece.left as number;
  }
  assert.equal(read, code);
  await ask(device, "Script.Start", { id: 1 });
  assert.equal((await refusal(device, "Script.PutCode", { id: 1, code: "" })).body.code, -109);
  assert.ok("script:1" in (await ask(device, "Shelly.GetConfig")));
  assert.equal(((await ask(device, "Shelly.GetStatus"))["script:1"] as JsonObject).running, true);
  assert.equal((await refusal(device, "Script.GetCode", { id: 4 })).body.code, -105);
});

test("another profile reboots, and deletes webhooks and schedules", async () => {
  const device = plus2pm();
  assert.equal((await refusal(device, "Shelly.SetProfile", { name: "toaster" })).body.code, -103);
  assert.deepEqual(await ask(device, "Shelly.SetProfile", { name: "switch" }), { profile_was: "cover" });
  await clock.advance(300);
  assert.equal((await ask(device, "Shelly.GetDeviceInfo")).profile, "switch");
  const { webhooks, schedules } = device.stored();
  assert.deepEqual([webhooks, schedules], [[], []]);
  const config = await ask(device, "Shelly.GetConfig");
  assert.ok("switch:1" in config && !("cover:0" in config));
  assert.equal(((config.sys as JsonObject).device as JsonObject).profile, "switch");
  assert.equal((await refusal(device, "Cover.Open", { id: 0 })).status, 404);
  assert.equal((await refusal(plus1(), "Shelly.SetProfile", { name: "switch" })).status, 404);
});

test("a password is set by ha1, and at once", async () => {
  const device = plus1();
  const ha1 = sha256(`admin:${device.id}:new`);
  assert.equal((await refusal(device, "Shelly.SetAuth", { user: "root", realm: device.id, ha1 })).body.code, -103);
  assert.equal((await refusal(device, "Shelly.SetAuth", { user: "admin", realm: "another", ha1 })).body.code, -103);
  assert.equal((await refusal(device, "Shelly.SetAuth", { user: "admin", pass: "new" })).body.code, -103);
  assert.equal((await ask(device, "Shelly.SetAuth", { user: "admin", realm: device.id, ha1 })) as Json, null);
  assert.equal((await call(device, "Sys.GetStatus")).status, 401);
  device.setPassword(null);
  assert.equal((await call(device, "Sys.GetStatus")).status, 200);
});

test("certificates come in pieces", async () => {
  const device = plus1();
  assert.deepEqual(await ask(device, "Shelly.PutHTTPServerCert", { data: "one\n" }), { len: 4 });
  assert.deepEqual(await ask(device, "Shelly.PutHTTPServerCert", { data: "two\n", append: true }), { len: 8 });
  assert.deepEqual(await ask(device, "Shelly.PutHTTPServerCert", { data: null }), { len: 0 });
});

test("a press of the button is an event, a changed input and a changed output", async () => {
  const device = plus1();
  const client = await Client.open(device);
  await client.call("Shelly.GetDeviceInfo");
  device.press();
  const told = await client.has((frame) => JSON.stringify(frame).includes('"source":"switch"'), "the output");
  assert.deepEqual(((told.params as JsonObject)["switch:0"] as JsonObject).output, true);
  assert.equal(told.dst, "tests");
  client.socket.terminate();
});

test("lights, and a device that nobody has seen before", async ({ defer }) => {
  const odd = await startFleet({
    devices: [{ model: "SNDC-0D4P10WW", profile: "rgbw" }, { model: "S5XX-0ODD01EU" }, { model: "S3GW-1DBT001" }],
  });
  defer(() => odd.close());
  const [lamp, pump] = [odd.devices[0]!, odd.devices[1]!];
  await ask(lamp, "RGBW.Set", { id: 0, on: true, rgb: [1, 2, 3], brightness: 80, white: 9 });
  const { output, rgb, brightness, white } = lamp.status("rgbw:0") as JsonObject;
  assert.deepEqual([output, rgb, brightness, white], [true, [1, 2, 3], 80, 9]);
  assert.equal((await refusal(lamp, "RGBW.Set", { id: 0, rgb: [300, 0, 0] })).body.code, -103);
  assert.deepEqual(await ask(pump, "Pump.SetConfig", { id: 1, config: { prime_s: 9 } }), { restart_required: false });
  assert.equal((await ask(pump, "pump.getconfig", { id: 1 })).prime_s, 9);
  assert.equal((await refusal(pump, "Pump.SetConfig", { id: 1, config: { prime_s: true } })).body.code, -103);
  const gateway = odd.devices[2]!;
  await ask(gateway, "BluTrv.Call", { id: 200, method: "TRV.SetTarget", params: { id: 0, target_C: 17 } });
  assert.equal((gateway.status("blutrv:200") as JsonObject).target_C, 17);
});

test("no method of any model breaks on odd arguments", async ({ defer }) => {
  const models = ["SNDC-0D4P10WW", "SPEM-003CEBEU", "S3SW-002P16EU", "S3GW-1DBT001", "S5XX-0ODD01EU"];
  const all = await startFleet({ clock: manualClock(), devices: models.map((model) => ({ model })) });
  defer(() => all.close());
  const odd: Json[] = [null, 0, -1, 1.5, 1e12, "", "x".repeat(2_000), true, [], [{}], {}, { id: 0 }, { "": null }];
  const names = [
    "id",
    "config",
    "key",
    "value",
    "name",
    "type",
    "code",
    "url",
    "keys",
    "offset",
    "include",
    "calls",
    "on",
    "pos",
    "params",
  ];
  let asked = 0;
  for (const device of all.devices) {
    if (!(device instanceof RpcDevice)) continue;
    for (const { name } of device.methods.values()) {
      for (const [index, value] of odd.entries()) {
        const params: JsonObject = { id: index % 2, ...Object.fromEntries(names.slice(1).map((one) => [one, value])) };
        const answers = [params, { ...params, id: value }, { config: { name: value, sta: value, device: value } }].map(
          (one) => device.answer({ id: 1, method: name, params: one }, "http", true),
        );
        for (const answer of answers) assert.ok("result" in answer || "error" in answer, name);
        asked += answers.length;
      }
      device.setPassword(null);
    }
    device.config();
    device.status();
  }
  assert.ok(asked > 5_000);
  await clock.advance(1_000);
});

test.run();
