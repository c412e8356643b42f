/** Work items through HTTP: gateway, log, projector and PostgreSQL, as people and programs use them. */
import assert from "node:assert/strict";
import { WorkItem, WorkItemGates } from "@millrace/contracts/work/entities.ts";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { ask } from "./harness/gateway.ts";
import { suite } from "./harness/suite.ts";
import { problem, reads, titles, workBench } from "./harness/work.ts";

const test = suite("work end to end");

const { url, owner, call, expect, listed, open, tokenWith } = await workBench();
const isItem = reads(WorkItem);
const isGates = reads(WorkItemGates);

test("a work item from its opening to its completion, each gate in the way once", async () => {
  const opened = await open("Renew the certificate", {
    assignees: ["ada"],
    labels: ["area/network"],
    priority: "high",
  });
  const { id, spec, status, checklist } = opened.body;
  assert.equal(opened.headers.get("location"), `/v1/organisations/${opened.body.organisation}/work-items/${id}`);
  assert.equal(opened.headers.get("etag"), '"1"');
  assert.deepEqual([status.state, status.group, status.checklist.requiredOpen], ["todo", "unstarted", 1]);
  assert.equal(spec.notes, "## What was done\n");

  await expect(200, "POST", `/work-items/${id}/transition`, { body: { to: "in-progress" } });
  const gates = await expect(200, "GET", `/work-items/${id}/gates`);
  isGates(gates.body);
  const finish = gates.body.transitions.find(({ to }: { to: string }) => to === "done");
  assert.deepEqual([finish.allowed, finish.title], [false, "Finish"]);
  assert.equal(
    finish.gates.every(({ fix }: { fix?: string }) => fix !== undefined),
    true,
  );

  const early = await expect(422, "POST", `/work-items/${id}/transition`, { body: { to: "done" } });
  assert.equal(early.body.rule, "gates-not-satisfied");
  assert.match(early.body.reason, /checklist_complete: .*notes_present: /);
  assert.match(early.body.fix, /tick.*Write at least 20 characters/);

  await expect(200, "PATCH", `/work-items/${id}/checklist/${checklist[0].id}`, { body: { done: true } });
  const half = await expect(422, "POST", `/work-items/${id}/transition`, { body: { to: "done" } });
  assert.match(half.body.reason, /^notes_present/);
  await expect(200, "PATCH", `/work-items/${id}`, {
    headers: { "if-match": '"1"' },
    body: { notes: "Renewed for a year, on both servers." },
  });
  const done = await expect(200, "POST", `/work-items/${id}/transition`, { body: { to: "done" } });
  isItem(done.body);
  assert.equal(done.body.status.group, "completed");
  assert.equal(done.body.checklist[0].doneBy.kind, "token");

  const again = await expect(200, "POST", `/work-items/${id}/transition`, { body: { to: "in-progress" } });
  assert.equal("completedAt" in again.body.status, false);

  const history = await listed(`/work-items/${id}/history`, again);
  const sentences = history.body.items.map(({ sentence }: { sentence: string }) => sentence);
  assert.deepEqual(sentences.toReversed(), [
    'opened the task "Renew the certificate"',
    'moved it to "In progress"',
    'ticked "It is done, and was checked"',
    'wrote the notes: "Renewed for a year, on both servers."',
    'moved it to "Done"',
    'reopened it, and moved it to "In progress"',
  ]);
  const then = await expect(200, "GET", `/work-items/${id}?at=v2`);
  assert.deepEqual([then.body.status.state, then.body.spec.notes], ["in-progress", "## What was done\n"]);
  const diff = await expect(200, "GET", `/work-items/${id}/diff?from=v4&to=v5`);
  const pointers = diff.body.changes.map(({ pointer }: { pointer: string }) => pointer);
  assert.ok(pointers.includes("/status/state") && pointers.includes("/status/completedAt"), pointers.join(" "));
});

test("the same opening twice with one key is one work item, another with it is refused", async () => {
  const headers = { "idempotency-key": "open-once" };
  const body = { type: "task", title: "Once" };
  const first = await expect(201, "POST", "/work-items", { headers, body });
  const second = await expect(201, "POST", "/work-items", { headers, body });
  assert.deepEqual(second.body, first.body);
  assert.equal(second.headers.get("idempotent-replayed"), "true");
  const other = await call("POST", "/work-items", { headers, body: { ...body, title: "Twice" } });
  assert.equal(other.status, 422, other.text);
  const comment = { headers: { "idempotency-key": "say-once" }, body: { text: "Only once" } };
  await expect(200, "POST", `/work-items/${first.body.id}/comments`, comment);
  const said = await expect(200, "POST", `/work-items/${first.body.id}/comments`, comment);
  assert.equal(said.body.comments.length, 1);
});

test("who changes says what they saw: 428, 412, and comments that make no copy stale", async () => {
  const { id } = (await open("Shared")).body;
  const path = `/work-items/${id}`;
  assert.equal((await call("PATCH", path, { body: { title: "Mine" } })).status, 428);
  await expect(200, "POST", `${path}/comments`, { body: { text: "I am here too" } });
  const mine = await expect(200, "PATCH", path, {
    headers: { "if-match": '"1"' },
    body: { title: "Mine", dueOn: "2027-01-31" },
  });
  assert.equal(mine.headers.get("etag"), '"3"');
  const theirs = await expect(412, "PATCH", path, { headers: { "if-match": '"1"' }, body: { title: "Theirs" } });
  assert.deepEqual([theirs.body.expected, theirs.body.actual], ['"1"', '"3"']);
  const off = await expect(200, "PATCH", path, { headers: { "if-match": "*" }, body: { dueOn: null } });
  assert.equal("dueOn" in off.body.spec, false);
});

test("several people at one work item at the same time: every comment is there, in one order", async () => {
  const { id } = (await open("Busy")).body;
  const texts = Array.from({ length: 12 }, (_, i) => `comment ${i}`);
  await Promise.all(texts.map((text) => expect(200, "POST", `/work-items/${id}/comments`, { body: { text } })));
  const { body } = await expect(200, "GET", `/work-items/${id}`);
  assert.deepEqual(body.comments.map(({ text }: { text: string }) => text).toSorted(), texts.toSorted());
});

test("assignees, labels, checklist and comments through their own doors", async () => {
  const { id } = (await open("Doors")).body;
  const path = `/work-items/${id}`;
  await expect(200, "POST", `${path}/assign`, { body: { assignees: ["ada", "ben"] } });
  await expect(200, "POST", `${path}/unassign`, { body: { assignees: ["ada"] } });
  await expect(200, "POST", `${path}/label`, { body: { labels: ["x", "y"] } });
  const { spec } = (await expect(200, "POST", `${path}/unlabel`, { body: { labels: ["x"] } })).body;
  assert.deepEqual([spec.assignees, spec.labels], [["ben"], ["y"]]);

  const added = (await expect(200, "POST", `${path}/checklist`, { body: { text: "Paint it", index: 0 } })).body
    .checklist;
  assert.deepEqual([added.length, added[0].text, added[0].fromType], [2, "Paint it", false]);
  const line = `${path}/checklist/${added[0].id}`;
  const changed = (await expect(200, "PATCH", line, { body: { text: "Paint it blue", done: true, index: 9 } })).body;
  assert.deepEqual([changed.checklist[1].text, changed.checklist[1].done], ["Paint it blue", true]);
  assert.equal((await expect(200, "DELETE", line)).body.checklist.length, 1);
  assert.equal((await call("DELETE", line)).status, 404);
  const required = await expect(422, "DELETE", `${path}/checklist/${added[1].id}`);
  assert.equal(required.body.rule, "line-required-by-type");

  const said = (await expect(200, "POST", `${path}/comments`, { body: { text: "First" } })).body.comments[0];
  const comment = `${path}/comments/${said.id}`;
  const edited = (await expect(200, "PATCH", comment, { body: { text: "Second" } })).body.comments[0];
  assert.deepEqual([edited.text, typeof edited.editedAt], ["Second", "string"]);
  assert.equal((await expect(200, "DELETE", comment)).body.comments.length, 0);
});

test("a gate is waived by who may, with a reason that stays", async () => {
  const { id } = (await open("Waived")).body;
  const path = `/work-items/${id}`;
  const editor = await tokenWith("editor", ["work:read", "work:edit", "work:comment"]);
  const waive = { body: { gate: "notes_present", reason: "Too small to write up" } };
  const denied = await expect(403, "POST", `${path}/waive`, { ...waive, token: editor });
  assert.equal(denied.body.permission, "work:waive");
  await expect(400, "POST", `${path}/waive`, { body: { gate: "notes_present", reason: " " } });
  await expect(400, "POST", `${path}/waive`, { body: { gate: "magic", reason: "x" } });
  await expect(200, "POST", `${path}/waive`, waive);
  const { checklist } = (await expect(200, "GET", path)).body;
  await expect(200, "PATCH", `${path}/checklist/${checklist[0].id}`, { body: { done: true }, token: editor });
  const done = await expect(200, "POST", `${path}/transition`, { body: { to: "done" }, token: editor });
  assert.equal(done.body.waivers[0].reason, "Too small to write up");
  assert.equal(done.body.status.group, "completed");
});

test("comments belong to their author; who may delete work items may remove them", async () => {
  const { id } = (await open("Talk")).body;
  const path = `/work-items/${id}/comments`;
  const [one, two] = await Promise.all([
    tokenWith("talker-one", ["work:read", "work:comment"]),
    tokenWith("talker-two", ["work:read", "work:comment"]),
  ]);
  const { comments } = (await expect(200, "POST", path, { body: { text: "Mine" }, token: one })).body;
  const comment = `${path}/${comments[0].id}`;
  assert.equal(comments[0].author.name, "talker-one");
  assert.deepEqual(problem(await call("PATCH", comment, { body: { text: "Yours" }, token: two })), [
    422,
    "not-the-author",
  ]);
  assert.deepEqual(problem(await call("DELETE", comment, { token: two })), [422, "not-the-author"]);
  assert.equal((await call("POST", `/work-items/${id}/label`, { body: { labels: ["x"] }, token: one })).status, 403);
  await expect(200, "DELETE", comment);
});

test("bad input changes nothing and says where", async () => {
  const { id } = (await open("Robust")).body;
  const path = `/work-items/${id}`;
  const before = (await expect(200, "GET", path)).text;
  const rows: ReadonlyArray<readonly [string, string, unknown, number]> = [
    ["POST", "/work-items", { type: "task", title: "x".repeat(LIMITS.title + 1) }, 400],
    ["POST", "/work-items", { type: "task", title: "a\u0000b" }, 400],
    ["POST", "/work-items", { type: "task", title: "x", notes: "é".repeat(LIMITS.textBytes / 2 + 1) }, 400],
    ["POST", "/work-items", { type: "../task", title: "x" }, 400],
    ["POST", "/work-items", { type: "task", title: "x", more: 1 }, 400],
    ["POST", "/work-items", { type: "task", title: "x", dueOn: "2027-02-30" }, 400],
    ["POST", `${path}/label`, { labels: ["Not A Label"] }, 400],
    ["POST", `${path}/label`, { labels: [] }, 400],
    ["POST", `${path}/assign`, { assignees: ["*.>"] }, 400],
    ["POST", `${path}/comments`, { text: "" }, 400],
    ["POST", `${path}/comments`, { text: "x".repeat(LIMITS.commentBytes + 1) }, 400],
    ["POST", `${path}/checklist`, { text: "two\nlines" }, 400],
    ["POST", `${path}/transition`, { to: "nowhere" }, 422],
    ["PATCH", `${path}/checklist/lin_nothing`, { done: true }, 404],
    ["PATCH", `${path}/comments/..%2f..`, { text: "x" }, 404],
    ["POST", "/work-items/itm_01kajzq4v0e8r9t2m5x7c3d6fg/comments", { text: "x" }, 404],
  ];
  for (const [method, where, body, status] of rows) {
    const answer = await expect(status, method, where, { body, headers: { "if-match": "*" } });
    assert.match(answer.headers.get("content-type")!, /problem\+json/);
    if (status === 400) assert.match(answer.body.errors[0].pointer, /^\/body/);
  }
  assert.equal((await expect(200, "GET", path)).text, before);
});

test("another organisation's work is not there", async () => {
  const { id } = (await open("Ours")).body;
  const made = await ask(url, "POST", "/v1/organisations", { token: owner, body: { name: "others" } });
  assert.equal(made.status, 201, made.text);
  const path = `/v1/organisations/others/work-items/${id}`;
  for (const [method, where, body] of [
    ["GET", "", undefined],
    ["GET", "/gates", undefined],
    ["GET", "/diff?from=v1", undefined],
    ["PATCH", "", { title: "Theirs" }],
    ["POST", "/transition", { to: "done" }],
    ["POST", "/comments", { text: "Hello" }],
    ["DELETE", "", undefined],
  ] as const) {
    const answer = await ask(url, method, path + where, { token: owner, body, headers: { "if-match": "*" } });
    assert.equal(answer.status, 404, `${method} ${where}: ${answer.text}`);
  }
});

test("a deleted work item is gone from reads and lists; its past can be read", async () => {
  const opened = await open("Short-lived", { labels: ["short"] });
  const path = `/work-items/${opened.body.id}`;
  assert.equal((await call("DELETE", path)).status, 428);
  const deleted = await expect(204, "DELETE", path, { headers: { "if-match": '"1"' } });
  assert.equal((await call("GET", path)).status, 404);
  assert.equal((await call("POST", `${path}/comments`, { body: { text: "Late" } })).status, 404);
  assert.equal((await expect(200, "GET", `${path}?at=v1`)).body.spec.title, "Short-lived");
  assert.deepEqual(titles(await listed("/work-items?label=short", deleted)), []);
});

test.run();
