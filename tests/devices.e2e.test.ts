/** The fleet from HTTP to the log, PostgreSQL and back; an agent's part is done here by the commands that agents give. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type DeviceReport, device } from "@millrace/domain/devices/device.ts";
import { exampleIdentity } from "@millrace/domain/devices/device-events.ts";
import { beginTask, finishTask } from "@millrace/domain/devices/request.ts";
import { task } from "@millrace/domain/devices/task.ts";
import { nextOfTask } from "@millrace/domain/devices/task-next.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, executeAll, ownContext } from "@millrace/eventlog/execute.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { testNats } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("devices", { timeoutMs: 120_000 });

const nats = await testNats();
const started = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(started.config);
const { call, expect, listed } = callerOf(started);
const log = await EventLog.open({ url: nats.url, user: nats.user, password: nats.pass, name: "agent", replicas: 1 }, [
  "devices",
]);
deferToEndOfFile(() => log.close());
const organisation: string = (await expect(200, "GET", "")).body.id;

/** What an agent commands, all or nothing. */
async function agent(...changes: ReadonlyArray<Change>): Promise<void> {
  const outcome = await executeAll(log, changes, ownContext("device-agent", organisation));
  assert.ok("ok" in outcome, JSON.stringify(outcome));
}
const part = <S, C>(kind: Kind<S, C>, id: string, command: C): Change => ({ kind, id, command });
const firmware = { version: "1.7.5", build: "20260311-095847/1.7.5-g9979d16" };
const report = (id: string, mac: string, told: DeviceReport) =>
  agent(part(device, id, { do: "report", mac, report: told }));
const MATCH = { headers: { "if-match": "*" } };
let macs = 0xc4d8d5517c00;
const newMac = (): string => (macs++).toString(16).toUpperCase();

async function newDevice(more: object = {}): Promise<{ id: string; mac: string }> {
  const mac = newMac();
  const { body } = await expect(201, "POST", "/devices", { body: { mac, ...more } });
  return { id: body.id, mac };
}

/** Does whatever a task asks for next, as an agent that finds everything as it should be. */
async function carryOut(id: string, worker = "attic:1:a"): Promise<string[]> {
  const steps: string[] = [];
  for (;;) {
    const { state } = await log.aggregates.load(task, id);
    const next = nextOfTask(state, Date.now());
    if (next === undefined || !("do" in next)) return steps;
    if (next.do.kind === "finish") {
      await agent(...finishTask(state, next.do));
      continue;
    }
    assert.equal(next.do.kind, "step");
    const { step, attempt } = next.do as { step: string; attempt: number };
    const write = { component: "switch:0", call: { method: "Switch.SetConfig", params: { id: 0 } } } as const;
    const plan = {
      target: (await log.aggregates.load(device, state.device)).state.desired!,
      before: { "switch:0": { auto_off: false } },
      differences: [{ component: "switch:0", path: "/auto_off", from: false, to: true }],
      more: 0,
      writes: [{ ...write, needsReboot: "never", cutsOff: false } as const],
    };
    await agent(part(task, id, { do: "beginStep", step, attempt, worker }));
    const output = step.endsWith("plan") ? { plan } : {};
    await agent(part(task, id, { do: "completeStep", step, attempt, worker, output }));
    steps.push(step);
  }
}

test("a device, from its label to a drift that is applied away", async () => {
  const { id, mac } = await newDevice({ name: "hall", tags: ["floor/1"], host: "192.168.1.40" });
  assert.equal((await call("POST", "/devices", { body: { mac } })).status, 409);
  assert.equal((await call("POST", `/devices/${id}/apply`, { body: {} })).body.rule, "nothing-wanted");
  const configuration = { "switch:0": { auto_off: true } };
  await expect(428, "PATCH", "/devices/hall/configuration", { body: { configuration } });
  await expect(200, "PATCH", "/devices/hall/configuration", { body: { configuration }, ...MATCH });
  await report(id, mac, {
    reach: "reachable",
    identity: exampleIdentity,
    firmware,
    configuration: { "switch:0": { auto_off: false }, sys: { device: { name: "x" } } },
    revisions: { cfg: 3 },
  });
  const seen = await expect(200, "GET", "/devices/hall");
  assert.deepEqual(seen.body.status.drift.fields, [
    { component: "switch:0", path: "/auto_off", cause: "here", desired: true, observed: false },
  ]);
  assert.equal(seen.body.status.state, "drifted");
  // As it was before somebody looked: no drift, and nothing wanted.
  const before = await expect(200, "GET", "/devices/hall?at=v1");
  assert.deepEqual([before.body.spec.configuration, before.body.status.drift], [null, undefined]);

  const key = { headers: { "idempotency-key": "apply-1" } };
  const asked = await expect(202, "POST", "/devices/hall/apply", { body: {}, ...key });
  assert.match(asked.headers.get("location")!, /\/device-tasks\/tsk_/);
  const again = await expect(202, "POST", "/devices/hall/apply", { body: {}, ...key });
  assert.deepEqual([again.body.id, again.headers.get("idempotent-replayed")], [asked.body.id, "true"]);
  await expect(422, "DELETE", "/devices/hall", MATCH);
  await agent(...beginTask((await log.aggregates.load(device, id)).state, "attic:1:a"));
  assert.deepEqual(await carryOut(asked.body.id), ["read", "plan", "write:0", "verify"]);
  await report(id, mac, { configuration: { ...configuration, sys: { device: { name: "x" } } }, revisions: { cfg: 4 } });
  const done = await expect(200, "GET", `/device-tasks/${asked.body.id}?wait=terminal`);
  assert.deepEqual([done.body.status.state, done.body.status.plan.writes.length], ["succeeded", 1]);
  const now = await expect(200, "GET", "/devices/hall");
  assert.deepEqual([now.body.status.drift, now.body.status.applied.configuration], [undefined, configuration]);
  // Changed on the device: told as such.
  await report(id, mac, { configuration: { "switch:0": { auto_off: false } }, source: "http" });
  const drifted = await expect(200, "GET", "/devices/hall");
  assert.deepEqual([drifted.body.status.drift.fields[0].cause, drifted.body.status.drift.source], ["device", "http"]);

  const list = await listed("/devices?drifted=true&tag=floor/1&gen=2&state=drifted", drifted);
  assert.deepEqual(
    list.body.items.map((one: any) => [one.spec.name, one.status.drift.count, one.status.observed]),
    [["hall", 1, undefined]],
  );
  const tasks = await listed(`/device-tasks?device=${id}&kind=apply&over=true`, drifted);
  assert.deepEqual(
    tasks.body.items.map((one: any) => [one.id, one.status.steps]),
    [[asked.body.id, undefined]],
  );
  const told = await expect(200, "GET", "/devices/hall/history", {
    headers: { "millrace-position": drifted.headers.get("millrace-position")! },
  });
  assert.ok(
    told.body.items.some((one: any) => /one field is not as wanted/.test(one.sentence)),
    told.text,
  );
});

test("a profile with values, for a device in a group; a deleted one is no reason to forget what is wanted", async () => {
  const profile = await expect(201, "POST", "/device-profiles", {
    body: { name: "eco", configuration: { "switch:*": { name: "{{room}}" }, sys: { device: { eco_mode: true } } } },
  });
  await expect(201, "POST", "/device-groups", { body: { name: "upstairs", selection: { tag: "floor/1" } } });
  await newDevice({ name: "attic", groups: ["upstairs"] });
  const missing = await expect(422, "PATCH", "/devices/attic/configuration", { body: { profiles: ["eco"] }, ...MATCH });
  assert.equal(missing.body.rule, "values-missing");
  const wrong = await expect(400, "PATCH", "/devices/attic/configuration", { body: { profiles: ["none"] }, ...MATCH });
  assert.equal(wrong.body.errors[0].pointer, "/body/profiles/0");
  const body = { profiles: ["eco"], values: { room: "Attic" }, configuration: { "switch:1": { name: "Fan" } } };
  const wanted = await expect(200, "PATCH", "/devices/attic/configuration", { body, ...MATCH });
  assert.deepEqual(wanted.body.status.desired, {
    "switch:*": { name: "Attic" },
    "switch:1": { name: "Fan" },
    sys: { device: { eco_mode: true } },
  });
  assert.deepEqual(wanted.body.status.resolvedOf, [{ id: profile.body.id, generation: 1 }]);
  await expect(204, "DELETE", "/device-profiles/eco", MATCH);
  assert.equal((await expect(200, "GET", "/devices/attic")).body.status.desired.sys.device.eco_mode, true);
  await expect(204, "DELETE", "/device-groups/upstairs", MATCH);
});

test("passwords are stored as what the device takes, sealed, and shown nowhere", async () => {
  const { id, mac } = await newDevice({ name: "safe" });
  const store = (body: object) => call("PUT", "/devices/safe/credentials", { body, ...MATCH });
  assert.equal((await store({ password: "hunter2" })).body.errors[0].pointer, "/body/gen");
  assert.equal(
    (await call("POST", "/devices/safe/authentication", { body: { password: "x" } })).body.rule,
    "not-identified",
  );
  await report(id, mac, { reach: "reachable", identity: exampleIdentity, firmware });
  const stored = await store({ password: "hunter2" });
  assert.deepEqual([stored.status, stored.body.spec.credentials], [200, "digest"]);
  const ha1 = createHash("sha256").update(`admin:${exampleIdentity.hostname}:hunter2`).digest("hex");
  const { state } = await log.aggregates.load(device, id);
  for (const text of [JSON.stringify(state), stored.text, (await expect(200, "GET", `/devices/${id}`)).text]) {
    for (const secret of ["hunter2", ha1]) assert.ok(!text.includes(secret), secret);
  }
  const asked = await expect(202, "POST", "/devices/safe/authentication", { body: { password: "hunter3" } });
  assert.ok(!asked.text.includes("hunter3") && !asked.text.includes("sealed"), asked.text);
  const cancelled = await expect(202, "POST", `/device-tasks/${asked.body.id}/cancel`, { body: { reason: "Not now" } });
  assert.equal(cancelled.body.status.state, "cancelled");
  assert.deepEqual((await expect(200, "GET", "/devices/safe")).body.status.queue, []);
  await expect(204, "DELETE", "/devices/safe", MATCH);
  await newDevice({ name: "safe" });
});

test("who names a secret, and what only an agent can tell", async () => {
  const secret = await expect(201, "POST", "/secrets", { body: { name: "wifi", value: "hunter2" } });
  await newDevice({ name: "porch" });
  const { secret: token } = (
    await expect(201, "POST", "/tokens", { body: { name: "configures", grants: ["devices:*"] } })
  ).body;
  const configuration = { wifi: { sta: { ssid: "x", pass: { $secret: secret.body.id } } } };
  const body = { configuration };
  const refused = await call("PATCH", "/devices/porch/configuration", { body, token, ...MATCH });
  assert.deepEqual([refused.status, refused.body.permission], [403, "identity:secrets"]);
  await expect(200, "PATCH", "/devices/porch/configuration", { body, ...MATCH });
  // It is named there already.
  await expect(200, "PATCH", "/devices/porch/configuration", {
    body: { configuration: { ...configuration, sys: {} } },
    token,
    ...MATCH,
  });
  const clear = { configuration: { wifi: { sta: { pass: "hunter2" } } } };
  const wrong = await expect(400, "PATCH", "/devices/porch/configuration", { body: clear, ...MATCH });
  assert.equal(wrong.body.errors[0].pointer, "/body/configuration/wifi/sta/pass");
  const nobody = await expect(503, "GET", "/devices/porch/plan");
  assert.equal(nobody.body.what, "site home");
});

test.run();
