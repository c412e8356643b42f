/**
 * OSTree in TypeScript against its own tools and against bare disk: verifying every object, finding what is unreachable, taking uploads.
 * 200 references of 200 files each, or `BENCH_REFS` of them on a machine that is busy.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { publishingPrograms } from "@millrace/local/flatpak.ts";
import { receiveUpload } from "@millrace/publisher/adapters/ostree/intake.ts";
import { Leases } from "@millrace/publisher/adapters/ostree/leases.ts";
import { planPrune } from "@millrace/publisher/adapters/ostree/prune.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { Tools } from "@millrace/publisher/adapters/ostree/tools.ts";
import { verifyFile } from "@millrace/publisher/adapters/ostree/verify.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { seconds } from "./publishing.ts";
import { fillObjects } from "./trees.ts";

const REFS = Number(process.env.BENCH_REFS ?? 200);
const FILES = 200;
const ROUNDS = 3;
const BATCH = 4 * 1024 * 1024;

const shown = (all: ReadonlyArray<number>): string => `${median(all).toFixed(2)} s`;
const durability = `${REFS} references of ${FILES} files`;

const programs = await publishingPrograms({ bring: true });
if (!("env" in programs)) {
  console.log(`skipped: ${programs.why}`);
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), "millrace-ostree-"));
try {
  const tools = await Tools.open({ env: programs.env, home: join(folder, "home") });
  const { repository } = await fillObjects(tools, join(folder, "repo"), {
    refs: REFS,
    files: FILES,
    tree: join(folder, "tree"),
  });
  const names = (await Array.fromAsync(repository.objects())).flat();
  console.log(`${names.length} objects of ${REFS} references`);
  await verifying(tools, repository, names);
  await reaching(tools, repository, names.length);
  await uploading(tools, repository, names);
  console.log(`memory at its highest: ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function verifying(tools: Tools, repository: Repository, names: ReadonlyArray<string>): Promise<void> {
  const measured = await inTurn(
    ROUNDS,
    () =>
      seconds(async () => {
        for (const name of names) await verifyFile(name, repository.path(name));
      }),
    () => seconds(() => tools.run("ostree", [`--repo=${repository.root}`, "fsck", "--quiet"])),
  );
  const row = {
    ours: shown(measured.ours),
    theirs: shown(measured.theirs),
    durability,
    ratio: ratioOf(measured, Number),
  };
  report({ what: `verifying ${names.length} objects`, against: "ostree fsck", reach: "≤ 1.1", ...row });
}

async function reaching(tools: Tools, repository: Repository, count: number): Promise<void> {
  const leases = await Leases.open(repository);
  const options = { depth: -1, youngMs: 0, graceMs: 0 };
  const args = [`--repo=${repository.root}`, "prune", "--refs-only", "--no-prune"];
  const measured = await inTurn(
    ROUNDS,
    () => seconds(() => planPrune(repository, leases, options)),
    () => seconds(() => tools.run("ostree", args)),
  );
  const row = {
    ours: shown(measured.ours),
    theirs: shown(measured.theirs),
    durability,
    ratio: ratioOf(measured, Number),
  };
  report({
    what: `what is unreachable of ${count} objects`,
    against: "ostree prune --no-prune",
    reach: "≤ 1.1",
    ...row,
  });
}

interface Batch {
  readonly body: Buffer;
  readonly files: ReadonlyArray<{ readonly name: string; readonly at: number; readonly bytes: number }>;
}

/** Bodies as a client sends them, and where each object lies in them, for the peer that reads none. */
function batches(repository: Repository, names: ReadonlyArray<string>): Batch[] {
  const all: Batch[] = [];
  let parts: Buffer[] = [];
  let files: { name: string; at: number; bytes: number }[] = [];
  let size = 0;
  const flush = () => {
    if (files.length > 0) all.push({ body: Buffer.concat([...parts, Buffer.from("--b--\r\n")]), files });
    parts = [];
    files = [];
    size = 0;
  };
  for (const name of names) {
    const bytes = readFileSync(repository.path(name));
    const head = Buffer.from(
      `--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="${name}"\r\n\r\n`,
    );
    files.push({ name, at: size + head.length, bytes: bytes.length });
    parts.push(head, bytes, Buffer.from("\r\n"));
    size += head.length + bytes.length + 2;
    if (size > BATCH) flush();
  }
  flush();
  return all;
}

async function uploading(tools: Tools, repository: Repository, names: ReadonlyArray<string>): Promise<void> {
  const all = batches(
    repository,
    names.filter((name) => !name.endsWith(".commitmeta")),
  );
  const bytes = all.reduce((sum, { body }) => sum + body.length, 0);
  let count = 0;
  let target: Repository = repository;
  const fresh = async () => {
    target = await Repository.init(tools, join(folder, `target-${++count}`));
  };
  for (const durable of [false, true]) {
    const ours = await listen(async (body) => {
      await receiveUpload(target, body, "multipart/mixed; boundary=b", { durable });
    });
    const bare = await listen(async (body, index) => {
      const whole = Buffer.concat(await Array.fromAsync(body));
      for (const { name, at, bytes } of all[index]!.files) {
        const path = target.path(name);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, whole.subarray(at, at + bytes));
      }
      if (durable) await once(spawn("sync", ["--file-system", target.root]), "close");
    });
    const run = async (server: { readonly port: number }) => {
      await fresh();
      const took = await seconds(() => send(server.port, all));
      if (target.missing(all.flatMap(({ files }) => files.map(({ name }) => name))).length > 0)
        throw new Error("missing");
      rmSync(target.root, { recursive: true });
      return took;
    };
    const measured = await inTurn(
      ROUNDS,
      () => run(ours),
      () => run(bare),
    );
    const rate = (each: ReadonlyArray<number>) =>
      `${shown(each)} (${(bytes / 1048576 / median(each)).toFixed(1)} MiB/s)`;
    report({
      what: `upload of ${names.length} objects in ${all.length} requests, parsed, verified, each moved to its place`,
      against: "bare node:http, files written where they belong, nothing looked at",
      reach: "≤ 1.3",
      ratio: ratioOf(measured, Number),
      ours: rate(measured.ours),
      theirs: rate(measured.theirs),
      durability: durable ? `${durability}; synced once a request` : `${durability}; not synced`,
    });
    ours.server.close();
    bare.server.close();
  }
}

async function listen(
  take: (body: AsyncIterable<Buffer>, index: number) => Promise<void>,
): Promise<{ server: Server; port: number }> {
  const server = createServer((asked, answer) => {
    take(asked, Number(asked.url?.slice(1))).then(
      () => answer.end("ok"),
      (error: Error) => answer.writeHead(500).end(error.message),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, port: (server.address() as AddressInfo).port };
}

async function send(port: number, all: ReadonlyArray<Batch>): Promise<void> {
  for (const [index, { body }] of all.entries()) {
    const asked = request({
      port,
      host: "127.0.0.1",
      method: "POST",
      path: `/${index}`,
      agent: false,
      headers: { "content-length": body.length },
    });
    asked.end(body);
    const [answer] = await once(asked, "response");
    answer.resume();
    await once(answer, "end");
    if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}`);
  }
}
