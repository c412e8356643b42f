/** Types of work and lists of work items through HTTP, log, projector and PostgreSQL. */
import assert from "node:assert/strict";
import { ListedWorkItem, WorkType } from "@millrace/contracts/work/entities.ts";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { suite } from "./harness/suite.ts";
import { problem, reads, titles, workBench } from "./harness/work.ts";

const test = suite("types and lists of work end to end");

const { call, expect, listed, open } = await workBench();
const isType = reads(WorkType);
const isListed = reads(ListedWorkItem);

test("types: the built-in ones, own ones, one that takes a built-in one's place, and back", async () => {
  const first = await expect(200, "GET", "/work-types/incident");
  isType(first.body);
  assert.deepEqual([first.body.id, first.body.status.builtIn, first.headers.get("etag")], ["incident", true, '"0"']);
  assert.deepEqual(
    problem(await call("PATCH", "/work-types/incident", { headers: { "if-match": "*" }, body: { title: "x" } })),
    [422, "built-in-type"],
  );
  assert.equal((await call("GET", "/work-types/nonsense")).status, 404);
  const unknown = await expect(400, "POST", "/work-items", { body: { type: "nonsense", title: "x" } });
  assert.equal(unknown.body.errors[0].pointer, "/body/type");

  const spec = {
    name: "incident",
    title: "Trouble",
    states: [
      { name: "new", title: "New", group: "unstarted" },
      { name: "closed", title: "Closed", group: "completed" },
    ],
    initial: "new",
    transitions: [{ from: "new", to: "closed" }],
    gates: {},
  };
  const broken = await expect(400, "POST", "/work-types", { body: { ...spec, initial: "old" } });
  assert.deepEqual([broken.body.errors[0].pointer, broken.body.fix], ["/body/initial", 'Name one of "new", "closed".']);
  const own = await expect(201, "POST", "/work-types", { body: spec });
  isType(own.body);
  assert.equal((await call("POST", "/work-types", { body: spec })).status, 409);
  const shown = await listed("/work-types", own);
  const names = shown.body.items.map((one: { spec: { name: string } }) => one.spec.name);
  assert.deepEqual(names, ["incident", "service", "integration", "platform", "change", "documentation", "task"]);
  for (const one of shown.body.items) isType(one);

  const item = (await expect(201, "POST", "/work-items", { body: { type: "incident", title: "It smokes" } })).body;
  assert.equal(item.status.state, "new");
  await expect(200, "PATCH", "/work-types/incident", {
    headers: { "if-match": own.headers.get("etag")! },
    body: { gates: { completed: ["notes_present"] }, notesRequired: { minLength: 5 } },
  });
  assert.deepEqual(problem(await call("POST", `/work-items/${item.id}/transition`, { body: { to: "closed" } })), [
    422,
    "gates-not-satisfied",
  ]);
  await expect(204, "DELETE", `/work-types/${own.body.id}`, { headers: { "if-match": "*" } });
  assert.equal((await expect(200, "GET", "/work-types/incident")).body.status.builtIn, true);
  // Its state is none of the built-in type's: it may go anywhere the gates allow.
  await expect(200, "POST", `/work-items/${item.id}/transition`, { body: { to: "investigating" } });
});

test("an item of a type that was deleted says so, and goes on when there is one again", async () => {
  const spec = {
    name: "errand",
    title: "Errand",
    states: [
      { name: "new", title: "New", group: "unstarted" },
      { name: "run", title: "Run", group: "completed" },
    ],
    initial: "new",
    transitions: [{ from: "new", to: "run" }],
    gates: {},
  };
  const type = await expect(201, "POST", "/work-types", { body: spec });
  const { id } = (await expect(201, "POST", "/work-items", { body: { type: "errand", title: "Milk" } })).body;
  await expect(204, "DELETE", "/work-types/errand", { headers: { "if-match": type.headers.get("etag")! } });
  const stuck = await expect(422, "POST", `/work-items/${id}/transition`, { body: { to: "run" } });
  assert.deepEqual(
    [stuck.body.rule, stuck.body.fix],
    ["type-deleted", 'Define a type of work with the name "errand".'],
  );
  await expect(200, "PATCH", `/work-items/${id}`, { headers: { "if-match": "*" }, body: { title: "Oat milk" } });
  await expect(201, "POST", "/work-types", { body: spec });
  await expect(200, "POST", `/work-items/${id}/transition`, { body: { to: "run" } });
});

test("lists: every filter, sorting by rank, words of comments, pages without hole or double", async () => {
  const labels = ["lists"];
  await open("Low one", { labels, priority: "low", assignees: ["eve"] });
  await open("Plain one", { labels, dueOn: "2027-01-01" });
  await open("High one", { labels, priority: "high" });
  const urgent = (await open("Urgent one", { labels: [...labels, "special"], priority: "urgent" })).body;
  await expect(200, "POST", `/work-items/${urgent.id}/transition`, { body: { to: "in-progress" } });
  const last = await expect(200, "POST", `/work-items/${urgent.id}/comments`, {
    body: { text: "The flux capacitor again" },
  });
  const find = async (query: string) => titles(await listed(`/work-items?label=lists&${query}`, last));

  assert.deepEqual(await find("sort=-priority"), ["Urgent one", "High one", "Low one", "Plain one"]);
  assert.deepEqual(await find("sort=title"), ["High one", "Low one", "Plain one", "Urgent one"]);
  assert.deepEqual((await find("sort=-dueOn"))[0], "Plain one");
  assert.deepEqual(await find("priority=high"), ["High one"]);
  assert.deepEqual(await find("state=in-progress"), ["Urgent one"]);
  assert.deepEqual(await find("group=started"), ["Urgent one"]);
  assert.deepEqual(await find("assignee=eve"), ["Low one"]);
  assert.deepEqual(await find("type=service"), []);
  assert.deepEqual(await find("q=flux"), ["Urgent one"]);
  assert.deepEqual(titles(await listed("/work-items?label=special", last)), ["Urgent one"]);
  assert.equal((await find(`createdBy=${urgent.createdBy.id}`)).length, 4);
  assert.equal((await find("createdBy=tok_nobody")).length, 0);
  assert.equal((await call("GET", "/work-items?priority=9")).status, 400);
  assert.equal((await call("GET", "/work-items?nonsense=1")).status, 400);

  const whole = await listed("/work-items?label=lists", last);
  for (const one of whole.body.items) isListed(one);
  const seen: string[] = [];
  for (let cursor = ""; ; ) {
    const page = await listed(`/work-items?label=lists&sort=-priority&limit=1${cursor}`, last);
    seen.push(...titles(page));
    if (page.body.nextCursor === undefined) break;
    cursor = `&cursor=${page.body.nextCursor}`;
  }
  assert.deepEqual(seen, ["Urgent one", "High one", "Low one", "Plain one"]);
  for (const value of ["none", "\u0000", "99999999999999999999", ""]) {
    const cursor = Buffer.from(JSON.stringify({ sort: "-priority", value, id: "x" })).toString("base64url");
    const made = await expect(400, "GET", `/work-items?sort=-priority&cursor=${cursor}`);
    assert.equal(made.body.errors[0].pointer, "/query/cursor");
  }
});

test("types in pages: own ones, then built-in ones, each once", async () => {
  const spec = {
    name: "zebra",
    title: "Zebra",
    states: [
      { name: "a", title: "A", group: "unstarted" },
      { name: "b", title: "B", group: "completed" },
    ],
    initial: "a",
    transitions: [{ from: "a", to: "b" }],
  };
  const made = await expect(201, "POST", "/work-types", { body: spec });
  assert.deepEqual(made.body.spec.gates, { completed: ["checklist_complete", "notes_present"] });
  const names: string[] = [];
  for (let cursor = ""; ; ) {
    const { body } = await listed(`/work-types?limit=2${cursor}`, made);
    assert.ok(body.items.length <= 2);
    names.push(...body.items.map((one: { spec: { name: string } }) => one.spec.name));
    if (body.nextCursor === undefined) break;
    cursor = `&cursor=${body.nextCursor}`;
  }
  assert.deepEqual(names.toSorted(), [...new Set(names)].toSorted());
  for (const name of ["zebra", "task", "incident", "service"]) assert.ok(names.includes(name), `${name} in ${names}`);
  assert.deepEqual((await listed("/work-types?name=task&fields=spec.title", made)).body.items, [
    { id: "task", spec: { title: "Task" } },
  ]);
  assert.equal((await call("GET", "/work-types?cursor=eyJidWlsdEluIjoi")).status, 400);
});

test("the largest type and the largest item that the limits allow are taken", async () => {
  const long = '"'.repeat(LIMITS.textBytes);
  const states = Array.from({ length: LIMITS.states }, (_, i) => ({
    name: `s${i}`,
    title: "😀".repeat(LIMITS.title),
    group: i === 1 ? "completed" : "started",
  }));
  const ways = Array.from({ length: LIMITS.states }, (_, from) => [1, 2, 3, 4].map((step) => [from, from + step]));
  const transitions = ways
    .flat()
    .slice(0, LIMITS.transitions)
    .map(([from, to]) => ({ from: `s${from}`, to: `s${to! % LIMITS.states}` }));
  const spec = {
    name: "largest",
    title: "Largest",
    description: long,
    states,
    initial: "s0",
    transitions,
    checklist: Array.from({ length: LIMITS.lines }, () => ({ text: "😀".repeat(LIMITS.lineText), required: false })),
    notesTemplate: long,
  };
  await expect(201, "POST", "/work-types", { body: spec });
  const body = { type: "largest", title: "😀".repeat(LIMITS.title), description: long, notes: long };
  const opened = await expect(201, "POST", "/work-items", { body });
  assert.equal(opened.body.spec.notes.length, LIMITS.textBytes);
  const list = await listed("/work-items?type=largest", opened);
  assert.deepEqual(titles(list), [body.title]);
});

test.run();
