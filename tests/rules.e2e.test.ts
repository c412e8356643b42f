/** Automation rules through HTTP, over events of two contexts: done once for each event, by their makers' permission, without circles. */
import assert from "node:assert/strict";
import { DryRun, Rule } from "@millrace/contracts/automation/rules.ts";
import { RULES } from "@millrace/contracts/automation/values.ts";
import * as Schema from "effect/Schema";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { testNats } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("rules end to end", { timeoutMs: 120_000 });

const nats = await testNats();
const gateway = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(gateway.config);
const grounds = await openGrounds({ nats, caddy: false });
const { call, expect, listed } = callerOf(gateway);

const open = async (title: string, more: object = {}) =>
  (await expect(201, "POST", "/work-items", { body: { type: "task", title, ...more } })).body;
const on = (context: string, ...types: string[]) => ({ kind: "event", context, types });
const create = async (body: object, token?: string) => {
  const answer = await expect(201, "POST", "/rules", { body, ...(token === undefined ? {} : { token }) });
  Schema.decodeUnknownSync(Rule, { onExcessProperty: "error" })(answer.body);
  return answer.body;
};
const rule = async (id: string) => (await expect(200, "GET", `/rules/${id}`)).body;
const until = (id: string, holds: (status: any) => boolean, what: string) =>
  eventually(
    async () => {
      const { status } = await rule(id);
      return holds(status) ? status : undefined;
    },
    what,
    60_000,
  );
const comments = async (id: string) =>
  (await expect(200, "GET", `/work-items/${id}`)).body.comments.map(({ text }: any) => text);

test("an orchestrator that dies while a rule is triggered and done: each event has its comment once", async () => {
  const { id } = await create({
    name: "welcome",
    when: { ...on("work", "ItemOpened"), labels: ["area/network"] },
    condition:
      'event.data.type == "task" and not (entity.spec.title matches "^secret") and event.actor.kind == "token"',
    commands: [
      {
        action: "work.writeComment",
        on: "{{event.entity}}",
        body: { text: "{{entity.spec.title}} by a {{event.actor.kind}}" },
      },
      { action: "work.labelItem", on: "{{event.entity}}", body: { labels: ["seen"] } },
    ],
  });
  const labels = ["area/network"];
  const [first, second, third] = [
    await open("one", { labels }),
    await open("two", { labels }),
    await open("three", { labels }),
  ];
  const others = [await open("secret", { labels }), await open("four")];
  for (const point of ["rule.trigger.after", "listener.heard", "rule.command.after:2", "rule.command.recorded"]) {
    await (await grounds.start(point)).died();
  }
  await Promise.all([grounds.start(), grounds.start()]);
  const status = await until(id, ({ triggers, waiting }) => triggers === 3 && waiting === 0, "three were done");
  assert.deepEqual([status.failures, status.passedOver], [0, 0]);
  for (const item of [first, second, third]) {
    assert.deepEqual(await comments(item.id), [`${item.spec.title} by a token`]);
    const now = (await expect(200, "GET", `/work-items/${item.id}`)).body;
    assert.deepEqual(now.spec.labels, ["area/network", "seen"]);
    assert.deepEqual(now.comments[0].author, { kind: "service", id, name: "welcome" });
  }
  for (const item of others) assert.deepEqual(await comments(item.id), []);
});

test("several rules on the same events at a time, a worker dying among them: each does each event once", async () => {
  const names = ["ada", "ben", "cleo", "dan"];
  const made = await Promise.all(
    names.map((name) =>
      create({
        name,
        when: { ...on("work", "ItemOpened"), labels: ["several"] },
        commands: [
          { action: "work.writeComment", on: "{{event.entity}}", body: { text: `{{entity.spec.title}} ${name}` } },
        ],
      }),
    ),
  );
  const mortal = await grounds.start("rule.command.after:3");
  await mortal.ready();
  const titles = Array.from({ length: 6 }, (_, i) => `several ${i}`);
  const opened = await Promise.all(titles.map((title) => open(title, { labels: ["several"] })));
  for (const { id } of made) {
    const all = ({ triggers, waiting }: any) => triggers === titles.length && waiting === 0;
    assert.equal((await until(id, all, "every event was done")).failures, 0);
  }
  for (const { id, spec } of opened) {
    assert.deepEqual(
      (await comments(id)).sort(),
      names.map((name) => `${spec.title} ${name}`),
    );
  }
  mortal.process.kill();
  for (const { id } of made) await expect(204, "DELETE", `/rules/${id}`, { headers: { "if-match": "*" } });
});

test("of another context; what it would have done in the past is told, page by page", async () => {
  const app = (name: string) => ({
    name,
    source: { kind: "git", url: "https://git.invalid/x.git" },
    build: { kind: "static" },
  });
  for (const name of ["early-a", "early-b", "late-c"]) await expect(201, "POST", "/applications", { body: app(name) });
  const { id } = await create({
    name: "new-app",
    when: on("applications", "Application*"),
    condition:
      "event.type == 'ApplicationCreated' and entity.spec.name matches '^early' or entity.spec.name == 'fresh'",
    commands: [
      { action: "work.openItem", body: { type: "service", title: "Look after {{entity.spec.name}}", labels: ["app"] } },
    ],
  });
  const dry = await expect(200, "GET", "/rules/new-app/dry-run?limit=1");
  Schema.decodeUnknownSync(DryRun, { onExcessProperty: "error" })(dry.body);
  assert.deepEqual(dry.body.items[0].commands[0].body.title, "Look after early-a");
  const more = await expect(200, "GET", `/rules/new-app/dry-run?limit=5&cursor=${dry.body.nextCursor}`);
  assert.deepEqual(
    more.body.items.map(({ commands }: any) => commands[0].body.title),
    ["Look after early-b"],
  );
  assert.equal(more.body.nextCursor, undefined);
  const before = await expect(200, "GET", "/rules/new-app/dry-run?from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z");
  assert.deepEqual([before.body.items, before.body.looked], [[], 0]);
  await expect(201, "POST", "/applications", { body: app("fresh") });
  const { last } = await until(id, ({ last: runs }) => runs.length > 0, "it was done for what is new");
  const item = await expect(200, "GET", `/work-items/${last[0].outcomes[0].made}`);
  assert.equal(item.body.spec.title, "Look after fresh");
});

test("a rule that triggers itself ends; one that is asked for too often is passed over, and an event says so", async () => {
  const say = { action: "work.writeComment", on: "{{event.entity}}", body: { text: "again" } };
  const circle = await create({ name: "circle", when: on("work", "ItemCommented"), commands: [say], perMinute: 60 });
  const item = await open("talks to itself");
  await expect(200, "POST", `/work-items/${item.id}/comments`, { body: { text: "go" } });
  const ended = await until(circle.id, ({ passedOver, waiting }) => passedOver > 0 && waiting === 0, "the circle ends");
  assert.equal(ended.triggers, RULES.hops);
  assert.equal((await comments(item.id)).length, 1 + RULES.hops);
  await expect(204, "DELETE", `/rules/${circle.id}`, { headers: { "if-match": "*" } });

  const tick = { action: "work.writeComment", on: item.id, body: { text: "labelled" } };
  const often = await create({ name: "often", when: on("work", "ItemLabelled"), commands: [tick], perMinute: 1 });
  for (let i = 0; i < 6; i++)
    await expect(200, "POST", `/work-items/${item.id}/label`, { body: { labels: [`l${i}`] } });
  const over = await until(often.id, ({ passedOver }) => passedOver > 0, "it is passed over");
  assert.ok(over.triggers < 6);
  const disabled = await expect(200, "POST", "/rules/often/disable");
  assert.equal(disabled.body.status.state, "disabled");
  const history = await listed(`/rules/${often.id}/history`, disabled);
  const sentences = history.body.items.map(({ sentence }: any) => sentence);
  assert.ok(
    sentences.includes("passed something over: it would have been done too often in this minute"),
    sentences.join("\n"),
  );
});

test("what cannot be, is refused with its place: paths, types, patterns, code, what grows", async () => {
  const refused = async (over: object, pointer: string, detail: RegExp) => {
    const commands = [{ action: "work.openItem", body: { type: "task", title: "x" } }];
    const body = { name: "wrong", when: on("work", "ItemOpened"), commands, ...over };
    const answer = await expect(400, "POST", "/rules", { body });
    const found = answer.body.errors.find((one: any) => one.pointer === pointer);
    assert.ok(found, `${pointer} in ${answer.text}`);
    assert.match(found.detail, detail);
  };
  const title = (text: string) => ({ commands: [{ action: "work.openItem", body: { type: "task", title: text } }] });
  for (const context of ["weather", "constructor"]) {
    await refused({ when: on(context, "ItemOpened") }, "/body/when/context", /no context/);
  }
  await refused({ when: on("work", "ItemExploded") }, "/body/when/types/0", /no type of event/);
  await refused({ condition: "event.data.nothing == 1" }, "/body/condition", /leads nowhere/);
  await refused({ condition: "event.data.title > 3" }, "/body/condition", /a string is not > a number/);
  await refused({ condition: "event.data.title" }, "/body/condition", /not something that holds/);
  await refused({ condition: 'event.data.title matches "((a{1000}){1000}){1000}"' }, "/body/condition", /no pattern/);
  await refused({ condition: `${"(".repeat(400)}true` }, "/body/condition", /deeper/);
  await refused({ condition: "process.exit(1)" }, "/body/condition", /no function|leads nowhere/);
  await refused({ condition: "event.data.constructor.name == 'x'" }, "/body/condition", /leads nowhere/);
  await refused({ condition: "true or ".repeat(230) }, "/body/condition", /200 parts/);
  await refused(title("{{event.data.nothing}}"), "/body/commands/0/body/title", /leads nowhere/);
  await refused(title("{{1 + 1}}"), "/body/commands/0/body/title", /no path/);
  await refused(title("{{#each x}}"), "/body/commands/0/body/title", /no path/);
  await refused(title("{{event.type"), "/body/commands/0/body/title", /other half/);
});

test("by whose permission: its events are read, and its commands done, by its maker's", async () => {
  const make = async (name: string, grants: string[]) =>
    (await expect(201, "POST", "/tokens", { body: { name, grants } })).body;
  const maker = await make("rule-maker", ["automation:*", "work:*"]);
  const blind = await make("blind", ["automation:*", "work:edit"]);
  const body = {
    name: "by-maker",
    when: on("work", "ItemOpened"),
    condition: "event.data.title == 'for the maker'",
    commands: [{ action: "work.assignItem", on: "{{event.entity}}", body: { assignees: ["ada"] } }],
  };
  const denied = await expect(403, "POST", "/rules", { body, token: blind.secret });
  assert.equal(denied.body.permission, "work:read");
  const { id } = await create(body, maker.secret);
  assert.equal(
    (await call("GET", "/rules/by-maker/dry-run", { token: (await make("no-work", ["automation:read"])).secret }))
      .status,
    403,
  );
  await open("for the maker");
  await until(id, ({ triggers, waiting }) => triggers === 1 && waiting === 0, "it was done");
  await expect(204, "DELETE", `/tokens/${maker.id}`, { headers: { "if-match": "*" } });
  await open("for the maker");
  const status = await until(id, ({ passedOver }) => passedOver > 0, "it is passed over");
  assert.equal(status.triggers, 1);
});

test.run();
