/**
 * Subscribers of NATS: they hear and read their part of the feed and nothing else, over the real server, its auth callout, a gateway and a
 * projector; and are cut off when they may no longer.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeToken } from "@millrace/contracts/token.ts";
import { DOOR_USER, WARDEN_USER } from "@millrace/gateway/subscribers/gate.ts";
import { natsTls } from "@millrace/local/platform.ts";
import { connect, headers, type NatsConnection } from "@nats-io/transport-node";
import { makeAuthority } from "./harness/certificates.ts";
import { ask, callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { testFolder } from "./harness/servers.ts";
import { type Credentials, connectAs, natsWithDoor, readAs } from "./harness/subscribers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("subscribers of NATS", { timeoutMs: 60_000 });
const { nats, config: door } = await natsWithDoor();
const gateway = await testGateway(door);
await testProjector(gateway.config);
const { call, expect } = callerOf(gateway);
const org: string = (await expect(200, "GET", "")).body.id;

const ANY = { "if-match": "*" };
const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));

const made = async (name: string, body: object = {}, token = gateway.owner): Promise<Credentials> =>
  (await expect(201, "POST", "/subscribers", { body: { name, ...body }, token })).body;
const tokenWith = async (name: string, grants: string[]) =>
  (await expect(201, "POST", "/tokens", { body: { name, grants } })).body as { id: string; secret: string };
const open = async (title: string): Promise<string> =>
  (await expect(201, "POST", "/work-items", { body: { type: "task", title } })).body.id;
const titles = (events: { type: string; data: { title?: string } }[]) => events.flatMap(({ data }) => data.title ?? []);

/** Listens, and tells what came and what was forbidden. */
function ears(client: NatsConnection, ...subjects: string[]) {
  const heard: string[] = [];
  const forbidden: string[] = [];
  for (const subject of subjects) {
    const callback = (error: Error | null, message: { subject: string }) =>
      void (error === null ? heard.push(message.subject) : forbidden.push(subject));
    client.subscribe(subject, { callback });
  }
  return { heard, forbidden };
}
/** Everything that was sent before has been answered or refused when this resolves. */
const settled = (client: NatsConnection) => client.flush();

test("hears live what its filter says, and reads what it has missed, from where it was", async ({ defer }) => {
  const one = await made("one", { events: { context: ["work"], type: ["ItemOpened"] } });
  const client = await connectAs(nats.url, one, { name: "warehouse" });
  defer(() => client.close());
  const { live, servers, contexts, read, inboxPrefix } = (await expect(200, "GET", "/subscribers/one/connections"))
    .body;
  assert.deepEqual(live, [`feed.${org}.work.*.*.ItemOpened`]);
  assert.deepEqual([servers, contexts], [[nats.url], ["work"]]);
  assert.deepEqual([read, inboxPrefix], [`subscribers.${one.id}.read`, `_INBOX.${one.id}`]);
  const { heard } = ears(client, ...live);
  await settled(client);
  const first = await readAs(client, one.id);
  assert.deepEqual([first.code, first.body.events, first.body.live], ["", [], true]);
  const waiting = readAs(client, one.id, { after: first.body.position, waitMs: 20_000 });
  const id = await open("Heard");
  await expect(200, "POST", `/work-items/${id}/comments`, { body: { text: "Not of the filter" } });
  await eventually(async () => heard[0], "the event live");
  const { body } = await waiting;
  assert.deepEqual(
    body.events.map(({ source, type, data }: any) => [source, type, data.title]),
    [[`/organisations/${org}/work/item/${id}`, "millrace.work.ItemOpened.v1", "Heard"]],
  );
  await client.close();
  for (const title of ["a", "b", "c", "d", "e"]) await open(title);
  const again = await connectAs(nats.url, one);
  defer(() => again.close());
  const missed: string[] = [];
  for (let after = body.position; missed.length < 5; ) {
    const page = (await readAs(again, one.id, { after, most: 2, waitMs: 10_000 })).body;
    assert.ok(page.events.length <= 2);
    missed.push(...titles(page.events));
    after = page.position;
  }
  assert.deepEqual(missed, ["a", "b", "c", "d", "e"]);
  const all = (await readAs(again, one.id, { from: "beginning", most: 1_000 })).body;
  assert.deepEqual(titles(all.events), ["Heard", ...missed]);
  assert.deepEqual(heard.length, 1);
});

test("may listen to nothing else, publish nothing, and have nobody answer to others", async ({ defer }) => {
  const [mine, victim] = [await made("confined", { events: { context: ["work"] } }), await made("victim")];
  const [client, ear] = [await connectAs(nats.url, mine), await connectAs(nats.url, victim)];
  defer(() => Promise.all([client.close(), ear.close()]));
  const stolen = ears(ear, `feed.${org}.>`.replace(">", "work.>"), `_INBOX.${victim.id}.>`);
  await settled(ear);
  const foreign = `org_${"0".repeat(26)}`;
  const subjects = [
    ...[">", "*", "feed.>", "feed.*.work.>", `feed.${foreign}.>`, `feed.${org}.>`, `feed.${org}.*.>`],
    ...[`feed.${org}.identity.>`, "_INBOX.>", "_INBOX.*.>", `_INBOX.${victim.id}.>`, "$SYS.>", "$SYS.REQ.USER.AUTH"],
    ...["$JS.>", "$KV.>", "$O.>", "$SRV.>", "evt.>", "uniq.>", "ask.>", "subscribers.>", `subscribers.${mine.id}.read`],
  ];
  const { heard, forbidden } = ears(client, ...subjects);
  await settled(client);
  await eventually(async () => (forbidden.length === subjects.length ? true : undefined), "every refusal");
  assert.deepEqual(new Set(forbidden), new Set(subjects));

  const answered: string[] = [];
  client.subscribe(`_INBOX.${mine.id}.q`, { callback: (_, message) => void answered.push(message.string()) });
  for (const subject of [
    ...["$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.FEED_WORK", "$JS.API.DIRECT.GET.FEED_WORK", "$JS.API.INFO"],
    ...[
      "$JS.API.CONSUMER.CREATE.FEED_WORK",
      "$JS.API.CONSUMER.CREATE.FEED_WORK.x.feed.>",
      "$JS.ACK.FEED_WORK.x.1.1.1.1.0",
    ],
    ...["$JS.API.CONSUMER.MSG.NEXT.FEED_WORK.x", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SRV.PING"],
    ...["evt.work.00.item.itm_x", "ask.applications.nodeStatus.local", `feed.${org}.work.item.x.ItemOpened`],
    ...[`subscribers.${victim.id}.read`, `_INBOX.${victim.id}.x`],
  ]) {
    client.publish(subject, "{}", { reply: `_INBOX.${mine.id}.q` });
  }
  const traced = headers();
  traced.set("Nats-Trace-Dest", `feed.${org}.work.item.x.ItemOpened`);
  client.publish(`subscribers.${mine.id}.read`, "{}", { headers: traced });
  for (const reply of [
    ...["evt.work.00.item.forged", `feed.${org}.work.item.x.Forged`, `_INBOX.${victim.id}.x`, "$SYS.REQ.USER.AUTH"],
    ...["$JS.ACK.EVT_WORK.x.1.1.1.1.0", `_INBOX.${mine.id}`, `subscribers.${mine.id}.read`, "_INBOX.x"],
  ]) {
    client.publish(`subscribers.${mine.id}.read`, JSON.stringify({ from: "beginning" }), { reply });
  }
  await settled(client);
  // A request after all of them, answered by the one who would have answered those.
  assert.equal((await readAs(client, mine.id)).code, "");
  await open("Real");
  await eventually(async () => stolen.heard.find((subject) => subject.endsWith(".ItemOpened")), "a real event");
  assert.deepEqual([heard, answered], [[], []]);
  assert.ok(
    stolen.heard.every((subject) => /^feed\.org_\w+\.work\.item\.itm_\w+\.[A-Z]\w+$/.test(subject)),
    stolen.heard.join(),
  );
  const forged = await readAs(client, mine.id, { from: "beginning", most: 1_000 });
  assert.ok(!JSON.stringify(forged.body).includes("orged"));
});

test("other users of NATS are none of theirs: wrong passwords, hostile names, nobody", async () => {
  const mine = await made("guarded");
  const wrong = makeToken("mrs", random);
  const users: [string | undefined, string | undefined][] = [
    ...(
      [undefined, "", "millrace", DOOR_USER, WARDEN_USER, "sys", "sub_", `${mine.id}.x`, mine.id.toUpperCase()] as const
    ).map((user): [string | undefined, string | undefined] => [user, wrong]),
    ...[
      "guarded",
      "*",
      ">",
      "_INBOX.>",
      `${mine.id} `,
      "a".repeat(3_000),
      '{"$ne":1}',
      "../..",
      "\u0000",
      "ä".repeat(99),
    ].map((user): [string, string] => [user, mine.secret]),
    ...["", "x", wrong, `${mine.secret}x`, mine.secret.slice(0, -1), mine.secret.toLowerCase(), gateway.owner].map(
      (pass): [string, string] => [mine.id, pass],
    ),
    [undefined, undefined],
  ];
  for (const [user, pass] of users) {
    const tried = connect({
      servers: nats.url,
      ...(user === undefined ? {} : { user }),
      ...(pass === undefined ? {} : { pass }),
      reconnect: false,
    });
    await assert.rejects(tried, /./, `let in: ${JSON.stringify([user, pass])}`);
  }
  assert.ok(!readFileSync(nats.logFile, "utf8").includes(mine.secret));
  const client = await connectAs(nats.url, mine);
  await client.close();
});

/** Resolves when the server has ended the connection and lets it in no more. */
async function cutOff(client: NatsConnection): Promise<void> {
  await client.closed();
}
const once = { reconnect: false } as const;

test("whoever may no longer read is cut off at once: revoked, rotated, its maker's rights gone", async ({ defer }) => {
  const body = { events: { context: ["work"] } };
  const maker = await tokenWith("maker", ["integrations:edit", "work:read", "applications:read"]);
  const connected = async (name: string, one: Credentials) => {
    const client = await connectAs(nats.url, one, { ...once, name });
    defer(() => client.close());
    assert.equal((await readAs(client, one.id)).code, "");
    return client;
  };
  const revoked = await made("revoked", body);
  const [first, second] = [await connected("first", revoked), await connected("second", revoked)];
  const held = readAs(first, revoked.id, { waitMs: 25_000 }).catch(() => undefined);
  await eventually(async () => {
    const { connections } = (await expect(200, "GET", "/subscribers/revoked/connections")).body;
    return connections.length === 2 ? connections : undefined;
  }, "both connections in the list");
  await expect(204, "DELETE", "/subscribers/revoked", { headers: ANY });
  await Promise.all([cutOff(first), cutOff(second), held]);
  await assert.rejects(connectAs(nats.url, revoked, once));
  await expect(404, "GET", "/subscribers/revoked");
  await made("revoked", body); // The name is free again.

  const rotated = await made("rotated", body);
  const old = await connected("old", rotated);
  const next = (await expect(200, "POST", "/subscribers/rotated/rotate-secret", { body: { overlapHours: 1 } })).body;
  await connected("new", next);
  assert.equal((await readAs(old, rotated.id)).code, "");
  const last = (await expect(200, "POST", "/subscribers/rotated/rotate-secret", { body: { overlapHours: 0 } })).body;
  await cutOff(old);
  await assert.rejects(connectAs(nats.url, rotated, once));
  await connected("last", last);

  const ofMaker = await made("of-maker", {}, maker.secret);
  const { live } = (await expect(200, "GET", "/subscribers/of-maker/connections")).body;
  assert.deepEqual(live, [`feed.${org}.applications.>`, `feed.${org}.work.>`].sort().reverse());
  const theirsNow = await connected("of maker", ofMaker);
  await expect(204, "DELETE", `/tokens/${maker.id}`, { headers: ANY });
  await cutOff(theirsNow);
  await assert.rejects(connectAs(nats.url, ofMaker, once));

  const invited = (await expect(201, "POST", "/invitations", { body: { name: "ada", role: "developer" } })).body;
  const joined = await ask(gateway.url, "POST", "/v1/invitations/accept", { body: { secret: invited.secret } });
  const ofAda = await made("of-ada", body, joined.body.secret);
  const hers = await connected("of ada", ofAda);
  const unbound = { body: { role: "developer" } };
  await expect(200, "POST", "/members/ada/bind", { body: { role: "operator" } });
  await expect(200, "POST", "/members/ada/unbind", unbound);
  assert.equal((await readAs(hers, ofAda.id)).code, "", "an operator reads as a developer does");
  await expect(204, "DELETE", "/members/ada", { headers: ANY });
  await cutOff(hers);

  const ended = await made("ended", { ...body, expiresAt: new Date(Date.now() + 4_000).toISOString() });
  const short = await connected("short", ended);
  await cutOff(short);
  await assert.rejects(connectAs(nats.url, ended, once));
});

test("a narrow maker's credentials hear what they name, and read what belongs to it", async ({ defer }) => {
  const source = { kind: "git", url: "https://git.example.org/site.git" };
  const app = async (name: string): Promise<string> =>
    (await expect(201, "POST", "/applications", { body: { name, source, build: { kind: "static" } } })).body.id;
  const [mine, other] = [await app("mine"), await app("other")];
  const narrow = await tokenWith("narrow", ["integrations:edit", `applications:*@${mine}`]);
  await expect(403, "POST", "/subscribers", { body: { name: "all" }, token: narrow.secret });
  await expect(403, "POST", "/subscribers", { body: { name: "o", events: { id: [other] } }, token: narrow.secret });
  const one = await made("narrow", { events: { context: ["applications"], id: [mine] } }, narrow.secret);
  const client = await connectAs(nats.url, one);
  defer(() => client.close());
  const { heard, forbidden } = ears(
    client,
    `feed.${org}.applications.*.${mine}.>`,
    `feed.${org}.applications.*.${other}.>`,
    `feed.${org}.applications.>`,
  );
  await settled(client);
  await expect(200, "PATCH", `/applications/${other}`, { body: { title: "Foreign" }, headers: ANY });
  await expect(200, "PATCH", `/applications/${mine}`, { body: { title: "Mine" }, headers: ANY });
  await eventually(async () => heard[0], "one's own event");
  const { body } = await readAs(client, one.id, { from: "beginning", most: 1_000, waitMs: 10_000 });
  assert.ok(heard.every((subject) => subject.includes(mine)));
  assert.equal(forbidden.length, 2);
  assert.ok(body.events.length >= 2 && body.events.every(({ source }: any) => source.endsWith(mine)));
});

test("what is wrong with a request is said; what is too much is not taken", async ({ defer }) => {
  const one = await made("asks", { events: { context: ["work"] } });
  const client = await connectAs(nats.url, one);
  defer(() => client.close());
  const asked = async (text: string) => {
    const reply = await client.request(`subscribers.${one.id}.read`, text, { timeout: 20_000 });
    return `${reply.headers?.get("Nats-Service-Error-Code") ?? ""} ${reply.json<any>().type ?? ""}`.trim();
  };
  const invalid = "400 /problems/invalid-input";
  for (const text of [
    ...["{", "[]", "null", "1", '"x"', '{"more":1}', '{"after":""}', '{"after":"!"}', '{"after":"MTs","from":"now"}'],
    ...['{"from":"then"}', '{"most":0}', '{"most":1e9}', '{"most":1.5}', '{"waitMs":-1}', '{"waitMs":30001}'],
    ...['{"__proto__":{"most":1}}', `{"after":${"[".repeat(1_000)}`, "\u0000"],
  ]) {
    assert.equal(await asked(text), invalid, text.slice(0, 60));
  }
  assert.equal(await asked(" ".repeat(5_000)), "413 /problems/too-large");
  assert.equal(await asked(""), "");
  const waits = Array.from({ length: 40 }, () => readAs(client, one.id, { waitMs: 20_000 }));
  const refused = await Promise.race(
    waits.map((one) => one.then(({ code }) => (code === "429" ? code : new Promise(() => {})))),
  );
  assert.equal(refused, "429");
  await open("Ends the waiting");
  const codes = (await Promise.all(waits)).map(({ code }) => code).sort();
  assert.deepEqual(codes, [...Array(32).fill(""), ...Array(8).fill("429")]);

  for (const [body, pointer] of [
    [{ name: "x", events: { kind: ["*"] } }, "/body/events/kind/0"],
    [{ name: "x", events: { id: [">"] } }, "/body/events/id/0"],
    [{ name: "x", events: { type: ["A.B"] } }, "/body/events/type/0"],
    [{ name: "x", events: { context: ["work.>"] } }, "/body/events/context/0"],
    [{ name: "x", events: { kind: [] } }, "/body/events/kind"],
    [{ name: "$SYS.>" }, "/body/name"],
    [{ name: "x", expiresAt: "2020-01-01T00:00:00.000Z" }, "/body/expiresAt"],
    [
      {
        name: "x",
        events: {
          id: Array.from({ length: 20 }, (_, i) => `a${i}`),
          type: Array.from({ length: 20 }, (_, i) => `A${i}`),
        },
      },
      "/body/events",
    ],
  ] as const) {
    const { status, body: problem } = await call("POST", "/subscribers", { body });
    assert.deepEqual([status, problem.errors?.[0]?.pointer], [400, pointer], JSON.stringify(problem));
  }
});

/** A gateway that has just come answers when its door is open; until then nobody does. */
const answers = (client: NatsConnection, id: string, ask?: { readonly from: "beginning" }) =>
  eventually(
    async () => (await readAs(client, id, ask).catch(() => undefined))?.code === "" || undefined,
    "a gateway answers",
  );

test("without a gateway nobody is let in, and nobody is thrown out; the next one judges those who are there", async ({
  defer,
}) => {
  const one = await made("patient", { events: { context: ["work"] } });
  const client = await connectAs(nats.url, one, once);
  defer(() => client.close());
  const { live } = (await expect(200, "GET", "/subscribers/patient/connections")).body;
  const { heard } = ears(client, ...live);
  await settled(client);
  const second = await testGateway(gateway.config);
  await gateway.gateway.stop();
  const by = callerOf(second);
  const item = await by.expect(201, "POST", "/work-items", { body: { type: "task", title: "By the second" } });
  await eventually(
    async () => heard.find((subject) => subject.includes(item.body.id)),
    "an event by the second gateway",
  );
  await answers(client, one.id, { from: "beginning" });
  await second.gateway.stop();
  const { url: servers, user, password: pass } = nats;
  const platform = await connect({ servers, user, pass, reconnect: false });
  await platform.flush();
  await platform.close();
  await assert.rejects(connectAs(nats.url, one, { ...once, timeout: 1_000 }));
  assert.equal(client.isClosed(), false);
  await client.flush();
  const third = await testGateway(gateway.config);
  await answers(client, one.id);
  await callerOf(third).expect(204, "DELETE", "/subscribers/patient", { headers: ANY });
  await cutOff(client);
  const wrong = { id: one.id, secret: makeToken("mrs", random) };
  await Promise.all(Array.from({ length: 100 }, () => assert.rejects(connectAs(nats.url, wrong, once))));
  const metrics = await (await fetch(`${third.url}/metrics`)).text();
  assert.match(metrics, /millrace_subscriber_callouts_total\{outcome="unknown"\} 1\d\d/);
});

test("over TLS: a certificate of its own for those who come, none who comes in clear, and the platform beside it as before", async ({
  defer,
}) => {
  const authority = makeAuthority();
  const { cert, key } = authority.issue(["localhost", "127.0.0.1"]);
  const folder = testFolder("nats-tls");
  const [certFile, keyFile] = ["cert.pem", "key.pem"].map((name) => join(folder, name)) as [string, string];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  const settings = { natsTlsCert: certFile, natsTlsKey: keyFile };
  assert.throws(() => natsTls({ natsTlsCert: certFile }), /needs both/);
  assert.throws(() => natsTls({ ...settings, natsTlsKey: certFile }), /cannot be used .* its own key/);
  assert.throws(() => natsTls({ ...settings, natsHost: "10.0.0.7" }), /MILLRACE_NATS_HOST=0\.0\.0\.0/);
  const tls = natsTls(settings)!;
  const safe = await natsWithDoor({ tls });
  const over = await testGateway({ ...safe.config, natsSubscribersTls: true });
  await testProjector(over.config);
  const { expect } = callerOf(over);
  const one: Credentials = (await expect(201, "POST", "/subscribers", { body: { name: "one" } })).body;
  const url = safe.nats.url.replace("nats://", "tls://");
  const client = await connectAs(url, one, { tls: { ca: authority.cert } });
  defer(() => client.close());
  await expect(201, "POST", "/work-items", { body: { type: "task", title: "In private" } });
  const page = await readAs(client, one.id, { from: "beginning", waitMs: 10_000 });
  assert.ok(page.body.events.length > 0);
  const once = { reconnect: false, maxReconnectAttempts: 0, ignoreAuthErrorAbort: false };
  await assert.rejects(connectAs(safe.nats.url, one, { ...once, tls: null }), /uthorization/);
  await assert.rejects(connectAs(url, one, { ...once, tls: { ca: makeAuthority("Stranger").cert } }));
});

test.run();
