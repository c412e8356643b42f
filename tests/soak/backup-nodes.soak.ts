/**
 * A backup over two nodes, one of which is away the second time; restored to three servers, by a restore that is killed on the way and
 * begun anew: every message as it was, on three servers each, and every file of every node.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { restoreNode } from "@millrace/eventlog/backup/files.ts";
import type { One } from "@millrace/eventlog/backup/fixtures/one.ts";
import { parseBackupKeys } from "@millrace/eventlog/backup/keys.ts";
import { BACKUPS, listIds, type Manifest, readManifest } from "@millrace/eventlog/backup/manifest.ts";
import { openTarget } from "@millrace/eventlog/backup/open-target.ts";
import { readStream } from "@millrace/eventlog/backup/reader.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { freePort } from "@millrace/local/ports.ts";
import { ask, eventually, testGateway } from "../harness/gateway.ts";
import { openGrounds } from "../harness/orchestrator.ts";
import { testFolder, testNats, threeServers } from "../harness/servers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("backups of several nodes to several servers", { timeoutMs: 900_000 });
const ONE = fileURLToPath(new URL("../../eventlog/backup/fixtures/one.ts", import.meta.url));
const MILL = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const TUS = { "tus-resumable": "1.0.0" };
const { signal } = new AbortController();

const nats = await testNats();
const masterKey = randomBytes(32).toString("base64");
const key = randomBytes(32).toString("base64");
const folder = testFolder("target");
const source = { target: openTarget(folder), keys: parseBackupKeys(key) };
const env = { MILLRACE_MASTER_KEY: masterKey, MILLRACE_BACKUP_TARGET: folder, MILLRACE_BACKUP_KEY: key };
const nodes = await Promise.all(["attic", "cellar"].map((node) => openGrounds({ nats, node, caddy: false, env })));
const access = { natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass };
const { url, owner } = await testGateway({ ...access, masterKey });

async function uploadTo(node: string, bytes: Buffer): Promise<void> {
  const at = "/v1/organisations/home/uploads";
  const metadata = `node ${Buffer.from(node).toString("base64")}`;
  const { body } = await eventually(
    async () => {
      const headers = { ...TUS, "upload-length": `${bytes.length}`, "upload-metadata": metadata };
      const made = await ask(url, "POST", at, { token: owner, headers });
      return made.status === 201 ? made : undefined;
    },
    `an upload to ${node}`,
    60_000,
  );
  const headers = { ...TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream" };
  const sent = await ask(url, "PATCH", `${at}/${body.id}`, { token: owner, body: bytes, headers });
  assert.equal(sent.status, 204, sent.text);
}

/** A newer one: of a day's the newest is kept. */
async function backUp(): Promise<Manifest> {
  const before = (await listIds(source.target, BACKUPS)).at(-1) ?? "";
  await eventually(
    async () => {
      const asked = await ask(url, "POST", "/v1/system/backups", { token: owner });
      return asked.status < 300 ? true : undefined;
    },
    "a backup can be asked for",
    60_000,
  );
  const id = await eventually(
    async () => {
      const newest = (await listIds(source.target, BACKUPS)).at(-1) ?? "";
      return newest > before ? newest : undefined;
    },
    "it is made",
    120_000,
  );
  return readManifest(source.target, source.keys, id);
}

async function lines(nats: Nats, stream: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { seq, time, subject, data } of readStream(nats, { stream, fromSeq: 1, toSeq: 1e15, signal })) {
    found.push(`${seq} ${time} ${subject} ${createHash("sha256").update(data).digest("hex")}`);
  }
  return found;
}

test("files of both nodes are in it; one that is away leaves its earlier copy; three servers take it, begun anew after a kill", async ({
  defer,
}) => {
  const [attic, cellar] = [await nodes[0]!.start(), await nodes[1]!.start()];
  await Promise.all([attic.ready(), cellar.ready()]);
  const files = { attic: randomBytes(9_000_000), cellar: randomBytes(5_000_000) };
  for (const [node, bytes] of Object.entries(files)) await uploadTo(node, bytes);
  for (let i = 0; i < 20; i++) {
    await ask(url, "POST", "/v1/organisations/home/work-items", {
      token: owner,
      body: { type: "task", title: `${i}` },
    });
  }
  const first = await backUp();
  const seen = ({ nodes: parts }: Manifest) =>
    parts
      .map(({ node, files: count, missing }) => `${node} ${count} ${missing === undefined ? "now" : "of before"}`)
      .sort();
  assert.deepEqual(seen(first), ["attic 1 now", "cellar 1 now"]);
  await cellar.process.kill();
  const { manifest, plain } = await eventually(
    async () => {
      const made = await backUp();
      return seen(made).includes("cellar 1 of before") ? { manifest: made, plain: seen(made) } : undefined;
    },
    "the one that is away is told",
    180_000,
  );
  assert.deepEqual(plain, ["attic 1 now", "cellar 1 of before"]);
  const here = testFolder("here");
  for (const part of manifest.nodes) await restoreNode(source, part, here);
  for (const [node, bytes] of Object.entries(files)) {
    const organisation = (await ask(url, "GET", "/v1/organisations/home", { token: owner })).body.id as string;
    const blob = join(here, "orchestrator", node, "bytes", "blobs", organisation);
    const path = join(blob, createHash("sha256").update(bytes).digest("hex"));
    assert.ok(existsSync(path) && readFileSync(path).equals(bytes), node);
  }

  const leaf = { port: await freePort(), user: "leaf", password: "leaf" };
  const three = await threeServers({ leaf });
  const at = { url: three.urls.join(","), user: three.user, password: three.pass, replicas: 3 as const };
  const settings: One = { nats: at, leaf: { host: "127.0.0.1", ...leaf }, target: folder, key };
  const restore = (dieAt?: string) =>
    new Promise<string>((resolve) => {
      const dying = dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt };
      const child = spawn(process.execPath, [ONE, "restore"], {
        env: { ...process.env, ONE: JSON.stringify(settings), ...dying },
        stdio: ["ignore", "inherit", "inherit"],
      });
      child.once("exit", (code, by) => resolve(by ?? `${code}`));
    });
  assert.equal(await restore("restore.record:15"), "SIGKILL");
  const restored = await connectNats({ ...at, name: "restored" });
  const was = await connectNats({ url: nats.url, user: nats.user, password: nats.pass, name: "was" });
  defer(() => Promise.all([restored.close(), was.close()]));
  assert.notEqual(await restore(), "0", "into what is half there nothing is restored");
  // As whoever begins anew does, with an empty server.
  for (const { stream } of manifest.streams) {
    await eventually(
      () =>
        restored.jsm.streams.delete(stream).then(
          () => undefined,
          (error: { code?: number }) => (error.code === 404 || error.code === 10059 ? true : undefined),
        ),
      `${stream} is gone`,
      30_000,
    );
  }
  assert.equal(await restore(), "0");
  for (const { stream, lastSeq } of manifest.streams) {
    const { config, state, cluster } = await restored.jsm.streams.info(stream);
    assert.deepEqual([config.num_replicas, cluster?.replicas?.length, config.mirror], [3, 2, undefined], stream);
    if (!stream.startsWith("EVT_")) continue;
    assert.equal(state.last_seq, lastSeq, stream);
    assert.deepEqual(await lines(restored, stream), (await lines(was, stream)).slice(0, lastSeq), stream);
  }
  await byCommand(manifest);
});

/** The same as people do it, into three servers of their own; what has something already is left alone. */
async function byCommand(manifest: Manifest): Promise<void> {
  const leaf = { port: await freePort(), user: "leaf", password: "leaf" };
  const three = await threeServers({ leaf });
  const data = join(testFolder("restored"), "data");
  const keyFile = join(testFolder("key"), "backup.key");
  writeFileSync(keyFile, key, { mode: 0o600 });
  const mill = (to: string, ...more: string[]) =>
    promisify(execFile)(process.execPath, [MILL, "backup", "restore", "--data", to, "--replicas", "3", ...more], {
      env: {
        ...process.env,
        MILLRACE_NATS_URL: three.urls[0],
        MILLRACE_NATS_USER: three.user,
        MILLRACE_NATS_PASSWORD: three.pass,
        MILLRACE_LEAF_USER: leaf.user,
        MILLRACE_LEAF_PASSWORD: leaf.password,
        MILLRACE_BACKUP_TARGET: folder,
        MILLRACE_BACKUP_KEY_FILE: keyFile,
      },
    });
  await assert.rejects(mill(data), /--leaf/);
  await mill(data, "--leaf", `127.0.0.1:${leaf.port}`);
  const at = { url: three.urls.join(","), user: three.user, password: three.pass, replicas: 3 as const };
  const restored = await connectNats({ ...at, name: "by-command" });
  try {
    for (const { stream, lastSeq } of manifest.streams) {
      const { config, state } = await restored.jsm.streams.info(stream);
      assert.deepEqual([config.num_replicas, config.mirror], [3, undefined], stream);
      if (stream.startsWith("EVT_")) assert.equal(state.last_seq, lastSeq, stream);
    }
  } finally {
    await restored.close();
  }
  const another = join(testFolder("another"), "data");
  await assert.rejects(mill(another, "--leaf", `127.0.0.1:${leaf.port}`), /have streams already/);
}

test.run();
