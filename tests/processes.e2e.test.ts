/** A change follows the deployments of what it changes: through the gateway, with the real orchestrator, killed at every effect. */

import { deployment } from "@millrace/domain/applications/deployment.ts";
import { process as processKind } from "@millrace/domain/automation/process.ts";
import { item } from "@millrace/domain/work/item.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { ask, testGateway, testProjector } from "./harness/gateway.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("processes across contexts", { timeoutMs: 240_000 });

const gateway = await testGateway();
await testProjector(gateway.config);
const grounds = await openGrounds({ node: "changes", env: { MILLRACE_MASTER_KEY: gateway.config.masterKey } });
const { natsUrl: url, natsUser: user, natsPassword: password } = gateway.config;
const log = await EventLog.open({ url, user: user!, password: password!, name: "looking" }, ["work", "automation"]);
deferToEndOfFile(() => log.close());

const base = "/v1/organisations/home";
const call = async (status: number, method: string, at: string, body?: unknown, headers = {}) => {
  const answer = await ask(gateway.url, method, `${base}${at}`, {
    token: gateway.owner,
    headers,
    ...(body === undefined ? {} : { body }),
  });
  assert.is(answer.status, status, answer.text);
  return answer.body;
};

/** Lets the orchestrator die at each of these in turn, and a last one live. */
async function dieAt(...points: string[]): Promise<() => Promise<void>> {
  for (const point of points) await (await grounds.start(point)).died(90_000);
  const last = await grounds.start();
  return async () => void (await last.process.stop());
}

const change = (title: string, commit?: string) =>
  call(201, "POST", "/work-items", {
    type: "change",
    title,
    links: [{ kind: "application", id: "shop", relation: "changes", ...(commit === undefined ? {} : { commit }) }],
  });
const commitsOf = async (id: string): Promise<StoredCommit[]> => {
  const commits: StoredCommit[] = [];
  for await (const commit of readCommits(log.nats, item, id)) commits.push(commit);
  return commits;
};
const ticks = async (id: string) =>
  (await commitsOf(id)).filter(({ events }) => events.some(({ type }) => type === "ChecklistLineTicked"));
const isTicked = async (id: string) => ((await ticks(id)).length > 0 ? true : undefined);
const incidents = async () => (await call(200, "GET", "/work-items?type=incident")).items;
const site = { kind: "static", folder: "public" };
const path = grounds.repository({ "public/index.html": "hello" });

test("a verified deployment ticks the changes of its commit, once, whoever dies", async () => {
  const made = await call(201, "POST", "/applications", {
    name: "shop",
    source: { kind: "path", path },
    build: site,
    health: { successes: 1 },
    policy: { minHealthyTimeMs: 0 },
    node: "changes",
  });
  const commit = grounds.commit(path, { "public/index.html": "hello again" });
  const wanted = await change("Greets again", commit.slice(0, 10));
  const other = await change("Something else", "0000000");
  assert.equal(wanted.spec.links, [
    { kind: "application", id: made.id, relation: "changes", commit: commit.slice(0, 10) },
  ]);
  const { id } = await call(202, "POST", "/applications/shop/deploy", {});
  const stop = await dieAt("process.note.after", "process.decided", "command.issue.after", "process.settled");
  await eventually(() => isTicked(wanted.id), "the change is deployed", 90_000);
  const [process] = await eventually(
    async () => {
      const { items } = await call(200, "GET", `/processes?key=${made.id}&acting=false`);
      return items[0]?.status.done === 1 ? items : undefined;
    },
    "the process has noted it",
    60_000,
  );
  assert.equal([process.spec.type, process.status.refused], ["change-follows-deployment", 0]);
  await stop();
  const [tick, ...more] = await ticks(wanted.id);
  assert.is(more.length, 0);
  assert.equal([tick!.actor.id, tick!.actor.name], [process.id, "change-follows-deployment"]);
  assert.is(tick!.command.startsWith(process.id), true);
  assert.equal(await ticks(other.id), []);
  assert.equal(await incidents(), []);
  const history = await call(200, "GET", `/processes/${process.id}/history`);
  assert.ok(history.items.some(({ type }: { type: string }) => type === "CommandDone"));
  assert.is((await log.aggregates.load(processKind, process.id)).state.pending, null);
  assert.is((await grounds.deployment(id)).state, "succeeded");
});

test("one that fails opens one incident, linked to deployment, application and change", async () => {
  await call(200, "PATCH", "/applications/shop", { build: { ...site, folder: "nowhere" } }, { "if-match": "*" });
  const waiting = await change("Wants anything");
  const { id } = await call(202, "POST", "/applications/shop/deploy", {});
  const stop = await dieAt("listener.heard", "command.issue.before", "process.issued");
  const [incident] = await eventually(
    async () => ((await incidents()).length > 0 ? incidents() : undefined),
    "an incident is opened",
    90_000,
  );
  const links = incident.spec.links.map(({ kind, id }: { kind: string; id: string }) => `${kind} ${id}`);
  const app = waiting.spec.links[0].id;
  assert.ok(links.includes(`deployment ${id}`) && links.includes(`application ${app}`), links.join());
  assert.ok(links.includes(`item ${waiting.id}`), links.join());
  assert.match(incident.spec.title, /Deployment 2 of shop failed/);
  assert.is((await log.aggregates.load(deployment, id)).state.state, "failed");

  await call(200, "PATCH", "/applications/shop", { build: site }, { "if-match": "*" });
  await call(202, "POST", "/applications/shop/deploy", {});
  await eventually(() => isTicked(waiting.id), "it is deployed at last", 90_000);
  await stop();
  assert.is((await incidents()).length, 1);
  assert.is((await ticks(waiting.id)).length, 1);
  assert.is((await commitsOf(incident.id)).length, 1);
});

test("what cannot be linked is said", async () => {
  const refused = await call(400, "POST", "/work-items", {
    type: "change",
    title: "x",
    links: [{ kind: "application", id: "none" }],
  });
  assert.is(refused.errors[0].pointer, "/body/links/0/id");
  const { id } = await call(201, "POST", "/work-items", { type: "task", title: "Look" });
  const linked = await call(200, "POST", `/work-items/${id}/link`, { links: [{ kind: "application", id: "shop" }] });
  assert.is(linked.spec.links[0].relation, "relates-to");
  const off = await call(200, "POST", `/work-items/${id}/unlink`, { links: [{ kind: "application", id: "shop" }] });
  assert.equal(off.spec.links, []);
});

test.run();
