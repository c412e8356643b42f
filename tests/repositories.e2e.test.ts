/** Repositories from HTTP to the disk: made by publishers that are killed in the middle, with one key each, which nobody sees. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type RepositoryKey, repository } from "@millrace/domain/publishing/repository.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { importKey } from "@millrace/publisher/adapters/ostree/keys.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { eventually } from "./harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { spawnPublisher, type TestPublisher } from "./harness/publisher.ts";
import { testPublishing } from "./harness/publishing.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("repositories", { timeoutMs: 240_000 });

const nats = await testNats();
const started = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(started.config);
const { expect } = callerOf(started);
const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "test", replicas: 1 } as const;
const log = await EventLog.open(connection, ["publishing"]);
deferToEndOfFile(() => log.close());
const data = testFolder("publisher");

const publisher = (env: Readonly<Record<string, string>>) => spawnPublisher(started.config, data, env);

async function typesOf(id: string): Promise<string[]> {
  const types: string[] = [];
  for await (const { events } of readCommits(log.nats, repository, id)) types.push(...events.map(({ type }) => type));
  return types;
}

const create = async (name: string): Promise<string> => {
  const body = { name, title: `Of ${name}`, collectionId: "org.test.Stable" };
  return (await expect(201, "POST", "/repositories", { body })).body.id;
};
const until = (name: string, state: string, by: TestPublisher) =>
  eventually(
    async () => {
      const { body } = await expect(200, "GET", `/repositories/${name}`);
      return body.status.state === state ? body : undefined;
    },
    `${name} is ${state}: ${by.said()}`,
    60_000,
  );

test("made once, wherever its publisher is killed; what is missing is told, and tried again", async (context) => {
  const publishing = await testPublishing(context);
  const tools = { MILLRACE_PUBLISHING_TOOLS: JSON.stringify(publishing.programs.env) };
  const without = publisher({ MILLRACE_PUBLISHING_TOOLS: '{"PATH":"/nonexistent"}' });
  const early = await create("early");
  const { status: failed } = await until("early", "failed", without);
  assert.equal(failed.failure.code, "TOOLS_MISSING");
  assert.match(failed.failure.fix, /mill setup/);
  without.child.kill("SIGTERM");
  assert.equal(await without.ended, 0, without.said());

  const names = ["repository.key.made", "repository.key.recorded", "repository.made.after"];
  const ids = [early];
  for (const [index, point] of names.entries()) {
    const doomed = publisher({ ...tools, MILLRACE_DIE_AT: point });
    ids.push(await create(`r-${index}`));
    assert.equal(await doomed.ended, "SIGKILL", doomed.said());
  }
  const last = publisher(tools);
  await expect(202, "POST", "/repositories/early/retry", { body: {} });
  const sealing = await Sealing.open({ nats: log.nats, masterKeys: parseMasterKeys(started.config.masterKey) });
  context.defer(() => sealing.close());
  for (const [index, id] of ids.entries()) {
    const shown = await until(id, "ready", last);
    const types = await typesOf(id);
    assert.deepEqual(
      types.filter((type) => type === "RepositoryKeyMade" || type === "RepositoryMade"),
      ["RepositoryKeyMade", "RepositoryMade"],
    );
    const folder = join(data, "publisher/local/repositories", id, "repo");
    assert.match(readFileSync(join(folder, "config"), "utf8"), /collection-id=org\.test\.Stable/);
    assert.equal(await publishing.fsck(await Repository.open(folder)), undefined);
    // The key that is shown is the one that is kept.
    const { state } = await log.aggregates.load(repository, id);
    const secret = await sealing.unseal(state.keys[0]!.sealed, { organisation: state.organisation, purpose: "a test" });
    const key = await importKey(publishing.tools, secret);
    assert.deepEqual(
      [key.fingerprint, key.publicKey.toString("base64")],
      [shown.status.key.fingerprint, shown.status.key.publicKey],
    );
    const secretText = Buffer.from(secret).toString("base64").slice(0, 60);
    const everything = JSON.stringify([shown, await expect(200, "GET", `/repositories/${id}/history`)]) + last.said();
    assert.ok(!everything.includes(secretText) && !everything.includes('"sealed"'), `${index}: a secret is shown`);
  }
  last.child.kill("SIGTERM");
  assert.equal(await last.ended, 0, last.said());
  const { body } = await eventually(async () => {
    const found = await expect(200, "GET", "/repositories?state=ready&sort=name");
    return found.body.items.length === ids.length ? found : undefined;
  }, "all are listed");
  assert.deepEqual(
    body.items.map(({ spec }: { spec: { name: string } }) => spec.name),
    ["early", "r-0", "r-1", "r-2"],
  );
});

test("seen, signed by another key, and deleted: wherever its publisher is killed, each once", async (context) => {
  const publishing = await testPublishing(context);
  const env = { MILLRACE_PUBLISHING_TOOLS: JSON.stringify(publishing.programs.env) };
  const killedAt = async (point: string, ask: () => Promise<unknown>) => {
    const doomed = publisher({ ...env, MILLRACE_DIE_AT: point });
    await ask();
    assert.equal(await doomed.ended, "SIGKILL", `${point}: ${doomed.said()}`);
  };
  let id = "";
  const anyway = { headers: { "if-match": "*" } };
  await killedAt("repository.announced", async () => {
    id = await create("shaken");
  });
  const place = join(data, "publisher/local/repositories", id);
  await killedAt("repository.rotated.recorded", async () => {
    await eventually(
      async () => ((await expect(200, "GET", "/repositories/shaken")).body.status.settled ? true : undefined),
      "it is settled",
      60_000,
    );
    await expect(202, "POST", "/repositories/shaken/rotate-key", { ...anyway, body: { overlapDays: 0 } });
  });
  assert.ok(existsSync(join(place, "web/shaken.flatpakrepo")));
  await killedAt("repository.removed.files", async () => {
    // The key of before ends at once: three times it is signed and shown anew.
    await eventually(
      async () => {
        const { status } = (await expect(200, "GET", "/repositories/shaken")).body;
        return status.settled && status.otherKeys === undefined ? true : undefined;
      },
      "the old key has ended",
      60_000,
    );
    await expect(204, "DELETE", "/repositories/shaken", anyway);
  });
  const last = publisher(env);
  const types = await eventually(
    async () => {
      const all = await typesOf(id);
      return all.includes("RepositoryRemoved") ? all : undefined;
    },
    `it is removed: ${last.said()}`,
    60_000,
  );
  const once = [
    "RepositoryMade",
    "RepositoryKeyAsked",
    "RepositoryKeyRetired",
    "RepositoryDeleted",
    "RepositoryRemoved",
  ];
  assert.deepEqual(
    once.map((type) => types.filter((each) => each === type).length),
    once.map(() => 1),
  );
  assert.equal(types.filter((type) => type === "RepositoryKeyMade").length, 2);
  assert.ok(!existsSync(place));
  // Its name is free, and its keys can be read by nobody.
  await create("shaken");
  const state = await readKeys(id);
  const sealing = await Sealing.open({ nats: log.nats, masterKeys: parseMasterKeys(started.config.masterKey) });
  context.defer(() => sealing.close());
  for (const { sealed, organisation } of state) {
    await assert.rejects(sealing.unseal(sealed, { organisation, purpose: "a test" }), /Erased/);
  }
  assert.equal(state.length, 2);
  last.child.kill("SIGTERM");
  assert.equal(await last.ended, 0, last.said());
});

/** Every key that a repository ever had, as the log holds it. */
async function readKeys(id: string) {
  const keys: { readonly sealed: RepositoryKey["sealed"]; readonly organisation: string }[] = [];
  for await (const { events, organisation } of readCommits(log.nats, repository, id)) {
    for (const { type, data: of } of events) {
      if (type === "RepositoryKeyMade") keys.push({ sealed: (of as RepositoryKey).sealed, organisation });
    }
  }
  return keys;
}

test("what cannot be asked for says why", async () => {
  await expect(400, "POST", "/repositories", { body: { name: "No" } });
  await expect(400, "POST", "/repositories", { body: { name: "x", collectionId: "one" } });
  await create("twice");
  await expect(409, "POST", "/repositories", { body: { name: "twice" } });
  await expect(422, "POST", "/repositories/twice/retry", { body: {} });
  await expect(404, "GET", "/repositories/none");
  // Its publisher does not run.
  const { body: silent } = await expect(503, "GET", "/repositories/early/contents");
  assert.equal(silent.what, "The node local");
  const { body } = await expect(200, "PATCH", "/repositories/twice", {
    body: { title: "Ours" },
    headers: { "if-match": '"1"' },
  });
  assert.deepEqual([body.spec.title, body.generation], ["Ours", 2]);
});

test.run();
