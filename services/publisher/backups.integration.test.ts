/** Files of a publisher's node in backups, over its listener: while it is published into and pruned; put back, whole for the tools and for clients. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ChunkWriter } from "@millrace/eventlog/backup/chunks.ts";
import { backUpNode, filesOf, restoreNode } from "@millrace/eventlog/backup/files.ts";
import { answerFiles, nodeAway } from "@millrace/eventlog/backup/files-away.ts";
import { parseBackupKeys } from "@millrace/eventlog/backup/keys.ts";
import { openTarget } from "@millrace/eventlog/backup/open-target.ts";
import { type Developed, develop } from "../../tests/harness/publisher.ts";
import { testPublishing } from "../../tests/harness/publishing.ts";
import { suite } from "../../tests/harness/suite.ts";
import { announce, promote } from "./adapters/ostree/builds.ts";
import { generateKey } from "./adapters/ostree/keys.ts";
import { prune } from "./adapters/ostree/prune.ts";
import { Repository } from "./adapters/ostree/repository.ts";
import { published } from "./adapters/ostree/summary.ts";
import { publisherHooks } from "./backups.ts";
import { OpenRepositories, repositoryFolder, withKeysOf } from "./places.ts";

const test = suite("backups of a publisher's node", { timeoutMs: 120_000 });
const ID = "rep_01kajzq4v0e8r9t2m5x7c3d6fg";
const BUILD = "bld_01kajzq4v0e8r9t2m5x7c3d6fg";

test("published into and pruned while it is backed up; what is restored passes fsck, and a client reads it", async (context) => {
  const publishing = await testPublishing(context);
  const { tools } = publishing;
  const data = join(publishing.folder, "data");
  const folder = join(data, "publisher/local/repositories");
  const repositories = new OpenRepositories();
  context.defer(() => repositories.signers.close());
  const place = { name: "local", folder, repositories };
  const main = await Repository.init(tools, repositoryFolder(place, ID));
  const own = join(folder, ID);
  for (const [path, text] of Object.entries({
    "web/index.html": "page",
    "snapshots/20261121t080000z/summary.idx": "earlier",
    [`builds/${BUILD}/upload/config`]: "of a build",
    [`builds/${BUILD}/upload/tmp/half`]: "half written",
    "../../statistics.jsonl": "{}",
    "../../home/secret": "not for backups",
  })) {
    mkdirSync(join(own, path, ".."), { recursive: true });
    writeFileSync(join(own, path), text);
  }
  const key = await generateKey(tools, "Test");
  const sealing = { unseal: () => Promise.resolve(key.secretKey) } as never;
  const keys = [{ fingerprint: key.fingerprint, user: "Test", publicKey: "", sealed: {} as never }];
  const signed = <T>(use: Parameters<typeof withKeysOf<T>>[2]) =>
    withKeysOf({ sealing, tools, repositories }, { organisation: "org", keys }, use);
  const publish = (dev: Developed) =>
    repositories.writing([ID], () =>
      signed((signer) =>
        promote(tools, { from: dev.from, to: main }, [{ ref: dev.ref, commit: dev.commit }], { signer }),
      ),
    );
  const tell = () =>
    repositories.inTurn(ID, () =>
      repositories.writing([ID], () => signed((signer) => announce(tools, main, { signer }))),
    );
  const clear = () =>
    repositories.clearing(ID, async () =>
      prune(main, await repositories.leases(place, ID), { depth: 0, youngMs: 0, graceMs: 3_600_000 }),
    );
  const versions: Developed[] = [];
  for (const [second, version] of ["one", "two", "three"].entries()) {
    versions.push(await develop(publishing, version, { timestamp: `@${1_800_000_000 + second}` }));
  }
  await publish(versions[0]!);
  await tell();

  const hooks = publisherHooks(place as never, data);
  const { signal } = new AbortController();
  const server = createServer(
    (request, response) => void answerFiles({ dataFolder: data, hooks }, request, response, signal),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.defer(() => void server.close());
  const away = nodeAway({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    node: "local",
    ticketKey: new Uint8Array(32),
  });
  const target = openTarget(join(publishing.folder, "target"));
  const source = { target, keys: parseBackupKeys(randomBytes(32).toString("base64")) };
  let told = 0;
  /** Between the listing and the reading of each file the world goes on. */
  const during = async () => {
    const next = versions[++told];
    if (next === undefined) return;
    await publish(next);
    await tell();
    assert.ok((await clear()).quarantined > 0, "what was published at first is no longer led to");
  };
  let read = 0;
  const writer = () => new ChunkWriter(target, source.keys[0], new Map(), new Set());
  const part = await backUpNode({
    node: "local",
    dataFolder: data,
    hooks: away.hooks,
    async *read(file, stop) {
      if (read++ < 2) await during();
      yield* away.read(file, stop);
    },
    writer: writer(),
    before: (async function* () {})(),
    signal,
  });
  assert.equal(told, 2);
  assert.equal(await main.ref(versions[0]!.ref), versions[2]!.commit);

  const back = join(publishing.folder, "back");
  await restoreNode(source, part, back);
  const at = { folder: join(back, "publisher/local/repositories") };
  const restored = await Repository.open(repositoryFolder(at, ID));
  await restored.ensureFolders();
  assert.equal(await publishing.fsck(restored), undefined);
  // As it was when the backup began: references and what clients are told fit each other.
  assert.equal(await restored.ref(versions[0]!.ref), versions[0]!.commit);
  assert.equal((await published(restored))?.get(versions[0]!.ref), versions[0]!.commit);
  const client = await publishing.repository("client");
  await tools.run("ostree", [
    `--repo=${client.root}`,
    "remote",
    "add",
    "--no-gpg-verify",
    "it",
    `file://${restored.root}`,
  ]);
  await tools.run("ostree", [`--repo=${client.root}`, "pull", "--mirror", "it", versions[0]!.ref]);
  assert.equal(await publishing.fsck(client), undefined);
  const beside = join(at.folder, ID);
  assert.deepEqual(readdirSync(join(beside, "builds", BUILD, "upload")), ["config"]);
  assert.deepEqual(readdirSync(join(beside, "snapshots")), ["20261121t080000z"]);
  assert.deepEqual(readdirSync(join(back, "publisher/local")).sort(), ["repositories", "statistics.jsonl"]);

  // The next one reads what is new, and is the newest.
  const second = writer();
  const again = await backUpNode({
    ...{ node: "local", dataFolder: data, hooks: away.hooks, read: away.read, writer: second },
    ...{ before: filesOf(source, part), signal },
  });
  assert.ok(second.reused.chunks > 0 || second.reused.bytes > 0);
  const later = join(publishing.folder, "later");
  await restoreNode(source, again, later);
  const newest = await Repository.open(repositoryFolder({ folder: join(later, "publisher/local/repositories") }, ID));
  await newest.ensureFolders();
  assert.equal(await publishing.fsck(newest), undefined);
  assert.equal((await published(newest))?.get(versions[2]!.ref), versions[2]!.commit);
});

test.run();
