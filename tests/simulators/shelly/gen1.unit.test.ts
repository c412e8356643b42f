/** What a simulated Gen1 device answers. */
import assert from "node:assert/strict";
import { eventually } from "../../harness/eventually.ts";
import { suite } from "../../harness/suite.ts";
import { get } from "./bare-client.ts";
import { type DeviceHandle, type Fleet, type JsonObject, startFleet } from "./fleet.ts";

const test = suite("simulated devices of the first generation");
let fleet: Fleet;
const at = (model: string) => fleet.devices.find((one) => one.model === model)!;
const json = async (device: DeviceHandle, path: string): Promise<JsonObject> => {
  const { status, text } = await get(device, path);
  assert.equal(status, 200, `${path}: ${text}`);
  return JSON.parse(text) as JsonObject;
};
const changes = (device: DeviceHandle) => (device.status() as JsonObject).cfg_changed_cnt as number;

test.before(async () => {
  const models = ["SHSW-1", "SHSW-25", "SHPLG-S", "SHDM-2", "SHRGBW2", "SHEM-3", "SHIX3-1", "SHTRV-01"];
  fleet = await startFleet({ devices: models.map((model) => ({ model })) });
});
test.after(() => fleet.close());

test("settings are written by other names than they are read by", async () => {
  const device = at("SHSW-1");
  const query =
    "name=Cellar&mqtt_enable=true&mqtt_server=broker:1883&mqtt_pass=secret&coiot_update_period=30&ap_roaming_enabled=1&nonsense=1";
  const { name, mqtt, coiot, ap_roaming } = await json(device, `/settings?${query}`);
  assert.equal(name, "Cellar");
  assert.deepEqual([(mqtt as JsonObject).enable, (mqtt as JsonObject).server], [true, "broker:1883"]);
  assert.equal((coiot as JsonObject).update_period, 30);
  assert.equal((ap_roaming as JsonObject).enabled, true);
  assert.ok(!JSON.stringify(device.config()).includes("secret"));
  assert.equal(changes(device), 1);
  await json(device, "/settings?name=Cellar");
  assert.equal(changes(device), 1);
  const { ip, gw, mask } = await json(
    device,
    "/settings/sta1?ip=10.0.0.5&gateway=10.0.0.1&netmask=255.255.255.0&key=hidden",
  );
  assert.deepEqual([ip, gw, mask], ["10.0.0.5", "10.0.0.1", "255.255.255.0"]);
  assert.ok(!JSON.stringify(device.config()).includes("hidden"));
});

test("what is wrong is plain text with a 400, and changes nothing", async () => {
  const device = at("SHSW-25");
  for (const path of [
    "/settings?discoverable=perhaps",
    "/settings?mode=toaster",
    "/settings/relay/0?auto_on=soon",
    "/settings/relay/0?auto_on=5&default_state=maybe",
    "/relay/0?turn=sideways",
    "/settings/actions?name=none_url&index=0",
    "/settings/login?enabled=1",
  ]) {
    const { status, text } = await get(device, path);
    assert.equal(status, 400, path);
    assert.throws(() => JSON.parse(text), path);
  }
  assert.equal(changes(device), 0);
  for (const path of ["/settings/relay/9", "/relay/9", "/nothing", "/settings/thermostats/0"]) {
    assert.equal((await get(device, path)).status, 404, path);
  }
});

test("a form does as well as a query", async () => {
  const device = at("SHPLG-S");
  const body = new URLSearchParams({ led_power_disable: "true", max_power: "1500" });
  const answer = await fetch(`${device.url}/settings`, { method: "POST", body });
  const { led_power_disable, max_power } = (await answer.json()) as JsonObject;
  assert.deepEqual([led_power_disable, max_power], [true, 1500]);
  // JSON is not understood: nothing is changed.
  await (
    await fetch(`${device.url}/settings`, {
      method: "POST",
      body: '{"max_power":1}',
      headers: { "content-type": "application/json" },
    })
  ).text();
  assert.equal((device.config() as JsonObject).max_power, 1500);
});

test("relays, rollers, lights, meters and valves", async () => {
  const relay = await json(at("SHSW-25"), "/relay/1?turn=on&timer=60");
  assert.deepEqual([relay.ison, relay.has_timer, relay.timer_duration, relay.source], [true, true, 60, "http"]);
  assert.equal((await json(at("SHSW-25"), "/settings/relay/1")).ison, true);
  const light = await json(at("SHDM-2"), "/light/0?turn=on&brightness=30");
  assert.deepEqual([light.ison, light.brightness], [true, 30]);
  assert.equal((await get(at("SHDM-2"), "/light/0?brightness=300")).status, 400);
  const colour = await json(at("SHRGBW2"), "/color/0?red=1&green=2&blue=3&gain=50");
  assert.deepEqual([colour.red, colour.green, colour.blue, colour.gain], [1, 2, 3, 50]);
  assert.equal((await json(at("SHEM-3"), "/emeter/0")).power, 6.6);
  assert.match((await get(at("SHEM-3"), "/emeter/0/em_data.csv")).text, /^Date\/time UTC/);
  for (const path of ["/settings/emeter/1", "/settings/emeters/1"]) {
    assert.equal((await json(at("SHEM-3"), `${path}?name=Phase%20B`)).name, "Phase B", path);
    assert.equal((await json(at("SHEM-3"), path)).name, "Phase B", path);
  }
  const valve = await json(at("SHTRV-01"), "/thermostats/0?target_t=22.5");
  assert.equal((valve.target_t as JsonObject).value, 22.5);
  assert.equal((await get(at("SHTRV-01"), "/settings/thermostats/0?valve_min_percent=10")).status, 200);
});

test("another mode reboots, and it is another device to ask", async () => {
  const device = at("SHSW-25");
  await json(device, "/settings?mode=roller");
  await eventually(async () => (device.stats.boots === 2 && device.online) || undefined, "it has rebooted");
  assert.equal((await json(device, "/shelly")).mode, "roller");
  assert.equal(changes(device), 0);
  assert.ok(!("relays" in (await json(device, "/status"))));
  assert.equal((await json(device, "/roller/0?go=to_pos&roller_pos=70")).state, "open");
  await eventually(
    async () => (device.status("rollers.0") as JsonObject).current_pos === 70 || undefined,
    "it is there",
  );
  assert.equal((await get(device, "/roller/0?go=to_pos")).status, 400);
});

test("actions, in both spellings", async () => {
  const device = at("SHSW-1");
  await json(device, "/settings/actions?index=0&name=out_on_url&enabled=true&urls[]=http://a/1&urls[]=http://a/2");
  const query = encodeURI("index=1&name=report_url&enabled=true&urls[0][url]=http://a/3&urls[0][int]=0000-0000");
  const { actions } = await json(device, `/settings/actions?${query}`);
  const { out_on_url, report_url } = actions as Record<string, JsonObject[]>;
  assert.deepEqual(out_on_url, [{ index: 0, urls: ["http://a/1", "http://a/2"], enabled: true }]);
  assert.deepEqual(report_url![1], { index: 1, urls: [{ url: "http://a/3", int: "0000-0000" }], enabled: true });
  assert.equal(((await json(device, "/settings")).actions as JsonObject).active, true);
});

test("a login is Basic, and /shelly is open", async () => {
  const device = at("SHIX3-1");
  const set = await json(device, "/settings/login?enabled=1&username=admin&password=geheim");
  assert.deepEqual(set, { enabled: true, unprotected: false, username: "admin" });
  const refused = await fetch(`${device.url}/settings`);
  assert.deepEqual([refused.status, refused.headers.get("www-authenticate")], [401, 'Basic realm="Shelly"']);
  assert.equal((await json(device, "/shelly")).auth, true);
  const basic = (password: string) => ({ authorization: `Basic ${btoa(`admin:${password}`)}` });
  assert.equal((await get(device, "/settings", basic("wrong"))).status, 401);
  assert.equal((await get(device, "/settings", basic("geheim"))).status, 200);
  assert.equal(device.stats.failedLogins, 1);
});

test("one request after the other; who does not wait is cut off", async () => {
  const device = at("SHEM-3");
  device.fault({ kind: "slow", ms: 200, times: 1 });
  const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => get(device, "/status")));
  const refused = outcomes.filter(({ status }) => status === "rejected").length;
  assert.ok(refused > 0 && refused < 12, `${refused} of 12`);
  assert.ok(device.stats.mostAtOnce > 1);
  assert.equal((await get(device, "/status")).status, 200);
});

test("a factory reset forgets all, and leaves the network", async () => {
  const device = at("SHPLG-S");
  await json(device, "/settings?reset=true");
  await eventually(async () => device.stats.boots === 2 || undefined, "it has rebooted");
  assert.equal(device.online, false);
  assert.equal((device.config() as JsonObject).max_power, 2000);
});

test("no path breaks on odd queries", async () => {
  const paths = [
    "/settings",
    "/settings/relay/0",
    "/settings/sta1",
    "/settings/actions",
    "/settings/login",
    "/relay/0",
    "/light/0",
  ];
  const queries = [
    "name=",
    "name=%00%ff",
    "index=-1&name=out_on_url&urls[99999999][url]=x",
    "turn=toggle&timer=1e999",
    "enabled=&password=",
  ];
  const more = [
    "__proto__=1&constructor.name=2",
    "schedule_rules=,,,",
    "mode=",
    "auto_on=NaN",
    `name=${"x".repeat(5_000)}`,
  ];
  for (const model of ["SHSW-1", "SHDM-2"]) {
    for (const path of [...paths, "/settings/relay/x", "/relay/", "//", "/%2e%2e", "/emeter/0/em_data.csv"]) {
      for (const query of [...queries, ...more]) {
        const { status } = await get(at(model), `${path}?${query}`);
        assert.ok([200, 400, 404].includes(status), `${path}?${query}: ${status}`);
      }
    }
    at(model).setPassword(null);
    assert.equal((await get(at(model), "/shelly")).status, 200);
  }
});

test.run();
