/** Applications and deployments through HTTP: gateway, log, projector and PostgreSQL; the worker's part is recorded by hand. */
import assert from "node:assert/strict";
import { ListedDeployment, RollbackPlan } from "@millrace/contracts/applications/api.ts";
import { Application, Deployment } from "@millrace/contracts/applications/entities.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { announce } from "@millrace/eventlog/presence.ts";
import { applicationBench } from "./harness/applications.ts";
import { suite } from "./harness/suite.ts";
import { problem, reads } from "./harness/work.ts";

const test = suite("applications end to end", { timeoutMs: 60_000 });

const { call, expect, listed, step, settle, log } = await applicationBench();
const isApplication = reads(Application);
const isDeployment = reads(Deployment);
const isListed = reads(ListedDeployment);
const isPlan = reads(RollbackPlan);
const any = { "if-match": "*" };

const SITE = { source: { kind: "git", url: "https://git.example.org/site.git" }, build: { kind: "static" } };
const create = async (name: string, more: object = {}) =>
  (await expect(201, "POST", "/applications", { body: { name, ...SITE, ...more } })).body;
const deploy = (name: string, body: object = {}) => expect(202, "POST", `/applications/${name}/deploy`, { body });
const stateOf = async (id: string): Promise<string> =>
  (await expect(200, "GET", `/deployments/${id}`)).body.status.state;

test("an application from its creation to a rollback, each answer as the contract says", async () => {
  const made = await create("whole", { title: "The whole way", domains: ["whole.example.org"] });
  isApplication(made);
  assert.equal(made.status.host, "whole.home.apps.localhost");
  assert.deepEqual([made.status.state, made.status.changed], ["created", true]);
  assert.deepEqual(problem(await call("POST", "/applications/whole/restart")), [422, "nothing-live"]);
  assert.deepEqual(problem(await call("GET", "/applications/whole/rollback")), [422, "nothing-live"]);

  const asked = await deploy("whole");
  isDeployment(asked.body);
  const { organisation } = made;
  assert.equal(asked.headers.get("location"), `/v1/organisations/${organisation}/deployments/${asked.body.id}`);
  await settle(made.id);
  const done = await expect(200, "GET", `/deployments/${asked.body.id}`);
  isDeployment(done.body);
  assert.deepEqual(
    done.body.status.phases.map(({ phase }: { phase: string }) => phase),
    [
      ...["PULLING_SOURCE", "BUILDING", "COPYING_FILES", "CREATING_SYMLINKS"],
      ...["UPDATING_ROUTES", "HEALTH_CHECK", "CLEANUP"],
    ],
  );
  const running = await expect(200, "GET", "/applications/whole");
  isApplication(running.body);
  assert.deepEqual([running.body.status.state, running.body.status.live.deployment], ["running", asked.body.id]);
  assert.equal(running.headers.get("etag"), '"1"', "what workers report is no change of what people asked for");

  const changed = await expect(200, "PATCH", "/applications/whole", {
    headers: { "if-match": '"1"' },
    body: { build: { kind: "static", folder: "public" } },
  });
  assert.equal(changed.body.status.changed, true);
  const second = await deploy("whole", { ref: "v2" });
  assert.equal(second.body.spec.ref, "v2");
  await settle(made.id);

  const plan = await expect(200, "GET", "/applications/whole/rollback");
  isPlan(plan.body);
  assert.equal(plan.body.to.deployment, asked.body.id);
  assert.notEqual(plan.body.commit.from, plan.body.commit.to);
  assert.deepEqual(plan.body.changes, [{ pointer: "/build/folder", from: "public", to: "." }]);
  const back = await expect(202, "POST", "/applications/whole/rollback", { body: {} });
  assert.deepEqual([back.body.spec.trigger, back.body.spec.release.deployment], ["rollback", asked.body.id]);
  await settle(made.id);
  const after = await expect(200, "GET", "/applications/whole");
  assert.equal(after.body.status.live.commit, plan.body.commit.to);
  assert.equal(after.body.status.previous.deployment, second.body.id);

  const history = await listed(`/deployments/${back.body.id}/history`, after);
  const sentences = history.body.items.map(({ sentence }: { sentence: string }) => sentence).toReversed();
  assert.deepEqual(sentences.slice(0, 4), [
    'asked for deployment 3 of "whole": back to deployment 1',
    "began it on the node local",
    "found the source done already",
    "found the build done already",
  ]);
  const then = await expect(200, "GET", "/applications/whole?at=v1");
  assert.equal(then.body.status.state, "created");
  const differs = await expect(200, "GET", "/applications/whole/diff?from=v1");
  assert.ok(differs.body.changes.some(({ pointer }: { pointer: string }) => pointer === "/spec/build/folder"));
});

test("the queue can be seen; a newer one takes the place of what waits and of what runs, in one commit", async () => {
  const { id } = await create("queue");
  const first = (await deploy("queue")).body.id;
  await step(id);
  await step(id);
  assert.equal(await step(id), "PULLING_SOURCE");
  const second = (await deploy("queue")).body.id;
  assert.equal(await stateOf(first), "compensating");
  const third = await deploy("queue");
  assert.deepEqual([await stateOf(second), await stateOf(third.body.id)], ["superseded", "queued"]);
  const busy = (await expect(200, "GET", "/applications/queue")).body.status;
  assert.deepEqual([busy.state, busy.queue, busy.active], ["deploying", [third.body.id], first]);

  const queue = await listed("/deployments?state=queued", third);
  assert.ok(queue.body.items.some((one: { id: string }) => one.id === third.body.id));
  const mine = await listed("/applications/queue/deployments", third);
  for (const one of mine.body.items) isListed(one);
  assert.deepEqual(
    mine.body.items.map((one: { id: string }) => one.id),
    [third.body.id, second, first],
  );
  const open = await listed(`/deployments?over=false&application=${id}`, third);
  assert.equal(open.body.items.length, 2);
  await settle(id);
  assert.deepEqual(await Promise.all([first, second, third.body.id].map(stateOf)), [
    ...["superseded", "superseded", "succeeded"],
  ]);
});

test("many who ask at once: each is asked for once, one is left, and nothing is half done", async () => {
  const { id } = await create("crowd");
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => call("POST", "/applications/crowd/deploy", { body: {} })),
  );
  const made = answers.filter(({ status }) => status === 202);
  assert.ok(made.length >= 4, answers.map(({ text }) => text).join("\n"));
  // Who met others too often is told so, and nothing of it is there.
  for (const answer of answers.filter(({ status }) => status !== 202)) assert.equal(answer.status, 409, answer.text);
  const { status } = (await expect(200, "GET", "/applications/crowd")).body;
  assert.deepEqual([status.deployments, status.queue.length], [made.length, 1]);
  const states = await Promise.all(made.map(({ body }) => stateOf(body.id)));
  assert.equal(states.filter((state) => state === "queued").length, 1);
  assert.equal(states.filter((state) => state === "superseded").length, made.length - 1);
  assert.equal((await log.aggregates.load(application, id)).state.nextSeq, made.length + 1);
});

test("a repeat with the same key is the same deployment, also when much has happened since", async () => {
  const { id } = await create("again");
  const headers = { "idempotency-key": "deploy-again" };
  const first = await expect(202, "POST", "/applications/again/deploy", { headers, body: {} });
  await settle(id);
  await deploy("again");
  const repeat = await expect(202, "POST", "/applications/again/deploy", { headers, body: {} });
  assert.equal(repeat.headers.get("idempotent-replayed"), "true");
  assert.deepEqual([repeat.body.id, repeat.body.status.state], [first.body.id, "queued"], "as it was answered then");
  assert.equal((await expect(200, "GET", "/applications/again")).body.status.deployments, 2);
  const other = await call("POST", "/applications/again/deploy", { headers, body: { ref: "other" } });
  assert.deepEqual(problem(other), [422, "idempotency-key-reused"]);
});

test("cancelling what waits, what runs, and what has succeeded", async () => {
  const { id } = await create("cancel");
  const waiting = (await deploy("cancel")).body.id;
  const key = { "idempotency-key": "cancel-it" };
  const gone = await expect(202, "POST", `/deployments/${waiting}/cancel`, {
    headers: key,
    body: { reason: "The wrong branch" },
  });
  assert.deepEqual([gone.body.status.state, gone.body.status.cancellation.reason], ["cancelled", "The wrong branch"]);
  const repeat = await expect(202, "POST", `/deployments/${waiting}/cancel`, {
    headers: key,
    body: { reason: "The wrong branch" },
  });
  assert.equal(repeat.headers.get("idempotent-replayed"), "true");
  assert.deepEqual((await expect(200, "GET", "/applications/cancel")).body.status.queue, []);

  const running = (await deploy("cancel")).body.id;
  for (const expected of ["place", "activate", "PULLING_SOURCE"]) assert.equal(await step(id), expected);
  const stopping = await expect(202, "POST", `/deployments/${running}/cancel`, { body: {} });
  assert.equal(stopping.body.status.state, "compensating");
  await settle(id);
  assert.equal(await stateOf(running), "cancelled");

  const done = (await deploy("cancel")).body.id;
  await settle(id);
  const late = await call("POST", `/deployments/${done}/cancel`, { body: {} });
  assert.deepEqual(problem(late), [422, "deployment-over"]);
  assert.match(late.body.fix, /Roll back/);
});

test("a failure stands in the status of both, with what to do next", async () => {
  const { id } = await create("broken");
  const failed = (await deploy("broken")).body.id;
  for (const expected of ["place", "activate", "PULLING_SOURCE"]) assert.equal(await step(id), expected);
  await step(id, true);
  await settle(id);
  const { status } = (await expect(200, "GET", `/deployments/${failed}`)).body;
  assert.deepEqual([status.state, status.error.code, status.error.fix], ["failed", "BUILD_FAILED", "Look at its log."]);
  const app = (await expect(200, "GET", "/applications/broken")).body;
  assert.deepEqual([app.status.state, app.status.problem.deployment], ["failed", failed]);
});

test("lists by state, kind, node, host and words", async () => {
  await create("listed", { domains: ["listed.example.org"], node: "far" });
  const last = await expect(201, "POST", "/applications", {
    body: {
      name: "listed-box",
      title: "A heron in a box",
      source: SITE.source,
      build: { kind: "dockerfile" },
      runtime: { port: 80 },
    },
  });
  const names = async (query: string) =>
    (await listed(`/applications?${query}`, last)).body.items.map((one: { spec: { name: string } }) => one.spec.name);
  assert.deepEqual(await names("node=far"), ["listed"]);
  assert.deepEqual(await names("kind=dockerfile"), ["listed-box"]);
  assert.deepEqual(await names("host=listed.example.org"), ["listed"]);
  assert.deepEqual(await names("q=heron"), ["listed-box"]);
  assert.deepEqual(await names("wanted=stopped"), []);
  assert.ok((await names("state=created&changed=true&sort=name")).includes("listed"));
  const { body } = await listed(`/search?q=heron`, last);
  assert.deepEqual([body.items[0].kind, body.items[0].title], ["application", "A heron in a box"]);
});

test("names and hosts belong to one, and come back when it is gone", async () => {
  const { id } = await create("owner", { domains: ["owned.example.org"] });
  const body = { name: "taker", ...SITE, domains: ["owned.example.org"] };
  assert.deepEqual(problem(await call("POST", "/applications", { body })), [409, "/problems/conflict"]);
  const own = { name: "owner", ...SITE };
  assert.deepEqual(problem(await call("POST", "/applications", { body: own })), [409, "/problems/conflict"]);
  const below = { name: "taker", ...SITE, domains: ["x.apps.localhost"] };
  assert.deepEqual(problem(await call("POST", "/applications", { body: below })), [400, "/problems/invalid-input"]);

  await deploy("owner");
  for (const expected of ["place", "activate", "PULLING_SOURCE"]) assert.equal(await step(id), expected);
  assert.equal((await call("DELETE", "/applications/owner")).status, 428);
  const removing = await expect(202, "DELETE", "/applications/owner", { headers: any });
  assert.equal(removing.body.status.state, "removing");
  assert.deepEqual(problem(await call("POST", "/applications/owner/deploy", { body: {} })), [
    422,
    "application-removing",
  ]);
  await settle(id);
  await expect(404, "GET", `/applications/${id}`);
  await expect(404, "DELETE", `/applications/${id}`, { headers: any });
  await expect(201, "POST", "/applications", { body });
  await expect(201, "POST", "/applications", { body: own });
});

test("what was never deployed is removed without any worker", async () => {
  const { id } = await create("brief");
  await deploy("brief");
  await expect(202, "DELETE", "/applications/brief", { headers: any });
  await expect(404, "GET", `/applications/${id}`);
  await create("brief");
});

test("starting, stopping and scaling are asked for, and settled by a worker", async () => {
  const { id } = await create("lively");
  await deploy("lively");
  await settle(id);
  const stopping = await expect(202, "POST", "/applications/lively/stop");
  assert.equal(stopping.headers.get("location"), `/v1/organisations/${stopping.body.organisation}/applications/${id}`);
  assert.deepEqual([stopping.body.spec.wanted, stopping.body.status.state], ["stopped", "running"]);
  assert.equal(await step(id), "settle");
  assert.equal((await expect(200, "GET", "/applications/lively")).body.status.state, "stopped");
  assert.deepEqual(problem(await call("POST", "/applications/lively/deploy", { body: {} })), [
    422,
    "application-stopped",
  ]);
  await expect(202, "POST", "/applications/lively/start");
  const scaling = await call("POST", "/applications/lively/scale", { body: { instances: 2 } });
  assert.deepEqual(problem(scaling), [422, "nothing-to-scale"]);
});

test("waiting: for the end, for a state, for a change, until it is gone; and no longer than was said", async () => {
  const { id } = await create("patient");
  const asked = (await deploy("patient")).body.id;
  const brief = await expect(200, "GET", `/deployments/${asked}?wait=terminal&timeout=50`);
  assert.deepEqual([brief.headers.get("millrace-wait"), brief.body.status.state], ["timeout", "queued"]);
  const [ended, live] = await Promise.all([
    expect(200, "GET", `/deployments/${asked}?wait=terminal`),
    expect(200, "GET", "/applications/patient?wait=state=running|failed"),
    settle(id),
  ]);
  assert.deepEqual([ended.headers.get("millrace-wait"), ended.body.status.state], ["met", "succeeded"]);
  assert.deepEqual([live.headers.get("millrace-wait"), live.body.status.state], ["met", "running"]);
  const [second] = await Promise.all([
    expect(200, "GET", "/applications/patient?wait=generation%3E=2"),
    expect(200, "PATCH", "/applications/patient", { headers: any, body: { title: "Patient" } }),
  ]);
  assert.equal(second.body.spec.title, "Patient");
  const [gone] = await Promise.all([
    call("GET", "/applications/patient?wait=gone"),
    expect(202, "DELETE", "/applications/patient", { headers: any }).then(() => settle(id)),
  ]);
  assert.equal(gone.status, 404);

  assert.equal(
    (await call("GET", "/applications/patient?wait=gone")).status,
    404,
    "nothing is waited for that is not there",
  );
  const { id: other } = await create("patient-2");
  assert.equal((await call("GET", `/applications/${other}?wait=terminal`)).status, 400, "it never ends");
  assert.equal((await call("GET", `/applications/${other}?wait=gone&at=v1`)).status, 400);
  assert.equal((await call("GET", `/applications/${other}?wait=soon`)).status, 400);
  assert.equal((await call("GET", `/applications/${other}?wait=gone&timeout=60001`)).status, 400);
});

test("a token for one application is one for its deployments, and for no other's", async () => {
  const { id } = await create("narrow");
  await create("wide");
  const [mine, other] = [(await deploy("narrow")).body.id, (await deploy("wide")).body.id];
  const { secret: token } = (
    await expect(201, "POST", "/tokens", { body: { name: "narrow", grants: [`applications:*@${id}`] } })
  ).body;
  await expect(200, "GET", "/applications/narrow", { token });
  await expect(200, "GET", `/deployments/${mine}`, { token });
  await expect(202, "POST", `/deployments/${mine}/cancel`, { token, body: {} });
  await expect(202, "POST", "/applications/narrow/deploy", { token, body: {} });
  await expect(403, "GET", "/applications/wide", { token });
  await expect(403, "GET", `/deployments/${other}`, { token });
  await expect(403, "POST", `/deployments/${other}/cancel`, { token, body: {} });
  await expect(403, "GET", "/deployments/dep_00000000000000000000000000", { token });
});

test("nodes are those that have a worker now", async () => {
  assert.deepEqual((await expect(200, "GET", "/nodes")).body, { items: [] });
  const presence = await announce({
    nats: log.nats,
    describe: () => ({
      node: "local",
      service: "orchestrator",
      instance: "host:1:a",
      pid: 1,
      host: "host",
      version: "1.0.0",
      dataFolder: "/somewhere",
      docker: { endpoint: "unix:///var/run/docker.sock", missing: "No engine answers." },
      freeBytes: 1_024,
      capabilities: ["git", "static"],
      startedAt: "2026-11-21T08:00:00.000Z",
    }),
  });
  const { items } = (await expect(200, "GET", "/nodes")).body;
  assert.equal(items.length, 1);
  assert.deepEqual([items[0].name, items[0].workers[0].docker], ["local", { missing: "No engine answers." }]);
  assert.ok(!JSON.stringify(items).includes("/somewhere"), "where its data lies is nobody's concern here");
  await presence.stop();
  assert.deepEqual((await expect(200, "GET", "/nodes")).body, { items: [] });
});

test.run();
