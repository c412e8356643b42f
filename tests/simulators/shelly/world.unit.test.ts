/** What happens round simulated devices: networks, sleepers, updates, faults, discovery, and the processes that play with them. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import makeMdns from "multicast-dns";
import { WebSocketServer } from "ws";
import { eventually } from "../../harness/eventually.ts";
import { suite } from "../../harness/suite.ts";
import { parseDigest, sha256 } from "./auth.ts";
import { ask, Client, call, get } from "./bare-client.ts";
import { decode } from "./coiot.ts";
import {
  type DeviceSpec,
  type Fault,
  type Fleet,
  firmwareImage,
  type Json,
  type JsonObject,
  MODELS,
  shiftedClock,
  startFleet,
} from "./fleet.ts";

const test = suite("the world of simulated devices");

type Defer = (cleanUp: () => unknown) => void;
async function started(
  defer: Defer,
  devices: DeviceSpec[],
  more: Parameters<typeof startFleet>[0] = {},
): Promise<Fleet> {
  const fleet = await startFleet({ devices, ...more });
  defer(() => fleet.close());
  return fleet;
}
const until = (look: () => boolean, what: string) => eventually(async () => look() || undefined, what);

async function reachable(url: string): Promise<boolean> {
  try {
    await (await fetch(`${url}/shelly`)).text();
    return true;
  } catch {
    return false;
  }
}

test("every model starts, each at its own address with its own MAC", async ({ defer }) => {
  const fleet = await started(defer, [], { devices: undefined, count: MODELS.length * 2 } as never);
  assert.equal(new Set(fleet.devices.map(({ mac }) => mac)).size, MODELS.length * 2);
  assert.equal(new Set(fleet.devices.map(({ address }) => address)).size, MODELS.length * 2);
  for (const device of fleet.devices.slice(0, MODELS.length)) {
    if (!device.online) device.wake();
    const { mac, gen, type, model } = JSON.parse((await get(device, "/shelly")).text) as JsonObject;
    assert.deepEqual([mac, gen ?? 1, type ?? model], [device.mac, device.generation, device.model]);
  }
  await assert.rejects(startFleet({ devices: [{ model: "SHNONE" }] }), /no model SHNONE/);
  await assert.rejects(startFleet({ base: "10.0.0.1" }), /no loopback/);
});

test("a device that dials out sends all first, and is asked without a login", async ({ defer }) => {
  const server = new WebSocketServer({
    host: "127.0.0.1",
    port: 0,
    handleProtocols: (offered) => [...offered][0] ?? false,
  });
  defer(() => server.close());
  await once(server, "listening");
  const taken: Client[] = [];
  server.on("connection", (socket) => taken.push(new Client(socket)));
  const outbound = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/in`;
  const { devices } = await started(defer, [
    { model: "S3SW-001X16EU", outbound, password: "x" },
    { model: "SNSN-0013A", outbound },
  ]);
  await until(() => taken.length === 1, "one dials in, the sleeper does not");
  const first = await taken[0]!.has(() => true, "a first frame");
  assert.deepEqual([first.method, first.src], ["NotifyFullStatus", devices[0]!.id]);
  assert.ok(Object.keys(first.params as JsonObject).includes("switch:0"));
  assert.equal(taken[0]!.socket.protocol, "json-rpc");
  assert.equal(((await taken[0]!.call("Sys.GetConfig")).result as JsonObject).cfg_rev, 12);
  // Cut, it dials again.
  taken[0]!.socket.terminate();
  await until(() => taken.length === 2, "it dials again");
  devices[1]!.wake();
  await until(() => taken.length === 3, "the sleeper has woken");
  const burst = await taken[2]!.has(() => true, "its burst");
  assert.equal(((burst.params as JsonObject).sys as JsonObject).wakeup_period, 7200);
  devices[1]!.sleep();
  await until(() => taken[2]!.closed, "it sleeps");
  assert.ok(taken[2]!.frames.some((frame) => JSON.stringify(frame).includes('"event":"sleep"')));
  assert.equal(await reachable(devices[1]!.url), false);
});

test("what WS.SetConfig says is dialled after a reboot", async ({ defer }) => {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  defer(() => server.close());
  await once(server, "listening");
  let dialled = 0;
  server.on("connection", () => dialled++);
  const { devices } = await started(defer, [{ model: "SNSW-001X16EU" }]);
  const config = { enable: true, server: `ws://127.0.0.1:${(server.address() as AddressInfo).port}` };
  assert.deepEqual(await ask(devices[0]!, "Ws.SetConfig", { config }), { restart_required: true });
  assert.equal(dialled, 0);
  await ask(devices[0]!, "Shelly.Reboot");
  await until(() => dialled === 1, "it dials");
});

test("a sleeper of Gen1 sends one burst, and is asked while it is awake", async ({ defer }) => {
  const socket = createSocket("udp4").bind(0, "127.0.0.1");
  defer(() => socket.close());
  await once(socket, "listening");
  const came: Array<{ from: string; bytes: Buffer }> = [];
  socket.on("message", (bytes, { address }) => came.push({ from: address, bytes }));
  const coiotPeer = `127.0.0.1:${socket.address().port}`;
  const fleet = await started(
    defer,
    [
      { model: "SHHT-1", coiotPeer },
      { model: "SHSW-25", coiotPeer },
    ],
    { coiot: {} },
  );
  const [sleeper, relay] = [fleet.devices[0]!, fleet.devices[1]!];
  await until(() => came.length === 1, "the relay tells of itself when it starts");
  assert.equal(came[0]!.from, relay.address);
  const message = decode(came[0]!.bytes)!;
  assert.equal(message.code, 30);
  const option = (number: number) => message.options.find(([one]) => one === number)![1];
  assert.equal(option(3332).toString(), `SHSW-25#${relay.mac}#2`);
  assert.equal(option(3412).readUInt16BE(), 380);
  assert.equal(
    message.options
      .filter(([one]) => one === 11)
      .map(([, value]) => value.toString())
      .join("/"),
    "cit/s",
  );
  const values = (JSON.parse(message.payload.toString()) as JsonObject).G as Json[][];
  assert.ok(values.some(([, id, value]) => id === 9103 && value === 0));
  await get(relay, "/settings/relay/0?auto_off=9");
  await until(() => came.some(({ bytes }) => bytes.includes("[0,9103,1]")), "a change of settings is told");
  // Asked by CoAP: a description.
  const question = Buffer.concat([
    Buffer.from([0x51, 1, 0, 9, 0x77, 0xb3]),
    Buffer.from("cit"),
    Buffer.from([0x01]),
    Buffer.from("d"),
  ]);
  socket.send(question, fleet.coiotPort!, relay.address);
  const answer = await eventually(
    async () => came.map(({ bytes }) => decode(bytes)!).find(({ code }) => code === 69),
    "cit/d",
  );
  assert.deepEqual([answer.id, answer.token.toString("hex")], [9, "77"]);
  assert.ok((JSON.parse(answer.payload.toString()) as JsonObject).sen);
  sleeper.wake();
  await until(() => came.some(({ from }) => from === sleeper.address), "the sleeper's burst");
  assert.equal(JSON.parse((await get(sleeper, "/shelly")).text).type, "SHHT-1");
  sleeper.sleep();
  await until(() => !sleeper.online, "it sleeps");
});

test("an update is fetched, told of, and ends in another firmware", async ({ defer }) => {
  const images: Record<string, Buffer> = {
    "/good": firmwareImage({ app: "Plus1", version: "2.0.1", buildId: "20261101-000000/2.0.1-g1" }),
    "/other": firmwareImage({ app: "Plus2PM", version: "2.0.1", buildId: "x" }),
    "/gen1": firmwareImage({ app: "SHSW-1", version: "20240101-000000/v1.15.0-g1", buildId: "" }),
  };
  const server = createServer((request, response) => {
    const image = images[request.url!];
    if (image === undefined) response.writeHead(404).end();
    else response.end(image);
  }).listen(0, "127.0.0.1");
  defer(() => server.close());
  await once(server, "listening");
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const fleet = await started(defer, [
    {
      model: "SNSW-001X16EU",
      updates: { beta: { version: "2.0.0", buildId: "20260713-000000/2.0.0-g2" } },
      password: "x",
    },
    { model: "SHSW-1" },
  ]);
  const [device, gen1] = [fleet.devices[0]!, fleet.devices[1]!];
  device.setPassword(null);
  assert.deepEqual(await ask(device, "Shelly.CheckForUpdate"), {
    beta: { version: "2.0.0", build_id: "20260713-000000/2.0.0-g2" },
  });
  const client = await Client.open(device);
  assert.equal((await call(device, "Shelly.Update", { stage: "stable" })).body.code, -109);
  for (const [path, text] of [
    ["/other", /for Plus2PM/],
    ["/none", /HTTP 404/],
  ] as const) {
    client.frames.length = 0;
    assert.equal((await client.call("Shelly.Update", { url: base + path })).result, null);
    assert.match(String((await client.event("ota_error")).msg), text);
  }
  client.frames.length = 0;
  await client.call("Shelly.Update", { url: `${base}/good` });
  assert.equal((await call(device, "Shelly.Update", { url: `${base}/good` })).body.code, -109);
  for (const event of ["ota_begin", "ota_progress", "ota_success"]) await client.event(event);
  await until(() => device.stats.boots === 2 && device.online, "it has rebooted");
  const { ver, fw_id } = await ask(device, "Shelly.GetDeviceInfo");
  assert.deepEqual([ver, fw_id], ["2.0.1", "20261101-000000/2.0.1-g1"]);
  // And logs in as that firmware does.
  device.setPassword("new");
  const challenge = await fetch(`${device.url}/rpc/Sys.GetStatus`);
  assert.match(challenge.headers.get("www-authenticate")!, /nonce="AAAA[^"]+=="/);

  assert.equal(JSON.parse((await get(gen1, `/ota?url=${base}/gen1`)).text).status, "updating");
  await until(() => gen1.stats.boots === 2 && gen1.online, "Gen1 has rebooted");
  assert.equal(JSON.parse((await get(gen1, "/shelly")).text).fw, "20240101-000000/v1.15.0-g1");
});

test("a wrong password for the network loses a device; a second network brings it back", async ({ defer }) => {
  const networks = { home: "right", other: "sesame" };
  const { devices } = await started(defer, [{ model: "SNSW-001X16EU" }, { model: "SHSW-1" }], { networks });
  for (const device of devices) assert.equal(await reachable(device.url), true);
  const [gen2, gen1] = [devices[0]!, devices[1]!];
  await ask(gen2, "Wifi.SetConfig", { config: { sta1: { ssid: "other", pass: "sesame", enable: true } } });
  await ask(gen2, "Wifi.SetConfig", { config: { sta: { ssid: "home", pass: "wrong" } } });
  await until(() => (gen2.status("wifi") as JsonObject).ssid === "other", "it is on the other network");
  assert.equal(await reachable(gen2.url), true);
  await ask(gen2, "Wifi.SetConfig", { config: { sta1: { enable: false } } });
  await until(() => !gen2.online, "it is lost");
  gen2.change("wifi", { sta: { pass: "right" } });
  await until(() => gen2.online, "somebody went there");
  await get(gen1, "/settings/sta?ssid=home&key=wrong");
  await until(() => !gen1.online, "Gen1 is lost, too");
  assert.equal(await reachable(gen1.url), false);
  gen1.change("sta", { key: "right" });
  await until(() => gen1.online, "and back");
  const networksSeen = (await ask(gen2, "Wifi.Scan")).results as JsonObject[];
  assert.deepEqual(
    networksSeen.map(({ ssid }) => ssid),
    ["home", "other"],
  );
});

test("another address, a range extender's child, power", async ({ defer }) => {
  const { devices } = await started(defer, [
    { model: "S3SW-001X16EU", mac: "AABBCC000001" },
    { model: "SNSW-001X16EU", behind: "AABBCC000001" },
    { model: "SNSW-001X16EU", address: "127.30.0.1" },
  ]);
  const [parent, child, moving] = [devices[0]!, devices[1]!, devices[2]!];
  const [client] = (await ask(parent, "Wifi.ListAPClients")).ap_clients as JsonObject[];
  assert.equal(String(client!.mac).replaceAll(":", "").toUpperCase(), child.mac);
  const answer = await fetch(`http://${parent.address}:${client!.mport}/shelly`);
  assert.equal(((await answer.json()) as JsonObject).mac, child.mac);
  assert.equal((child.status("wifi") as JsonObject).sta_ip, client!.ip);
  parent.moveTo("127.30.0.2");
  await eventually(
    async () => (await reachable(`http://127.30.0.2:${client!.mport}`)) || undefined,
    "the child has moved, too",
  );
  const was = moving.url;
  moving.moveTo("127.30.0.77");
  assert.equal(await reachable(was), false);
  assert.equal(JSON.parse((await get(moving, "/shelly")).text).mac, moving.mac);
  assert.equal((moving.status("wifi") as JsonObject).sta_ip, "127.30.0.77");
  // Two at one address: the later one answers, until it goes.
  parent.moveTo(moving.address);
  assert.equal(JSON.parse((await get(moving, "/shelly")).text).mac, parent.mac);
  parent.moveTo("127.30.0.3");
  assert.equal(JSON.parse((await get(moving, "/shelly")).text).mac, moving.mac);
  moving.power(false);
  assert.equal(await reachable(moving.url), false);
  moving.power(true);
  await until(() => moving.online, "it is back");
});

test("a certificate of its own, and HTTP that only redirects", async ({ defer }) => {
  const { devices, tlsPort } = await started(defer, [
    { model: "S4SW-001X16EU", https: "enforced" },
    { model: "S4SW-001X16EU", https: "on" },
    { model: "S4SW-001X16EU" },
  ]);
  const seen: string[] = [];
  for (const device of devices.slice(0, 2)) {
    const socket = connectTls({ host: device.address, port: tlsPort!, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { fingerprint256, subject } = socket.getPeerCertificate();
    assert.equal(fingerprint256.replaceAll(":", "").toLowerCase(), device.fingerprint);
    assert.equal(subject.CN, device.id);
    socket.write("GET /shelly HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let text = "";
    for await (const piece of socket) text += piece;
    assert.match(text, new RegExp(`"mac":"${device.mac}"`));
    seen.push(fingerprint256);
  }
  assert.notEqual(seen[0], seen[1]);
  const redirect = await fetch(`${devices[0]!.url}/shelly`, { redirect: "manual" });
  assert.deepEqual([redirect.status, redirect.headers.get("location")], [301, `${devices[0]!.tlsUrl}/shelly`]);
  assert.equal((await get(devices[1]!, "/shelly")).status, 200);
  const refused = connectTls({ host: devices[2]!.address, port: tlsPort!, rejectUnauthorized: false });
  await once(refused, "error");
});

test("a nonce expires when the clock is moved on, and reboots go on by themselves", async ({ defer }) => {
  const clock = shiftedClock();
  const { devices } = await started(defer, [{ model: "S4SW-001X16EU", dialect: "2.0.1", password: "sesame" }], {
    clock,
  });
  const device = devices[0]!;
  const challenge = (await fetch(`${device.url}/rpc/Sys.GetStatus`)).headers.get("www-authenticate")!;
  const { nonce } = parseDigest(challenge)!;
  const use = (nc: string) => {
    const ha1 = sha256(`admin:${device.id}:sesame`);
    const response = sha256(`${ha1}:${nonce}:${nc}:c:auth:${sha256("GET:/rpc/Sys.GetStatus")}`);
    const fields = `username="admin", realm="${device.id}", nonce="${nonce}", uri="/rpc/Sys.GetStatus", cnonce="c", nc=${nc}, qop=auth`;
    const headers = { authorization: `Digest ${fields}, response="${response}"` };
    return fetch(`${device.url}/rpc/Sys.GetStatus`, { headers });
  };
  assert.equal((await use("00000001")).status, 200);
  clock.shift(3_600_000);
  assert.match((await use("00000002")).headers.get("www-authenticate")!, /stale=true/);
  assert.equal(device.stats.failedLogins, 0);
  device.reboot();
  await until(() => device.stats.boots === 2, "it has rebooted");
});

test("more than six requests at once are refused", async ({ defer }) => {
  const { devices } = await started(defer, [{ model: "SNSW-001X16EU" }]);
  const device = devices[0]!;
  device.fault({ kind: "slow", ms: 300, times: 6 });
  const six = Array.from({ length: 6 }, () => get(device, "/rpc/Sys.GetStatus"));
  await until(() => device.stats.mostAtOnce === 6, "six are in flight");
  assert.equal((await get(device, "/rpc/Sys.GetStatus")).status, 503);
  assert.deepEqual(
    (await Promise.all(six)).map(({ status }) => status),
    Array(6).fill(200),
  );
});

test("faults, over HTTP and WebSocket", async ({ defer }) => {
  const { devices } = await started(defer, [{ model: "SNSW-001X16EU" }, { model: "SHSW-1" }]);
  const once = (kind: Fault["kind"]) => ({ kind, times: 1 });
  for (const device of devices) {
    const path = device.generation === 1 ? "/settings" : "/rpc/Sys.GetConfig";
    for (const [kind, status] of [
      ["busy", 503],
      ["too-many-requests", 429],
      ["locked-out", 429],
      ["error", 500],
    ] as const) {
      device.fault(once(kind));
      assert.equal((await get(device, path)).status, status, kind);
    }
    device.fault(once("garbage"));
    const { text } = await get(device, path);
    assert.throws(() => JSON.parse(text));
    device.fault(once("drop"));
    await assert.rejects(get(device, path));
    device.fault(once("silent"));
    await assert.rejects(fetch(device.url + path, { signal: AbortSignal.timeout(150) }));
    const [read, write] =
      device.generation === 1
        ? ["/relay/0", "/relay/0?turn=on"]
        : ["/rpc/Switch.GetStatus?id=0", "/rpc/Switch.Set?id=0&on=true"];
    device.fault(once("unanswered"));
    await assert.rejects(fetch(device.url + write, { signal: AbortSignal.timeout(150) }));
    const { ison, output } = JSON.parse((await get(device, read)).text) as JsonObject;
    assert.equal(ison ?? output, true);
    device.fault({ kind: "other-mac", match: "hell", times: 1 });
    assert.equal(JSON.parse((await get(device, "/shelly")).text).mac, "0BADC0DE0BAD");
    device.fault(once("huge"));
    const flood = await fetch(device.url + path);
    let bytes = 0;
    for await (const piece of flood.body!) {
      bytes += piece.length;
      if (bytes > 3_000_000) break;
    }
    assert.ok(bytes > 3_000_000);
    assert.equal((await get(device, path)).status, 200);
  }
  const client = await Client.open(devices[0]!);
  devices[0]!.fault({ kind: "too-many-requests", match: "Sys.GetConfig" });
  assert.deepEqual((await client.call("Sys.GetConfig")).error, { code: 429, message: "Too many requests" });
  assert.ok((await client.call("Sys.GetStatus")).result);
  devices[0]!.heal();
  devices[0]!.fault(once("drop"));
  client.socket.send(JSON.stringify({ id: 99, src: "tests", method: "Sys.GetConfig" }));
  await until(() => client.closed, "it was cut off");
});

test("mDNS: two instances of a device, and all of it again and again", async ({ defer }) => {
  const port = 20_000 + (process.pid % 20_000);
  const group = "239.255.53.53";
  const fleet = await started(defer, [{ model: "S4EM-001PXCEU16", name: "EM Mini Gen4" }, { model: "SHSW-1" }], {
    mdns: { port, group },
  });
  const mdns = makeMdns({ port, ip: group, bind: group, interface: "127.0.0.1", reuseAddr: true });
  defer(() => mdns.destroy());
  const records: Array<{ name: string; type: string; data: unknown }> = [];
  mdns.on("response", ({ answers = [], additionals = [] }) =>
    records.push(...([...answers, ...additionals] as typeof records)),
  );
  const found = (type: string) => records.filter((record) => record.type === type);
  await eventually(async () => {
    mdns.query([
      { name: "_shelly._tcp.local", type: "PTR" },
      { name: "_http._tcp.local", type: "PTR" },
    ]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    return new Set(found("PTR").map(({ data }) => data)).size >= 7 || undefined;
  }, "answers");
  const [em, relay] = [fleet.devices[0]!, fleet.devices[1]!];
  const instances = new Set(found("PTR").map(({ data }) => String(data)));
  for (const name of [em.id, "EM Mini Gen4"]) assert.ok(instances.has(`${name}._shelly._tcp.local`), name);
  assert.ok(instances.has(`${relay.id}._http._tcp.local`));
  const service = found("SRV").filter(({ name }) => name === `${em.id}._shelly._tcp.local`);
  assert.ok(service.length >= 6);
  assert.deepEqual(service[0]!.data, {
    priority: 0,
    weight: 0,
    port: fleet.port,
    target: `ShellyEMMiniG4-${em.mac}.local`,
  });
  assert.ok(found("A").some(({ data }) => data === relay.address));
});

test("another process starts a fleet and plays with it", async ({ defer }) => {
  const main = fileURLToPath(new URL("./main.ts", import.meta.url));
  const child = spawn(process.execPath, [main, "--devices", "30", "--port", "0", "--no-mdns", "--no-coiot", "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  defer(async () => {
    child.kill();
    assert.equal((await ended)[0], 0);
  });
  const line = await eventually(async () => child.stdout.read()?.toString() as string | undefined, "what there is");
  const { control, devices } = JSON.parse(line) as {
    control: string;
    devices: Array<{ mac: string; url: string; model: string }>;
  };
  assert.equal(devices.length, 30);
  const { mac, url } = devices.find(({ model }) => model === "SNSW-001X16EU")!;
  const post = async (act: string, body: JsonObject) =>
    (await fetch(`${control}/devices/${mac}/${act}`, { method: "POST", body: JSON.stringify(body) })).status;
  assert.equal(await post("change", { component: "switch:0", config: { name: "By another" } }), 200);
  assert.equal(((await (await fetch(`${url}/rpc/Switch.GetConfig?id=0`)).json()) as JsonObject).name, "By another");
  assert.equal(await post("fault", { kind: "busy", times: 1 }), 200);
  assert.equal((await fetch(`${url}/rpc/Sys.GetStatus`)).status, 503);
  assert.equal(await post("explode", {}), 404);
  assert.equal(await post("move", {}), 400);
  const seen = (await (await fetch(`${control}/devices/${mac}`)).json()) as JsonObject;
  assert.equal((seen.stats as JsonObject).requests, 2);
});

test.run();
