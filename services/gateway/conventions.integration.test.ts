/** The API's conventions, one test a row, on identity's endpoints; every later context is built of the same parts. */
import { randomUUID } from "node:crypto";
import { decodePosition } from "@millrace/contracts/position.ts";
import * as assert from "uvu/assert";
import { type Answer, ask, type TestGateway, testGateway, testProjector } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("the API's conventions");

let gateway: TestGateway;
let org = "";
let serial = 0;

test.before(async () => {
  gateway = await testGateway();
  await testProjector(gateway.config);
  org = (await call("POST", "/v1/organisations", { body: { name: "acme" } })).body.id;
  await eventually(async () => {
    const paths = ["history", "tokens", "search?q=acme"].map((rest) => `/v1/organisations/${org}/${rest}`);
    const answers = await Promise.all(paths.map((path) => call("GET", path)));
    return answers.every(({ status }) => status === 200) || undefined;
  }, "everything is projected for the first time");
});

type Options = Parameters<typeof ask>[3] & { readonly at?: string };
const call = (method: string, path: string, options: Options = {}): Promise<Answer> =>
  ask(options.at ?? gateway.url, method, path, { token: gateway.owner, ...options });
const fresh = () => `n-${++serial}-${Date.now().toString(36)}`;
const makeTokenAt = async (organisation: string, grants: string[], over: object = {}) =>
  (await call("POST", `/v1/organisations/${organisation}/tokens`, { body: { name: fresh(), grants, ...over } })).body;

function assertProblem({ status, headers, body }: Answer, expected: number, name: string): void {
  assert.is(status, expected, JSON.stringify(body));
  assert.is(headers.get("content-type"), "application/problem+json");
  assert.is(body.type, `/problems/${name}`);
  assert.is(body.status, expected);
  assert.is(body.requestId, headers.get("x-request-id"));
  assert.ok(body.title);
}

async function eventually<A>(look: () => Promise<A | undefined>, what: string, ms = 15_000): Promise<A> {
  for (const deadline = Date.now() + ms; Date.now() < deadline; ) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`not in time: ${what}`);
}

test("create: 201, Location, ETag, position; spec, status, generation", async () => {
  const made = await call("POST", `/v1/organisations/${org}/tokens`, { body: { name: fresh(), grants: [] } });
  assert.is(made.status, 201);
  assert.is(made.headers.get("etag"), '"1"');
  assert.ok(decodePosition(made.headers.get("millrace-position")!)!.identity!.seq > 0);
  const { body } = await call("GET", made.headers.get("location")!);
  assert.is(body.id, made.body.id);
  assert.equal(Object.keys(body), ["id", "organisation", "spec", "status", "generation", "createdAt", "updatedAt"]);
});

test("{org} and {id} take the id or the name", async () => {
  const { id, spec } = await makeTokenAt(org, []);
  for (const path of [`/v1/organisations/acme/tokens/${spec.name}`, `/v1/organisations/${org}/tokens/${id}`]) {
    assert.is((await call("GET", path)).body.id, id);
  }
});

test("a foreign organisation and its things are not found, as if they were not there", async () => {
  const other = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body;
  const { secret } = await makeTokenAt(org, ["*"]);
  const theirs = await makeTokenAt(other.id, []);
  const absent = await call("GET", "/v1/organisations/nowhere", { token: secret });
  assertProblem(absent, 404, "not-found");
  for (const path of [
    `/v1/organisations/${other.id}`,
    `/v1/organisations/${other.spec.name}`,
    `/v1/organisations/${other.id}/tokens`,
    `/v1/organisations/${other.id}/tokens/${theirs.id}`,
    `/v1/organisations/${other.id}/history`,
  ]) {
    const answer = await call("GET", path, { token: secret });
    assertProblem(answer, 404, "not-found");
    assert.is(answer.body.detail, absent.body.detail);
  }
  // Under one's own organisation neither.
  for (const reference of [theirs.id, theirs.spec.name]) {
    for (const [method, rest] of [
      ["GET", ""],
      ["GET", "/diff?from=v1"],
      ["DELETE", ""],
    ] as const) {
      const path = `/v1/organisations/${org}/tokens/${reference}${rest}`;
      assertProblem(await call(method, path, { token: secret, headers: { "if-match": "*" } }), 404, "not-found");
    }
  }
  const history = await call("GET", `/v1/organisations/${org}/tokens/${theirs.id}/history`, { token: secret });
  assert.equal(history.body.items, []);
});

test("unknown fields are refused, in body and query, each by its pointer", async () => {
  const body = await call("POST", "/v1/organisations", {
    body: { name: fresh(), nmae: 1, settings: { timeZone: "UTC", x: 1 } },
  });
  assertProblem(body, 400, "invalid-input");
  assert.equal(body.body.errors.map(({ pointer }: any) => pointer).sort(), ["/body/nmae", "/body/settings/x"]);
  const query = await call("GET", `/v1/organisations/${org}/tokens?limt=3`);
  assertProblem(query, 400, "invalid-input");
  assert.is(query.body.errors[0].pointer, "/query/limt");
});

test("a change without If-Match: 428; with an old one: 412 with both; with today's or *: 200", async () => {
  const { id } = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body;
  const path = `/v1/organisations/${id}`;
  assertProblem(await call("PATCH", path, { body: { title: "A" } }), 428, "precondition-required");
  assertProblem(await call("DELETE", `${path}/tokens/x`), 428, "precondition-required");
  const changed = await call("PATCH", path, { body: { title: "A" }, headers: { "if-match": '"1"' } });
  assert.is(changed.headers.get("etag"), '"2"');
  const late = await call("PATCH", path, { body: { title: "B" }, headers: { "if-match": '"1"' } });
  assertProblem(late, 412, "precondition-failed");
  assert.equal([late.body.expected, late.body.actual], ['"1"', '"2"']);
  assert.is((await call("PATCH", path, { body: { title: "B" }, headers: { "if-match": "*" } })).status, 200);
  assertProblem(
    await call("PATCH", path, { body: { title: "C" }, headers: { "if-match": 'W/"3"' } }),
    400,
    "invalid-input",
  );
});

test("of two changes of one generation one wins, and the other is told", async () => {
  const { id } = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body;
  const race = await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      call("PATCH", `/v1/organisations/${id}`, { body: { title: `T${i}` }, headers: { "if-match": '"1"' } }),
    ),
  );
  assert.equal(race.map(({ status }) => status).sort(), [200, ...Array(7).fill(412)]);
});

test("If-None-Match: * on create: what is there already is a failed precondition", async () => {
  const name = fresh();
  const headers = { "if-none-match": "*" };
  assert.is((await call("POST", "/v1/organisations", { body: { name }, headers })).status, 201);
  assertProblem(await call("POST", "/v1/organisations", { body: { name }, headers }), 412, "precondition-failed");
  assertProblem(await call("POST", "/v1/organisations", { body: { name } }), 409, "conflict");
});

test("Idempotency-Key: the first answer again, quoted or bare, and nothing is done twice", async () => {
  const key = randomUUID();
  const body = { name: fresh(), title: "Once" };
  const first = await call("POST", "/v1/organisations", { body, headers: { "idempotency-key": key } });
  const again = await call("POST", "/v1/organisations", { body, headers: { "idempotency-key": `"${key}"` } });
  assert.is(again.headers.get("idempotent-replayed"), "true");
  assert.is(first.headers.get("idempotent-replayed"), null);
  assert.equal(
    [again.status, again.text, again.headers.get("etag"), again.headers.get("location")],
    [first.status, first.text, first.headers.get("etag"), first.headers.get("location")],
  );
  const patch = { body: { title: "Twice" }, headers: { "if-match": '"1"', "idempotency-key": key } };
  const path = `/v1/organisations/${first.body.id}`;
  const changed = await call("PATCH", path, patch);
  await call("PATCH", path, { body: { title: "Later" }, headers: { "if-match": "*" } });
  const repeated = await call("PATCH", path, patch);
  assert.equal([repeated.status, repeated.text, repeated.headers.get("etag")], [200, changed.text, '"2"']);
});

test("Idempotency-Key: 422 with another input; another token has keys of its own", async () => {
  const headers = { "idempotency-key": randomUUID() };
  const { secret } = await makeTokenAt(org, ["identity:*"]);
  const make = (name: string, token: string) =>
    call("POST", `/v1/organisations/${org}/tokens`, { body: { name, grants: [] }, headers, token });
  assert.is((await make(fresh(), gateway.owner)).status, 201);
  const other = await make(fresh(), gateway.owner);
  assertProblem(other, 422, "refused");
  assert.is(other.body.rule, "idempotency-key-reused");
  assert.is((await make(fresh(), secret)).status, 201);
});

test("Idempotency-Key: at the same moment one does it, and the others meet it running or done", async () => {
  const headers = { "idempotency-key": randomUUID() };
  const body = { name: fresh() };
  const second = await testGateway({ ...gateway.config });
  const all = await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      call("POST", "/v1/organisations", { body, headers, at: i % 2 === 0 ? gateway.url : second.url }),
    ),
  );
  const done = all.filter(({ status }) => status === 201);
  assert.ok(done.length > 0);
  assert.is(new Set(done.map(({ text }) => text)).size, 1, "all answers are the first");
  for (const answer of all.filter(({ status }) => status !== 201)) assertProblem(answer, 409, "conflict");
});

test("Idempotency-Key: what is none is refused", async () => {
  for (const key of ["", `"${"x".repeat(256)}"`, "x".repeat(256), '"open', "with space"]) {
    const answer = await call("POST", "/v1/organisations", {
      body: { name: fresh() },
      headers: { "idempotency-key": key },
    });
    assertProblem(answer, 400, "invalid-input");
  }
});

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
  assertProblem(await call("GET", `/v1/organisations/${home}/history?from=2026-99-99T00:00:00Z`), 400, "invalid-input");
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

test("an unknown path is 404; a known one with another method says in Allow what it takes", async () => {
  assertProblem(await call("GET", "/v1/nothing"), 404, "not-found");
  assertProblem(await call("GET", "/", { token: undefined }), 404, "not-found");
  const wrong = await call("PUT", "/v1/organisations");
  assertProblem(wrong, 404, "not-found");
  assert.equal(wrong.headers.get("allow")!.split(", ").sort(), ["GET", "POST"]);
});

test("request ids: a sane one is taken over, any other replaced; every answer has the security headers", async () => {
  const mine = await call("GET", "/v1/whoami", { headers: { "x-request-id": "my-id.1" } });
  assert.is(mine.headers.get("x-request-id"), "my-id.1");
  const made = await call("GET", "/v1/whoami", { headers: { "x-request-id": "has space <b>" } });
  assert.match(made.headers.get("x-request-id")!, /^req_[A-Za-z0-9_-]{14}$/);
  for (const { headers } of [mine, await call("GET", "/nothing"), await call("GET", "/problems/refused")]) {
    assert.is(headers.get("x-content-type-options"), "nosniff");
    assert.match(headers.get("content-security-policy")!, /default-src 'none'/);
    assert.ok(headers.get("x-request-id"));
  }
});

test("a traceparent of the client is carried into the commit", async () => {
  const traceparent = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`;
  const made = await call("POST", "/v1/organisations", {
    body: { name: fresh() },
    headers: { traceparent, "x-request-id": "trace-1" },
  });
  const headers = { "millrace-position": made.headers.get("millrace-position")! };
  const { items } = (await call("GET", `/v1/organisations/${made.body.id}/history`, { headers })).body;
  assert.is(items[0].correlation, "trace-1");
});

test("health, metrics, documents and problem pages need no token", async () => {
  for (const path of ["/livez", "/startupz", "/openapi.json", "/problems/", "/metrics"]) {
    assert.is((await call("GET", path, { token: undefined })).status, 200, path);
  }
  const ready = await call("GET", "/readyz?verbose", { token: undefined });
  assert.is(ready.status, 200, ready.text);
  assert.match(ready.text, /\[\+\]identity ok/);
  assert.match(
    (await call("GET", "/metrics", { token: undefined })).text,
    /millrace_http_requests_total\{.*route="\/v1\/organisations\/\{org\}/,
  );
  const page = await call("GET", "/problems/precondition-failed", { token: undefined });
  assert.match(page.headers.get("content-type")!, /text\/html/);
  assert.match(page.text, /412/);
});

test("projections and dead letters", async () => {
  const { items } = (await call("GET", "/v1/projections")).body;
  assert.ok(items.some(({ name, shown, state }: any) => name === "tokens" && shown && state === "active"));
  const rebuild = await call("POST", "/v1/projections/tokens/rebuild");
  assert.is(rebuild.status, 202, rebuild.text);
  assert.equal(
    rebuild.body.builds.map(({ context }: any) => context),
    ["identity"],
  );
  assertProblem(await call("POST", "/v1/projections/nothing/rebuild"), 404, "not-found");
  const { secret } = await makeTokenAt(org, ["*"]);
  assertProblem(await call("GET", "/v1/projections", { token: secret }), 403, "forbidden");
  assert.equal((await call("GET", `/v1/organisations/${org}/dead-letters`)).body.items, []);
  assertProblem(await call("POST", `/v1/organisations/${org}/dead-letters/dlt_1/retry`), 404, "not-found");
});

test.run();
