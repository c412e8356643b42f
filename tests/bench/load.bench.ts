/** Loading an aggregate of 10 and of 100 commits among a million; and reading and folding the whole log. */
import { type Folded, fold, unborn } from "@millrace/eventlog/aggregate.ts";
import { follow } from "@millrace/eventlog/follow.ts";
import { aggregateSubject, logStream } from "@millrace/eventlog/subjects.ts";
import { type Counter, counter } from "../harness/counter.ts";
import { inTurn, type Measured, median, rateOf, rates, ratioOf, report } from "./measure.ts";
import { counterId, seed } from "./seed.ts";
import { bench } from "./servers.ts";

const STREAM = logStream("toy");

await bench(async ({ nats, log: openLog }) => {
  const server = await nats();
  const log = await openLog(server, ["toy"]);
  const long = 1_000;
  const short = 90_000;
  await seed(log, long, 100);
  await seed(log, short, 10, long);
  const head = await log.head("toy");
  console.log(`  ${head.toLocaleString("en")} commits of ${(long + short).toLocaleString("en")} aggregates`);

  const bare = async (id: string) => {
    const messages = await log.nats.jsm.direct.getBatch(STREAM, {
      seq: 1,
      next_by_subj: aggregateSubject("toy", "counter", id),
      batch: 1_000,
    });
    let n = 0;
    for await (const _ of messages) n++;
    return n;
  };
  for (const [commits, pick] of [
    [10, (i: number) => counterId(long + ((i * 7_919) % short))],
    [100, (i: number) => counterId((i * 7_919) % long)],
  ] as const) {
    const count = commits === 10 ? 2_000 : 600;
    let n = 0;
    const measured = await inTurn<Measured>(
      5,
      () =>
        rateOf(1, count, async () => {
          const id = pick(++n);
          log.aggregates.forget(counter, id);
          const loaded = await log.aggregates.load(counter, id);
          if (loaded.version !== commits) throw new Error(`${id} has ${loaded.version} events`);
        }),
      () =>
        rateOf(1, count, async () => {
          const id = pick(++n);
          if ((await bare(id)) !== commits) throw new Error(`${id} is not whole`);
        }),
    );
    report({
      what: `load and fold ${commits} commits among a million, p50`,
      against: "bare batch get, nothing decoded",
      ratio: ratioOf(measured, (m) => m.p50),
      reach: "≤ 1.3",
      ours: rates(measured.ours),
      theirs: rates(measured.theirs),
      durability: "sync always (reads only)",
    });
  }

  const replay = async () => {
    const states = new Map<string, Folded<Counter>>();
    const stop = new AbortController();
    let seen = 0;
    const started = performance.now();
    await follow(log.nats, {
      context: "toy",
      fromSeq: 1,
      most: 2_000,
      signal: stop.signal,
      onBatch: ({ commits, lastSeq }) => {
        for (const commit of commits) {
          const before = states.get(commit.aggregate) ?? unborn(counter, commit.aggregate);
          states.set(commit.aggregate, fold(counter, before, commit));
          seen++;
        }
        if (lastSeq >= head) stop.abort();
      },
    });
    if (seen !== head) throw new Error(`${seen} of ${head}`);
    return { rate: (seen / (performance.now() - started)) * 1000 };
  };
  const bareReplay = async () => {
    const started = performance.now();
    const consumer = await log.nats.js.consumers.get(STREAM);
    const messages = await consumer.consume({ max_messages: 5_000 });
    let seen = 0;
    for await (const _ of messages) if (++seen === head) break;
    await consumer.delete();
    return { rate: (seen / (performance.now() - started)) * 1000 };
  };
  const measured = await inTurn(3, replay, bareReplay);
  report({
    what: "replay and fold a million commits",
    against: "bare ordered consumer, nothing decoded",
    ratio: ratioOf(measured, (m) => m.rate),
    reach: "≥ 0.7",
    ours: `${Math.round(median(measured.ours.map((m) => m.rate))).toLocaleString("en")}/s`,
    theirs: `${Math.round(median(measured.theirs.map((m) => m.rate))).toLocaleString("en")}/s`,
    durability: "sync always (reads only)",
  });
});
