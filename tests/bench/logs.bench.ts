/** A million log lines: written, followed, searched; against writing them to a file, reading it as it grows, and grep. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, rmSync } from "node:fs";
import { join } from "node:path";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { type LogFilter, type Logs, openLogs } from "@millrace/eventlog/logs.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";

/** `BENCH_LINES=100000` for a quick look; a million is what is quoted. */
const LINES = Number(process.env.BENCH_LINES ?? 1_000_000);
const ROUNDS = 3;
const LEVELS = ["INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"];

/** About a hundred bytes, of the kind that services write. */
const lineOf = (i: number): string =>
  `${LEVELS[i % 6]} request ${i} GET /orders/${(i * 7_919) % 100_000} ${i % 50 === 0 ? 500 : 200} in ${i % 97} ms user=${((i * 2_654_435_761) >>> 0).toString(36)} trace=${((i * 40_503) >>> 0).toString(16).padStart(8, "0")}`;

const lines = Array.from({ length: LINES }, (_, i) => lineOf(i));
const entity = (id: string): LogFilter & { source: string } => ({
  organisation: "org_bench",
  context: "applications",
  kind: "application",
  id,
  source: "run",
});

interface Took {
  readonly ms: number;
}

async function timed(work: () => Promise<unknown>): Promise<Took> {
  const began = performance.now();
  await work();
  return { ms: performance.now() - began };
}

async function ingest(logs: Logs, id: string): Promise<void> {
  const writer = await logs.writer(entity(id), { redact: ["a-secret-that-is-not-there", "another one"] });
  for (const text of lines) {
    const room = writer.line({ text, cursor: "1732147200.000000001#1" });
    if (room !== undefined) await room;
  }
  await writer.flush();
  await writer.close();
}

/** As loggers and container engines do: a stamp and a line, through Node's own stream. */
async function writeFile(path: string): Promise<void> {
  const file = createWriteStream(path);
  for (const line of lines) {
    if (!file.write(`${new Date().toISOString()} ${line}\n`)) await once(file, "drain");
  }
  file.end();
  await once(file, "finish");
}

async function tailAll(logs: Logs, id: string): Promise<void> {
  const ending = new AbortController();
  let count = 0;
  for await (const news of logs.tail({ of: [entity(id)], since: 1, signal: ending.signal })) {
    if (news.type === "lines") count += news.lines.length;
    if (count >= LINES) break;
  }
  ending.abort();
}

/** `tail -n +1 -f`, until all of it has come, taken apart into lines. */
async function tailFile(path: string): Promise<void> {
  const child = spawn("tail", ["-n", "+1", "-f", path], { stdio: ["ignore", "pipe", "ignore"] });
  let count = 0;
  let rest = "";
  child.stdout.setEncoding("utf8");
  for await (const piece of child.stdout as AsyncIterable<string>) {
    const parts = (rest + piece).split("\n");
    rest = parts.pop()!;
    count += parts.length;
    if (count >= LINES) break;
  }
  child.kill();
}

async function search(logs: Logs, id: string, match: object): Promise<number> {
  let found = 0;
  let after: string | undefined;
  do {
    const page = await logs.read({
      of: [entity(id)],
      order: "oldest",
      limit: 10_000,
      deadlineMs: 60_000,
      ...match,
      ...(after === undefined ? {} : { after }),
    });
    found += page.lines.length;
    after = page.next;
  } while (after !== undefined);
  return found;
}

function grep(path: string, args: ReadonlyArray<string>): number {
  const { stdout, status } = spawnSync("grep", [...args, path], { maxBuffer: 1 << 28, env: { LC_ALL: "C.UTF-8" } });
  if (status !== 0) throw new Error(`grep ended with ${status}`);
  return stdout.toString().split("\n").length - 1;
}

const figures = (all: ReadonlyArray<Took>): string => `${Math.round(median(all.map(({ ms }) => ms)))} ms`;

await bench(async ({ nats: startNats, folder, defer }) => {
  for (const sync of ["always", "default"] as const) {
    const server = await startNats({ sync });
    const nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "bench" });
    defer(() => nats.close());
    const logs = await openLogs(nats, { maxBytes: 4 * 1024 ** 3 });
    const durability = `${sync === "always" ? "sync always" : "server's default sync"}, the stream's own persist mode async; file not synced`;
    const file = (round: number) => join(folder, `lines-${round}.log`);

    const written = await inTurn<Took>(
      ROUNDS,
      (round) => timed(() => ingest(logs, `${sync}-${round}`)),
      async (round) => {
        if (round > 0) rmSync(file(round - 1));
        return timed(() => writeFile(file(round)));
      },
    );
    report({
      what: "a million log lines ingested",
      against: "written to a file by a Node stream",
      ratio: ratioOf(written, ({ ms }) => 1 / ms),
      reach: "≥ 0.5",
      ours: figures(written.ours),
      theirs: figures(written.theirs),
      durability,
    });
    if (sync === "default") continue;
    const tailed = await inTurn<Took>(
      ROUNDS,
      (round) => timed(() => tailAll(logs, `${sync}-${round}`)),
      () => timed(() => tailFile(file(ROUNDS))),
    );
    report({
      what: "a million log lines tailed, each an object",
      against: "`tail -n +1 -f` of the file, split into lines",
      ratio: ratioOf(tailed, ({ ms }) => 1 / ms),
      reach: "≥ 0.5",
      ours: figures(tailed.ours),
      theirs: figures(tailed.theirs),
      durability,
    });
    for (const [what, match, args] of [
      ["a text", { q: "orders/4711 " }, ["-F", "orders/4711 "]],
      ["a text in any case", { q: "error request 99995" }, ["-iF", "error request 99995"]],
      ["a pattern", { regex: "GET /orders/[0-9]+50 500" }, ["-E", "GET /orders/[0-9]+50 500"]],
    ] as const) {
      const counts: number[] = [];
      const searched = await inTurn<Took>(
        5,
        (round) => timed(async () => counts.push(await search(logs, `${sync}-${1 + (round % ROUNDS)}`, match))),
        () => timed(async () => counts.push(grep(file(ROUNDS), args))),
      );
      if (new Set(counts).size !== 1 || counts[0] === 0) throw new Error(`not the same lines were found: ${counts}`);
      report({
        what: `a million log lines searched for ${what}`,
        against: `grep ${args[0]}`,
        ratio: ratioOf(searched, ({ ms }) => ms),
        reach: "≤ 3",
        ours: figures(searched.ours),
        theirs: figures(searched.theirs),
        durability: "page cache",
      });
    }
  }
});
