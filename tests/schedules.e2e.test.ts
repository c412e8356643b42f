/** Schedules through HTTP, with orchestrators that die at every effect: each due time is done once, by its maker's permission. */
import assert from "node:assert/strict";
import { DueTimes, Schedule } from "@millrace/contracts/automation/entities.ts";
import * as Schema from "effect/Schema";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { testNats } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("schedules end to end", { timeoutMs: 120_000 });

const nats = await testNats();
const access = { natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass };
const gateway = await testGateway(access);
await testProjector(gateway.config);
const grounds = await openGrounds({ nats, caddy: false });
const { call, expect, listed } = callerOf(gateway);

const isSchedule = (body: unknown) => Schema.decodeUnknownSync(Schedule, { onExcessProperty: "error" })(body);
const soon = (ms: number) => new Date(Date.now() + ms).toISOString();
const once = (at: string) => ({ kind: "once", at });
const cron = (expression: string, timeZone = "Europe/Berlin") => ({ kind: "cron", expression, timeZone });
const opening = (title: string) => ({ action: "work.openItem", body: { type: "task", title } });
const ended = (id: string) =>
  expect(200, "GET", `/schedules/${id}?wait=terminal&timeout=60000`).then(({ body }) => body);
const titles = async (q: string): Promise<string[]> => {
  const after = await expect(201, "POST", "/work-items", { body: { type: "task", title: "marks the place" } });
  const { body } = await listed(`/work-items?limit=200&q=${q}`, after);
  return body.items.map(({ spec }: any) => spec.title).sort();
};

/** Schedules that each open two items once, at these times from now. @returns their ids */
const openTwo = (name: string, inMs: ReadonlyArray<number>): Promise<string[]> =>
  Promise.all(
    inMs.map(async (ms, i) => {
      const body = {
        name: `${name}-${i}`,
        when: once(soon(ms)),
        missed: { policy: "all" },
        commands: [opening(`${name} ${i} a`), opening(`${name} ${i} b`)],
      };
      return (await expect(201, "POST", "/schedules", { body })).body.id;
    }),
  );

/** Every one was done, and nothing of it twice. */
async function doneOnce(name: string, ids: ReadonlyArray<string>): Promise<void> {
  for (const { status } of await Promise.all(ids.map(ended))) {
    assert.deepEqual([status.state, status.firings, status.failures], ["ended", 1, 0]);
    assert.deepEqual(
      status.last.outcomes.map(({ outcome }: any) => outcome),
      ["done", "done"],
    );
  }
  assert.deepEqual(await titles(name), ids.flatMap((_, i) => [`${name} ${i} a`, `${name} ${i} b`]).sort());
}

test("an orchestrator that dies at an effect, and the next one that dies at the next", async () => {
  const ids = await openTwo(
    "faulty",
    [0, 1, 2, 3, 4].map((i) => 3_000 + i * 10),
  );
  for (const point of [
    "schedule.fire.after",
    "command.issue.after",
    "schedule.command.after",
    "schedule.command.recorded",
  ]) {
    await (await grounds.start(point)).died();
  }
  await (await grounds.start()).ready();
  await doneOnce("faulty", ids);
});

test("three orchestrators of which one dies in the middle of it: every due time is done once", async () => {
  const [mortal] = await Promise.all([grounds.start("command.issue.after:2"), grounds.start()]);
  await mortal!.ready();
  const ids = await openTwo(
    "three",
    Array.from({ length: 12 }, (_, i) => 1_000 + i * 250),
  );
  await mortal!.died();
  await doneOnce("three", ids);
});

test("a schedule from its making to its end: due times, run now, pause, change, history", async () => {
  const app = await expect(201, "POST", "/applications", {
    body: { name: "shop", source: { kind: "git", url: "https://git.invalid/shop.git" }, build: { kind: "static" } },
  });
  const created = await expect(201, "POST", "/schedules", {
    body: {
      name: "nightly",
      when: cron("30 2 * * *"),
      jitterMs: 60_000,
      commands: [
        { action: "applications.deployApplication", on: "shop", body: { ref: "main" } },
        opening("Look at the deployment"),
      ],
    },
  });
  isSchedule(created.body);
  const { id } = created.body;
  const due = await expect(200, "GET", "/schedules/nightly/due-times?limit=3");
  Schema.decodeUnknownSync(DueTimes)(due.body);
  assert.equal(due.body.items.length, 3);
  assert.equal(created.body.status.nextDueAt, due.body.items[0].at);
  for (const item of due.body.items)
    assert.ok(item.at >= item.due && Date.parse(item.at) <= Date.parse(item.due) + 60_000);

  await expect(202, "POST", "/schedules/nightly/run");
  const ran = await eventually(async () => {
    const { body } = await call("GET", `/schedules/${id}`);
    return body.status.last === undefined ? undefined : body;
  }, "it was run");
  isSchedule(ran);
  const [deployed, opened] = ran.status.last.outcomes;
  assert.deepEqual([deployed.outcome, deployed.on, opened.outcome], ["done", app.body.id, "done"]);
  const deployment = await expect(200, "GET", `/deployments/${deployed.made}`);
  assert.equal(deployment.body.spec.ref, "main");
  const item = await expect(200, "GET", `/work-items/${opened.made}`);
  assert.deepEqual(item.body.createdBy, { kind: "service", id, name: "nightly" });
  assert.equal(ran.status.nextDueAt, created.body.status.nextDueAt, "what is due is due all the same");

  const paused = await expect(200, "POST", `/schedules/${id}/pause`);
  assert.deepEqual([paused.body.status.state, paused.body.status.nextDueAt], ["paused", undefined]);
  await expect(200, "POST", `/schedules/${id}/resume`);
  assert.equal((await call("PATCH", `/schedules/${id}`, { body: { title: "At night" } })).status, 428);
  const changed = await expect(200, "PATCH", `/schedules/${id}`, {
    headers: { "if-match": "*" },
    body: { title: "At night", when: { kind: "interval", everyMs: 3_600_000 }, jitterMs: 0 },
  });
  assert.equal(changed.body.spec.when.kind, "interval");
  const page = await listed("/schedules?sort=nextDueAt&state=active", changed);
  assert.deepEqual(
    page.body.items.map(({ spec }: any) => spec.name),
    ["nightly"],
  );
  const gone = await expect(204, "DELETE", `/schedules/${id}`, { headers: { "if-match": "*" } });
  assert.equal((await call("GET", `/schedules/${id}`)).status, 404);
  const { body } = await listed(`/schedules/${id}/history`, gone);
  const sentences = body.items.map(({ sentence }: any) => sentence).reverse();
  assert.match(
    sentences[0],
    /^created the schedule "nightly" at 30 2 \* \* \* \(Europe\/Berlin\): applications.deploy/,
  );
  assert.equal(sentences.at(-1), 'deleted the schedule "nightly"');
});

test("what cannot be, is refused with its place: never due, no such action, a body that does not fit, nothing there", async () => {
  const refused = async (over: object, pointer: string, detail: RegExp) => {
    const body = { name: "wrong", when: cron("0 0 * * *"), commands: [opening("x")], ...over };
    const answer = await expect(400, "POST", "/schedules", { body });
    const found = answer.body.errors.find((one: any) => one.pointer === pointer);
    assert.ok(found, `${pointer} in ${answer.text}`);
    assert.match(found.detail, detail);
  };
  await refused({ when: cron("0 0 30 2 *") }, "/body/when/expression", /never comes/);
  await refused({ when: cron("61 0 * * *") }, "/body/when/expression", /minute "61"/);
  await refused({ when: cron("0 0 * * *", "Mars/Olympus") }, "/body/when/timeZone", /no time zone/);
  await refused({ when: once("2020-01-01T00:00:00Z") }, "/body/when/at", /past/);
  await refused(
    { when: { kind: "sun", event: "sunrise", latitude: 90, longitude: 0 } },
    "/body/when/latitude",
    /neither/,
  );
  await refused({ when: cron("* * * * *"), jitterMs: 60_000 }, "/body/jitterMs", /not less than/);
  await refused({ commands: [{ action: "work.deleteItem" }] }, "/body/commands/0/action", /no action/);
  await refused({ commands: [{ action: "work.openItem", body: { title: "x" } }] }, "/body/commands/0/body/type", /./);
  await refused({ commands: [{ action: "work.writeComment", body: { text: "x" } }] }, "/body/commands/0/on", /needed/);
  await refused(
    { commands: [{ action: "applications.stopApplication", on: "nowhere" }] },
    "/body/commands/0/on",
    /no such/,
  );
});

test("by whose permission: needed to make it, and to run it; gone with the token", async () => {
  const token = async (name: string, grants: string[]) =>
    (await expect(201, "POST", "/tokens", { body: { name, grants } })).body;
  const maker = await token("maker", ["automation:*", "work:edit"]);
  const helper = await token("helper", ["automation:*"]);
  const body = { name: "by-maker", when: once(soon(3_600_000)), commands: [opening("by the maker")] };
  const denied = await expect(403, "POST", "/schedules", { body, token: helper.secret });
  assert.equal(denied.body.permission, "work:edit");
  const { id } = (await expect(201, "POST", "/schedules", { body, token: maker.secret })).body;
  await expect(403, "POST", `/schedules/${id}/run`, { token: helper.secret });
  await expect(403, "PATCH", `/schedules/${id}`, {
    headers: { "if-match": "*" },
    body: { when: once(soon(60_000)) },
    token: helper.secret,
  });
  await expect(204, "DELETE", `/tokens/${maker.id}`, { headers: { "if-match": "*" } });
  await expect(202, "POST", `/schedules/${id}/run`);
  const failed = await eventually(async () => {
    const { status } = (await call("GET", `/schedules/${id}`)).body;
    return status.last === undefined ? undefined : status;
  }, "it was refused");
  assert.deepEqual(
    [failed.failures, failed.last.outcomes[0].outcome, failed.last.outcomes[0].rule],
    [1, "refused", "permission-gone"],
  );
  assert.deepEqual(await titles("maker"), []);
});

test.run();
