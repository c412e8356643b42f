/** A fleet from end to end: asked of the gateway, done by an agent on simulated devices, and seen at the gateway again. */
import { issue } from "@millrace/orchestrator/commands.ts";
import * as assert from "uvu/assert";
import { openSite, type Site } from "./harness/devices.ts";
import { eventually } from "./harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { suite } from "./harness/suite.ts";

const test = suite("a fleet from end to end", { timeoutMs: 180_000 });

let site: Site;
let home: ReturnType<typeof callerOf>;
const stable = { version: "1.99.0", buildId: "20270101-000000/1.99.0-gabc1234" };

test.before(async () => {
  site = await openSite(
    {
      base: "127.91.0.1",
      devices: [
        { model: "SNSW-001X16EU", name: "Hall", updates: { stable } },
        { model: "SHSW-25" },
        { model: "S3SW-001X16EU" },
        { model: "S3SW-001X16EU" },
      ],
      mdns: {},
    },
    { MILLRACE_DEVICES_MDNS_INTERFACE: "127.0.0.1", MILLRACE_DEVICES_MDNS: "0" },
  );
  const { url: natsUrl, user: natsUser, pass: natsPassword } = site.nats;
  const masterKey = site.environment.MILLRACE_MASTER_KEY!;
  const started = await testGateway({ natsUrl, natsUser, natsPassword, masterKey });
  await testProjector(started.config);
  home = callerOf(started);
  await site.agent();
});

/** Until its state is one of these; answered as it is then. */
const reached = async (path: string, states: string): Promise<any> =>
  eventually(
    async () => {
      const { body } = await home.expect(200, "GET", `${path}?wait=state=${states}&timeout=20`);
      return states.split("|").includes(body.status.state) ? body : undefined;
    },
    `${path} to be ${states}`,
    60_000,
  );

test("scans by address and by mDNS: found, taken in, read, and what newer firmware there is", async () => {
  const [hall, roller] = site.fleet.devices;
  const ranges = [`127.91.0.0/30:${site.fleet.port}`];
  const asked = await home.expect(202, "POST", "/device-scans", { body: { ranges, adopt: true, tags: ["new"] } });
  const scan = await reached(`/device-scans/${asked.body.id}`, "completed|failed");
  assert.is(scan.status.state, "completed", JSON.stringify(scan.status.failure));
  assert.is(scan.status.probed, 2);
  assert.equal(scan.status.findings.map((one: any) => one.mac).sort(), [hall!.mac, roller!.mac].sort());

  const device = await eventually(async () => {
    const { body } = await home.call("GET", `/devices/${hall!.id}`);
    return body?.status?.offered === undefined ? undefined : body;
  }, "the offered firmware");
  assert.equal([device.status.offered.version, device.status.offered.stage], ["1.99.0", "stable"]);
  assert.equal([device.spec.title, device.spec.tags], ["Hall", ["new"]]);
  assert.is(device.status.identity.model, "SNSW-001X16EU");

  const more = await home.expect(202, "POST", "/device-scans", { body: { mdns: true } });
  const heard = await reached(`/device-scans/${more.body.id}`, "completed|failed");
  assert.is(heard.status.state, "completed", JSON.stringify(heard.status.failure));
  const macs = new Set(heard.status.findings.map((one: any) => one.mac));
  for (const { mac } of site.fleet.devices) assert.ok(macs.has(mac), `${mac} by mDNS`);
  const own = site.fleet.devices.map(({ mac }) => mac);
  const imported = await home.expect(200, "POST", `/device-scans/${more.body.id}/import`, { body: { macs: own } });
  assert.equal(
    imported.body.items.map((one: any) => one.outcome),
    ["known", "known", "added", "added"],
  );
});

const change = { "if-match": "*" };

test("a profile that changes is wanted by its devices, and written to them where it says so", async () => {
  const [hall, , third] = site.fleet.devices;
  const configuration = { "switch:0": { name: "{{room}}" }, sys: { device: { eco_mode: true } } };
  await home.expect(201, "POST", "/device-profiles", { body: { name: "eco", configuration, reapply: true } });
  for (const [handle, room] of [
    [hall, "Hall"],
    [third, "Third"],
  ] as const) {
    const body = { profiles: ["eco"], values: { room } };
    await home.expect(200, "PATCH", `/devices/${handle!.id}/configuration`, { body, headers: change });
  }
  const changed = { configuration: { "switch:0": { name: "{{room}} light" } } };
  await home.expect(200, "PATCH", "/device-profiles/eco", { body: changed, headers: change });
  const named = (handle: typeof hall) => (handle!.config("switch:0") as { name: string }).name;
  await eventually(
    async () => (named(hall) === "Hall light" && named(third) === "Third light" ? true : undefined),
    "it is written to both",
    60_000,
  );
  const { body: bulks } = await home.expect(200, "GET", "/device-bulks");
  const [bulk] = bulks.items.filter(({ spec }: any) => spec.profile !== undefined);
  assert.is(bulk.spec.devices, 2);
  const done = await reached(`/device-bulks/${bulk.id}`, "completed|halted");
  assert.equal([done.status.state, done.status.succeeded], ["completed", 2]);
});

test("a wish for many: dry, in earnest, device by device; what cannot be wished of a device halts it", async () => {
  const [hall, roller] = site.fleet.devices;
  const ids = [hall!.id, `shelly-${roller!.mac.toLowerCase()}`];
  const start = async (action: object, more: object = {}): Promise<any> => {
    const { body } = await home.expect(202, "POST", "/devices/bulk", {
      body: { select: { ids: [...ids, "porch"] }, action: { kind: "configure", ...action }, ...more },
    });
    return reached(`/device-bulks/${body.id}`, "completed|halted");
  };
  const outcomes = async (bulk: any, query = "") =>
    (await home.expect(200, "GET", `/device-bulks/${bulk.id}/results${query}`)).body.items.map(
      (one: any) => one.outcome,
    );
  await home.expect(201, "POST", "/devices", { body: { mac: "A0DD00BEEF00", name: "porch", expected: false } });
  const wish = { configuration: { sys: { device: { eco_mode: true } } }, addTags: ["winter"], addProfiles: ["eco"] };
  // The second and the third have no room, which the profile asks for.
  const dry = await start({ ...wish, dryRun: true }, { haltAtPercent: 100 });
  assert.equal(await outcomes(dry), ["succeeded", "refused", "refused"]);
  assert.match(dry.status.failures[0].reason, /room/);
  const seen = async (id: string) => (await home.expect(200, "GET", `/devices/${id}`)).body.spec;
  assert.equal((await seen("porch")).tags, []);
  const halted = await start(wish, { haltAtPercent: 0 });
  assert.equal([halted.status.state, halted.status.waiting], ["halted", 1]);
  assert.equal(await outcomes(halted), ["succeeded", "refused", "waiting"]);
  await home.expect(202, "POST", `/device-bulks/${halted.id}/cancel`);
  assert.is((await reached(`/device-bulks/${halted.id}`, "cancelled")).status.refused, 1);
  const given = await start({ ...wish, values: { room: "Somewhere" } });
  assert.equal([given.status.state, given.status.succeeded], ["completed", 3]);
  assert.equal(await outcomes(await start({ addTags: ["winter"] })), ["unchanged", "unchanged", "unchanged"]);
  const porch = await seen("porch");
  assert.equal(
    [porch.tags, porch.values, porch.configuration],
    [["winter"], { room: "Somewhere" }, wish.configuration],
  );
  const off = { forget: ["sys"], removeTags: ["winter"], removeProfiles: ["eco"] };
  assert.equal(await outcomes(await start(off), "?limit=2&outcome=succeeded"), ["succeeded", "succeeded"]);
  await home.expect(204, "DELETE", "/devices/porch", { headers: change });
  const refused = { select: { ids }, action: { kind: "configure", addProfiles: ["none"] } };
  const wrong = await home.expect(400, "POST", "/devices/bulk", { body: refused });
  assert.is(wrong.body.errors[0].pointer, "/body/action/addProfiles/0");
});

test("the fleet out and in: what was exported is taken in as it is, and a slip takes nothing in", async () => {
  const [hall, roller] = site.fleet.devices;
  // Others may just have been deleted.
  const count = async () => (await home.expect(200, "GET", "/devices")).body.items.length;
  await eventually(async () => (await count()) === 4 || undefined, "four are listed");
  const exported = async (query: string): Promise<any> =>
    (await home.expect(200, "GET", `/devices/export?format=${query}`)).body;

  const hosts = await exported("hosts&domain=iot.lan&tag=new");
  assert.is(hosts.devices, 2);
  assert.match(hosts.files[0].text, /^127\.91\.0\.1\thall\.iot\.lan hall\t# /m);
  const mac = roller!.mac.match(/../g)!.join(":");
  assert.match((await exported("csv")).files[0].text, new RegExp(`^${mac},`, "m"));
  assert.match((await exported("dnsmasq")).files[0].text, new RegExp(`^dhcp-host=${mac.toLowerCase()},127\\.91`, "m"));
  assert.match((await exported("isc")).files[0].text, new RegExp(`hardware ethernet ${mac.toLowerCase()};`));
  assert.is(JSON.parse((await exported("kea")).files[0].text).reservations.length, 4);

  const [json, toml] = [await exported("json"), await exported("toml")];
  assert.is(toml.files.length, 4);
  assert.not.match(json.files[0].text + JSON.stringify(toml.files), /127\.91|reach/);
  const fleet = JSON.parse(json.files[0].text);
  const files = Object.fromEntries(toml.files.map(({ name, text }: any) => [name, text]));
  const taken = async (status: number, body: object) =>
    (await home.expect(status, "POST", "/devices/import", { body })).body;
  for (const body of [{ fleet }, { files }]) {
    const same = await taken(200, body);
    assert.equal([same.steps, same.same, same.applied], [[], 4, 0]);
  }
  const file = `${hall!.id}.toml`;
  const slip = await taken(400, { files: { ...files, [file]: `${files[file]}\n["switch:0"]\nin_modde = "follow"\n` } });
  assert.match(slip.errors[0].detail, /Did you mean in_mode/);
  const other = files[file].replace('"new"', '"new", "lamp"');
  const more = `[device]\nmac = "A0DD00BEEF01"\nname = "spare"\n\n["switch:0"]\nname = "Spare"\n`;
  const dry = await taken(200, { files: { [file]: other, "spare.toml": more }, dryRun: true });
  assert.equal(dry.steps.map(({ step, fields }: any) => [step, ...fields].join(" ")).sort(), [
    "add",
    "change device/tags",
  ]);
  await home.expect(404, "GET", "/devices/spare");
  assert.is((await taken(200, { files: { [file]: other, "spare.toml": more } })).applied, 2);
  assert.equal((await home.expect(200, "GET", `/devices/${hall!.id}`)).body.spec.tags, ["lamp", "new"]);
  assert.equal((await home.expect(200, "GET", "/devices/spare")).body.spec.configuration, {
    "switch:0": { name: "Spare" },
  });
});

test("what can only be asked of the device itself: what it can, and what an apply would write", async () => {
  const [hall, roller] = site.fleet.devices;
  const { body: can } = await home.expect(200, "GET", `/devices/${hall!.id}/capabilities`);
  const relay = can.capabilities.find((one: any) => one.key === "switch:0" && one.type === "switch");
  assert.ok(relay.configurable && relay.actions.includes("Switch.Toggle"), JSON.stringify(relay));
  const gen1 = `/devices/shelly-${roller!.mac.toLowerCase()}`;
  const old = await home.expect(200, "GET", `${gen1}/capabilities`);
  assert.ok(old.body.capabilities.some((one: any) => one.actions.includes("/relay/0")));
  const wanted = { configuration: { "switch:0": { name: "Lamp" } } };
  await home.expect(200, "PATCH", `${gen1}/configuration`, { body: wanted, headers: change });
  const { body: plan } = await home.expect(200, "GET", `${gen1}/plan`);
  assert.is(plan.differences.length, 1);
  assert.is(plan.writes[0].call.path, "/settings/relay/0");
});

test("as actions of a schedule: a scan, the same to what a selection finds, one device; each once, however often it is tried", async () => {
  const [hall, , third, fourth] = site.fleet.devices;
  const boots = site.fleet.devices.map(({ stats }) => stats.boots);
  const commands = [
    { action: "deviceScans.startScan", body: { ranges: [`127.91.0.4:${site.fleet.port}`] } },
    {
      action: "deviceOperations.startBulk",
      body: { select: { where: { model: "S3SW-001X16EU" } }, action: { kind: "reboot" } },
    },
    { action: "devices.rebootDevice", on: hall!.id, body: {} },
    {
      action: "deviceOperations.startRollout",
      body: { name: "nightly", select: { where: { outdated: true } }, stages: [{ devices: 1 }], soakMs: 0 },
    },
  ];
  const body = { name: "night", when: { kind: "cron", expression: "0 3 1 1 *", timeZone: "UTC" }, commands };
  const { organisation, id } = (await home.expect(201, "POST", "/schedules", { body })).body;
  const made: string[] = [];
  for (const [i, command] of [...commands, ...commands].entries()) {
    const by = { actor: { kind: "service" as const, id, name: "night" }, correlation: id, causation: id };
    const asked = { ...command, ...by, organisation, commandId: `${id}.1.${i % commands.length}` };
    const issued = await issue(site.log, asked);
    assert.ok("ok" in issued, JSON.stringify(issued));
    assert.is(issued.ok.repeated, i >= commands.length);
    made.push(issued.ok.made!);
  }
  assert.equal(made.slice(0, commands.length), made.slice(commands.length));
  const [scanId, bulkId, taskId, rolloutId] = made;
  const scan = await reached(`/device-scans/${scanId}`, "completed|failed");
  assert.equal(
    scan.status.findings.map((one: any) => one.mac),
    [fourth!.mac],
  );
  const done = await reached(`/device-bulks/${bulkId}`, "completed|halted");
  assert.equal([done.spec.devices, done.status.succeeded], [2, 2]);
  assert.is((await reached(`/device-tasks/${taskId}`, "succeeded|failed")).status.state, "succeeded");
  const rolled = await reached(`/firmware-rollouts/${rolloutId}`, "completed|halted|cancelled");
  assert.equal([rolled.status.state, rolled.spec.devices, rolled.status.succeeded], ["completed", 1, 1]);
  assert.is((await home.expect(200, "GET", `/devices/${hall!.id}`)).body.status.firmware.version, stable.version);
  assert.equal(
    [hall, third, fourth].map((handle) => handle!.stats.boots),
    [boots[0]! + 2, boots[2]! + 1, boots[3]! + 1],
  );
});

test.run();
