/**
 * A repository that follows another one, on a real socket, through publishers that die at every effect: what the other has is here, as commits
 * of ours, and the real client installs it. What the other one loses, spoils or signs with another key is told, and changes nothing here.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "@millrace/domain/publishing/build.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { closure } from "@millrace/publisher/adapters/ostree/closure.ts";
import { armored, generateKey, withSigner } from "@millrace/publisher/adapters/ostree/keys.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { buildUpdateRepo } from "@millrace/publisher/adapters/ostree/tools.ts";
import { Publishers } from "../faults/deaths-of-builds.ts";
import { eventually } from "../harness/eventually.ts";
import { APP, flatpakWorld, newClient } from "../harness/flatpak-world.ts";
import { callerOf, testGateway } from "../harness/gateway.ts";
import { testPublishing } from "../harness/publishing.ts";
import { testFolder, testNats } from "../harness/servers.ts";
import { serveFolders } from "../harness/serving.ts";
import { deferToEndOfFile, suite } from "../harness/suite.ts";

const test = suite("a mirror", { timeoutMs: 900_000 });
const REF = `app/${APP}/x86_64/stable`;
const RUNTIME = "runtime/org.test.Platform/x86_64/1";
const ALLOW = { MILLRACE_WEBHOOK_ALLOW: "127.0.0.0/8" };
const POINTS = [
  "repository.mirror.before",
  "repository.mirror.looked",
  "repository.mirror.recorded",
  "build.fetch.begun",
  "ostree.intake.placed:3",
  "ostree.lease.written",
  "build.fetch.made",
  "build.fetch.recorded",
  "build.commit.made",
  "publish.commit.made",
  "publish.summary.made",
  "build.published.recorded",
];

const nats = await testNats();
const gateway = await testGateway({
  natsUrl: nats.url,
  natsUser: nats.user,
  natsPassword: nats.pass,
  webhookAllow: "127.0.0.0/8",
});
const caller = callerOf(gateway);
const { expect } = caller;
const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "test", replicas: 1 } as const;
const log = await EventLog.open(connection, ["publishing"]);
deferToEndOfFile(() => log.close());
const data = testFolder("publisher");

test("what another repository has is here whatever dies, and stays whatever that one loses", async (context) => {
  const publishing = await testPublishing(context);
  const { tools } = publishing;
  const upstream = await publishing.repository("upstream");
  const world = flatpakWorld(publishing);
  const key = await generateKey(tools, "Other <other@example.org>");
  const stranger = await generateKey(tools, "Stranger <stranger@example.org>");
  const sign = (by = key, to: Repository = upstream) =>
    withSigner(tools, [by], (signer) => buildUpdateRepo(tools, to.root, { signer }));
  await world.runtime(upstream);
  const first = await world.app(upstream, "one");
  await sign();
  let id = "";
  const place = () => join(data, "publisher/local/repositories", id, "repo");
  const { url, lost } = await serveFolders(context, { upstream: () => upstream.root, ours: place });

  const forbidden = await caller.call("POST", "/repositories", {
    body: { name: "bad", mirror: { url: "http://169.254.169.254/", allowUnsigned: true } },
  });
  assert.equal(forbidden.status, 400, forbidden.text);
  const publishers = new Publishers({ gateway, caller, log, data, publishing, env: ALLOW }, POINTS);
  publishers.start();
  const { said } = publishers;
  const mirror = { url: `${url}/upstream`, gpgKeys: [armored(key.publicKey)], everyMinutes: 60 };
  id = (await expect(201, "POST", "/repositories", { body: { name: "hub", mirror } })).body.id;
  const status = (holds: (status: any) => boolean, what: string) =>
    eventually(
      async () => {
        const { body } = await expect(200, "GET", "/repositories/hub");
        return holds(body.status) ? body.status : undefined;
      },
      `${what}: ${said()}`,
      300_000,
    );
  const builds = async () =>
    (await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((n) => caller.call("GET", `/builds/${n}`))))
      .filter((each) => each.status === 200)
      .map((each) => each.body);
  const look = async (refs?: string[]) => {
    const { at } = (await expect(200, "GET", "/repositories/hub")).body.status.mirror ?? {};
    await expect(202, "POST", "/repositories/hub/mirror", { body: refs === undefined ? {} : { refs } });
    return status((now) => now.mirror?.at !== at && now.mirroring !== true, "it was looked at");
  };
  const settled = () =>
    eventually(
      async () => {
        const all = await builds();
        const isOver = ({ status: { published, state, deltas } }: any) =>
          state === "failed" || (published === "published" && deltas !== undefined);
        return all.length > 0 && all.every(isOver) ? all : undefined;
      },
      `all builds are over: ${said()}`,
      300_000,
    );

  const seen = await status(({ mirror: now }) => now !== undefined, "it was looked at");
  assert.deepEqual([seen.mirror.refs, seen.mirror.found, seen.mirror.signedBy], [2, 0, key.fingerprint]);
  assert.equal((await settled()).length, 2, "an application, and a runtime");
  await eventually(async () => (publishers.died.length === POINTS.length ? true : undefined), said(), 300_000);
  const main = await Repository.open(place());
  assert.deepEqual(
    [...(await main.refs()).keys()].filter((ref) => !ref.startsWith("appstream")),
    [REF, RUNTIME],
  );
  assert.equal(await publishing.fsck(main), undefined);
  for (const { id: each } of await builds()) {
    const types: string[] = [];
    for await (const { events } of readCommits(log.nats, build, each)) types.push(...events.map(({ type }) => type));
    for (const type of ["BuildFetched", "BuildCommitted", "BuildRefsPublished", "BuildPublished"]) {
      assert.equal(types.filter((one) => one === type).length, 1, `${type}: ${types.join(" ")}`);
    }
  }

  const client = await newClient(publishing, "one");
  const gpg = join(publishing.folder, "ours.gpg");
  writeFileSync(gpg, Buffer.from(seen.key.publicKey, "base64"));
  await client.flatpak("remote-add", `--gpg-import=${gpg}`, "ours", `${url}/ours/`);
  await client.flatpak("install", "ours", APP);
  assert.equal(await client.flatpak("run", APP), "one\n");

  // One object of what is new is not there: nothing of it is taken, and it is taken when it is.
  const second = await world.app(upstream, "two");
  await sign();
  const before = await main.ref(REF);
  const file = [...(await closure(upstream, second))].find((name) => name.endsWith(".filez") && !main.has(name))!;
  lost.add(`upstream/objects/${file.slice(0, 2)}/${file.slice(2)}`);
  await look();
  const failed = (await settled()).find(({ status: { state } }) => state === "failed");
  assert.deepEqual([failed.status.failure.step, failed.status.failure.code], ["fetch", "UPSTREAM_WRONG"]);
  assert.equal(await main.ref(REF), before);
  lost.clear();
  const told = await look();
  assert.ok(
    told.mirror.findings.some(({ what }: any) => what === "build"),
    JSON.stringify(told.mirror),
  );
  await settled();
  await eventually(async () => ((await main.ref(REF)) === before ? undefined : true), "two is here", 120_000);
  await client.flatpak("update", APP);
  assert.equal(await client.flatpak("run", APP), "two\n");

  // Another key, an older commit, an end: told, and nothing here is lost.
  const now = await main.ref(REF);
  await sign(stranger);
  assert.equal((await look()).mirror.findings[0].what, "signature");
  await upstream.writeRef(REF, first);
  await sign();
  assert.equal((await look()).mirror.findings[0].what, "older");
  await upstream.removeRef(REF);
  await sign();
  assert.equal((await look()).mirror.findings[0].what, "gone");
  assert.equal(await main.ref(REF), now);
  lost.add("upstream/summary").add("upstream/summary.idx");
  assert.equal((await look()).mirror.findings[0].what, "upstream");
  const other = await newClient(publishing, "two");
  await other.flatpak("remote-add", `--gpg-import=${gpg}`, "ours", `${url}/ours/`);
  await other.flatpak("install", "ours", APP);
  assert.equal(await other.flatpak("run", APP), "two\n");

  // Only what somebody asks for, with what it needs.
  lost.clear();
  await upstream.writeRef(REF, second);
  await sign();
  const asked = { ...mirror, follow: "asked" };
  id = (await expect(201, "POST", "/repositories", { body: { name: "some", mirror: asked } })).body.id;
  const some = (holds: (status: any) => boolean) =>
    eventually(
      async () => {
        const { body } = await expect(200, "GET", "/repositories/some");
        return holds(body.status) ? body.status : undefined;
      },
      said(),
      120_000,
    );
  assert.equal((await some(({ mirror: is }) => is !== undefined)).mirror.refs, 0);
  await expect(202, "POST", "/repositories/some/mirror", { body: { refs: [REF] } });
  assert.equal((await some(({ mirror: is }) => is.taken === 2)).mirror.refs, 2);
  await settled();
  assert.ok((await (await Repository.open(place())).refs()).has(RUNTIME));
  await publishers.stop();
});

test.run();
