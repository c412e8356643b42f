/** Backups of a real server: what is in them, what a restore makes of them, and what is left when one is cut off. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Objm } from "@nats-io/obj";
import { headers } from "@nats-io/transport-node";
import { freePort } from "../../local/ports.ts";
import { startOwnNats, testFolder } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { connectNats, type Nats } from "../connection.ts";
import { DataKeys } from "../datakeys.ts";
import { ensureStreams } from "../streams.ts";
import { parseBackupKeys } from "./keys.ts";
import type { LeafAddress } from "./leaf.ts";
import type { Manifest } from "./manifest.ts";
import { openTarget } from "./open-target.ts";
import { readStream } from "./reader.ts";
import { lastingHeaders } from "./records.ts";
import { type Moment, planRestore, restoreStreams } from "./restore.ts";
import { runBackup } from "./run.ts";

const test = suite("backups", { timeoutMs: 60_000 });
const signal = new AbortController().signal;
const keys = parseBackupKeys(randomBytes(32).toString("base64"));

interface Server {
  readonly nats: Nats;
  readonly leaf: LeafAddress;
}

async function server(): Promise<Server> {
  const leaf = { port: await freePort(), user: "leaf", password: randomBytes(12).toString("hex") };
  const running = await startOwnNats({ leaf, sync: "default" });
  const nats = await connectNats({ url: running.url, user: running.user, password: running.password, name: "test" });
  return { nats, leaf: { host: "127.0.0.1", ...leaf } };
}

/** A batch, all or nothing, as the appender writes it. */
async function batch(nats: Nats, subjects: ReadonlyArray<string>): Promise<void> {
  const id = randomBytes(8).toString("hex");
  for (const [i, subject] of subjects.entries()) {
    const h = headers();
    h.set("Nats-Batch-Id", id);
    h.set("Nats-Batch-Sequence", `${i + 1}`);
    h.set("Nats-Expected-Last-Subject-Sequence", "0");
    if (i < subjects.length - 1) nats.nc.publish(subject, `of ${id}`, { headers: h });
    else {
      h.set("Nats-Batch-Commit", "1");
      await nats.nc.request(subject, `of ${id}`, { headers: h, timeout: 5_000 });
    }
  }
}

async function everything(nats: Nats, stream: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { seq, time, subject, headers: h, data } of readStream(nats, {
    stream,
    fromSeq: 1,
    toSeq: Number.MAX_SAFE_INTEGER,
    signal,
  }))
    found.push(`${seq} ${time} ${subject} ${Buffer.from(lastingHeaders(h))} ${Buffer.from(data)}`);
  return found;
}

async function restored(target: string, id?: string, moment?: Moment): Promise<Server> {
  const empty = await server();
  const source = { target: openTarget(target), keys };
  await restoreStreams(source, await planRestore(source, id, moment), empty, signal);
  return empty;
}

test("a log, data keys and an object store come back with their sequences, times and headers", async ({ defer }) => {
  const { nats } = await server();
  defer(() => nats.close());
  await ensureStreams(nats, ["work", "identity"], { feedMaxBytes: 1e7 });
  for (let i = 0; i < 300; i++) {
    const h = headers();
    h.set("Nats-Msg-Id", `m${i}`);
    h.append("Mixed-Case", "a: b");
    h.append("Mixed-Case", "c");
    await nats.js.publish(
      `evt.work.01.item.i${i % 7}`,
      i % 50 === 0 ? "" : `commit ${i} ü`,
      i % 2 ? { headers: h } : {},
    );
  }
  await batch(nats, ["evt.work.02.item.a", "uniq.work.name.a", "evt.work.02.item.b"]);
  await nats.js.publish("evt.identity.03.token.t", "token");
  const dataKeys = await DataKeys.open(nats, 1);
  const place = { organisation: "org_1", subject: "sec_1" };
  for (let i = 0; i < 4; i++) await dataKeys.write(place, { v: 1, current: `k${i}`, keys: {} }, i);
  await dataKeys.write({ organisation: "org_1", subject: "sec_2" }, { v: 1, current: "k", keys: {} }, 0);
  const store = await new Objm(nats.js).create("ARTEFACTS", { storage: "file" } as never);
  const blob = randomBytes(700_000);
  await store.putBlob({ name: "gone" }, randomBytes(300_000));
  await store.putBlob({ name: "icon" }, blob);
  await store.delete("gone");

  const target = testFolder("backups");
  const manifest = await runBackup({ nats, target: openTarget(target), keys, version: "0", signal });
  assert.deepEqual(manifest.position, { identity: 1, work: 303 });
  assert.deepEqual(manifest.leftOut, ["FEED_IDENTITY", "FEED_WORK", "KV_LEASES"]);

  const again = await restored(target);
  defer(() => again.nats.close());
  for (const stream of ["EVT_WORK", "EVT_IDENTITY", "KV_KEYS", "OBJ_ARTEFACTS"]) {
    assert.deepEqual(await everything(again.nats, stream), await everything(nats, stream), stream);
    const [was, is] = await Promise.all([nats, again.nats].map(({ jsm }) => jsm.streams.info(stream)));
    assert.deepEqual(
      { ...is!.config, metadata: undefined },
      { ...was!.config, metadata: undefined },
      `the configuration of ${stream}`,
    );
    assert.equal(is!.state.last_seq, was!.state.last_seq);
  }
  const back = await (await new Objm(again.nats.js).open("ARTEFACTS")).getBlob("icon");
  assert.ok(back !== null && blob.equals(back));
  assert.equal((await (await DataKeys.open(again.nats, 1)).read(place))?.record.current, "k3");
  // It is a log again: what expects the right sequence is taken, what does not is not, nothing can be deleted.
  const expect = (lastSubjectSequence: number) => ({ expect: { lastSubjectSequence } });
  const seqOf0 = (await nats.jsm.streams.getMessage("EVT_WORK", { last_by_subj: "evt.work.01.item.i0" }))!.seq;
  await assert.rejects(again.nats.js.publish("evt.work.01.item.i0", "x", expect(seqOf0 - 1)), /wrong last sequence/);
  assert.equal((await again.nats.js.publish("evt.work.01.item.i0", "x", expect(seqOf0))).seq, 304);
  await assert.rejects(again.nats.jsm.streams.deleteMessage("EVT_WORK", 5));
});

test("the second backup stores and moves what is new, and both can be restored", async ({ defer }) => {
  const { nats } = await server();
  defer(() => nats.close());
  await ensureStreams(nats, ["work"], { feedMaxBytes: 1e7 });
  const fill = async (count: number) => {
    for (let i = 0; i < count; i += 100)
      await Promise.all(
        Array.from({ length: 100 }, (_, j) => nats.js.publish(`evt.work.01.item.i${j}`, randomBytes(20_000))),
      );
  };
  const target = testFolder("backups");
  const backUp = () => runBackup({ nats, target: openTarget(target), keys, version: "0", signal });
  await fill(900);
  const first = await backUp();
  assert.ok(first.stored.bytes > 17_000_000);
  await fill(100);
  const second = await backUp();
  assert.ok(second.stored.bytes < 7_000_000, `${second.stored.bytes} bytes for 2 MB of news`);
  assert.ok(second.reused.bytes > 10_000_000);
  const nothingNew = await backUp();
  assert.equal(nothingNew.stored.bytes, 0);
  assert.deepEqual(nothingNew.streams[0]!.chunks, second.streams[0]!.chunks);
  const [older, newer] = await Promise.all([restored(target, first.id), restored(target)]);
  defer(() => Promise.all([older.nats.close(), newer.nats.close()]));
  const all = await everything(nats, "EVT_WORK");
  assert.deepEqual(await everything(newer.nats, "EVT_WORK"), all);
  assert.deepEqual(await everything(older.nats, "EVT_WORK"), all.slice(0, 900));
});

test("to a moment: by time and by position, never half of what was written all or nothing", async ({ defer }) => {
  const { nats } = await server();
  defer(() => nats.close());
  await ensureStreams(nats, ["work", "identity"], { feedMaxBytes: 1e7 });
  await nats.js.publish("evt.work.01.item.a", "1");
  await nats.js.publish("evt.identity.01.token.a", "1");
  const between = (await nats.jsm.streams.getMessage("EVT_IDENTITY", { seq: 1 }))!.timestamp;
  await batch(nats, ["evt.work.02.item.b", "evt.work.02.item.c", "evt.work.02.item.d"]);
  await nats.js.publish("evt.work.01.item.e", "5");
  await nats.js.publish("evt.identity.01.token.b", "2");
  const target = testFolder("backups");
  await runBackup({ nats, target: openTarget(target), keys, version: "0", signal });
  const source = { target: openTarget(target), keys };
  const positions = async (moment: Moment) => (await planRestore(source, undefined, moment)).position;
  assert.deepEqual(await positions({ time: between }), { identity: 1, work: 1 });
  assert.deepEqual(await positions({ position: { work: 4 } }), { identity: 2, work: 4 });
  // The third stands in a batch that was acknowledged as a whole.
  assert.deepEqual(await positions({ position: { work: 3 } }), { identity: 2, work: 4 });
  const inBatch = (await nats.jsm.streams.getMessage("EVT_WORK", { seq: 3 }))!.timestamp;
  const whole = (await positions({ time: inBatch })).work!;
  assert.ok(whole === 1 || whole === 4, `${whole}`);
  await assert.rejects(positions({ position: { work: 6 } }), /was later/);
  await assert.rejects(positions({ time: "2999-01-01T00:00:00Z" }), /was later/);
  const back = await restored(target, undefined, { time: between });
  defer(() => back.nats.close());
  assert.deepEqual(await everything(back.nats, "EVT_WORK"), (await everything(nats, "EVT_WORK")).slice(0, 1));
  assert.equal((await back.nats.js.publish("evt.work.01.item.new", "x")).seq, 2);
});

test("under load nothing that was acknowledged before is missing, and no batch is halved", async ({ defer }) => {
  const { nats } = await server();
  defer(() => nats.close());
  await ensureStreams(nats, ["work", "identity"], { feedMaxBytes: 1e7 });
  let writing = true;
  const acknowledged: Record<string, number> = { EVT_WORK: 0, EVT_IDENTITY: 0 };
  const writers = [1, 2, 3].map(async (n) => {
    for (let i = 0; writing; i++) {
      await batch(nats, [`evt.work.01.item.w${n}-${i}a`, `evt.work.01.item.w${n}-${i}b`]);
      // What another context says of it comes after it.
      const { seq } = await nats.js.publish(`evt.identity.01.token.w${n}`, `w${n}-${i}b`);
      acknowledged.EVT_IDENTITY = Math.max(acknowledged.EVT_IDENTITY!, seq);
    }
  });
  const manifests: Manifest[] = [];
  const target = testFolder("backups");
  for (let round = 0; round < 3; round++) {
    const before = acknowledged.EVT_IDENTITY!;
    const manifest = await runBackup({ nats, target: openTarget(target), keys, version: "0", signal });
    assert.ok(manifest.position.identity! >= before, `${manifest.position.identity} after ${before}`);
    manifests.push(manifest);
  }
  writing = false;
  await Promise.all(writers);
  const back = await restored(target, manifests[1]!.id);
  defer(() => back.nats.close());
  const work = await everything(back.nats, "EVT_WORK");
  assert.equal(work.length % 2, 0);
  const there = new Set(work.map((line) => line.split(" ")[2]!));
  for (const said of await everything(back.nats, "EVT_IDENTITY"))
    assert.ok(there.has(`evt.work.01.item.${said.trimEnd().split(" ").at(-1)}`), said);
});

test.run();
