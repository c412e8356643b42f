/** Builds from HTTP to what clients see, through publishers that are killed on the way; refused where something is wrong. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { deltaFolder } from "@millrace/publisher/adapters/ostree/names.ts";
import { parseCommit } from "@millrace/publisher/adapters/ostree/objects.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { assertOnce, carry, Publishers } from "./faults/deaths-of-builds.ts";
import { eventually } from "./harness/eventually.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { BOUNDARY, bodyOfObjects, develop, namesOf, spawnPublisher } from "./harness/publisher.ts";
import { testPublishing } from "./harness/publishing.ts";
import {
  commitDeveloped,
  isLive,
  patiently,
  prune,
  publishDeveloped,
  pushObjects,
  untilBuild,
} from "./harness/pushes.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("builds from HTTP to clients", { timeoutMs: 240_000 });

const nats = await testNats();
const gateway = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(gateway.config);
const caller = callerOf(gateway);
const { expect, call } = caller;
const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "test", replicas: 1 } as const;
const log = await EventLog.open(connection, ["publishing"]);
deferToEndOfFile(() => log.close());
const data = testFolder("publisher");

test("pushed, committed, published, seen, while one publisher after another dies; refused where it is wrong", async (context) => {
  const publishing = await testPublishing(context);
  const points = ["ostree.intake.placed:3", "publish.summary.made", "build.review.before", "build.review.recorded"];
  const world = { gateway, caller, log, data, publishing };
  const publishers = new Publishers(world, points);
  publishers.start();
  const { said } = publishers;
  const { id: repository } = (await expect(201, "POST", "/repositories", { body: { name: "stable" } })).body;
  await eventually(
    async () => (await expect(200, "GET", "/repositories/stable")).body.status.state === "ready" || undefined,
    `the repository is ready: ${said()}`,
    60_000,
  );
  const one = await develop(publishing, "one");
  const first = await carry({ ...world, repository }, one, publishers);
  assert.deepEqual(publishers.died, points.slice(0, 2));

  const two = await develop(publishing, "two", { context: "[Context]\nshared=network;\n" });
  const body = { repository: "stable", appId: "org.test.Hello" };
  const { number } = (await expect(201, "POST", "/builds", { body })).body.status;
  assert.equal(number, 2);
  const refs = [{ ref: two.ref, commit: two.commit }];
  await expect(200, "POST", `/builds/${number}/refs`, { body: { refs } });
  // Where no publisher answers, it is looked for later: so one answers.
  const wanted = { body: { wanted: [`${two.commit}.commit`] } };
  await patiently(world, 200, "POST", `/builds/${number}/missing-objects`, wanted);
  const early = await expect(422, "POST", `/builds/${number}/commit`, { body: {} });
  assert.equal(early.body.rule, "missing-objects");
  assert.match(early.body.reason, new RegExp(`${two.commit}.commit`));
  // One object under the name of another: named, and nothing of it is kept.
  const [some, other] = await namesOf(two);
  const wrong = bodyOfObjects(two, [some!])
    .toString("latin1")
    .replace(some!, `${"0".repeat(64)}${other!.slice(64)}`);
  const refused = await call("PUT", `/builds/${number}/objects`, {
    body: new Uint8Array(Buffer.from(wrong, "latin1")),
    headers: { "content-type": `multipart/mixed; boundary=${BOUNDARY}` },
  });
  assert.equal(refused.status, 400, refused.text);
  assert.match(refused.body.detail, /^0{64}/);
  assert.ok((await pushObjects(world, number, two)) < (await namesOf(two)).length, "what is there was sent again");
  await expect(202, "POST", `/builds/${number}/commit`, { body: {} });
  await untilBuild(world, number, ({ state }) => state === "ready", said);
  const { body: review } = await expect(200, "GET", `/builds/${number}/review`);
  assert.deepEqual(review.refs[0].permissions, { added: ["shared=network"], removed: [] });
  // Somebody decides about what it may do then; one who asks dies, and it is asked once.
  const policy = { body: { review: "permissions" }, headers: { "if-match": "*" } };
  await expect(200, "PATCH", "/repositories/stable", policy);
  await expect(202, "POST", `/builds/${number}/publish`, { body: {} });
  const questioned = await untilBuild(world, number, (status) => status.published === "reviewing", said);
  const [{ set, ...change }] = questioned.status.review.changes;
  assert.deepEqual(change, { ref: two.ref, application: "org.test.Hello", added: ["shared=network"], removed: [] });
  const rejected = await expect(200, "POST", `/builds/${number}/reject`, { body: { comment: "Why?" } });
  assert.deepEqual(
    [rejected.body.status.published, rejected.body.status.review.decision.comment],
    ["rejected", "Why?"],
  );
  await expect(202, "POST", `/builds/${number}/approve`, { body: { comment: "I see" } });
  const main = await Repository.open(join(data, "publisher/local/repositories", repository, "repo"));
  const live = (status: any) => status.published === "published";
  await untilBuild(world, number, live, said);
  assert.deepEqual(publishers.died, points);

  const back = (await expect(202, "POST", "/builds/1/roll-back", { body: { hold: "2 loses documents" } })).body;
  const rolled = await untilBuild(world, back.status.number, live, said);
  const now = rolled.status.refs[0].published;
  assert.equal(await main.ref(one.ref), now);
  const treeOf = (commit: string) => parseCommit(main.read(`${commit}.commit`)!, "").tree;
  assert.deepEqual([treeOf(now), now === first], [treeOf(first), false]);
  const { number: next } = (await expect(201, "POST", "/builds", { body })).body.status;
  await expect(200, "POST", `/builds/${next}/refs`, { body: { refs } });
  assert.equal((await expect(422, "POST", `/builds/${next}/publish`, { body: {} })).body.rule, "held");
  await expect(200, "POST", `/builds/${back.id}/release-hold`, { body: {} });
  assert.equal((await expect(422, "POST", `/builds/${next}/publish`, { body: {} })).body.rule, "not-ready");
  // The same permissions as were approved of: nobody is asked again.
  await pushObjects(world, next, two);
  await expect(202, "POST", `/builds/${next}/commit`, { body: {} });
  await untilBuild(world, next, ({ state }) => state === "ready", said);
  await expect(202, "POST", `/builds/${next}/publish`, { body: {} });
  const recalled = await untilBuild(world, next, live, said);
  const { id: decidedAbout } = (await expect(200, "GET", `/builds/${number}`)).body;
  assert.equal(recalled.status.review.decision.remembered, decidedAbout);
  const { body: told } = await expect(200, "GET", `/builds/${number}/history`);
  assert.match(JSON.stringify(told), /approved of it: I see/);

  const away = (await expect(202, "POST", `/builds/${next}/unpublish`, { body: {} })).body;
  await untilBuild(world, away.status.number, live, said);
  assert.equal(await main.ref(one.ref), undefined);
  assert.equal((await published(main))?.has(one.ref), false);
  const queue = await expect(200, "GET", "/builds?waiting=true&sort=-priority");
  assert.ok(Array.isArray(queue.body.items));
  await publishers.stop();
});

test("overtaken between its time and its commit, when its publisher had died: it follows what overtook it", async (context) => {
  const publishing = await testPublishing(context);
  const mortal = {
    MILLRACE_PUBLISHING_TOOLS: JSON.stringify(publishing.programs.env),
    MILLRACE_DIE_AT: "build.publish.begun",
  };
  const dies = spawnPublisher(gateway.config, data, mortal);
  const { id } = (await expect(201, "POST", "/repositories", { body: { name: "late" } })).body;
  const dev = await develop(publishing, "slow");
  const number = await commitDeveloped({ caller, repository: "late" }, dev);
  await expect(202, "POST", `/builds/${number}/publish`, { body: {} });
  assert.equal(await dies.ended, "SIGKILL", dies.said());
  // Its time is in the log; something of a later time comes to the same reference.
  const main = await Repository.open(join(data, "publisher/local/repositories", id, "repo"));
  const later = Math.floor(Date.now() / 1_000) + 60;
  const tree = testFolder("overtakes");
  const other = await publishing.commit(main, tree, dev.ref, [`--timestamp=@${later}`]);

  const publishers = new Publishers({ gateway, caller, log, data, publishing }, ["build.publish.anew"]);
  publishers.start();
  const { id: build, status } = await untilBuild({ caller }, number, isLive, publishers.said);
  assert.deepEqual(publishers.died, ["build.publish.anew"]);
  const { published: commit } = status.refs[0];
  const { parent, timestamp } = parseCommit(main.read(`${commit}.commit`)!, commit);
  assert.deepEqual([await main.ref(dev.ref), parent, timestamp], [commit, other, later + 1]);
  await untilBuild({ caller }, number, ({ deltas }) => deltas !== undefined, publishers.said);
  await assertOnce(log, build);
  await publishers.stop();
});

test("what a delta is being made from stays until it is there, although nothing else keeps it", async (context) => {
  const publishing = await testPublishing(context);
  // A delta from an earlier commit is as slow as is wanted.
  const slow = testFolder("slow-flatpak");
  const tools = publishing.programs.env;
  const script = `case "$*" in *--generate-static-delta-from=*) touch begun; until [ -e go ]; do sleep 0.05; done;; esac`;
  writeFileSync(join(slow, "flatpak"), `#!/bin/sh\n(cd ${slow}; ${script})\nPATH=${tools.PATH} exec flatpak "$@"\n`, {
    mode: 0o755,
  });
  const env = {
    MILLRACE_PUBLISHING_TOOLS: JSON.stringify({ ...tools, PATH: `${slow}${delimiter}${tools.PATH}` }),
    MILLRACE_PRUNE_YOUNG_SECONDS: "0",
    MILLRACE_DELTA_DEPTH: "2",
  };
  const publisher = spawnPublisher(gateway.config, data, env);
  const retention = { depth: 0, snapshots: 0, everyHours: 24, graceHours: 0 };
  const { id } = (await expect(201, "POST", "/repositories", { body: { name: "brief", retention } })).body;
  const asking = { caller, repository: "brief" };
  const withDeltas = ({ deltas }: any) => deltas !== undefined;
  const one = await publishDeveloped(asking, await develop(publishing, "brief-one"));
  await untilBuild({ caller }, one.status.number, withDeltas, publisher.said);
  const two = await publishDeveloped(asking, await develop(publishing, "brief-two"));
  await eventually(async () => existsSync(join(slow, "begun")) || undefined, "it is being made", 60_000);
  const main = await Repository.open(join(data, "publisher/local/repositories", id, "repo"));
  const [from, to] = [one, two].map(({ status }) => status.refs[0].published);
  for (let round = 0; round < 2; round++) await prune(asking, "brief");
  assert.ok(main.placed(`${from}.commit`) !== undefined, "it is kept");
  writeFileSync(join(slow, "go"), "");
  await untilBuild({ caller }, two.status.number, withDeltas, publisher.said);
  assert.ok(existsSync(join(main.root, deltaFolder({ from, to }))));
  for (let round = 0; round < 2; round++) await prune(asking, "brief");
  assert.equal(main.find(`${from}.commit`), undefined, "it was kept by nothing else");
  assert.equal(await publishing.fsck(main), undefined);
  publisher.child.kill("SIGTERM");
  await publisher.ended;
});

test("every command of docs/guides/builds.md does what the text says", async (context) => {
  const publishing = await testPublishing(context);
  const publishers = new Publishers({ gateway, caller, log, data, publishing }, []);
  publishers.start();
  const root = resolve(import.meta.dirname, "..");
  const text = readFileSync(join(root, "docs/guides/builds.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1]!);
  assert.ok(blocks.length >= 6, "the guide has its commands in blocks of `sh`");
  const folder = testFolder("publishing-guide");
  const { from } = await develop(publishing, "guide", { app: "org.example.Hello" });
  symlinkSync(from.root, join(folder, "repo"));
  const env = {
    ...process.env,
    PATH: `${join(root, "cli")}${delimiter}${process.env.PATH}`,
    XDG_CONFIG_HOME: folder,
    MILLRACE_URL: gateway.url,
    MILLRACE_TOKEN: gateway.owner,
    MILLRACE_ORG: "home",
  };
  const said = await new Promise<{ failed: boolean; out: string }>((done) => {
    const script = ["-euo", "pipefail", "-c", blocks.join("\n")];
    execFile("bash", script, { cwd: folder, env, timeout: 200_000 }, (error, stdout, stderr) =>
      done({ failed: error !== null, out: stdout + stderr }),
    );
  });
  assert.equal(said.failed, false, `${said.out}\n${publishers.said()}`);
  assert.match(said.out, /objects are to be sent/);
  const { body } = await expect(200, "GET", "/builds/statistics");
  assert.ok(body.published >= 4 && body.publishMs.median > 0, JSON.stringify(body));
  await publishers.stop();
});

test.run();
