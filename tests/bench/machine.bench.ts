/**
 * Everything on one machine: how soon it is ready, against its two servers alone; and the memory of all its processes after ten
 * thousand commands and after many more (BENCH_COMMANDS, a million).
 */
import { spawn } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startNats } from "@millrace/local/nats.ts";
import { freePort } from "@millrace/local/ports.ts";
import { startPostgres } from "@millrace/local/postgres.ts";
import { processesWhere } from "@millrace/local/process.ts";
import { readRunState, stopRun } from "@millrace/local/run-state.ts";
import { inTurn, median, rateOf, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";

const COMMANDS = Number(process.env.BENCH_COMMANDS ?? 1_000_000);
const BOOTSTRAP = fileURLToPath(new URL("../../local/bootstrap.mjs", import.meta.url));

/** Proportional set size of a process and all its descendants, in bytes: what is shared is counted once. */
function memoryOf(pid: number): number {
  const parents = new Map<number, number>();
  for (const each of processesWhere(() => true)) {
    const stat = readOr(`/proc/${each}/stat`, "");
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    if (Number.isInteger(parent)) parents.set(each, parent);
  }
  const ours = (each: number): boolean => each === pid || (parents.has(each) && ours(parents.get(each)!));
  let bytes = 0;
  for (const each of parents.keys()) {
    if (ours(each)) bytes += 1_024 * Number(/^Pss:\s+(\d+)/m.exec(readOr(`/proc/${each}/smaps_rollup`, ""))?.[1] ?? 0);
  }
  return bytes;
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return otherwise;
  }
}

async function up(data: string): Promise<{ pid: number; url: string; tookMs: number }> {
  const port = await freePort();
  const started = performance.now();
  // As `npm start` does it, without npm.
  const child = spawn("node", [BOOTSTRAP, "up", "--data", data, "--port", String(port)], {
    stdio: "ignore",
    env: {
      ...process.env,
      // Whoever runs this has contexts of their own.
      ...{ XDG_CONFIG_HOME: join(data, "..", "config"), XDG_STATE_HOME: join(data, "..", "state") },
      // All of it comes by one token, from one address.
      ...{ MILLRACE_LIMIT_WRITE: "1000000000", MILLRACE_LIMIT_ADDRESS: "1000000000" },
    },
  });
  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + 60_000;
  while (
    !(await fetch(`${url}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    ))
  ) {
    if (Date.now() > deadline) throw new Error("it does not become ready");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return { pid: child.pid!, url, tookMs: performance.now() - started };
}

await bench(async (b) => {
  const data = join(b.folder, "product");
  b.defer(() => stopRun(data));
  const first = await up(data);
  await stopRun(data);
  console.log(`  first start, empty folder: ${Math.round(first.tookMs)} ms`);

  const peer = join(b.folder, "peer");
  const servers = async () => {
    const began = performance.now();
    const [nats, postgres] = await Promise.all([
      startNats({ dataDir: join(peer, "nats") }),
      startPostgres({ dataDir: join(peer, "postgres", "data") }),
    ]);
    const took = performance.now() - began;
    await Promise.all([nats.stop(), postgres.stop()]);
    return { took };
  };
  const start = async () => {
    const { tookMs } = await up(data);
    await stopRun(data);
    return { took: tookMs };
  };
  const starts = await inTurn(4, start, servers);
  report({
    what: "npm start, warm, until ready for the first request",
    against: "NATS and PostgreSQL alone, the same programs and settings",
    ratio: ratioOf(starts, (m) => m.took),
    reach: "≤ 2",
    ours: `${Math.round(median(starts.ours.map((m) => m.took)))} ms`,
    theirs: `${Math.round(median(starts.theirs.map((m) => m.took)))} ms`,
    durability: "sync always, fsync on",
  });

  const running = await up(data);
  const pid = readRunState(data)?.pid ?? running.pid;
  const token = readFileSync(join(data, "secrets", "owner.token"), "utf8").trim();
  const items = `${running.url}/v1/organisations/home/work-items`;
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", "if-match": "*" };
  const ids: string[] = [];
  const send = async (method: string, url: string, body: unknown) => {
    const answer = await fetch(url, { method, headers, body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${answer.status} ${text}`);
    return JSON.parse(text);
  };
  const mb = (bytes: number) => `${Math.round(bytes / 1_048_576)} MB`;
  const settle = () => new Promise((resolve) => setTimeout(resolve, 20_000));
  await settle();
  const idle = memoryOf(pid);
  const open = async (n: number) => {
    ids.push((await send("POST", items, { type: "task", title: `item ${n}` })).id);
  };
  // Enough that those at once are at different ones.
  for (let n = 0; n < 100; n++) await open(n);
  // A thousandth of the commands open items; the others change them.
  const work = (commands: number) =>
    rateOf(32, commands, async (n) => {
      if (n % 1_000 === 0) await open(n);
      else await send("PATCH", `${items}/${ids[n % ids.length]}`, { title: `title ${n}` });
    });
  const before = await work(10_000);
  console.log(`  ten thousand commands at ${Math.round(before.rate)}/s`);
  await settle();
  const early = memoryOf(pid);
  const { rate } = await work(COMMANDS);
  await settle();
  const late = memoryOf(pid);
  console.log(`  ${COMMANDS.toLocaleString("en")} commands at ${Math.round(rate)}/s; idle ${mb(idle)}`);
  report({
    what: `memory of all processes after ${COMMANDS.toLocaleString("en")} commands (flat; ≤ 1 GB in all)`,
    against: "itself after ten thousand",
    ratio: late / early,
    reach: "≤ 1.5",
    ours: mb(late),
    theirs: `${mb(early)} (idle at first ${mb(idle)})`,
    durability: "sync always",
  });
  rmSync(peer, { recursive: true, force: true });
});
