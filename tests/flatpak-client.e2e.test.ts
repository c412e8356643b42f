/** The real `flatpak` against what is published: it adds, installs, runs, updates, goes back, moves on; with keys, tokens, snapshots. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { signJwt } from "@millrace/gateway/flat-manager/jwt.ts";
import { closure, walk } from "@millrace/publisher/adapters/ostree/closure.ts";
import { armored, generateKey } from "@millrace/publisher/adapters/ostree/keys.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { startPublisher } from "@millrace/publisher/start.ts";
import { eventually } from "./harness/eventually.ts";
import { APP, flatpakWorld, newClient } from "./harness/flatpak-world.ts";
import { ask, callerOf, testGateway } from "./harness/gateway.ts";
import { type Developed, develop } from "./harness/publisher.ts";
import { testPublishing } from "./harness/publishing.ts";
import { isLive, type Publishing, prune, publishDeveloped, untilBuild } from "./harness/pushes.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { serveRepositories } from "./harness/serving.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the real client", { timeoutMs: 240_000 });
const REF = `app/${APP}/x86_64/stable`;

test("from the key to the end of an application", async (context) => {
  const publishing = await testPublishing(context);
  const nats = await testNats();
  const flatSecret = randomBytes(32);
  const flatManager = { secret: flatSecret.toString("base64"), repos: { stable: { path: "repo", subsets: {} } } };
  const gateway = await testGateway({
    natsUrl: nats.url,
    natsUser: nats.user,
    natsPassword: nats.pass,
    flatManagerConfig: JSON.stringify(flatManager),
  });
  const caller = callerOf(gateway);
  const { expect } = caller;
  const data = testFolder("served");
  const address = await serveRepositories(context, data, gateway.url);
  const publisher = await startPublisher(
    {
      natsUrl: nats.url,
      natsUser: nats.user,
      natsPassword: nats.pass,
      replicas: 1,
      node: "local",
      data,
      masterKey: gateway.config.masterKey,
      tools: publishing.programs.env,
      leaseSeconds: 5,
      concurrency: 2,
      buildsAtOnce: 2,
      deltasAtOnce: 1,
      deltaDepth: 2,
      buildDays: 30,
      mirrorsAtOnce: 1,
      mirrorGib: 1,
      bytesListen: "127.0.0.1:0",
      publicUrl: address,
      pruneYoungSeconds: 0,
      scrubMib: 0,
      manifestsAtOnce: 1,
      buildMinutes: 10,
      buildMemoryMib: 1_024,
      buildDiskMib: 1_024,
      buildJobs: 1,
      buildArtefactMib: 0,
    },
    makeLogger({ service: "publisher", level: "error" }),
  );
  context.defer(() => publisher.stop());

  const settled = (name: string) =>
    eventually(
      async () => {
        const { body } = await expect(200, "GET", `/repositories/${name}`);
        assert.notEqual(body.status.state, "failed", JSON.stringify(body.status));
        return body.status.settled === true ? body : undefined;
      },
      `${name} is settled`,
      60_000,
    );
  let changes = 0;
  /** Clients see what was exported. */
  const publish = async (more: object = {}) => {
    const body = { comment: `Change ${++changes}`, ...more };
    await expect(200, "PATCH", "/repositories/stable", { body, headers: { "if-match": "*" } });
    return settled("stable");
  };
  const given = await generateKey(publishing.tools, "Given <given@example.org>");
  const { id } = (
    await expect(201, "POST", "/repositories", {
      body: {
        name: "stable",
        title: "Ours",
        description: "All of it.\nReally.",
        secretKey: armored(given.secretKey).replaceAll("PUBLIC KEY", "PRIVATE KEY"),
      },
    })
  ).body;
  const { status } = await settled("stable");
  assert.deepEqual([status.key.fingerprint, status.url], [given.fingerprint, `${address}/repo/stable/`]);
  const place = join(data, "publisher/local/repositories", id);
  const repository = await Repository.open(join(place, "repo"));
  const world = flatpakWorld(publishing);
  await world.runtime(repository);
  const dev = await publishing.repository("dev");
  const developed = async (says: string, app = APP): Promise<Developed> => {
    const commit = await world.app(dev, says, { id: app });
    return { from: dev, ref: `app/${app}/x86_64/stable`, commit };
  };
  /** Pushed, committed and published as a user does. @returns its number and commit */
  const pushed = async (what: Developed, more: Partial<Publishing> = {}) => {
    const { status: told } = await publishDeveloped({ caller, repository: "stable", ...more }, what);
    return { number: told.number as number, commit: told.refs[0].published as string };
  };
  // What lay there already is signed with the next change.
  await publish();
  const { number: begun, commit: first } = await pushed(await developed("one"));

  const one = await newClient(publishing, "one");
  const other = await generateKey(publishing.tools, "Other <other@example.org>");
  const wrong = join(publishing.folder, "wrong.gpg");
  writeFileSync(wrong, other.publicKey);
  assert.match(await one.refused("remote-add", `--gpg-import=${wrong}`, "wrong", status.url), /GPG|signature/i);
  await one.flatpak("remote-add", "stable", `${status.url}stable.flatpakrepo`);
  assert.match(await one.flatpak("remotes", "--columns=name,title,comment"), /stable\tOurs\tChange 1/);
  await one.flatpak("install", "stable", APP);
  assert.equal(await one.flatpak("run", APP), "one\n");

  // Four push at once, while everything that nothing leads to yet is pruned, and somebody installs.
  const two = await newClient(publishing, "two");
  await two.flatpak("remote-add", "stable", `${status.url}stable.flatpakrepo`);
  const next = "org.test.Next";
  const four = [await developed("two"), await developed("three", next)];
  for (const app of ["org.test.A", "org.test.B"]) four.push(await develop(publishing, "four", { app }));
  const pruning = new AbortController();
  const pushing = Promise.all(
    four.map((each, at) => pushed(each, at === 1 ? { terms: { subsets: ["verified"] } } : {})),
  );
  const [[newest], prunes] = await Promise.all([
    pushing.finally(() => pruning.abort()),
    pruneUntil(pruning.signal, caller),
    two.flatpak("install", "stable", "runtime/org.test.Platform/x86_64/1"),
  ]);
  assert.ok(prunes > 0, "nothing was pruned meanwhile");
  const { number: latest, commit: second } = newest!;
  for (const [, commit] of await repository.refs("app")) await closure(repository, commit);
  assert.equal(await publishing.fsck(repository), undefined);

  // Only the delta has what is new: the loose objects of the new content are put away.
  await untilBuild({ caller }, latest, ({ deltas }) => deltas?.made === 2);
  const before = await closure(repository, first);
  const away = [...(await closure(repository, second))].filter((name) => name.endsWith(".filez") && !before.has(name));
  for (const name of away) renameSync(repository.path(name), `${repository.path(name)}.away`);
  // libostree asks for an object now and then although the delta brings it: then it is tried again.
  let updates = 0;
  const update = () => {
    updates++;
    return one.flatpak("update", APP).then(Boolean, () => undefined);
  };
  await eventually(update, "updated by the delta alone", 60_000);
  for (const name of away) renameSync(`${repository.path(name)}.away`, repository.path(name));
  assert.equal(await one.flatpak("run", APP), "two\n");
  const { snapshots, refs } = (await expect(200, "GET", "/repositories/stable/contents")).body;
  assert.equal(refs.find(({ ref }: { ref: string }) => ref === REF).commit, second);

  const { number: back } = (await expect(202, "POST", `/builds/${begun}/roll-back`, { body: {} })).body.status;
  await untilBuild({ caller }, back, isLive);
  await one.flatpak("update", APP);
  assert.equal(await one.flatpak("run", APP), "one\n");

  // As it was before.
  await two.flatpak("remote-add", `--gpg-import=${place}/web/key.gpg`, "then", snapshots[0].url);
  await two.flatpak("install", "then", APP);
  assert.equal(await two.flatpak("run", APP), "two\n");

  // Both keys sign, and whoever asks learns the new one.
  await expect(202, "POST", "/repositories/stable/rotate-key", {
    body: { overlapDays: 1 },
    headers: { "if-match": "*" },
  });
  const rotated = await eventually(async () => {
    const { body } = await expect(200, "GET", "/repositories/stable");
    return body.status.otherKeys !== undefined && body.status.settled ? body : undefined;
  }, "another key signs, too");
  assert.equal(rotated.status.otherKeys[0].fingerprint, given.fingerprint);
  const three = await newClient(publishing, "three");
  const fresh = join(publishing.folder, "fresh.gpg");
  writeFileSync(fresh, Buffer.from(rotated.status.key.publicKey, "base64"));
  await three.flatpak("remote-add", `--gpg-import=${fresh}`, "stable", status.url);
  await three.flatpak("install", "stable", APP);
  await one.flatpak("update");

  // A subset: what is in it, and nothing else, from the same repository.
  await three.flatpak("remote-add", "verified", `${status.url}stable-verified.flatpakrepo`);
  await three.flatpak("remote-add", "--subset=verified", `--gpg-import=${fresh}`, "same", status.url);
  for (const remote of ["verified", "same"]) {
    assert.equal(await three.flatpak("remote-ls", remote, "--columns=application"), `${next}\n`);
  }
  await three.refused("install", "verified", APP);
  await three.flatpak("install", "verified", next);
  assert.equal(await three.flatpak("run", next), "three\n");

  // An application that goes by another name: nothing of it is sent again.
  const now = (await repository.ref(REF))!;
  const terms = { endOfLife: "It is called Next now", endOfLifeRebase: next };
  await pushed({ from: repository, ref: REF, commit: now }, { terms });
  await one.flatpak("update");
  assert.match(await one.flatpak("list", "--app", "--columns=application"), /org\.test\.Next/);
  assert.equal(await one.flatpak("run", next), "three\n");

  // Private: with a token, and only for what it is for.
  await publish({ visibility: "private" });
  const closed = await newClient(publishing, "closed");
  const key = `--gpg-import=${place}/web/key.gpg`;
  await closed.refused("remote-add", key, "none", status.url);
  const token = async (name: string, grants: string[]) =>
    (await expect(201, "POST", "/tokens", { body: { name, grants } })).body as { id: string; secret: string };
  const reader = await token("reader", [`publishing:download@${id}`]);
  const limited = await token("limited", [`publishing:download@${id}`]);
  const stranger = await token("stranger", ["publishing:read"]);
  const urlWith = ({ secret }: { secret: string }) => status.url.replace("://", `://user:${secret}@`);
  await publish({ readers: [{ token: limited.id, applications: ["org.test.Platform", APP] }] });
  const answered = (secret: string, path: string) =>
    ask(address, "GET", `/repo/stable/${path}`, {
      headers: { authorization: `Basic ${Buffer.from(`user:${secret}`).toString("base64")}` },
    }).then(({ status: code }) => code);
  assert.equal(await answered(stranger.secret, "summary.idx"), 403);
  // The client adds what answers 403 all the same (1.14); it installs nothing from there.
  await closed.flatpak("remote-add", key, "stranger", urlWith(stranger));
  await closed.refused("install", "stranger", next);
  await closed.flatpak("remote-add", key, "reader", urlWith(reader));
  await closed.flatpak("install", "reader", next);
  assert.equal(await closed.flatpak("run", next), "three\n");
  const narrow = await newClient(publishing, "narrow");
  await narrow.flatpak("remote-add", key, "limited", urlWith(limited));
  await narrow.flatpak("install", "limited", "runtime/org.test.Platform/x86_64/1");
  // Not by name either: what only the other application has is refused, what is shared is not.
  const heads = await repository.refs();
  const nextRef = `app/${next}/x86_64/stable`;
  const theirs = await closure(repository, heads.get(nextRef)!);
  const mine = [...heads].filter(([ref]) => ref !== nextRef).map(([, commit]) => `${commit}.commit`);
  const { objects: ours } = await walk(repository, mine, { depth: -1, looksForFiles: false });
  const at = (name: string) => `objects/${name.slice(0, 2)}/${name.slice(2)}`;
  const [alone] = [...theirs].filter((name) => name.endsWith(".filez") && !ours.has(name));
  const [own] = [...(await closure(repository, heads.get("runtime/org.test.Platform/x86_64/1")!))].filter((name) =>
    name.endsWith(".filez"),
  );
  const paths = [at(alone!), at(own!), `refs/heads/${nextRef}`, `${next}.flatpakref`];
  const codes = (secret: string) => Promise.all(paths.map((path) => answered(secret, path)));
  assert.deepEqual(await codes(limited.secret), [403, 200, 403, 403]);
  assert.deepEqual(await codes(reader.secret), [200, 200, 200, 200]);
  // A token of flat-manager, as its clients send it.
  const signed = (claims: object) =>
    signJwt(flatSecret, {
      ...{ sub: "build", exp: Math.floor(Date.now() / 1_000) + 600, name: "ci", scope: ["download"] },
      ...{ prefixes: [""], apps: [], repos: ["stable"], ...claims },
    });
  assert.deepEqual(await codes(signed({})), [200, 200, 200, 200]);
  assert.deepEqual(await codes(signed({ prefixes: ["org.test.Platform"] })), [403, 200, 403, 403]);
  assert.deepEqual(await codes(signed({ scope: ["jobs"] })), [403, 403, 403, 403]);
  assert.deepEqual(await codes(signed({ repos: ["other"] })), [403, 403, 403, 403]);
  assert.deepEqual(await codes(signed({ exp: 1 })), [401, 401, 401, 401]);
  await eventually(async () => ((await narrow.refused("install", "limited", next)) ? true : undefined), "403");
  await expect(204, "DELETE", `/tokens/${reader.id}`, { headers: { "if-match": "*" } });
  await eventually(
    async () => ((await answered(reader.secret, "summary.idx")) === 401 ? true : undefined),
    "a revoked token installs nothing",
  );

  const counted = async () => {
    const { days } = (await expect(200, "GET", `/repositories/stable/statistics?ref=${encodeURIComponent(REF)}`)).body;
    const of = (commit: string) => days.filter((row: { commit: string }) => row.commit === commit);
    return [of(first), of(second)].map((rows) =>
      rows.map((row: { installs: number; updates: number }) => [row.installs, row.updates]),
    );
  };
  // Caddy writes its log when it likes.
  const wanted = [[[1, 0]], [[1, updates]]];
  await eventually(
    async () => (JSON.stringify(await counted()) === JSON.stringify(wanted) ? true : undefined),
    "all are counted",
  ).catch(async () => assert.deepEqual(await counted(), wanted));

  // What a disk lost is found; what nothing leads to goes, and is still served for a time.
  const file = away[0]!;
  const bytes = readFileSync(repository.path(file));
  bytes[bytes.length - 1]! ^= 1;
  rmSync(repository.path(file));
  writeFileSync(repository.path(file), bytes);
  await expect(202, "POST", "/repositories/stable/validate", { body: {} });
  const validated = await eventually(async () => {
    const { body } = await expect(200, "GET", "/repositories/stable");
    return body.status.validation;
  }, "it is validated");
  assert.deepEqual([validated.found, validated.findings[0].name], [1, file]);
  const retention = { depth: 0, snapshots: 0, everyHours: 24, graceHours: 1 };
  await publish({ retention });
  const preview = (await expect(200, "GET", "/repositories/stable/prune")).body;
  assert.ok(preview.unreachable > 0 && preview.examples.includes(file), JSON.stringify(preview));
  const pruned = await prune({ caller }, "stable");
  assert.deepEqual([pruned.quarantined, pruned.deleted], [preview.unreachable, 0]);
  assert.ok(!existsSync(repository.path(file)) && existsSync(repository.quarantined(file)));
  assert.equal(await publishing.fsck(repository), undefined);

  await expect(204, "DELETE", "/repositories/stable", { headers: { "if-match": "*" } });
  await expect(404, "GET", "/repositories/stable");
  await eventually(async () => (existsSync(place) ? undefined : true), "its files are gone");
  assert.equal((await ask(address, "GET", "/repo/stable/summary.idx")).status, 401);
});

/** Again and again. @returns how often */
async function pruneUntil(signal: AbortSignal, caller: ReturnType<typeof callerOf>): Promise<number> {
  for (let count = 1; ; count++) {
    await prune({ caller }, "stable");
    if (signal.aborted) return count;
    await pause(300, signal);
  }
}

test.run();
