/**
 * Power cuts: the store lies on a file system in a loop-mounted file. At a random moment under load the server is frozen and the
 * file copied as the disk has it (what only the page cache of the inner file system holds is not in it); a server started on the
 * copy must have every acknowledged commit, no claim without its aggregate, and no batch half there.
 *
 * The same with the server's default sync must find losses, or this test could not fail. Needs root and loop devices.
 * SOAK_CUTS: how many cuts (50).
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningNats, startNats } from "@millrace/local/nats.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type CommandContext, execute, readClaim } from "@millrace/eventlog/execute.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import * as assert from "uvu/assert";
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
        if (!("ok" in (await execute(log, { kind: counter, id, command: { do: "start", name } }, as(`${id}-start`))))) return;
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
    if (state.total > wanted + 1) broken.push(`${id}: ${state.total} there of ${wanted} acknowledged and one under way`);
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

async function cutOnce(sync: string, writers: number): Promise<Verdict & { readonly commits: number; readonly gone: boolean }> {
  const disk = new Disk();
  let after: Disk | undefined;
  let server: RunningNats | undefined;
  let log: EventLog | undefined;
  try {
    server = await startNats({ dataDir: join(disk.mount, "nats"), sync });
    log = await EventLog.open(
      { url: server.url, user: server.user, password: server.password, name: "soak", append: { timeoutMs: 60_000, deadlineMs: 10 } },
      ["toy"],
    );
    const { acknowledged, stop } = load(log, writers);
    await new Promise((resolve) => setTimeout(resolve, 1_500 + Math.random() * 2_500));
    process.kill(server.pid, "SIGSTOP");
    // What the server had answered is on its way to us; it counts as acknowledged.
    await new Promise((resolve) => setTimeout(resolve, 100));
    stop();
    after = disk.cut();
    const then: Acknowledged = structuredClone(acknowledged);
    await log.nats.nc.close();
    await server.kill();

    server = await startNats({ dataDir: join(after.mount, "nats"), sync });
    log = await EventLog.open({ url: server.url, user: server.user, password: server.password, name: "soak" }, ["toy"]);
    const gone = (await log.head("toy")) === 0;
    return { ...(await inspect(log, then)), commits: then.commits, gone };
  } finally {
    await log?.nats.nc.close();
    await server?.kill();
    after?.drop();
    disk.drop();
  }
}

test("sync always: no acknowledged commit is lost, nothing is half there", { timeoutMs: CUTS * 60_000 }, async ({ skip }) => {
  if (process.getuid?.() !== 0) skip("mounting a file needs root");
  let commits = 0;
  for (let cut = 0; cut < CUTS; cut++) {
    const writers = [1, 4, 32, 128, 400][cut % 5]!;
    const verdict = await cutOnce("always", writers);
    commits += verdict.commits;
    assert.equal(verdict.lost, [], `cut ${cut}, ${writers} writers`);
    assert.equal(verdict.broken, [], `cut ${cut}, ${writers} writers`);
    if (cut % 10 === 9) console.log(`  ${cut + 1} cuts, ${commits} acknowledged commits, 0 lost, 0 half there`);
  }
});

test("the server's default sync: the same test finds losses", { timeoutMs: 300_000 }, async ({ skip }) => {
  if (process.getuid?.() !== 0) skip("mounting a file needs root");
  const verdicts = [await cutOnce("default", 32), await cutOnce("default", 32)];
  const lost = verdicts.filter((v) => v.lost.length > 0).length;
  console.log(`  ${lost} of ${verdicts.length} cuts lost acknowledged commits; ${verdicts.filter((v) => v.gone).length} the whole stream`);
  assert.ok(lost > 0, "it must be able to fail");
});

test.run();
