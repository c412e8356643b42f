/**
 * Workers under load, killed by SIGKILL and frozen for longer than their lease, at random; then the audit of everything they did.
 */
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { eventually } from "../harness/eventually.ts";
import { type Audit, audit, command, type MarchingOptions, sleep, spawnWorker } from "../harness/marching.ts";
import { march, STEPS } from "../harness/steps.ts";

export interface MarchRun extends MarchingOptions {
  readonly workers: number;
  /** Units of work; half of them asked for at once, the others one by one while it goes on. */
  readonly marches: number;
  /** Between two blows of a kind (kills and freezes go on side by side), in milliseconds: from, to. */
  readonly everyMs: readonly [number, number];
  /** Between two requests, at the most. */
  readonly pauseMs: number;
  /** What else goes on until it is over, e.g. a server that is killed. */
  readonly beside?: (over: () => boolean) => Promise<void>;
  readonly deadlineMs: number;
}

export interface MarchResult extends Audit {
  readonly kills: number;
  readonly freezes: number;
  readonly tookMs: number;
}

type Worker = ReturnType<typeof spawnWorker>;

const between = ([from, to]: readonly [number, number]) => from + Math.random() * (to - from);

/** Ends with every process ended and everything finished, or throws. */
export async function runMarches(run: MarchRun): Promise<MarchResult> {
  const log = await EventLog.open({ ...run.nats, name: "marches" }, ["toy"]);
  const workers: Worker[] = Array.from({ length: run.workers }, () => spawnWorker(run));
  let [kills, freezes, over] = [0, 0, false];
  const began = Date.now();
  const strike = async (blow: (victim: Worker, at: number) => Promise<void>) => {
    while (!over) {
      await sleep(between(run.everyMs));
      if (over) return;
      const at = Math.floor(Math.random() * workers.length);
      await blow(workers[at]!, at);
    }
  };
  const kill = async (victim: Worker, at: number) => {
    kills++;
    victim.child.kill("SIGKILL");
    await victim.ended;
    // Started again as a supervisor would, also when the server was away just then. On a busy machine coming up takes longer than
    // the pause between two blows: nobody would ever work if it were not waited for.
    for (let up = false; !up && !over; ) {
      workers[at] = spawnWorker(run);
      up = await workers[at].says("working ").then(
        () => true,
        () => false,
      );
    }
  };
  const freeze = async (victim: Worker) => {
    freezes++;
    victim.child.kill("SIGSTOP");
    await sleep((run.ttlMs ?? 2_000) * (1.2 + Math.random()));
    victim.child.kill("SIGCONT");
  };
  const ids = Array.from({ length: run.marches }, (_, n) => `mar_${process.pid}_${began % 100_000}_${n}`);
  // Two in three have a unit of their own, the others share one in fours.
  const ask = (id: string, n: number) =>
    insist(() => command(log, id, { do: "ask", ...(n % 3 === 0 ? { unit: `u${n % 4}_${began}` } : {}) }));
  try {
    await Promise.all(workers.map((worker) => worker.says("working ")));
    const half = Math.floor(ids.length / 2);
    await Promise.all(ids.slice(0, half).map(ask));
    const striking = [strike(kill), strike(freeze), run.beside?.(() => over)];
    for (const [n, id] of ids.entries()) {
      if (n < half) continue;
      await ask(id, n);
      await sleep(Math.random() * run.pauseMs);
    }
    await finished(log, ids, run.deadlineMs);
    over = true;
    await Promise.all(striking);
    return { ...(await audit(log.nats, run.world, ids)), kills, freezes, tookMs: Date.now() - began };
  } finally {
    over = true;
    for (const { child } of workers) {
      child.kill("SIGCONT");
      child.kill("SIGKILL");
    }
    await Promise.all(workers.map(({ ended }) => ended));
    await log.close();
  }
}

/** @throws Error that says where those that are not stand */
async function finished(log: EventLog, ids: ReadonlyArray<string>, deadlineMs: number): Promise<void> {
  const left = new Set(ids);
  const look = async () => {
    for (const id of left) {
      const { state } = await log.aggregates.load(march, id);
      if (state.done === STEPS) left.delete(id);
    }
    return left.size === 0 || undefined;
  };
  try {
    // The server may be away at times.
    await eventually(() => look().catch(() => undefined), "", deadlineMs);
  } catch {
    const stand = [...left].slice(0, 10).map((id) => JSON.stringify(log.aggregates.cached(march, id)?.state));
    throw new Error(`${left.size} of ${ids.length} are not finished, e.g. ${stand.join("\n")}`);
  }
}

/** Asked again until it is known to be in the log: asking twice is asking once. */
async function insist(ask: () => Promise<unknown>): Promise<void> {
  for (const deadline = Date.now() + 60_000; ; ) {
    try {
      await ask();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(200);
    }
  }
}

/**
 * One worker after the other dies where it passes its fault point, each with more to do than the one before; the last one ends everything as
 * if nothing had happened. @returns the points at which none died
 */
export async function dieAt(
  options: MarchingOptions,
  points: ReadonlyArray<string>,
  marches: number,
): Promise<Audit & { readonly survived: ReadonlyArray<string> }> {
  const log = await EventLog.open({ ...options.nats, name: "die-at" }, ["toy"]);
  const workers: Worker[] = [];
  const survived: string[] = [];
  const all: string[] = [];
  const began = Date.now();
  try {
    for (const [i, point] of points.entries()) {
      const doomed = spawnWorker({ ...options, env: { ...options.env, MILLRACE_DIE_AT: point } });
      workers.push(doomed);
      await doomed.says("working ").catch(() => {}); // it may die of what is there already
      const ids = Array.from({ length: marches }, (_, n) => `mar_at-${began}-${i}-${n}`);
      const notBefore = Date.now() + 1_000;
      for (const [n, id] of ids.entries()) await command(log, id, { do: "ask", ...(n === 0 ? { notBefore } : {}) });
      all.push(...ids);
      const { signal } = await Promise.race([doomed.ended, sleep(20_000).then(() => ({ signal: null }))]);
      if (signal !== "SIGKILL") survived.push(point);
      doomed.child.kill("SIGKILL");
      await doomed.ended;
    }
    workers.push(spawnWorker(options));
    await finished(log, all, 40_000);
    return { ...(await audit(log.nats, options.world, all)), survived };
  } finally {
    for (const { child } of workers) child.kill("SIGKILL");
    await Promise.all(workers.map(({ ended }) => ended));
    await log.close();
  }
}

/** Milliseconds from the blow to the next attempt at the step that was under way. */
export async function takeover(options: MarchingOptions, blow: "SIGKILL" | "SIGSTOP", id: string): Promise<number> {
  const log = await EventLog.open({ ...options.nats, name: "takeover" }, ["toy"]);
  const workers = [spawnWorker(options), spawnWorker(options)];
  const current = async () => (await log.aggregates.load(march, id)).state.current;
  try {
    await Promise.all(workers.map((worker) => worker.says("working ")));
    // Only for these workers: what earlier rounds left unfinished is nobody's here.
    await command(log, id, { do: "ask", node: options.node ?? "home" });
    const under = await eventually(current, "under way");
    const pid = Number(under.worker.split(":")[1]);
    // Somewhere within the lease's own round.
    await sleep(Math.random() * (options.ttlMs ?? 2_000));
    const struck = workers.find(({ child }) => child.pid === pid)!;
    const before = (await current())?.attempt ?? 0;
    const began = performance.now();
    struck.child.kill(blow);
    await eventually(async () => ((await current())?.attempt ?? 0) > before || undefined, "taken over", 60_000);
    return performance.now() - began;
  } finally {
    for (const { child } of workers) {
      child.kill("SIGCONT");
      child.kill("SIGKILL");
    }
    await Promise.all(workers.map(({ ended }) => ended));
    await log.close();
  }
}
