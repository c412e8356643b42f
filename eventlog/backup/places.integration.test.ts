/** Targets, keys, and letting go: the same rules for a folder and a bucket. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startS3 } from "../../tests/harness/s3.ts";
import { testFolder } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { serveBytes } from "../bytes-server.ts";
import { BytesStore } from "../bytes-store.ts";
import { makeLogger } from "../logging.ts";
import { ChunkWriter } from "./chunks.ts";
import { backUpNode, filesOf, folderHook, type NodeHook, restoreNode } from "./files.ts";
import { NodeUnreachable, nodeAway } from "./files-away.ts";
import { BackupDamaged, chunkName, parseBackupKeys, unwrap, wrap } from "./keys.ts";
import {
  BACKUPS,
  CHUNKS,
  chunkPath,
  claimTarget,
  ForeignTarget,
  KEYS,
  listIds,
  type Manifest,
  type NodePart,
  newId,
  writeJson,
} from "./manifest.ts";
import { openTarget } from "./open-target.ts";
import { expired, prune, RETENTION } from "./prune.ts";
import { decodeRecords, encodeRecord, headerOf, lastingHeaders } from "./records.ts";
import type { Target } from "./target.ts";

const test = suite("places of backups");
const newKeys = () => parseBackupKeys(randomBytes(32).toString("base64"));
const keys = newKeys();
const DAY = 86_400_000;

const targets: ReadonlyArray<readonly [string, () => Promise<Target>]> = [
  ["a folder", async () => openTarget(join(testFolder("target"), "deep", "er"))],
  [
    "a bucket",
    async () => {
      const s3 = await startS3("backups");
      return openTarget(`s3://backups/home one?endpoint=${s3.url}&region=test-region-1`, s3);
    },
  ],
];

for (const [name, make] of targets) {
  test(`${name}: what is put is there, whole, until it is removed`, async () => {
    const target = await make();
    assert.equal(await target.get("chunks/aa/b"), undefined);
    assert.equal(await target.has("chunks/aa/b"), false);
    await target.remove("chunks/aa/b");
    const content = randomBytes(300_000);
    await target.put("chunks/aa/b", randomBytes(10));
    await target.put("chunks/aa/b", content);
    assert.deepEqual(await target.get("chunks/aa/b"), content);
    for (let i = 0; i < 120; i++) await target.put(`backups/x${i}`, Buffer.from("x"));
    const listed: string[] = [];
    for await (const one of target.list("backups/")) {
      assert.equal(one.bytes, 1);
      assert.ok(Math.abs(one.modifiedMs - Date.now()) < 600_000);
      listed.push(one.name);
    }
    assert.deepEqual(listed.sort(), Array.from({ length: 120 }, (_, i) => `backups/x${i}`).sort());
    await target.remove("chunks/aa/b");
    assert.equal(await target.has("chunks/aa/b"), false);
  });

  test(`${name}: prune marks, then removes a day later; what is named or written again stays`, async () => {
    const target = await make();
    await claimTarget(target, keys);
    const writer = new ChunkWriter(target, keys[0], new Map(), new Set());
    const chunk = async (text: string) => (await (await writer.begin(Buffer.from(text))).kept).name;
    const now = Date.now();
    const backup = async (ageDays: number, chunks: string[]) => {
      const id = newId(now - ageDays * DAY);
      const part = {
        stream: "EVT_X",
        config: {},
        lastSeq: 1,
        messages: 1,
        chunks: chunks.map((one) => ({ name: one })),
      };
      await writeJson(target, keys[0], BACKUPS + id, { v: 1, id, streams: [part], nodes: [] } as unknown as Manifest);
      await writeJson(target, keys[0], KEYS + id, { v: 1, id, at: "", stream: { ...part, chunks: [] } });
      return id;
    };
    const [a, b, c] = [await chunk("a"), await chunk("b"), await chunk("c")];
    const old = await backup(400, [a!, b!]);
    const young = await backup(0, [b!]);
    const keep = { ...RETENTION, daily: 1, weekly: 1, monthly: 1 };
    const first = await prune(target, keys, keep, now + 1_000);
    assert.deepEqual([first.backups, first.keys, first.marked, first.removed], [[old], [old], 2, 0]);
    assert.deepEqual(await listIds(target, BACKUPS), [young]);
    const later = await prune(target, keys, keep, now + DAY / 2);
    assert.deepEqual([later.marked, later.removed], [2, 0]);
    // A backup needs one of them after all.
    await backup(-0.6, [c!, b!]);
    const last = await prune(target, keys, { ...keep, daily: 5 }, now + DAY + 5_000);
    assert.equal(last.removed, 1);
    const left: string[] = [];
    for await (const one of target.list(CHUNKS)) left.push(one.name);
    assert.deepEqual(left.sort(), [chunkPath(b!), chunkPath(c!)].sort());
  });
}

test("a bucket that is busy is asked again; a wrong secret is refused in words, and shows no secret", async () => {
  const s3 = await startS3("backups");
  const where = `s3://backups?endpoint=${s3.url}&region=test-region-1`;
  const target = openTarget(where, s3);
  s3.busy = 2;
  await target.put("a", Buffer.from("x"));
  assert.equal(s3.requests.length, 3);
  const wrong = openTarget(where, { accessKey: s3.accessKey, secretKey: "other" });
  await assert.rejects(wrong.get("a"), /403 SignatureDoesNotMatch; check the access key/);
  await assert.rejects(openTarget(where.replace("//backups", "//elsewhere"), s3).put("a", Buffer.from("x")), /404/);
  assert.throws(() => openTarget(where), /MILLRACE_BACKUP_S3_ACCESS_KEY/);
  assert.throws(() => openTarget("ftp://x"), /absolute path/);
  assert.throws(() => openTarget("s3://backups?secret=x", s3), /not secret/);
});

test("files of another node come over its listener: what hooks tell and nothing else, by ticket; what goes meanwhile is left out", async ({
  defer,
}) => {
  const [there, key] = [testFolder("there"), randomBytes(32)];
  const blobs = join(there, "bytes");
  const content: Record<string, Buffer> = {
    a: randomBytes(9_000_000),
    "sub/b c": randomBytes(10),
    gone: randomBytes(5),
  };
  mkdirSync(join(blobs, "sub"), { recursive: true });
  for (const [name, bytes] of Object.entries(content)) writeFileSync(join(blobs, name), bytes);
  writeFileSync(join(there, "secret"), "not for backups");
  const { signal } = new AbortController();
  const [hook] = [folderHook("uploads", there, "bytes")];
  // It goes when it has been listed.
  const leaky: NodeHook = {
    ...hook,
    async *files(until) {
      yield* hook.files(until);
      rmSync(join(blobs, "gone"), { force: true });
    },
  };
  const server = await serveBytes({
    ...{ node: "attic", host: "127.0.0.1", port: 0, expiryMs: 1_000, keys: [key], complete: async () => true },
    store: await BytesStore.open(join(there, "store"), { quotaBytes: 1 }),
    files: { dataFolder: there, hooks: [leaky] },
    logger: makeLogger({ service: "attic", level: "error" }),
  });
  let stopped: Promise<void> | undefined;
  const stop = () => (stopped ??= server.stop());
  defer(stop);
  const at = { url: `http://127.0.0.1:${server.port}`, node: "attic", ticketKey: key };
  const target = openTarget(testFolder("target"));
  const backUp = async (from: typeof at, before?: NodePart) => {
    const writer = new ChunkWriter(target, keys[0], new Map(), new Set());
    const files = filesOf({ target, keys }, before);
    const part = await backUpNode({ node: "attic", dataFolder: "/", ...nodeAway(from), writer, before: files, signal });
    return { part, stored: writer.stored.bytes };
  };
  const { part } = await backUp(at);
  assert.deepEqual([part.files, part.bytes], [2, 9_000_010]);
  const again = await backUp(at, part);
  assert.deepEqual([again.part.files, again.stored < 10_000], [2, true], "what has not changed is not read again");
  const here = testFolder("here");
  assert.equal(await restoreNode({ target, keys }, part, here), 2);
  for (const name of ["a", "sub/b c"]) assert.deepEqual(readFileSync(join(here, "bytes", name)), content[name]);
  for (const path of ["secret", "bytes/../secret", "/etc/passwd", "bytes", ""]) {
    const reading = nodeAway(at).read({ path, bytes: 1, mode: 0, modifiedMs: 0 }, signal);
    await assert.rejects(reading[Symbol.asyncIterator]().next(), /has gone/, path);
  }
  await assert.rejects(backUp({ ...at, ticketKey: randomBytes(32) }), NodeUnreachable);
  await assert.rejects(backUp({ ...at, node: "cellar" }), NodeUnreachable);
  await stop();
  await assert.rejects(backUp(at), NodeUnreachable);
});

test("nothing but the key opens what was stored, and only under its name", async () => {
  const content = Buffer.from("hello ".repeat(1_000));
  const name = chunkName(keys[0], content);
  const stored = await wrap(keys[0], name, content);
  assert.ok(stored.length < 200 && !stored.includes("hello"));
  assert.deepEqual((await unwrap(keys, name, stored)).content, content);
  await assert.rejects(unwrap(keys, `${name.slice(1)}0`, stored), BackupDamaged);
  await assert.rejects(unwrap(newKeys(), name, stored), /which is not given/);
  for (const at of [0, 30, stored.length - 1]) {
    const changed = Buffer.from(stored);
    changed[at]! ^= 1;
    await assert.rejects(unwrap(keys, name, changed), BackupDamaged);
  }
  await assert.rejects(unwrap(keys, name, stored.subarray(0, 20)), BackupDamaged);
  assert.notEqual(chunkName(newKeys()[0], content), name);
  const target = openTarget(testFolder("target"));
  await claimTarget(target, keys);
  await claimTarget(target, [newKeys()[0], keys[0]]); // a new key above the old one
  await assert.rejects(claimTarget(target, newKeys()), ForeignTarget);
  assert.throws(() => parseBackupKeys("abc"), /line 1/);
});

test("of each of so many days, weeks and months the newest is kept, and the newest of all always", () => {
  const from = Date.UTC(2026, 10, 21, 8);
  const ids = Array.from({ length: 400 }, (_, i) => newId(from - i * DAY)).concat(newId(from - 3_600_000));
  const kept = ids.filter((id) => !expired(ids, { daily: 3, weekly: 2, monthly: 3, keysDays: 1 }).includes(id));
  assert.deepEqual(kept.map((id) => id.slice(0, 8)).sort(), [
    "20260930",
    "20261031",
    "20261115",
    "20261119",
    "20261120",
    "20261121",
  ]);
  assert.deepEqual(expired(ids, { daily: 0, weekly: 0, monthly: 0, keysDays: 1 }).length, 400);
  assert.deepEqual(expired([], RETENTION), []);
});

test("records keep all that a message is; what an append asked of the server does not last", () => {
  const headers = Buffer.from(
    "NATS/1.0\r\nNats-Msg-Id: m\r\nNats-Expected-Last-Subject-Sequence: 5\r\nNats-Batch-Id: b\r\nx: y\r\n\r\n",
  );
  const record = {
    seq: 9_007_199_254_740,
    time: 1_795_000_000_123_456_789n,
    subject: "evt.ü.x",
    headers,
    data: Buffer.from("d"),
  };
  const [back, empty] = [
    ...decodeRecords(
      Buffer.concat([
        encodeRecord(record),
        encodeRecord({ ...record, headers: Buffer.alloc(0), data: Buffer.alloc(0) }),
      ]),
    ),
  ];
  assert.deepEqual(back, record);
  assert.equal(empty!.headers.length + empty!.data.length, 0);
  assert.equal(headerOf(headers, "Nats-Batch-Id"), "b");
  assert.equal(Buffer.from(lastingHeaders(headers)).toString(), "NATS/1.0\r\nNats-Msg-Id: m\r\nx: y\r\n\r\n");
  assert.equal(lastingHeaders(Buffer.from("NATS/1.0\r\nNats-Batch-Id: b\r\n\r\n")).length, 0);
});

test("a node's files: large, empty, deep, unchanged ones are not read again, and go back as they were", async () => {
  const [from, to] = [testFolder("node"), testFolder("back")];
  mkdirSync(join(from, "bytes/blobs/org"), { recursive: true });
  const large = randomBytes(9_000_000);
  writeFileSync(join(from, "bytes/blobs/org/large"), large);
  writeFileSync(join(from, "bytes/blobs/empty"), "");
  writeFileSync(join(from, "bytes/elsewhere"), "no");
  utimesSync(join(from, "bytes/blobs/org/large"), 1_700_000_000, 1_700_000_000);
  const target = openTarget(testFolder("target"));
  const { signal } = new AbortController();
  const hooks = [folderHook("uploads", from, "bytes/blobs"), folderHook("none", from, "bytes/nothing")];
  async function* nothing() {}
  const writer = () => new ChunkWriter(target, keys[0], new Map(), new Set());
  const part = await backUpNode({ node: "n", dataFolder: from, hooks, writer: writer(), before: nothing(), signal });
  assert.deepEqual([part.files, part.bytes], [2, 9_000_000]);
  writeFileSync(join(from, "bytes/blobs/new"), "new");
  const second = writer();
  const source = { target, keys };
  const again = await backUpNode({
    node: "n",
    dataFolder: from,
    hooks,
    writer: second,
    before: filesOf(source, part),
    signal,
  });
  assert.equal(again.files, 3);
  assert.ok(second.stored.bytes < 10_000 && second.reused.bytes === 9_000_000);
  assert.equal(await restoreNode(source, again, to), 3);
  assert.equal(await restoreNode(source, again, to), 0);
  assert.deepEqual(readFileSync(join(to, "bytes/blobs/org/large")), large);
  assert.equal(statSync(join(to, "bytes/blobs/org/large")).mtimeMs, 1_700_000_000_000);
  assert.equal(existsSync(join(to, "bytes/elsewhere")), false);
  assert.deepEqual(readdirSync(join(to, "bytes/blobs")).sort(), ["empty", "new", "org"]);
});

test.run();
