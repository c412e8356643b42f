/** A gateway that dies where a change is stored and its client does not know yet: the repeat meets the first try, and nothing is half done. */
import { type ChildProcess, fork } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { makeToken } from "@millrace/contracts/token.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import { item } from "@millrace/domain/work/item.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import type { GatewayConfig } from "@millrace/gateway/config.ts";
import * as assert from "uvu/assert";
import { ask, eventually, UNLIMITED } from "./harness/gateway.ts";
import { testNats, testPostgres } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("a gateway that dies", { timeoutMs: 120_000 });
const PROCESS = fileURLToPath(new URL("fuzz/gateway-process.ts", import.meta.url));
const owner = makeToken("mrp", randomBytes);
let config: GatewayConfig;
let nats: Nats;

test.before(async () => {
  const { url, user, pass } = await testNats();
  config = {
    natsUrl: url,
    natsUser: user,
    natsPassword: pass,
    replicas: 1,
    postgresUrl: await testPostgres(),
    host: "127.0.0.1",
    port: 0,
    masterKey: randomBytes(32).toString("base64"),
    ownerToken: owner,
    organisation: "home",
    ...UNLIMITED,
  };
  nats = await connectNats({ url, user, password: pass, name: "gateway-faults" });
  deferToEndOfFile(() => nats.close());
});

interface Process {
  readonly url: string;
  readonly child: ChildProcess;
}

async function start(dieAt?: string): Promise<Process> {
  const child = fork(PROCESS, {
    env: { ...process.env, ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }) },
    execArgv: ["--expose-gc"],
  });
  deferToEndOfFile(() => child.kill("SIGKILL"));
  child.send({ start: config });
  const [{ url }] = (await once(child, "message")) as [{ url: string }];
  return { url, child };
}

let lives: Promise<Process> | undefined;
/** One that goes on beside those that die. */
const living = (): Promise<Process> => (lives ??= start());

/** Sends a request in the middle of which the gateway dies. */
async function cutOff({ child }: { readonly child: ChildProcess }, request: () => Promise<unknown>): Promise<void> {
  const ended = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
  const answer = await request().catch((error: unknown) => error);
  await ended;
  assert.is(child.signalCode, "SIGKILL");
  assert.instance(answer, Error, "the client has no answer");
}

const eventsOf = async (kind: typeof item | typeof secret, id: string): Promise<string[]> => {
  const types: string[] = [];
  for await (const commit of readCommits(nats, kind, id)) types.push(...commit.events.map(({ type }) => type));
  return types;
};

test("after the append, before the answer: the repeat of the request is answered as the first try would have been", async () => {
  const options = { token: owner, headers: { "idempotency-key": randomUUID() } };
  const body = { type: "task", title: "Survive" };
  const open = (url: string) => ask(url, "POST", "/v1/organisations/home/work-items", { ...options, body });
  const first = await start("gateway.answer.before");
  await cutOff(first, () => open(first.url));
  const { url } = await living();
  const again = await open(url);
  assert.equal([again.status, again.headers.get("idempotent-replayed")], [201, "true"]);
  assert.equal(await eventsOf(item, again.body.id), ["ItemOpened"]);
  assert.is((await open(url)).text, again.text);
});

for (const [place, isIn] of [
  ["gateway.accept.before", false],
  ["gateway.accept.after", true],
] as const) {
  test(`an invitation whose acceptance is cut off (${place}) has let in wholly, or not at all`, async () => {
    const name = `m${randomBytes(6).toString("hex")}`;
    const { url } = await living();
    const at = "/v1/organisations/home";
    const invite = { token: owner, body: { name, role: "owner" } };
    const { secret } = (await ask(url, "POST", `${at}/invitations`, invite)).body;
    const dying = await start(place);
    const accept = (url: string) => ask(url, "POST", "/v1/invitations/accept", { body: { secret } });
    await cutOff(dying, () => accept(dying.url));
    assert.is((await ask(url, "GET", `${at}/members/${name}`, { token: owner })).status, isIn ? 200 : 404);
    assert.is((await accept(url)).status, isIn ? 404 : 201, "the secret is used up with it");
    const { spec } = (await ask(url, "GET", `${at}/members/${name}`, { token: owner })).body;
    assert.equal(spec.roles, [{ role: "owner" }]);
  });
}

// In this order: a gateway destroys at its start what was erased before, and would die there. None lives beside: it would destroy it at once.
for (const place of ["gateway.erasure.before", "gateway.answer.before"]) {
  test(`after a secret's erasure stands in the log, before its key is destroyed (${place}): the next gateway destroys it`, async () => {
    const before = await living();
    const stored = await ask(before.url, "POST", "/v1/organisations/home/secrets", {
      token: owner,
      body: { name: `s${randomBytes(6).toString("hex")}`, value: "to be erased" },
    });
    assert.is(stored.status, 201);
    const { id, organisation } = stored.body;
    before.child.kill("SIGKILL");
    lives = undefined;
    const dying = await start(place);
    const path = `/v1/organisations/home/secrets/${id}`;
    await cutOff(dying, () => ask(dying.url, "DELETE", path, { token: owner, headers: { "if-match": "*" } }));
    assert.equal(await eventsOf(secret, id), ["SecretStored", "SecretErased"]);
    await living();
    const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(config.masterKey), replicas: 1 });
    const refused = await eventually(
      () =>
        sealing.seal({ organisation, subject: id }, "again").then(
          () => undefined,
          (error: unknown) => error,
        ),
      "its key is destroyed",
    );
    assert.is((refused as { _tag?: string })._tag, "Erased");
  });
}

test.run();
