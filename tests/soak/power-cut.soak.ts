/**
 * Power cuts: the store lies on a file system in a loop-mounted file. At a random moment under load the server is frozen and the
 * file copied as the disk has it (what only the page cache of the inner file system holds is not in it); a server started on the
 * copy must have every acknowledged commit, no claim without its aggregate, and no batch half there. The feed and a projection
 * in PostgreSQL, on the same disk and cut at the same instant, are never ahead of the log, and afterwards exactly what it says.
 *
 * The same with the server's default sync must find losses, or this test could not fail. Needs root and loop devices.
 * SOAK_CUTS: how many cuts (50).
 */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type CommandContext, execute, readClaim } from "@millrace/eventlog/execute.ts";
import { type RunningNats, startNats } from "@millrace/local/nats.ts";
import { startPostgres } from "@millrace/local/postgres.ts";
import * as assert from "uvu/assert";
import {
  aheadOfLog,
  auditAfterCut,
  type Followers,
  killServer,
  serverProcesses,
  startFollowers,
} from "../faults/followers.ts";
import { counter } from "../harness/counter.ts";
import { suite } from "../harness/suite.ts";

const CUTS = Number(process.env.SOAK_CUTS ?? 50);
const test = suite("power cuts");

/** A disk that can be cut: an ext4 file system in a file, in memory where the machine allows it so that the copy is instant. */
class Disk {
  readonly #folder: string;
  readonly #file: string;
  readonly mount: string;

  constructor(from?: string) {
    this.#folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "millrace-disk-"));
    this.#file = join(this.#folder, "disk.img");
    this.mount = join(this.#folder, "mnt");
    mkdirSync(this.mount);
    chmodSync(this.#folder, 0o711); // PostgreSQL's user passes through it
    if (from === undefined) {
      execFileSync("truncate", ["-s", "1G", this.#file]);
      execFileSync("mkfs.ext4", ["-q", "-F", this.#file]);
    } else {
      execFileSync("cp", ["--sparse=always", from, this.#file]);
    }
    execFileSync("mount", ["-o", "loop", this.#file, this.mount]);
  }

  /** A new disk with what this one holds at this moment. */
  cut(): Disk {
    return new Disk(this.#file);
  }

  drop(): void {
    execFileSync("umount", ["-l", this.mount]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

interface Acknowledged {
  /** Highest number whose addition was acknowledged, by counter. */
  readonly additions: Map<string, number>;
  /** Name that was acknowledged last, by counter. */
  readonly names: Map<string, string>;
  commits: number;
}

const as = (commandId: string): CommandContext => ({
  organisation: "org_a",
  actor: { kind: "token", id: "tok_a", name: "soak" },
  commandId,
  digest: commandId,
  correlation: commandId,
  causation: commandId,
  now: new Date().toISOString(),
});

/** Writers that add one at a time each, and now and then take another unique name: singles, groups and batches of two. */
function load(log: EventLog, writers: number): { readonly acknowledged: Acknowledged; readonly stop: () => void } {
  const acknowledged: Acknowledged = { additions: new Map(), names: new Map(), commits: 0 };
  let running = true;
  for (let w = 0; w < writers; w++) {
    void (async () => {
      const id = `cnt_w${w}`;
      try {
        const name = `w${w}-0`;
        if (!("ok" in (await execute(log, { kind: counter, id, command: { do: "start", name } }, as(`${id}-start`)))))
          return;
        acknowledged.names.set(id, name);
        acknowledged.commits++;
        for (let n = 1; running; n++) {
          await execute(log, { kind: counter, id, command: { do: "add", by: [1, 0] } }, as(`${id}-${n}`));
          acknowledged.additions.set(id, n);
          acknowledged.commits++;
          if (n % 25 === 0) {
            const next = `w${w}-${n}`;
            await execute(log, { kind: counter, id, command: { do: "rename", name: next } }, as(`${id}-${n}-name`));
            acknowledged.names.set(id, next);
            acknowledged.commits++;
          }
        }
      } catch {
        // The power is gone.
      }
    })();
  }
  return { acknowledged, stop: () => (running = false) };
}

interface Verdict {
  readonly lost: string[];
  readonly broken: string[];
}

async function inspect(log: EventLog, acknowledged: Acknowledged): Promise<Verdict> {
  const lost: string[] = [];
  const broken: string[] = [];
  for (const [id, name] of acknowledged.names) {
    const commands = new Set<string>();
    let events = 0;
    let previous = 0;
    for await (const commit of readCommits(log.nats, counter, id)) {
      if (commands.has(commit.command)) broken.push(`${id}: command ${commit.command} twice`);
      commands.add(commit.command);
      events += commit.events.length;
      if (commit.version !== events) broken.push(`${id}: version ${commit.version} after ${events} events`);
      if (commit.seq <= previous) broken.push(`${id}: sequence ${commit.seq} after ${previous}`);
      previous = commit.seq;
    }
    const { state } = await log.aggregates.load(counter, id);
    const wanted = acknowledged.additions.get(id) ?? 0;
    if (state.total < wanted) lost.push(`${id}: ${wanted} acknowledged, ${state.total} there`);
    if (state.total > wanted + 1)
      broken.push(`${id}: ${state.total} there of ${wanted} acknowledged and one under way`);
    // A name and its claim are one batch: whatever name is there, it holds the claim; one given up does not.
    if (state.name === "") {
      lost.push(`${id}: not there`);
      continue;
    }
    const holder = (await readClaim(log, "toy", { what: "counter-name", value: `org_a/${state.name}` })).holder;
    if (holder !== id) broken.push(`${id}: named ${state.name}, whose claim is held by ${holder}`);
    if (state.name !== name) {
      const old = (await readClaim(log, "toy", { what: "counter-name", value: `org_a/${name}` })).holder;
      if (old === id) broken.push(`${id}: named ${state.name}, and still holds ${name}`);
    }
  }
  return { lost, broken };
}

/** PostgreSQL as it is after its first start, made once. */
async function diskWithPostgres(): Promise<Disk> {
  const disk = new Disk();
  const server = await startPostgres({ dataDir: postgresOn(disk) });
  await server.stop();
  execFileSync("sync", ["-f", disk.mount]);
  return disk;
}

const postgresOn = ({ mount }: Disk): string => join(mount, "postgres", "data");

interface Cut extends Verdict {
  readonly commits: number;
  readonly gone: boolean;
  /** What of feed and projections is not as the log has it. */
  readonly untrue: string[];
}

/** @param from has a PostgreSQL, and feed and projections are kept as well; left out: the log alone */
async function cutOnce(sync: string, writers: number, from?: Disk): Promise<Cut> {
  const disk = from === undefined ? new Disk() : from.cut();
  const frozen: Disk[] = [];
  let server: RunningNats | undefined;
  let log: EventLog | undefined;
  let followers: Followers | undefined;
  try {
    server = await startNats({ dataDir: join(disk.mount, "nats"), sync });
    log = await EventLog.open(
      {
        url: server.url,
        user: server.user,
        password: server.password,
        name: "soak",
        append: { timeoutMs: 60_000, deadlineMs: 10 },
      },
      ["toy"],
    );
    if (from !== undefined) followers = startFollowers(log, (await startPostgres({ dataDir: postgresOn(disk) })).url);
    const { acknowledged, stop } = load(log, writers);
    await new Promise((resolve) => setTimeout(resolve, 1_500 + Math.random() * 2_500));
    const pids = from === undefined ? [] : serverProcesses(postgresOn(disk));
    for (const pid of Math.random() < 0.5 ? [server.pid, ...pids] : [...pids, server.pid]) freeze(pid);
    // What the server had answered is on its way to us; it counts as acknowledged.
    await new Promise((resolve) => setTimeout(resolve, 100));
    stop();
    const after = disk.cut();
    frozen.push(after);
    const then: Acknowledged = structuredClone(acknowledged);
    await log.nats.nc.close();
    await Promise.all([server.kill(), killServer(postgresOn(disk)), followers?.stop()]);

    server = await startNats({ dataDir: join(after.mount, "nats"), sync });
    log = await EventLog.open({ url: server.url, user: server.user, password: server.password, name: "soak" }, ["toy"]);
    const gone = (await log.head("toy")) === 0;
    const verdict = { ...(await inspect(log, then)), commits: then.commits, gone };
    return { ...verdict, untrue: from === undefined ? [] : await inspectFollowers(log, postgresOn(after)) };
  } finally {
    await log?.nats.nc.close();
    await server?.kill();
    for (const one of [...frozen, disk]) {
      await killServer(postgresOn(one));
      one.drop();
    }
  }
}

function freeze(pid: number): void {
  try {
    process.kill(pid, "SIGSTOP");
  } catch {
    // A server process of a connection that has just ended.
  }
}

async function inspectFollowers(log: EventLog, postgresDir: string): Promise<string[]> {
  const { url } = await startPostgres({ dataDir: postgresDir });
  const ahead = await aheadOfLog(log, url);
  // Life goes on: what is written now takes the sequences right after the last ones that survived.
  for (let i = 0; i < 20; i++) {
    const id = `cnt_after${i}`;
    await execute(log, { kind: counter, id, command: { do: "start", name: `after-${i}` } }, as(id));
  }
  return [...ahead, ...(await auditAfterCut(log, url))];
}

test("sync always: no acknowledged commit is lost, nothing is half there, feed and projections are what the log says", {
  timeoutMs: CUTS * 120_000,
}, async ({ defer, skip }) => {
  if (process.getuid?.() !== 0) skip("mounting a file needs root");
  const template = await diskWithPostgres();
  defer(() => template.drop());
  let commits = 0;
  for (let cut = 0; cut < CUTS; cut++) {
    const writers = [1, 4, 32, 128, 400][cut % 5]!;
    const verdict = await cutOnce("always", writers, template);
    commits += verdict.commits;
    assert.equal(verdict.lost, [], `cut ${cut}, ${writers} writers`);
    assert.equal(verdict.broken, [], `cut ${cut}, ${writers} writers`);
    assert.equal(verdict.untrue, [], `cut ${cut}, ${writers} writers`);
    if (cut % 10 === 9)
      console.log(`  ${cut + 1} cuts, ${commits} acknowledged commits, 0 lost, 0 half there, 0 untrue`);
  }
});

test("the server's default sync: the same test finds losses, and what is ahead of the log", {
  timeoutMs: 600_000,
}, async ({ defer, skip }) => {
  if (process.getuid?.() !== 0) skip("mounting a file needs root");
  const template = await diskWithPostgres();
  defer(() => template.drop());
  const verdicts = [await cutOnce("default", 32, template), await cutOnce("default", 32, template)];
  const lost = verdicts.filter((v) => v.lost.length > 0).length;
  const untrue = verdicts.filter((v) => v.untrue.length > 0).length;
  const gone = verdicts.filter((v) => v.gone).length;
  console.log(
    `  ${verdicts.length} cuts: ${lost} lost acknowledged commits, ${gone} the whole stream, ${untrue} left what is not in the log`,
  );
  assert.ok(lost > 0 && untrue > 0, "it must be able to fail");
});

test.run();
