/** The API's conventions, one test a row, on identity's endpoints; every later context is built of the same parts. */
import { randomBytes, randomUUID } from "node:crypto";
import { decodePosition } from "@millrace/contracts/position.ts";
import * as assert from "uvu/assert";
import { call, fresh, gateway, makeTokenAt, openAcme, org } from "../../tests/harness/acme.ts";
import { assertProblem, testGateway } from "../../tests/harness/gateway.ts";
import { suite } from "../../tests/harness/suite.ts";

const test = suite("the API's conventions");

test.before(openAcme);

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

test("Idempotency-Key: a repeat is known after the master key was changed, and so is another input", async () => {
  const headers = { "idempotency-key": randomUUID() };
  const body = { name: fresh() };
  const first = await call("POST", "/v1/organisations", { body, headers });
  const masterKey = `${randomBytes(32).toString("base64")}\n${gateway.config.masterKey}`;
  const { url: at } = await testGateway({ ...gateway.config, masterKey });
  const again = await call("POST", "/v1/organisations", { body, headers, at });
  assert.equal([again.status, again.text], [201, first.text]);
  const other = await call("POST", "/v1/organisations", { body: { name: fresh() }, headers, at });
  assert.is(other.body.rule, "idempotency-key-reused");
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
