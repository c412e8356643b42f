/**
 * Backup and restore against the plain copy of the same messages by the same client: read by a consumer and written to one file, synced;
 * and published from that file into an empty stream, 256 at once. The plain copy neither compresses, nor encrypts, nor dedupes, nor
 * keeps sequences and times.
 */
import { randomBytes } from "node:crypto";
import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseBackupKeys } from "@millrace/eventlog/backup/keys.ts";
import { openTarget } from "@millrace/eventlog/backup/open-target.ts";
import { planRestore, restoreStreams } from "@millrace/eventlog/backup/restore.ts";
import { runBackup } from "@millrace/eventlog/backup/run.ts";
import { connectNats, logStreamConfig, type Nats } from "@millrace/eventlog/connection.ts";
import { ensureStreams } from "@millrace/eventlog/streams.ts";
import { startNats } from "@millrace/local/nats.ts";
import { freePort } from "@millrace/local/ports.ts";
import { headers } from "@nats-io/transport-node";
import { median, report } from "./measure.ts";

const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 60_000);
const ROUNDS = 3;
const folder = mkdtempSync(join(tmpdir(), "millrace-backup-bench-"));
const keys = parseBackupKeys(randomBytes(32).toString("base64"));
const { signal } = new AbortController();

async function server(name: string) {
  const leaf = { port: await freePort(), user: "leaf", password: "leaf" };
  // As a restore has it: what is written counts when the server has ended and all of it is synced.
  const running = await startNats({ dataDir: join(folder, name), sync: "default", leaf });
  const { url, user, password } = running;
  const nats = await connectNats({ url, user, password, name: "bench" });
  const stop = async () => {
    await nats.close();
    await running.stop();
  };
  return { nats, leaf: { host: "127.0.0.1", ...leaf }, stop };
}

/** Commits as they are: some 700 bytes of JSON, of which little repeats. */
async function fill(nats: Nats): Promise<void> {
  await ensureStreams(nats, ["work"], { feedMaxBytes: 1e7 });
  for (let i = 0; i < MESSAGES; i += 500) {
    await Promise.all(
      Array.from({ length: 500 }, (_, j) => {
        const h = headers();
        h.set("Nats-Msg-Id", `commit-${i + j}`);
        const events = [{ type: "ItemChanged", v: 1, data: { title: randomBytes(120).toString("base64") } }];
        const body = {
          id: `${i + j}`,
          organisation: "org_0000000000qsvc4eme1haea6t5",
          actor: { kind: "token", id: randomBytes(13).toString("hex") },
          command: randomBytes(16).toString("hex"),
          digest: randomBytes(32).toString("hex"),
          at: new Date().toISOString(),
          events,
        };
        return nats.js.publish(`evt.work.01.item.i${(i + j) % 3_000}`, JSON.stringify(body), { headers: h });
      }),
    );
  }
}

async function plainCopy(nats: Nats, file: string): Promise<void> {
  const out = openSync(file, "w");
  const consumer = await nats.js.consumers.get("EVT_WORK");
  const messages = await consumer.consume({ max_messages: 4_000 });
  let parts: Uint8Array[] = [];
  let size = 0;
  for await (const { subject, data, headers: h, info } of messages) {
    const line = Buffer.from(`${subject}\n${h?.get("Nats-Msg-Id")}\n${data.length}\n`);
    parts.push(line, data);
    size += line.length + data.length;
    if (size > 1 << 20 || info.pending === 0) {
      writeSync(out, Buffer.concat(parts));
      parts = [];
      size = 0;
    }
    if (info.pending === 0) break;
  }
  fsyncSync(out);
  closeSync(out);
}

async function plainBack(nats: Nats, file: string): Promise<void> {
  await nats.jsm.streams.add(logStreamConfig("work", {}) as never);
  const bytes = readFileSync(file);
  const under = new Set<Promise<unknown>>();
  for (let at = 0; at < bytes.length; ) {
    const line = () => {
      const end = bytes.indexOf(10, at);
      const text = bytes.toString("utf8", at, end);
      at = end + 1;
      return text;
    };
    const [subject, id, length] = [line(), line(), Number(line())];
    const h = headers();
    h.set("Nats-Msg-Id", id);
    const sent = nats.js
      .publish(subject, bytes.subarray(at, at + length), { headers: h })
      .finally(() => under.delete(sent));
    under.add(sent);
    at += length;
    if (under.size >= 256) await Promise.race(under);
  }
  await Promise.all(under);
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return (performance.now() - began) / 1_000;
}

try {
  const from = await server("from");
  await fill(from.nats);
  const { state } = await from.nats.jsm.streams.info("EVT_WORK");
  const [out, back, outPlain, backPlain]: number[][] = [[], [], [], []];
  for (let round = 0; round < ROUNDS; round++) {
    const file = join(folder, `plain-${round}`);
    const source = { target: openTarget(join(folder, `target-${round}`)), keys };
    outPlain!.push(await seconds(() => plainCopy(from.nats, file)));
    out!.push(await seconds(() => runBackup({ nats: from.nats, ...source, version: "0", signal })));
    if (statSync(file).size < MESSAGES * 300) throw new Error("the plain copy is not whole");
    const [one, other] = [await server(`plain-to-${round}`), await server(`to-${round}`)];
    backPlain!.push(await seconds(() => plainBack(one.nats, file)));
    back!.push(await seconds(async () => restoreStreams(source, await planRestore(source), other, signal)));
    const there = await other.nats.jsm.streams.info("EVT_WORK");
    if (there.state.messages !== MESSAGES) throw new Error("the restore is not whole");
    await Promise.all([one.stop(), other.stop()]);
  }
  const rate = (all: number[]) => `${(state.bytes / 1e6 / median(all)).toFixed(1)} MB/s`;
  const ratio = (ours: number[], theirs: number[]) => median(ours.map((s, i) => theirs[i]! / s));
  const durability = `${MESSAGES} messages, ${(state.bytes / 1e6).toFixed(0)} MB; target synced, server not`;
  report({
    what: "backup, first",
    against: "plain copy",
    ratio: ratio(out!, outPlain!),
    reach: "≥ 0.5",
    ours: rate(out!),
    theirs: rate(outPlain!),
    durability,
  });
  report({
    what: "restore",
    against: "plain copy back",
    ratio: ratio(back!, backPlain!),
    reach: "≥ 0.5",
    ours: rate(back!),
    theirs: rate(backPlain!),
    durability,
  });
  await from.stop();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
