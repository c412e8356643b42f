/** A fleet from end to end: asked of the gateway, done by an agent on simulated devices, and seen at the gateway again. */
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

test.run();
