/** Who may do what, over several gateways, through revocation, expiry, outages of NATS and PostgreSQL. */
import { randomBytes } from "node:crypto";
import { makeToken } from "@millrace/contracts/token.ts";
import { secret as secretKind } from "@millrace/domain/identity/secret.ts";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import * as assert from "uvu/assert";
import {
  type Answer,
  ask,
  eventually,
  type TestGateway,
  testGateway,
  testProjector,
} from "../../tests/harness/gateway.ts";
import { startOwnNats } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { IdentityDirectory } from "./identity.ts";
import { TokenUses } from "./uses.ts";

const test = suite("access");

let one: TestGateway;
let two: TestGateway;
let serial = 0;
const fresh = () => `n-${++serial}-${Date.now().toString(36)}`;

test.before(async () => {
  // Two of them start over an empty log at the same moment, with the same owner.
  const ownerToken = makeToken("mrp", randomBytes);
  const first = testGateway({ ownerToken });
  const config = { ownerToken, organisation: "home", masterKey: (await first).config.masterKey };
  one = await first;
  two = await testGateway({ ...config, postgresUrl: one.config.postgresUrl });
});

type Options = Parameters<typeof ask>[3] & { readonly at?: TestGateway };
const call = (method: string, path: string, { at = one, ...options }: Options = {}): Promise<Answer> =>
  ask(at.url, method, path, { token: one.owner, ...options });

const tokenAt = async (organisation: string, grants: string[], over: object = {}) => {
  const made = await call("POST", `/v1/organisations/${organisation}/tokens`, {
    body: { name: fresh(), grants, ...over },
  });
  assert.is(made.status, 201, made.text);
  return made.body as { id: string; secret: string; spec: { name: string } };
};

test("gateways that start together make one organisation and one owner", async () => {
  const ownerToken = makeToken("mrp", randomBytes);
  const organisation = fresh();
  const { postgresUrl, masterKey } = one.config;
  const all = await Promise.all(
    Array.from({ length: 4 }, () => testGateway({ ownerToken, organisation, postgresUrl, masterKey })),
  );
  const seen = await Promise.all(all.map(({ url }) => ask(url, "GET", "/v1/whoami", { token: ownerToken })));
  assert.is(seen[0]!.body.organisation.name, organisation);
  assert.is(seen[0]!.body.installation, true);
  for (const { text } of seen) assert.is(text, seen[0]!.text);
});

test("an owner's organisation that was renamed is not made again", async () => {
  const { id } = (await call("GET", "/v1/organisations/home")).body;
  await call("PATCH", `/v1/organisations/${id}`, { body: { name: "renamed" }, headers: { "if-match": "*" } });
  const again = await testGateway({ ...one.config });
  assert.is((await ask(again.url, "GET", "/v1/whoami", { token: one.owner })).body.organisation.name, "renamed");
  assert.is((await call("GET", "/v1/organisations/home", { at: again })).status, 404);
  await call("PATCH", `/v1/organisations/${id}`, { body: { name: "home" }, headers: { "if-match": "*" } });
});

test("a token works at once here, and a moment later at the other gateway; revoked, it is refused at both", async () => {
  const { id, secret } = await tokenAt("home", ["identity:read"]);
  const whoami = (at: TestGateway) => call("GET", "/v1/whoami", { at, token: secret });
  assert.is((await whoami(one)).status, 200);
  await eventually(
    async () => ((await whoami(two)).status === 200 ? true : undefined),
    "the other has heard of it",
    1_000,
  );
  assert.is(
    (await call("DELETE", `/v1/organisations/home/tokens/${id}`, { headers: { "if-match": '"1"' } })).status,
    204,
  );
  const refused = await whoami(one);
  assert.is(refused.status, 401);
  assert.match(refused.body.detail, /revoked/);
  await eventually(async () => ((await whoami(two)).status === 401 ? true : undefined), "the other refuses it", 1_000);
});

test("a token ends when it expires, without anybody doing anything", async () => {
  const expiresAt = new Date(Date.now() + 700).toISOString();
  const { secret } = await tokenAt("home", ["*"], { expiresAt });
  assert.is((await call("GET", "/v1/whoami", { token: secret })).status, 200);
  const refused = await eventually(async () => {
    const answer = await call("GET", "/v1/whoami", { token: secret });
    return answer.status === 401 ? answer : undefined;
  }, "it has expired");
  assert.match(refused.body.detail, /expired/);
  assert.ok(Date.now() >= Date.parse(expiresAt));
  const past = await call("POST", "/v1/organisations/home/tokens", {
    body: { name: fresh(), grants: [], expiresAt: "2020-01-01T00:00:00Z" },
  });
  assert.is(past.status, 400);
  assert.is(past.body.errors[0].pointer, "/body/expiresAt");
  // One that never comes would never end it.
  const never = { name: fresh(), grants: [], expiresAt: "2099-13-01T00:00:00Z" };
  assert.is((await call("POST", "/v1/organisations/home/tokens", { body: never })).status, 400);
});

test("nobody hands out what they do not hold, nor the owner's rights", async () => {
  const { secret } = await tokenAt("home", ["identity:tokens", "work:*"]);
  const make = (grants: string[]) =>
    call("POST", "/v1/organisations/home/tokens", { body: { name: fresh(), grants }, token: secret });
  assert.is((await make(["work:read"])).status, 201);
  for (const grants of [["*"], ["identity:*"], ["identity:secrets"], ["work:read", "system:read"]]) {
    const refused = await make(grants);
    assert.is(refused.status, 422);
    assert.is(refused.body.rule, "grant-beyond-own");
  }
  const all = await tokenAt("home", ["*"]);
  for (const [method, path] of [
    ["POST", "/v1/organisations"],
    ["GET", "/v1/projections"],
  ] as const) {
    const refused = await call(method, path, {
      token: all.secret,
      ...(method === "POST" ? { body: { name: fresh() } } : {}),
    });
    assert.is(refused.status, 403);
  }
});

test("a grant for one resource holds for that one, by its id and by its name", async () => {
  const mine = await tokenAt("home", []);
  const other = await tokenAt("home", []);
  const { secret } = await tokenAt("home", [`identity:tokens@${mine.id}`]);
  const get = async (reference: string, rest = "") =>
    (await call("GET", `/v1/organisations/home/tokens/${reference}${rest}`, { token: secret })).status;
  assert.is(await get(mine.id), 200);
  assert.is(await get(mine.spec.name), 200);
  assert.is(await get(mine.id, "/diff?from=v1"), 200);
  assert.is(await get(other.id), 403);
  assert.is(await get(other.spec.name), 403);
  assert.is(await get("no-such-name"), 403);
  // Of the list it sees its part; here nobody projects, so there is no list.
  assert.is((await call("GET", "/v1/organisations/home/tokens", { token: secret })).body.what, "projections");
  assert.is((await call("GET", "/v1/organisations/home/secrets", { token: secret })).status, 403);
  const organisation = (await call("GET", "/v1/organisations/home")).body.id;
  const whole = await tokenAt("home", [`identity:tokens@${organisation}`]);
  assert.is((await call("GET", `/v1/organisations/home/tokens/${other.id}`, { token: whole.secret })).status, 200);
});

test("an archived organisation can be read, and changed no more; its tokens can still be revoked", async () => {
  const { id } = (await call("POST", "/v1/organisations", { body: { name: fresh() } })).body;
  const token = await tokenAt(id, ["*"]);
  assert.is((await call("POST", `/v1/organisations/${id}/archive`)).status, 200);
  assert.is((await call("GET", `/v1/organisations/${id}`, { token: token.secret })).status, 200);
  for (const [path, body] of [
    ["secrets", { name: "a", value: "b" }],
    ["work-items", { type: "task", title: "a" }],
  ] as const) {
    const refused = await call("POST", `/v1/organisations/${id}/${path}`, { body });
    assert.is(refused.status, 422, path);
    assert.is(refused.body.rule, "organisation-archived");
  }
  const gone = await call("DELETE", `/v1/organisations/${id}/tokens/${token.id}`, { headers: { "if-match": "*" } });
  assert.is(gone.status, 204);
  assert.is((await call("GET", "/v1/whoami", { token: token.secret })).status, 401);
});

test("a name is free again when its holder is gone", async () => {
  const name = fresh();
  for (let i = 0; i < 3; i++) {
    const made = await call("POST", "/v1/organisations/home/tokens", { body: { name, grants: [] } });
    assert.is(made.status, 201);
    assert.is((await call("POST", "/v1/organisations/home/tokens", { body: { name, grants: [] } })).status, 409);
    assert.is(
      (await call("DELETE", `/v1/organisations/home/tokens/${name}`, { headers: { "if-match": "*" } })).status,
      204,
    );
  }
});

test("uses are counted: one event for many", async () => {
  const { natsUrl: url, natsUser, natsPassword } = one.config;
  const log = await EventLog.open({ url, user: natsUser!, password: natsPassword!, name: "test", replicas: 1 }, [
    "identity",
  ]);
  const { id, secret } = await tokenAt("home", ["identity:read"]);
  const identity = new IdentityDirectory();
  await identity.start(log, () => {});
  const uses = new TokenUses(log, makeLogger({ service: "test", level: "silent" }));
  const found = identity.authenticate(secret, Date.now());
  assert.ok("token" in found);
  const last = Date.now();
  for (let i = 0; i < 250; i++) uses.used(found.token, last - 250 + i);
  await uses.stop();
  const { body } = await call("GET", `/v1/organisations/home/tokens/${id}`);
  assert.is(body.status.uses, 250);
  assert.is(body.status.lastUsedAt, new Date(last - 1).toISOString());
  assert.is(body.generation, 1, "an editor's copy is not made stale by it");
  assert.is((await call("GET", `/v1/organisations/home/tokens/${id}?at=v2`)).body.status.uses, 250, "one event");
  await identity.stop();
  await log.close();
});

test("a gateway that stops has written down the uses it counted", async () => {
  const short = await testGateway({ ...one.config });
  const { id, secret } = await tokenAt("home", ["identity:read"]);
  await eventually(
    async () => ((await call("GET", "/v1/whoami", { at: short, token: secret })).status === 200 ? true : undefined),
    "it knows the token",
  );
  await short.gateway.stop();
  const { status } = (await call("GET", `/v1/organisations/home/tokens/${id}`)).body;
  assert.ok(status.uses >= 1);
  assert.ok(status.lastUsedAt);
});

test("a secret: kept sealed, replaced, never shown; erased, nobody can read it again", async () => {
  const { natsUrl: url, natsUser, natsPassword } = one.config;
  const nats = await connectNats({ url, user: natsUser!, password: natsPassword!, name: "test" });
  const log = await EventLog.open({ url, user: natsUser!, password: natsPassword!, name: "test", replicas: 1 }, [
    "identity",
  ]);
  const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(one.config.masterKey) });
  const organisation = (await call("GET", "/v1/organisations/home")).body.id;
  const stored = await call("POST", "/v1/organisations/home/secrets", {
    body: { name: fresh(), value: "hunter2-first" },
  });
  assert.is(stored.status, 201);
  const path = `/v1/organisations/home/secrets/${stored.body.id}`;
  const replaced = await call("PUT", path, { body: { value: "hunter2-second" }, headers: { "if-match": '"1"' } });
  assert.is(replaced.headers.get("etag"), '"2"');
  const { sealed } = (await log.aggregates.load(secretKind, stored.body.id)).state;
  const unseal = async () => Buffer.from(await sealing.unseal(sealed!, { organisation, purpose: "test" })).toString();
  assert.is(await unseal(), "hunter2-second");
  for (const shown of [
    stored.text,
    replaced.text,
    (await call("GET", path)).text,
    (await call("GET", `${path}?at=v1`)).text,
  ]) {
    assert.not.match(shown, /hunter2|sealed|"iv"/);
  }
  const gone = await call("DELETE", path, { headers: { "if-match": "*" } });
  assert.is(gone.status, 204, gone.text);
  assert.is((await call("GET", path)).status, 404);
  await eventually(async () => {
    const error = await unseal().then(
      () => undefined,
      (failure) => failure,
    );
    return error?._tag === "Erased" ? true : undefined;
  }, "the key is destroyed");
  sealing.close();
  await Promise.all([nats.close(), log.close()]);
});

test("a key whose erasure was cut off is destroyed by the next gateway that starts", async () => {
  const { natsUrl: url, natsUser, natsPassword } = one.config;
  const log = await EventLog.open({ url, user: natsUser!, password: natsPassword!, name: "test", replicas: 1 }, [
    "identity",
  ]);
  const erased: string[] = [];
  const identity = new IdentityDirectory();
  await identity.start(log, ({ subject }) => void erased.push(subject));
  const stored = await call("POST", "/v1/organisations/home/secrets", { body: { name: fresh(), value: "v" } });
  await call("DELETE", `/v1/organisations/home/secrets/${stored.body.id}`, { headers: { "if-match": "*" } });
  await eventually(async () => (erased.includes(stored.body.id) ? true : undefined), "it is told of it");
  const later = new IdentityDirectory();
  const again: string[] = [];
  await later.start(log, ({ subject }) => void again.push(subject));
  assert.ok(again.includes(stored.body.id), "and so is who starts later");
  await Promise.all([identity.stop(), later.stop()]);
  await log.close();
});

test("PostgreSQL away: queries say so, everything else goes on, readiness tells", async () => {
  const away = await testGateway({ ...one.config, postgresUrl: "postgres://nobody:nothing@127.0.0.1:9/none" });
  const list = await call("GET", "/v1/organisations/home/tokens", { at: away });
  assert.is(list.status, 503);
  assert.is(list.body.what, "queries");
  assert.ok(Number(list.headers.get("retry-after")) > 0);
  const made = await call("POST", "/v1/organisations", { at: away, body: { name: fresh() } });
  assert.is(made.status, 201);
  assert.is((await call("GET", `/v1/organisations/${made.body.id}`, { at: away })).status, 200);
  const ready = await call("GET", "/readyz?verbose", { at: away });
  assert.is(ready.status, 200);
  assert.match(ready.text, /\[\+\]queries ok: PostgreSQL is away/);
});

test("NATS away: nobody is let in on what may be outdated; back, all goes on", { timeoutMs: 90_000 }, async () => {
  let server = await startOwnNats();
  const alone = await testGateway({
    natsUrl: server.url,
    natsUser: server.user,
    natsPassword: server.password,
    postgresUrl: one.config.postgresUrl,
  });
  const whoami = () => ask(alone.url, "GET", "/v1/whoami", { token: alone.owner });
  assert.is((await whoami()).status, 200);
  await server.kill();
  const refused = await eventually(
    async () => {
      const answer = await whoami();
      return answer.status === 200 ? undefined : answer;
    },
    "what is known is no longer trusted",
    5_000,
  );
  assert.is(refused.status, 503);
  assert.is(refused.body.what, "identity");
  assert.is((await ask(alone.url, "GET", "/livez")).status, 200);
  assert.is((await ask(alone.url, "GET", "/readyz")).status, 503);
  server = await server.restart();
  await eventually(async () => ((await whoami()).status === 200 ? true : undefined), "it goes on", 20_000);
  const made = await ask(alone.url, "POST", "/v1/organisations", { token: alone.owner, body: { name: fresh() } });
  assert.is(made.status, 201, made.text);
});

test("a projector that comes late: queries say it is being built, then answer", async () => {
  const fresh = await testGateway();
  const list = () => ask(fresh.url, "GET", "/v1/organisations/home/tokens", { token: fresh.owner });
  const before = await list();
  assert.is(before.status, 503);
  assert.is(before.body.what, "projections");
  await testProjector(fresh.config);
  await eventually(async () => ((await list()).status === 200 ? true : undefined), "the first build is shown");
});

test("who names a secret in an application can read it: that takes the permission for it", async () => {
  const apps = "/v1/organisations/home/applications";
  const stored = async () =>
    (await call("POST", "/v1/organisations/home/secrets", { body: { name: fresh(), value: "hidden" } })).body
      .id as string;
  const [first, second] = [await stored(), await stored()];
  const withEnv = (secret: string, name = fresh()) => ({
    name,
    source: { kind: "git", url: "https://git.example.org/a.git" },
    build: { kind: "dockerfile" },
    runtime: { port: 8080, env: { KEY: { secret } } },
  });
  const made = await call("POST", apps, { body: withEnv(first) });
  assert.is(made.status, 201, made.text);
  const { id } = made.body;
  const { secret: narrow } = await tokenAt("home", [`applications:*@${id}`]);
  const change = (token: string, body: object) =>
    call("PATCH", `${apps}/${id}`, { token, body, headers: { "if-match": "*" } });
  const named = (secret: string) => ({ runtime: { port: 8080, env: { KEY: { secret } } } });
  const refused = await change(narrow, named(second));
  assert.is(refused.status, 403, refused.text);
  assert.is(refused.body.permission, "identity:secrets");
  const credentials = { kind: "token", secret: second };
  const source = { kind: "git", url: "https://git.example.org/a.git", credentials };
  assert.is((await change(narrow, { source })).status, 403);
  assert.is((await change(narrow, named(first))).status, 200, "what it names already");

  const { secret: both } = await tokenAt("home", [`applications:*@${id}`, `identity:secrets@${second}`]);
  assert.is((await change(both, named(second))).status, 200);
  assert.is((await change(narrow, { source })).status, 403, "what the application is given is not for its source");
  assert.is((await change(both, { source })).status, 200);
  assert.is((await change(narrow, { source: { ...source, ref: "next" } })).status, 200, "the same place");
  const elsewhere = { ...source, url: "https://git.example.net/a.git" };
  assert.is((await change(narrow, { source: elsewhere })).status, 403, "its credentials would go to another server");
  const { secret: wide } = await tokenAt("home", ["applications:*"]);
  assert.is((await call("POST", apps, { token: wide, body: withEnv(first) })).status, 403);
});

test.run();
