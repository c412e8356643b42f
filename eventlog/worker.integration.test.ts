/** The loop of a worker inside this process: what it does with each verdict, each kind of wake-up and each ending. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { eventually } from "../tests/harness/eventually.ts";
import { audit, command, marchReactor, sleep } from "../tests/harness/marching.ts";
import { testFolder, testNats } from "../tests/harness/servers.ts";
import { type March, march, STEPS } from "../tests/harness/steps.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { DeadLetters } from "./deadletters.ts";
import { EventLog } from "./eventlog.ts";
import { type LeaseHolder, Leases } from "./leases.ts";
import { makeLogger } from "./logging.ts";
import { logStream, shardOf } from "./subjects.ts";
import { startWorker, WorkAborted, type WorkerOptions } from "./worker.ts";

const test = suite("worker");
const silent = makeLogger({ service: "test", level: "silent" });
const world = testFolder("march");
let log: EventLog;
let deadLetters: DeadLetters;
let number = 0;

test.before(async () => {
  const { url, user, pass: password } = await testNats();
  log = await EventLog.open({ url, user, password, name: "worker-test" }, ["toy"]);
  deadLetters = new DeadLetters(log.nats);
});
test.after(() => log?.close());

/** A worker of a node of its own, so that tests do not take each other's messages. */
async function start({ defer }: Pick<TestContext, "defer">, more: Partial<WorkerOptions> & { ttlMs?: number } = {}) {
  const node = more.node ?? `n${++number}`;
  const leases = await Leases.open(log.nats, { node, ttlMs: more.ttlMs ?? 2_000 });
  defer(() => leases.close());
  const mine = (state: March) => state.node === node;
  const worker = await startWorker({
    log,
    service: "marcher",
    context: "toy",
    reactors: [marchReactor(world, 5, { mine })],
    concurrency: 2,
    logger: silent,
    deadLetters,
    leases,
    ...more,
    node,
  });
  defer(() => worker.stop());
  const ask = async (id: string, wanted: { unit?: string; notBefore?: number } = {}) => {
    const outcome = await command(log, id, { do: "ask", node, ...wanted });
    assert.ok("ok" in outcome, JSON.stringify(outcome));
  };
  return { worker, node, leases, ask, mine };
}

const stateOf = async (id: string) => (await log.aggregates.load(march, id)).state;
const done = (id: string) => eventually(async () => (await stateOf(id)).done === STEPS || undefined, `${id} finished`);
const pending = async (node: string) => {
  const { num_pending, num_ack_pending } = await log.nats.jsm.consumers.info("EVT_TOY", `marcher-${node}`);
  return num_pending + num_ack_pending;
};
const acknowledged = (node: string) =>
  eventually(async () => (await pending(node)) === 0 || undefined, "everything acknowledged");

test("goes on until there is nothing to do, then acknowledges, and gives its lease up", async (context) => {
  const { ask, node, worker, leases } = await start(context);
  const ids = Array.from({ length: 12 }, (_, i) => `mar_a${i}`);
  await Promise.all(ids.map((id) => ask(id)));
  for (const id of ids) await done(id);
  const { wrong, attempts } = await audit(log.nats, world, ids);
  assert.equal(wrong, []);
  assert.is(attempts, 12 * STEPS, "undisturbed, every step is tried once");
  await acknowledged(node);
  await eventually(
    async () => leases.list().every(({ key }) => !key.includes("mar_a")) || undefined,
    "no lease is left",
  );
  const { state, underWay, held, queued } = worker.status();
  assert.equal({ state, underWay, held, queued }, { state: "working", underWay: [], held: 0, queued: 0 });
  assert.ok(worker.checks().every(({ ok }) => ok));
});

test("who waits aside holds no place: another unit has its turn, and its lease stays", async (context) => {
  const node = "aside";
  let over: () => void = () => {};
  const waiting = new Promise<void>((resolve) => {
    over = resolve;
  });
  const mine = (state: March) => state.node === node;
  const base = marchReactor(world, 5, { mine });
  let waits = 0;
  const reactor: typeof base = {
    ...base,
    perform: async (step, work) => {
      if (work.id === "mar_wait" && waits++ === 0) await work.aside(() => waiting);
      return base.perform(step, work);
    },
  };
  const { ask, leases } = await start(context, { node, concurrency: 1, reactors: [reactor] });
  await ask("mar_wait");
  await eventually(async () => waits > 0 || undefined, "the first waits");
  await ask("mar_turn");
  await done("mar_turn");
  assert.is((await stateOf("mar_wait")).done, 0, "still aside");
  assert.ok(leases.list().some(({ key }) => key.includes("mar_wait")));
  over();
  await done("mar_wait");
  const { wrong } = await audit(log.nats, world, ["mar_wait", "mar_turn"]);
  assert.equal(wrong, []);
});

test("one of a unit at a time, and never more units than there are places", async (context) => {
  let [most, mostOfUnit] = [0, 0];
  const at = new Map<string, number>();
  const node = "places";
  const reactor = marchReactor(world, 10, { mine: (state) => state.node === node });
  const { ask } = await start(context, {
    node,
    concurrency: 2,
    reactors: [
      {
        ...reactor,
        perform: async (step, work) => {
          const { unit } = work.loaded.state as March;
          at.set(unit, (at.get(unit) ?? 0) + 1);
          most = Math.max(
            most,
            [...at.values()].reduce((sum, n) => sum + n, 0),
          );
          mostOfUnit = Math.max(mostOfUnit, at.get(unit)!);
          try {
            return await reactor.perform(step, work);
          } finally {
            at.set(unit, at.get(unit)! - 1);
          }
        },
      },
    ],
  });
  const ids = Array.from({ length: 12 }, (_, i) => `mar_b${i}`);
  await Promise.all(ids.map((id, i) => ask(id, { unit: `u${i % 4}` })));
  for (const id of ids) await done(id);
  assert.is(mostOfUnit, 1);
  assert.is(most, 2);
});

test("what finds the queue full comes again later, not at once: hardly anything is sent twice while it waits", async (context) => {
  const node = "full";
  const reactor = marchReactor(world, 100, { mine: (state) => state.node === node });
  let naked = 0;
  const subject = `$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.${logStream("toy")}.marcher-${node}`;
  const heard = log.nats.nc.subscribe(subject, { callback: () => void naked++ });
  const { ask } = await start(context, { node, concurrency: 1, reactors: [reactor] });
  const ids = Array.from({ length: 20 }, (_, i) => `mar_full${i}`);
  await Promise.all(ids.map((id) => ask(id)));
  for (const id of ids) await done(id);
  heard.unsubscribe();
  assert.ok(naked > 0, "nothing was beyond the queue: this shows nothing");
  // Of 20 units of some 0.3 s 9 are in the queue: the others come again every half a second or so.
  assert.ok(naked < 500, `${naked} messages were given back`);
});

test("what waits for a time is woken by a timer that outlives the worker", async (context) => {
  const first = await start(context);
  const notBefore = Date.now() + 3_000;
  await first.ask("mar_c", { notBefore });
  await acknowledged(first.node);
  await first.worker.stop();
  assert.is((await stateOf("mar_c")).current, undefined);
  await start(context, { node: first.node });
  await done("mar_c");
  for await (const { time } of commitsOf("mar_c", "StepStarted"))
    assert.ok(time >= notBefore - 500, "not before its time");
});

async function* commitsOf(id: string, type: string) {
  const { readCommits } = await import("./aggregate.ts");
  for await (const commit of readCommits(log.nats, march, id)) {
    if (commit.events.some((event) => event.type === type)) yield commit;
  }
}

test("a newer commit interrupts the step under way, when the reactor wants that", async (context) => {
  const node = "interrupting";
  const seen: unknown[] = [];
  const reactor = marchReactor(world, 60_000, { mine: (state) => state.node === node });
  const { ask, worker } = await start(context, {
    node,
    reactors: [
      {
        ...reactor,
        perform: async (step, work) => {
          work.signal.addEventListener("abort", () => seen.push(work.signal.reason));
          return reactor.perform(step, work);
        },
      },
    ],
  });
  await ask("mar_d");
  await eventually(async () => (await stateOf("mar_d")).current, "under way");
  assert.is(worker.status().underWay[0]?.id, "mar_d");
  const began = Date.now();
  await command(log, "mar_d", { do: "cancel" });
  await eventually(async () => worker.status().underWay.length === 0 || undefined, "interrupted");
  assert.ok(Date.now() - began < 5_000);
  assert.ok(seen[0] instanceof WorkAborted && seen[0].why === "interrupted");
  assert.is((await stateOf("mar_d")).done, 0);
  await acknowledged(node);
});

test("what another worker of the node was given reaches the one that holds the unit", async (context) => {
  const node = "shared";
  const slow = (id: string) => ({
    ...marchReactor(world, 60_000, { mine: (state: March) => state.node === node && state.unit === id }),
  });
  const a = await start(context, { node, ttlMs: 10_000, reactors: [slow("mar_e")] });
  const b = await start(context, { node, ttlMs: 10_000, reactors: [slow("mar_e")] });
  await a.ask("mar_e");
  const underWay = () => [...a.worker.status().underWay, ...b.worker.status().underWay];
  await eventually(async () => underWay()[0], "under way");
  await sleep(100);
  const began = Date.now();
  await command(log, "mar_e", { do: "cancel" });
  await eventually(async () => underWay().length === 0 || undefined, "interrupted, whoever had the message");
  assert.ok(Date.now() - began < 8_000, "long before the message is delivered again");
});

test("retry after: by a timer, visible, with its reason; the next try may succeed", async (context) => {
  const node = "retrying";
  let tries = 0;
  const reactor = marchReactor(world, 1, { mine: (state) => state.node === node });
  const { ask, worker } = await start(context, {
    node,
    reactors: [
      {
        ...reactor,
        perform: async (step, work) =>
          ++tries === 1 ? { retryAfterMs: 1_500, reason: "the engine is away" } : reactor.perform(step, work),
      },
    ],
  });
  await ask("mar_f");
  const waiting = await eventually(async () => worker.status().waiting.find(({ id }) => id === "mar_f"), "waiting");
  assert.is(waiting.reason, "the engine is away");
  assert.ok(Date.parse(waiting.until!) > Date.now());
  await acknowledged(node);
  assert.is(tries, 1, "a timer waits, not a circle");
  await done("mar_f");
  assert.equal(worker.status().waiting, []);
});

test("park: a dead letter that a person can have tried again or dropped; a newer commit is looked at by itself", async (context) => {
  const node = "parking";
  let broken = true;
  const reactor = marchReactor(world, 1, { mine: (state) => state.node === node });
  const { ask, worker } = await start(context, {
    node,
    sweepEveryMs: 500,
    reactors: [
      {
        ...reactor,
        perform: async (step, work) => (broken ? { park: "it cannot be" } : reactor.perform(step, work)),
      },
    ],
  });
  await ask("mar_g");
  const letter = await eventually(async () => (await deadLetters.list({ context: "toy" }))[0], "a letter");
  assert.is(letter.cause, "it cannot be");
  assert.is(letter.aggregate, "mar_g");
  assert.is(letter.stream, "EVT_TOY");
  await acknowledged(node);
  const failed = await deadLetters.retry(letter.id, "test", 15_000);
  assert.is(failed.outcome, "failed");
  broken = false;
  assert.is((await deadLetters.retry(letter.id, "test", 15_000)).outcome, "recovered");
  await done("mar_g");

  broken = true;
  await ask("mar_h");
  const second = await eventually(async () => (await deadLetters.list({ context: "toy" }))[0], "another letter");
  assert.is((await deadLetters.drop(second.id, "test", "not wanted", 15_000)).outcome, "dropped");
  broken = false;
  worker.wake("march", "mar_h");
  await sleep(500);
  assert.is((await stateOf("mar_h")).done, 0, "what was dropped is left alone");
  await command(log, "mar_h", { do: "cancel" });
  await acknowledged(node);
});

test("skip leaves it alone until something new comes; what throws is tried ever more slowly", async (context) => {
  const node = "skipping";
  let mode: "skip" | "throw" | "act" = "skip";
  let tries = 0;
  const reactor = marchReactor(world, 1, { mine: (state) => state.node === node });
  const { ask, worker } = await start(context, {
    node,
    reactors: [
      {
        ...reactor,
        perform: async (step, work) => {
          tries++;
          if (mode === "skip") return { skip: true };
          if (mode === "throw") throw new Error("broken");
          return reactor.perform(step, work);
        },
      },
    ],
  });
  await ask("mar_i");
  await acknowledged(node);
  worker.wake("march", "mar_i");
  await sleep(300);
  assert.is(tries, 1);
  mode = "throw";
  await ask("mar_j");
  const waiting = await eventually(async () => worker.status().waiting.find(({ id }) => id === "mar_j"), "waiting");
  assert.match(waiting.reason, /broken/);
  mode = "act";
  await done("mar_j");
});

test("a step that changes nothing is not done in a circle", async (context) => {
  const node = "circling";
  let tries = 0;
  const { ask } = await start(context, {
    node,
    reactors: [
      {
        ...marchReactor(world, 1, { mine: (state) => state.node === node }),
        perform: async () => {
          tries++;
          return { again: true };
        },
      },
    ],
  });
  await ask("mar_k");
  await acknowledged(node);
  assert.ok(tries <= 4, String(tries));
});

test("a wake-up that was lost is found by the sweep", async (context) => {
  const node = "forgotten";
  await log.nats.jsm.consumers.add("EVT_TOY", {
    durable_name: `marcher-${node}`,
    ack_policy: "explicit",
    filter_subjects: ["evt.toy.*.march.>"],
  } as never);
  await command(log, "mar_l", { do: "ask", node });
  const consumer = await log.nats.js.consumers.get("EVT_TOY", `marcher-${node}`);
  for (let left = await pending(node); left > 0; left--) (await consumer.next({ expires: 2_000 }))?.ack(); // seen by nobody
  await acknowledged(node);
  await start(context, { node, sweepEveryMs: 1_000 });
  await done("mar_l");
});

test("an event that this release does not know stops its aggregate alone, and readiness says so", async (context) => {
  const { ask, worker } = await start(context);
  const subject = `evt.toy.${shardOf("mar_m")}.march.mar_m`;
  const commit = {
    organisation: "org",
    actor: {},
    at: "",
    command: "c",
    events: [{ type: "MarchFlown", v: 9, data: {} }],
  };
  await log.nats.js.publish(subject, JSON.stringify(commit));
  await ask("mar_n");
  await done("mar_n");
  const failed = await eventually(async () => worker.checks().find(({ ok }) => !ok), "not ready");
  assert.match(failed.detail ?? "", /mar_m: UnknownEvent/);
  assert.is(worker.status().stopped[0]?.id, "mar_m");
});

test("ended in order it hands over at once: messages given back, leases released", async (context) => {
  const node = "handing";
  const mine = (state: March) => state.node === node;
  const slow = marchReactor(world, 60_000, { mine });
  const first = await start(context, { node, ttlMs: 30_000, concurrency: 1, reactors: [slow] });
  await first.ask("mar_o");
  await first.ask("mar_p");
  await eventually(async () => first.worker.status().underWay[0], "under way");
  const second = await start(context, { node, ttlMs: 30_000, reactors: [marchReactor(world, 1, { mine })] });
  const began = Date.now();
  await first.worker.stop();
  assert.ok(Date.now() - began < 10_000);
  await done("mar_o");
  await done("mar_p");
  assert.ok(Date.now() - began < 15_000, "nobody waited for a lease or a delivery of thirty seconds");
  assert.ok(second.worker.status().state === "working");
});

test("a step that will not end is handed over all the same, and can record nothing any more", async (context) => {
  const node = "stubborn";
  const mine = (state: March) => state.node === node;
  let late: unknown;
  const first = await start(context, {
    node,
    graceMs: 300,
    reactors: [
      {
        ...marchReactor(world, 1, { mine }),
        perform: async ({ step, attempt }, work) => {
          const { worker } = work;
          await work.record({ do: "start", step, attempt, worker });
          await sleep(3_000);
          late = await work.record({ do: "complete", step, attempt, worker }).catch((error: unknown) => error);
          return { again: true };
        },
      },
    ],
  });
  await first.ask("mar_q");
  await eventually(async () => (await stateOf("mar_q")).current, "under way");
  await first.worker.stop();
  await start(context, { node });
  await done("mar_q");
  await eventually(async () => late, "the late one has spoken");
  assert.ok(late instanceof WorkAborted, String(late));
  assert.equal((await audit(log.nats, world, ["mar_q"])).wrong, []);
});

test("who lost the lease drops its work, and records nothing", async (context) => {
  const node = "losing";
  const mine = (state: March) => state.node === node;
  const lost: unknown[] = [];
  const slow = marchReactor(world, 60_000, { mine });
  const { ask, leases } = await start(context, {
    node,
    reactors: [
      {
        ...slow,
        perform: (step, work) => {
          work.signal.addEventListener("abort", () => lost.push(work.signal.reason));
          return slow.perform(step, work);
        },
      },
    ],
  });
  await ask("mar_r");
  await eventually(async () => (await stateOf("mar_r")).current, "under way");
  const key = "marcher.toy.mar_r";
  const holder = (await leases.holder(key)) as LeaseHolder;
  const thief = { ...holder, owner: { ...holder.owner, name: "thief:1:x", place: "elsewhere" } };
  await log.nats.js.publish(`$KV.LEASES.${key}`, JSON.stringify(thief), { ttl: "3s" });
  await eventually(async () => (lost[0] instanceof WorkAborted && lost[0].why === "lease-lost") || undefined, "lost");
  assert.is((await leases.holder(key))?.owner.name, "thief:1:x", "it is left to the other");
  await eventually(async () => ((await stateOf("mar_r")).current?.attempt ?? 0) > 1 || undefined, "taken over later");
});

test("the world was reached once for each step of what nobody disturbed", () => {
  const lines = readFileSync(join(world, "reached.log"), "utf8").trim().split("\n");
  const undisturbed = lines
    .filter((line) => line.startsWith("mar_a"))
    .map((line) => line.split(" ").slice(0, 2).join());
  assert.is(new Set(undisturbed).size, undisturbed.length);
  assert.is(logStream("toy"), "EVT_TOY");
});

test.run();
