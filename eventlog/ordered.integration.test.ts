/** Reading a stream in order: in batches as they come, no more than can be taken, ended when the server has lost the consumer. */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import { nuid } from "@nats-io/transport-node";
import { eventually } from "../tests/harness/eventually.ts";
import { testNats } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { connectNats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { type OrderedMessage, type OrderedOptions, readOrdered, stampMs } from "./ordered.ts";

const test = suite("reading in order");

/** A stream of its own with so many messages. */
async function streamOf(context: TestContext, count: number) {
  const { url, user, pass: password } = await testNats();
  const nats = await connectNats({ url, user, password, name: "ordered" });
  context.defer(() => nats.close());
  const stream = `ORDERED_${nuid.next()}`;
  await nats.jsm.streams.add({ name: stream, subjects: [`${stream}.>`], storage: "memory" });
  context.defer(async () => {
    if (!nats.nc.isClosed()) await nats.jsm.streams.delete(stream).catch(() => false);
  });
  const more = (from: number, to: number) =>
    Promise.all(
      Array.from({ length: to - from + 1 }, (_, n) =>
        nats.js.publish(`${stream}.${(from + n) % 2 === 0 ? "even" : "odd"}`, `${from + n}`),
      ),
    );
  if (count > 0) await more(1, count);
  const begin = (options: Partial<OrderedOptions> & Pick<OrderedOptions, "onBatch">) => {
    const stop = new AbortController();
    const ended = readOrdered(nats, {
      ...{ stream, from: { deliver_policy: "all" }, most: 10, heartbeatMs: 200, signal: stop.signal },
      ...options,
    } as OrderedOptions);
    ended.catch(() => {});
    return { stop, ended };
  };
  const consumer = async () => (await nats.jsm.consumers.list(stream).next())[0];
  return { nats, stream, more, begin, consumer };
}

test("all of it in order, no batch larger than wanted, then what comes live; with time and what waits behind", async (context) => {
  const { begin, more } = await streamOf(context, 1_000);
  const seen: OrderedMessage[] = [];
  const sizes: number[] = [];
  const { stop, ended } = begin({
    onBatch: (messages) => {
      sizes.push(messages.length);
      seen.push(...messages);
    },
  });
  await eventually(async () => seen.length === 1_000 || undefined, "what is there");
  await more(1_001, 1_003);
  await eventually(async () => seen.length === 1_003 || undefined, "what came");
  stop.abort();
  await ended;
  assert.deepEqual(
    seen.map(({ seq, data }) => [seq, Buffer.from(data).toString()]),
    Array.from({ length: 1_003 }, (_, n) => [n + 1, `${n + 1}`]),
  );
  assert.ok(Math.max(...sizes) <= 10 && sizes.length >= 100, `${sizes}`);
  assert.deepEqual([seen[0]!.pending, seen[999]!.pending, seen[1_002]!.pending], [999, 0, 0]);
  assert.ok(Math.abs(stampMs(seen[1_002]!.stamp) - Date.now()) < 60_000);
  assert.match(seen[0]!.stamp, /^\d{19}$/);
});

test("from a sequence on, and of some subjects", async (context) => {
  const { begin, stream } = await streamOf(context, 40);
  const seen: number[] = [];
  const from = { opt_start_seq: 21, deliver_policy: "by_start_sequence" as const, filter_subjects: [`${stream}.even`] };
  const { stop, ended } = begin({ from, onBatch: (messages) => void seen.push(...messages.map(({ seq }) => seq)) });
  await eventually(async () => seen.length === 10 || undefined, "the even ones");
  stop.abort();
  await ended;
  assert.deepEqual(seen, [22, 24, 26, 28, 30, 32, 34, 36, 38, 40]);
});

test("who is slow is not overrun; a batch under way comes to its end, and none begins, when it is told to stop", async (context) => {
  const { begin, consumer } = await streamOf(context, 2_000);
  const turn = Promise.withResolvers<void>();
  let batches = 0;
  const { stop, ended } = begin({
    onBatch: async () => {
      batches++;
      await turn.promise;
    },
  });
  await eventually(async () => ((await consumer())?.num_waiting === 0 && batches === 1) || undefined, "it has begun");
  const { num_pending } = (await consumer())!;
  assert.ok(num_pending >= 2_000 - 512, `${num_pending} wait on the server`);
  stop.abort();
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(isOver, false);
  turn.resolve();
  await ended;
  assert.equal(batches, 1);
});

test("what the taker throws ends it; so does a consumer that the server has lost; what is not there is told", async (context) => {
  const { begin, consumer, nats, stream } = await streamOf(context, 5);
  const failing = begin({
    onBatch: () => {
      throw new Error("no room");
    },
  });
  await assert.rejects(failing.ended, /no room/);
  const hearing: boolean[] = [];
  let seen = 0;
  const lost = begin({
    onBatch: (messages) => {
      seen += messages.length;
    },
    onHearing: (now) => hearing.push(now),
  });
  // The first one's consumer may still be on its way out.
  const own = await eventually(async () => (seen === 5 ? await consumer() : undefined), "it reads");
  await eventually(async () => hearing.length >= 3 || undefined, "heartbeats");
  assert.ok(hearing.every(Boolean));
  for await (const { name } of nats.jsm.consumers.list(stream)) await nats.jsm.consumers.delete(stream, name);
  await lost.ended;
  assert.ok(own !== undefined);
  const { nats: other, begin: beginThere, consumer: there } = await streamOf(context, 1);
  const closed = beginThere({ heartbeatMs: 10_000, onBatch: () => {} });
  await eventually(there, "it reads");
  await other.close();
  const late = pause(5_000).then(() => "late");
  assert.equal(await Promise.race([closed.ended, late]), undefined, "sooner than a heartbeat is missed");
  await assert.rejects(begin({ stream: "NO_SUCH_STREAM", onBatch: () => {} }).ended, LogUnavailable);
});

test.run();
