/** Backups and restores that are ended as by a power cut. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { freePort } from "../../local/ports.ts";
import { startOwnNats, testFolder } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { connectNats, type Nats } from "../connection.ts";
import { ensureStreams } from "../streams.ts";
import type { One } from "./fixtures/one.ts";
import { parseBackupKeys } from "./keys.ts";
import { BACKUPS, chunkPath, listIds } from "./manifest.ts";
import { openTarget } from "./open-target.ts";
import { readStream } from "./reader.ts";
import { runBackup } from "./run.ts";
import { verifyBackup } from "./verify.ts";

const test = suite("backups that are cut off", { timeoutMs: 120_000 });
const { signal } = new AbortController();
const key = randomBytes(32).toString("base64");
const keys = parseBackupKeys(key);

async function server() {
  const leaf = { port: await freePort(), user: "leaf", password: "leaf" };
  const { url, user, password } = await startOwnNats({ leaf, sync: "default" });
  const at = { url, user, password };
  return { at, leaf: { host: "127.0.0.1", ...leaf }, nats: await connectNats({ ...at, name: "test" }) };
}

/** @returns how the process ended */
function one(verb: "backup" | "restore", settings: One, dieAt?: string): Promise<string> {
  const file = fileURLToPath(new URL("fixtures/one.ts", import.meta.url));
  const env = {
    ...process.env,
    ONE: JSON.stringify(settings),
    ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
  };
  const child = spawn(process.execPath, [file, verb], { env, stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve) => child.once("exit", (code, by) => resolve(by ?? `${code}`)));
}

async function lines(nats: Nats): Promise<string[]> {
  const found: string[] = [];
  const all = { stream: "EVT_WORK", fromSeq: 1, toSeq: Number.MAX_SAFE_INTEGER, signal };
  for await (const { seq, time, subject, data } of readStream(nats, all))
    found.push(`${seq} ${time} ${subject} ${Buffer.from(data).toString("hex")}`);
  return found;
}

test("a backup that dies is not there, and the next one takes over what it had stored", async ({ defer }) => {
  const { at, leaf, nats } = await server();
  defer(() => nats.close());
  await ensureStreams(nats, ["work"], { feedMaxBytes: 1e7 });
  for (let i = 0; i < 300; i++) await nats.js.publish(`evt.work.01.item.i${i}`, randomBytes(40_000));
  const target = testFolder("target");
  const place = openTarget(target);
  const settings: One = { nats: at, leaf, target, key };
  for (const dieAt of ["backup.put.written:2", "backup.chunk.after:2", "backup.logs", "backup.manifest.before"]) {
    assert.equal(await one("backup", settings, dieAt), "SIGKILL", dieAt);
    assert.deepEqual(await listIds(place, BACKUPS), [], dieAt);
  }
  assert.equal(await one("backup", settings, "backup.manifest.after"), "SIGKILL");
  const [id] = await listIds(place, BACKUPS);
  assert.deepEqual((await verifyBackup({ target: place, keys }, id!)).faults, [
    "there are no data keys here: what is sealed in the log could not be read",
  ]);
  const next = await runBackup({ nats, target: place, keys, version: "0", signal });
  assert.equal(next.stored.bytes, 0);
  // What is damaged or gone is told, by its name.
  const [first, second] = next.streams[0]!.chunks;
  await place.put(chunkPath(first!.name), randomBytes(100));
  await place.remove(chunkPath(second!.name));
  const { faults } = await verifyBackup({ target: place, keys }, next.id);
  assert.equal(faults.filter((fault) => fault.includes(first!.name) || fault.includes(second!.name)).length, 2);
});

test("a restore that dies leaves what says so, and on an empty server it is done again", async ({ defer }) => {
  const { nats } = await server();
  defer(() => nats.close());
  await ensureStreams(nats, ["work"], { feedMaxBytes: 1e7 });
  for (let i = 0; i < 40; i++) await nats.js.publish(`evt.work.01.item.i${i}`, randomBytes(1_000));
  const target = testFolder("target");
  await runBackup({ nats, target: openTarget(target), keys, version: "0", signal });
  const wanted = await lines(nats);
  const empty = await server();
  defer(() => empty.nats.close());
  const settings: One = { nats: empty.at, leaf: empty.leaf, target, key };
  for (const dieAt of ["restore.record:20", "restore.fed", "restore.promoted"]) {
    assert.equal(await one("restore", settings, dieAt), "SIGKILL", dieAt);
    // A second restore into what is half there is refused rather than mixed; whoever began it starts on nothing.
    assert.notEqual(await one("restore", settings), "0");
    await empty.nats.jsm.streams.delete("EVT_WORK");
  }
  assert.equal(await one("restore", settings), "0");
  assert.deepEqual(await lines(empty.nats), wanted);
});

test.run();
