/** The relay: exactly once and in order, whoever dies and however many there are. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { decodePosition } from "@millrace/contracts/position.ts";
import * as assert from "uvu/assert";
import { testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { connectNats, feedStreamConfig, logStreamConfig, type Nats } from "./connection.ts";
import { feedEvent, feedState, RelayMarks } from "./feed.ts";
import { added, assertExact, eventually, KINDS, publicPlaces, wholeFeed, write, writeMany } from "./fixtures/feed.ts";
import { type Relay, startRelay, type UnmappableEvent } from "./relay.ts";
import { ensureStreams } from "./streams.ts";

const test = suite("relay");
let nats: Nats;
let settings: { url: string; user: string; pass: string };

test.before(async () => {
  settings = await testNats();
  const { url, user, pass: password } = settings;
  nats = await connectNats({ url, user, password, name: "relay-test" });
});
test.after(() => nats?.close());
test.beforeEach(async () => {
  for (const { name } of [logStreamConfig("toy", { replicas: 1 }), feedStreamConfig("toy", { replicas: 1 })]) {
    await nats.jsm.streams.delete(name).catch(() => {});
  }
  await ensureStreams(nats, ["toy"], { replicas: 1 });
});

const silent = { info() {}, warn() {}, error() {} } as never;

interface Started extends Relay {
  readonly parked: UnmappableEvent[];
  readonly stop: () => Promise<void>;
}

function start(kinds = KINDS): Started {
  const stop = new AbortController();
  const parked: UnmappableEvent[] = [];
  const park = async (letter: UnmappableEvent) => void parked.push(letter);
  const relay = startRelay({ nats, context: "toy", kinds, signal: stop.signal, log: silent, park });
  const end = () => {
    stop.abort();
    return relay.ended;
  };
  return { ...relay, parked, stop: end };
}

/** Nobody writes any more, so what is to come is known. */
const complete = async (deadlineMs?: number) => {
  const all = (await publicPlaces(nats)).length;
  await eventually("all is on the feed", async () => (await feedState(nats, "toy")).lastSeq >= all, deadlineMs);
};

test("an event becomes a CloudEvent: subject, headers, body, and structured form", async ({ defer }) => {
  const relay = start();
  defer(relay.stop);
  const seq = await write(nats, "cnt_1", [{ type: "CounterRenamed", data: { name: "x" } }, added(3)]);
  await complete();
  const message = await nats.jsm.streams.getMessage("FEED_TOY", { seq: 1 });
  assert.is(message!.subject, "feed.org_a.toy.counter.cnt_1.CounterAdded");
  const h = message!.header;
  assert.is(h.get("ce-specversion"), "1.0");
  assert.is(h.get("ce-id"), `${seq}.1`);
  assert.is(h.get("ce-source"), "/organisations/org_a/toy/counter/cnt_1");
  assert.is(h.get("ce-type"), "millrace.toy.CounterAdded.v1");
  assert.is(h.get("ce-datacontenttype"), "application/json");
  assert.is(h.get("ce-actor"), "token:tok_a:Zo%C3%AB%20%22the%22%20100%25");
  assert.equal(decodePosition(h.get("ce-position")), { toy: { seq, index: 1 } });
  assert.is(h.get("Nats-Msg-Id"), "");
  assert.is(message!.string(), `{"by":3}`);
  const { event } = (await feedEvent(nats, "toy", 1))!;
  assert.is(event.actor, `token:tok_a:Zoë "the" 100%`);
  assert.is(event.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  assert.is(new Date(event.time).toISOString(), event.time);
  assert.equal(event.data, { by: 3 });
});

test("what is behind is relayed in batches, what is live at once; commits without public events leave nothing", async ({
  defer,
}) => {
  await writeMany(nats, 700);
  const relay = start();
  defer(relay.stop);
  await complete();
  await write(nats, "cnt_x", [{ type: "CounterRenamed", data: { name: "x" } }]);
  for (let i = 0; i < 20; i++) await write(nats, "cnt_x", [added(i), added(i)]);
  await complete();
  await assertExact(nats);
  const batched = (await nats.jsm.streams.getMessage("FEED_TOY", { seq: 150 }))!.header.get("Nats-Batch-Id");
  assert.ok(batched, "the backlog went in batches");
});

test("killed at random, again and again, under load: nothing missing, nothing twice, in order", {
  timeoutMs: 120_000,
}, async ({ defer }) => {
  let child: ChildProcess | undefined;
  defer(() => child?.kill("SIGKILL"));
  let writing = true;
  const writer = (async () => {
    while (writing) {
      await writeMany(nats, 40);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  defer(() => {
    writing = false;
    return writer;
  });
  for (let kill = 0; kill < 5; kill++) {
    child = relayProcess();
    await once(child.stdout!, "data");
    await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 400));
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  writing = false;
  await writer;
  const relay = start();
  defer(relay.stop);
  await complete(60_000);
  await assertExact(nats);
});

for (const [at, nth] of [
  ["relay.before-publish", 1],
  ["relay.before-publish", 3],
  ["relay.after-publish", 1],
  ["relay.after-publish", 2],
] as const) {
  test(`killed at ${at}, passed ${nth} times`, async ({ defer }) => {
    await writeMany(nats, 300);
    const child = relayProcess(`${at}:${nth}`);
    defer(() => child.kill("SIGKILL"));
    const exit = once(child, "exit").then(([, signal]) => signal);
    // What waits goes at once; that it publishes again takes something new.
    while ((await Promise.race([exit, sleep(100)])) === undefined) await writeMany(nats, 100);
    assert.is(await exit, "SIGKILL");
    const relay = start();
    defer(relay.stop);
    await complete();
    await assertExact(nats);
  });
}

function relayProcess(dieAt?: string): ChildProcess {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    MILLRACE_TEST_NATS_URL: settings.url,
    MILLRACE_TEST_NATS_USER: settings.user,
    MILLRACE_TEST_NATS_PASSWORD: settings.pass,
    ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
  };
  const program = fileURLToPath(new URL("./fixtures/relay-process.ts", import.meta.url));
  return spawn(process.execPath, [program], { env, stdio: ["ignore", "pipe", "inherit"] });
}

test("three relays at once write no more than one; when one ends the others go on", { timeoutMs: 90_000 }, async ({
  defer,
}) => {
  const relays = [start(), start(), start()];
  for (const relay of relays) defer(relay.stop);
  for (let i = 0; i < 3; i++) {
    await writeMany(nats, 200);
    for (let k = 0; k < 20; k++) await write(nats, "cnt_live", [added(k)]);
    await relays[i]!.stop();
    if (i === 2) relays.push(start());
  }
  defer(relays[3]!.stop);
  await complete(60_000);
  await assertExact(nats);
});

test("a commit of which only a part was relayed is continued in its middle", async ({ defer }) => {
  const first = start();
  await write(nats, "cnt_1", [added(1), added(2), added(3)]);
  await complete();
  await first.stop();
  // As if the relay had died between the second and the third: limits aside, nothing but a restore brings this about.
  await nats.jsm.streams.delete("FEED_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  const whole = start();
  await complete();
  await whole.stop();
  const [one, two] = await wholeFeed(nats);
  await nats.jsm.streams.delete("FEED_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  const { headers } = await import("@nats-io/transport-node");
  for (const event of [one!, two!]) {
    const h = headers();
    h.set("ce-id", event.event.id);
    h.set("ce-time", event.event.time);
    if (event.previous !== undefined) h.set("Millrace-Previous", one!.event.id);
    await nats.nc.request("feed.org_a.toy.counter.cnt_1.CounterAdded", JSON.stringify(event.event.data), {
      headers: h,
      timeout: 5_000,
    });
  }
  const relay = start();
  defer(relay.stop);
  await complete();
  await assertExact(nats);
});

test("a feed whose limits have trimmed everything is continued: by the mark, and without it by counting", async ({
  defer,
}) => {
  await writeMany(nats, 100);
  let relay = start();
  await complete();
  await relay.stop();
  const { lastSeq, made } = await feedState(nats, "toy");
  const marks = await RelayMarks.open(nats);
  const mark = await marks.read("toy", made);
  assert.is(mark?.feedSeq, lastSeq);

  await nats.jsm.streams.purge("FEED_TOY");
  relay = start();
  await write(nats, "cnt_1", [added(1)]);
  await complete();
  await relay.stop();
  const [byMark, ...none] = await wholeFeed(nats);
  assert.is(none.length, 0);
  assert.is(byMark!.seq, lastSeq + 1);
  assert.equal(byMark!.previous, mark!.last);

  await nats.jsm.streams.purge("FEED_TOY");
  await nats.jsm.streams.purge("KV_RELAY");
  relay = start();
  defer(relay.stop);
  await write(nats, "cnt_1", [added(2)]);
  await complete();
  const [counted, ...more] = await wholeFeed(nats);
  assert.is(more.length, 0);
  assert.is(counted!.seq, lastSeq + 2);
  assert.equal(counted!.previous, byMark!.place);
});

test("a mark that lags behind what was trimmed is counted on from", async ({ defer }) => {
  await writeMany(nats, 60);
  let relay = start();
  await complete();
  await relay.stop();
  const { lastSeq, made } = await feedState(nats, "toy");
  const early = (await wholeFeed(nats))[9]!;
  await nats.jsm.streams.purge("FEED_TOY");
  await (await RelayMarks.open(nats)).write("toy", { made, feedSeq: early.seq, last: early.place, place: early.place });
  const seq = await write(nats, "cnt_1", [added(1)]);
  relay = start();
  defer(relay.stop);
  await complete();
  const feed = await wholeFeed(nats);
  assert.equal(
    feed.map(({ seq: at, place }) => [at, place]),
    [[lastSeq + 1, { seq, index: 0 }]],
  );
});

test("a feed that was lost is filled again from the log", async ({ defer }) => {
  await writeMany(nats, 100);
  const relay = start();
  await complete();
  await relay.stop();
  await nats.jsm.streams.delete("FEED_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  const again = start();
  defer(again.stop);
  await complete();
  await assertExact(nats);
});

test("an event that cannot be shown is parked as a pointer, and the relay goes on", async ({ defer }) => {
  const relay = start();
  defer(relay.stop);
  await write(nats, "cnt_1", [added(1)]);
  const seq = await write(nats, "cnt_1", [added(2), added(13), added(3)]);
  await complete();
  await assertExact(nats);
  assert.is(relay.parked.length, 1);
  assert.equal({ ...relay.parked[0], cause: undefined }, { stream: "EVT_TOY", seq, index: 1, cause: undefined });
});

test("an event that this release does not know stops the relay before it, and says so; the next release goes on", async ({
  defer,
}) => {
  const relay = start();
  await write(nats, "cnt_1", [added(1)]);
  await write(nats, "cnt_1", [added(2), { type: "CounterExploded", v: 1, data: {} }, added(3)]);
  await eventually("it stands still", () => relay.status().state === "stopped");
  assert.match(JSON.stringify(relay.status()), /CounterExploded/);
  assert.is((await feedState(nats, "toy")).lastSeq, 2);
  await relay.stop();
  const { counter } = KINDS;
  const exploded = { version: 1, data: {}, examples: {}, sentence: () => "", toPublic: null } as never;
  const next = start({ counter: { ...counter, events: { ...counter.events, CounterExploded: exploded } } });
  defer(next.stop);
  await eventually("it goes on", async () => (await feedState(nats, "toy")).lastSeq === 3);
});

test("a log older than its feed stops the relay with what to do", async ({ defer }) => {
  const relay = start();
  for (let i = 0; i < 3; i++) await write(nats, "cnt_1", [added(i)]);
  await complete();
  await relay.stop();
  await nats.jsm.streams.delete("EVT_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  const again = start();
  defer(again.stop);
  await eventually("it stands still", () => again.status().state === "stopped");
  assert.match(JSON.stringify(again.status()), /Delete the stream FEED_TOY/);
});

test("a log that was restored and has grown past its feed stops the relay, too", async ({ defer }) => {
  await nats.jsm.streams.delete("FEED_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  const relay = start();
  for (let i = 0; i < 3; i++) await write(nats, "cnt_old", [added(i)]);
  await complete();
  await relay.stop();
  await nats.jsm.streams.delete("EVT_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  for (let i = 0; i < 5; i++) await write(nats, "cnt_new", [added(i)]);
  const again = start();
  defer(again.stop);
  await eventually("it stands still", () => again.status().state === "stopped");
  assert.match(JSON.stringify(again.status()), /of another log/);
});

test.run();
