/** What can be read, and how: lists, the past, differences, history, the search; one test a row. */
import { decodePosition, encodePosition } from "@millrace/contracts/position.ts";
import * as assert from "uvu/assert";
import { call, fresh, gateway, makeTokenAt, openAcme, org } from "../../tests/harness/acme.ts";
import { assertProblem, eventually } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("reads");

test.before(openAcme);

test("a query with the position of a command shows what it did", async () => {
  for (let i = 0; i < 20; i++) {
    const made = await call("POST", `/v1/organisations/${org}/tokens`, { body: { name: fresh(), grants: [] } });
    const headers = { "millrace-position": made.headers.get("millrace-position")! };
    const listed = await call("GET", `/v1/organisations/${org}/tokens?name=${made.body.spec.name}`, { headers });
    assert.equal(
      listed.body.items.map(({ id }: any) => id),
      [made.body.id],
    );
    const seen = decodePosition(listed.headers.get("millrace-position")!)!.identity!.seq;
    assert.ok(seen >= decodePosition(headers["millrace-position"])!.identity!.seq);
    const history = await call("GET", `/v1/organisations/${org}/tokens/${made.body.id}/history`, { headers });
    assert.equal(
      history.body.items.map(({ type }: any) => type),
      ["TokenCreated"],
    );
  }
  const path = `/v1/organisations/${org}/tokens`;
  assertProblem(await call("GET", path, { headers: { "millrace-position": "nonsense" } }), 400, "invalid-input");
  const foreign = encodePosition({ identity: { seq: 1_000_000_000, index: 0 } });
  const ahead = await call("GET", path, { headers: { "millrace-position": foreign } });
  assertProblem(ahead, 400, "invalid-input");
  assert.match(ahead.text, /ahead of the log/);
});

test("lists: pages by cursor without hole or double, in both directions, by any sortable field", async () => {
  const home = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body.id;
  const path = `/v1/organisations/${home}/tokens`;
  let position = "";
  const names: string[] = [];
  for (let i = 0; i < 13; i++) {
    const name = `t-${String((i * 7) % 13).padStart(2, "0")}`;
    const made = await call("POST", path, { body: { name, grants: [] } });
    position = made.headers.get("millrace-position")!;
    names.push(name);
  }
  const walk = async (query: string): Promise<string[]> => {
    const seen: string[] = [];
    for (let cursor = ""; ; ) {
      const page = await call("GET", `${path}?${query}&limit=5${cursor}`, {
        headers: { "millrace-position": position },
      });
      assert.is(page.status, 200, page.text);
      seen.push(...page.body.items.map(({ spec }: any) => spec.name));
      if (page.body.nextCursor === undefined) return seen;
      assert.is(page.body.items.length, 5);
      cursor = `&cursor=${page.body.nextCursor}`;
    }
  };
  assert.equal(await walk("sort=createdAt"), names);
  assert.equal(await walk("sort=-createdAt"), names.toReversed());
  assert.equal(await walk("sort=name"), names.toSorted());
  assert.equal(await walk("sort=-name"), names.toSorted().toReversed());
});

test("lists: limit, cursor, sort, q, fields and filters", async () => {
  const path = `/v1/organisations/${org}/tokens`;
  const name = fresh();
  const made = await call("POST", path, { body: { name, grants: ["work:read", "work:edit"] } });
  const headers = { "millrace-position": made.headers.get("millrace-position")! };
  const get = (query: string) => call("GET", `${path}?${query}`, { headers });
  for (const [query, pointer] of [
    ["limit=0", "/query/limit"],
    ["limit=201", "/query/limit"],
    ["limit=x", "/query/limit"],
    ["cursor=bm9uZQ", "/query/cursor"],
    ["sort=hash", "/query/sort"],
    ["fields=a;b", "/query/fields"],
  ] as const) {
    const answer = await get(query);
    assertProblem(answer, 400, "invalid-input");
    assert.is(answer.body.errors[0].pointer, pointer);
  }
  const foreign = (await get("limit=1&sort=name")).body.nextCursor;
  assertProblem(await get(`sort=-name&cursor=${foreign}`), 400, "invalid-input");
  assert.equal((await get(`name=${name}&fields=spec.grants,generation`)).body.items, [
    { id: made.body.id, spec: { grants: ["work:read", "work:edit"] }, generation: 1 },
  ]);
  assert.equal(
    (await get(`q=${name}`)).body.items.map(({ id }: any) => id),
    [made.body.id],
  );
  assert.ok((await get("grants=work:edit&limit=200")).body.items.some(({ id }: any) => id === made.body.id));
  assert.equal((await get(`grants=work:waive&name=${name}`)).body.items, []);
});

test("?at= shows it as it was, by version and by time; diff says what differs", async () => {
  const { id } = (await call("POST", "/v1/organisations", { body: { name: fresh(), title: "One" } })).body;
  const path = `/v1/organisations/${id}`;
  const before = new Date(Date.now() + 5);
  await eventually(async () => (Date.now() > before.getTime() ? true : undefined), "the clock goes on");
  await call("PATCH", path, {
    body: { title: "Two", settings: { timeZone: "Europe/Berlin" } },
    headers: { "if-match": '"1"' },
  });
  assert.is((await call("GET", path)).body.spec.title, "Two");
  assert.is((await call("GET", `${path}?at=v1`)).body.spec.title, "One");
  assert.is((await call("GET", `${path}?at=${before.toISOString()}`)).body.spec.title, "One");
  assertProblem(await call("GET", `${path}?at=v0`), 404, "not-found");
  assertProblem(await call("GET", `${path}?at=2020-01-01T00:00:00Z`), 404, "not-found");
  assertProblem(await call("GET", `${path}?at=2026-13-41T00:00:00Z`), 400, "invalid-input");
  assertProblem(await call("GET", `${path}?at=yesterday`), 400, "invalid-input");
  const { changes } = (await call("GET", `${path}/diff?from=v1`)).body;
  assert.equal(
    changes.filter(({ pointer }: any) => pointer !== "/updatedAt"),
    [
      { pointer: "/generation", from: 1, to: 2 },
      { pointer: "/spec/title", from: "One", to: "Two" },
      { pointer: "/spec/settings/timeZone", from: "UTC", to: "Europe/Berlin" },
    ].sort(
      (a, b) =>
        changes.findIndex((c: any) => c.pointer === a.pointer) - changes.findIndex((c: any) => c.pointer === b.pointer),
    ),
  );
  assert.equal((await call("GET", `${path}/diff?from=v2&to=v2`)).body.changes, []);
});

test("history: sentences, newest first, paged; what was deleted keeps it, and its past", async () => {
  const made = await makeTokenAt(org, ["work:read"]);
  const path = `/v1/organisations/${org}/tokens/${made.id}`;
  const gone = await call("DELETE", path, { headers: { "if-match": "*" } });
  assert.is(gone.status, 204);
  assert.is(gone.text, "");
  assertProblem(await call("GET", path), 404, "not-found");
  assert.is((await call("GET", `${path}?at=v1`)).body.spec.name, made.spec.name);
  const headers = { "millrace-position": gone.headers.get("millrace-position")! };
  const first = (await call("GET", `${path}/history?limit=1`, { headers })).body;
  assert.equal(
    first.items.map(({ sentence, version }: any) => [sentence, version]),
    [["revoked the token", 2]],
  );
  const rest = (await call("GET", `${path}/history?limit=1&cursor=${first.nextCursor}`, { headers })).body;
  assert.is(rest.items[0].sentence, `created the token "${made.spec.name}" with work:read`);
  assert.is(rest.items[0].actor.kind, "token");
  assert.equal(rest.items[0].data.hash, undefined);
  assert.is(rest.nextCursor, undefined);
});

test("the audit log: who did what, filtered by actor, kind, type and time", async () => {
  const home = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body.id;
  const admin = await makeTokenAt(home, ["identity:*"]);
  const after = new Date().toISOString();
  const last = await call("POST", `/v1/organisations/${home}/tokens`, {
    body: { name: "b", grants: [] },
    token: admin.secret,
  });
  const headers = { "millrace-position": last.headers.get("millrace-position")! };
  const audit = async (query: string) =>
    (await call("GET", `/v1/organisations/${home}/history?${query}`, { headers })).body.items.map(
      ({ type }: any) => type,
    );
  assert.equal(await audit(""), ["TokenCreated", "TokenCreated", "OrganisationCreated"]);
  assert.equal(await audit(`actor=${admin.id}`), ["TokenCreated"]);
  assert.equal(await audit("kind=organisation"), ["OrganisationCreated"]);
  assert.equal(await audit("type=OrganisationArchived"), []);
  assert.equal(await audit(`from=${after}`), ["TokenCreated"]);
  assert.equal(await audit(`to=${after}&context=identity`), ["TokenCreated", "OrganisationCreated"]);
  assert.equal(await audit("context=nothing"), []);
  // What no calendar has, and a place that was made up.
  const marks = Buffer.from(JSON.stringify({ identity: [1, 2 ** 31] })).toString("base64url");
  for (const query of [
    "from=2026-99-99T00:00:00Z",
    "to=2026-02-30T00:00:00Z",
    "to=0000-01-01T00:00:00Z",
    `cursor=${marks}`,
  ]) {
    assertProblem(await call("GET", `/v1/organisations/${home}/history?${query}`, { headers }), 400, "invalid-input");
  }
  // The ends of the calendar.
  assert.is((await audit("from=0001-01-01T00:00:00%2B23:59&to=9999-12-31T23:59:59-23:59")).length, 3);
});

test("statistics of builds: days that there are, and no others", async () => {
  const ask = (query: string) => call("GET", `/v1/organisations/home/builds/statistics?${query}`);
  await eventually(async () => ((await ask("")).status === 200 ? true : undefined), "the view is built");
  for (const day of ["0001-01-01", "9999-12-31"]) assert.is((await ask(`to=${day}`)).status, 200, day);
  for (const day of ["0000-01-01", "2026-02-30", "9999-99-99"]) {
    assertProblem(await ask(`to=${day}`), 400, "invalid-input");
  }
});

test("search finds by name what the token may read, and nothing else", async () => {
  const home = (await call("POST", "/v1/organisations", { body: { name: fresh(), title: "Quixotic windmill" } })).body
    .id;
  const stored = await call("POST", `/v1/organisations/${home}/secrets`, {
    body: { name: "quixotic-key", value: "v" },
  });
  const headers = { "millrace-position": stored.headers.get("millrace-position")! };
  const find = async (token: string) =>
    (await call("GET", `/v1/organisations/${home}/search?q=quixotic`, { headers, token })).body.items
      .map(({ kind }: any) => kind)
      .sort();
  assert.equal(await find(gateway.owner), ["organisation", "secret"]);
  assert.equal(await find((await makeTokenAt(home, ["identity:read"])).secret), ["organisation"]);
  assert.equal(await find((await makeTokenAt(home, ["work:*"])).secret), []);
  const elsewhere = await call("GET", `/v1/organisations/${org}/search?q=quixotic`, { headers });
  assert.equal(elsewhere.body.items, []);
});

test("search: pages by cursor without hole or double, best hits first", async () => {
  const { id } = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body;
  const at = `/v1/organisations/${id}`;
  let position = "";
  // Of several ranks, and several of each.
  for (let i = 0; i < 12; i++) {
    const title = `Gadget ${"gadget ".repeat(i % 3)}${i}`;
    const made = await call("POST", `${at}/work-items`, { body: { type: "task", title } });
    position = made.headers.get("millrace-position")!;
  }
  const find = async (more: string) => {
    const { body } = await call("GET", `${at}/search?q=gadget${more}`, { headers: { "millrace-position": position } });
    return body as { items: { id: string }[]; nextCursor?: string };
  };
  const all = (await find("")).items.map((hit) => hit.id);
  assert.is(all.length, 12);
  const paged: string[] = [];
  for (let cursor = ""; ; ) {
    const { items, nextCursor } = await find(`&limit=5${cursor}`);
    paged.push(...items.map((hit) => hit.id));
    if (nextCursor === undefined) break;
    cursor = `&cursor=${nextCursor}`;
  }
  assert.equal(paged, all);
  for (const mark of [["x", "y", "z"], ["0.1", "2026-01-01", 1], { sort: "name", value: "a", id: "b" }]) {
    const cursor = Buffer.from(JSON.stringify(mark)).toString("base64url");
    assertProblem(await call("GET", `${at}/search?q=gadget&cursor=${cursor}`), 400, "invalid-input");
  }
});

test.run();
