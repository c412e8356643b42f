/** The hub without sockets: no hole, no double and order, whatever the start, the filter, the speed and the interruption. */
import type { AddressInfo } from "node:net";
import { CLOSE, type ControlFrame, type EventsQuery } from "@millrace/contracts/feed.ts";
import { comparePlaces, decodePosition, type LogPlace } from "@millrace/contracts/position.ts";
import { type FeedEvent, placeText } from "@millrace/eventlog/cloudevents.ts";
import { connectNats, feedStreamConfig, logStreamConfig, type Nats } from "@millrace/eventlog/connection.ts";
import { feedState } from "@millrace/eventlog/feed.ts";
import {
  added,
  eventually,
  KINDS,
  publicPlaces,
  wholeFeed,
  write,
  writeMany,
} from "@millrace/eventlog/fixtures/feed.ts";
import { startRelay } from "@millrace/eventlog/relay.ts";
import { ensureStreams } from "@millrace/eventlog/streams.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";
import * as assert from "uvu/assert";
import { WebSocket, WebSocketServer } from "ws";
import { testNats } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { Hub, type HubOptions } from "./hub.ts";
import { type Sink, webSocketSink } from "./hub-sinks.ts";

const test = suite("hub");
let nats: Nats;
test.before(async () => {
  const { url, user, pass: password } = await testNats();
  nats = await connectNats({ url, user, password, name: "hub-test" });
});
test.after(() => nats?.close());
test.beforeEach(async () => {
  for (const { name } of [logStreamConfig("toy", { replicas: 1 }), feedStreamConfig("toy", { replicas: 1 })]) {
    await nats.jsm.streams.delete(name).catch(() => {});
  }
  await ensureStreams(nats, ["toy"], { replicas: 1 });
});

const silent = { info() {}, warn() {}, error() {} } as never;

function relaying(defer: (cleanUp: () => unknown) => void) {
  const stop = new AbortController();
  const relay = startRelay({
    nats,
    context: "toy",
    kinds: KINDS,
    signal: stop.signal,
    log: silent,
    park: async () => {},
  });
  const end = () => {
    stop.abort();
    return relay.ended;
  };
  defer(end);
  return end;
}

/** Nobody writes any more, so what is to come is known. */
const relayed = async () => {
  const all = (await publicPlaces(nats)).length;
  await eventually("all is relayed", async () => (await feedState(nats, "toy")).lastSeq >= all);
};

async function openHub(options: Partial<HubOptions> = {}): Promise<Hub> {
  const hub = new Hub({ nats, contexts: ["toy"], log: silent, ...options });
  await eventually("the hub is ready", () => hub.trouble === undefined);
  return hub;
}

interface Want {
  readonly after?: string;
  readonly from?: "beginning" | "now";
  readonly ids?: ReadonlyArray<string>;
  readonly types?: ReadonlyArray<string>;
  readonly onGap?: "close" | "resume";
  readonly organisation?: string;
  readonly ended?: () => { code: number; reason: string } | undefined;
  readonly heartbeatMs?: number;
}

const HIGH = 4_096;

/**
 * A subscriber that keeps what it was sent. `pace` bytes leave its buffer at each tick; left out, it never holds any.
 * "moody": full for a while as soon as it has caught up.
 */
class Reader implements Sink {
  readonly transport = "websocket";
  readonly events: FeedEvent[] = [];
  readonly frames: ControlFrame[] = [];
  closed: { code: number; reason: string } | undefined;
  position = "";
  buffered = 0;
  readonly #pace: number | "moody" | undefined;
  #draining = false;

  constructor(pace?: number | "moody") {
    this.#pace = pace;
  }

  event(event: FeedEvent, position: string): void {
    assert.is(this.closed, undefined, "nothing is sent after the end");
    this.events.push(event);
    this.position = position;
    if (typeof this.#pace !== "number") return;
    this.buffered += event.json.length;
    if (!this.#draining) this.#drain(this.#pace);
  }

  #drain(pace: number): void {
    this.buffered = Math.max(0, this.buffered - pace);
    this.#draining = this.buffered > 0 && pace > 0 && this.closed === undefined;
    if (this.#draining) setTimeout(() => this.#drain(pace), 1);
  }

  frame(frame: ControlFrame): void {
    this.frames.push(frame);
    if (frame.type !== "gap") this.position = frame.position;
    if (frame.type !== "caught-up" || this.#pace !== "moody") return;
    this.buffered = HIGH + 1;
    setTimeout(() => {
      this.buffered = 0;
    }, 2_000);
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
  }

  get caughtUp(): boolean {
    return this.frames.some(({ type }) => type === "caught-up");
  }

  get places(): string[] {
    return this.events.map(({ place }) => placeText(place));
  }
}

function subscribe(hub: Hub, want: Want = {}, reader = new Reader()) {
  const { ids, types, organisation = "org_a", ended = () => undefined, heartbeatMs = 60_000, onGap = "close" } = want;
  const query: EventsQuery = {
    start: want.after === undefined ? { from: want.from ?? "now" } : { after: decodePosition(want.after)! },
    heartbeatMs,
    onGap,
    ...(types === undefined ? {} : { type: types }),
  };
  const contexts = new Map([["toy", ids === undefined ? {} : { ids: new Set(ids) }]]);
  const subscription = hub.subscribe({ organisation, contexts, query, sink: reader, ended });
  return { reader, gone: () => subscription.gone() };
}

const matching = async ({ organisation = "org_a", ids, types }: Want, feed?: FeedEvent[]): Promise<FeedEvent[]> =>
  (feed ?? (await wholeFeed(nats))).filter(
    (event) =>
      event.organisation === organisation &&
      (ids === undefined || ids.includes(event.id)) &&
      (types === undefined || types.includes(event.type)),
  );

const placesOf = (events: ReadonlyArray<FeedEvent>) => events.map(({ place }) => placeText(place));

test("from the beginning, from now, from a position, filtered; told when it has caught up", async ({ defer }) => {
  relaying(defer);
  await writeMany(nats, 300);
  await relayed();
  const hub = await openHub({ ringEvents: 50, page: 64 });
  defer(() => hub.stop());
  const wants: Want[] = [
    { from: "beginning" },
    { from: "beginning", organisation: "org_b" },
    { from: "beginning", ids: ["cnt_3", "cnt_4"] },
    { from: "beginning", types: ["CounterStarted"] },
  ];
  const all = await wholeFeed(nats);
  const middle = all[Math.floor(all.length / 2)]!;
  const late = all.at(-3)!;
  const readers = wants.map((want) => subscribe(hub, want).reader);
  const now = subscribe(hub).reader;
  const fromMiddle = subscribe(hub, { after: middle.event.position }).reader;
  const fromLate = subscribe(hub, { after: late.event.position }).reader;
  await eventually("all are caught up", () =>
    [...readers, now, fromMiddle, fromLate].every(({ caughtUp }) => caughtUp),
  );
  const before = (await feedState(nats, "toy")).lastSeq;
  await writeMany(nats, 100);
  await relayed();
  for (const [i, want] of wants.entries()) {
    await eventually(`reader ${i} has all`, async () => readers[i]!.events.length >= (await matching(want)).length);
    assert.equal(readers[i]!.places, placesOf(await matching(want)));
  }
  const mine = await matching({});
  const since = (place: LogPlace) => placesOf(mine.filter((event) => comparePlaces(event.place, place) > 0));
  await eventually("the last ones too", () => now.events.length >= mine.filter(({ seq }) => seq > before).length);
  assert.equal(now.places, placesOf(mine.filter(({ seq }) => seq > before)));
  assert.equal(fromMiddle.places, since(middle.place));
  assert.equal(fromLate.places, since(late.place));
  assert.equal(
    readers[0]!.frames.map(({ type }) => type),
    ["hello", "caught-up"],
  );
});

test("under continuous writes with random starts, filters, disconnects and restarts of the hub: no hole, no double, in order", {
  timeoutMs: 120_000,
}, async ({ defer }) => {
  relaying(defer);
  await writeMany(nats, 200);
  await relayed();
  const options = { ringEvents: 300, page: 150, highBytes: HIGH };
  let hub = await openHub(options);
  defer(() => hub.stop());
  let writing = true;
  const writer = (async () => {
    while (writing) {
      await writeMany(nats, 20);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
  })();
  defer(() => {
    writing = false;
    return writer;
  });

  const demotions = await demoted();
  const clients = Array.from({ length: 40 }, (_, i) => {
    const ids = i % 3 === 0 ? [`cnt_${i % 20}`] : i % 3 === 1 ? ["cnt_1", "cnt_2", `cnt_${i % 20}`] : undefined;
    const want: Want = {
      organisation: i % 4 === 0 ? "org_b" : "org_a",
      ...(ids === undefined ? {} : { ids }),
      ...(i % 5 === 0 ? { types: ["CounterAdded"] } : {}),
    };
    return new Client(want, i % 6 === 5 ? "moody" : undefined);
  });
  for (const client of clients) client.connect(hub);
  for (let round = 0; round < 60; round++) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    const client = clients[Math.floor(Math.random() * clients.length)]!;
    client.disconnect();
    setTimeout(() => client.connect(hub), Math.random() * 150);
    if (round % 20 !== 10) continue;
    await hub.stop();
    hub = await openHub(options);
    for (const one of clients) one.connect(hub);
  }
  for (const client of clients) client.connect(hub);
  await eventually("slow ones are sent back to catching up", async () => (await demoted()) > demotions, 40_000);
  writing = false;
  await writer;
  await relayed();
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (const client of clients) client.connect(hub);
  const feed = await wholeFeed(nats);
  for (const [i, client] of clients.entries()) {
    const expected = placesOf(await matching(client.want, feed));
    await eventually(`client ${i} has come to the end`, () => client.places.length >= expected.length, 30_000);
    assert.equal(client.places, expected);
    client.disconnect();
  }
});

const demoted = async () => (await metrics.hubDemotions.get()).values[0]!.value;

/** A client that comes back, with its own position, from the beginning on. */
class Client {
  readonly want: Want;
  readonly #pace: "moody" | undefined;
  readonly #earlier: string[] = [];
  #position: string | undefined;
  #open: { reader: Reader; gone: () => void } | undefined;

  constructor(want: Want, pace?: "moody") {
    this.want = want;
    this.#pace = pace;
  }

  connect(hub: Hub): void {
    if (this.#open !== undefined && this.#open.reader.closed === undefined) return;
    this.disconnect();
    if (hub.trouble !== undefined) return;
    const start: Want = this.#position === undefined ? { from: "beginning" } : { after: this.#position };
    this.#open = subscribe(hub, { ...this.want, ...start }, new Reader(this.#pace));
  }

  disconnect(): void {
    if (this.#open === undefined) return;
    this.#open.gone();
    this.#earlier.push(...this.#open.reader.places);
    if (this.#open.reader.position !== "") this.#position = this.#open.reader.position;
    this.#open = undefined;
  }

  get places(): string[] {
    return [...this.#earlier, ...(this.#open?.reader.places ?? [])];
  }
}

test("a slow reader is demoted and misses nothing; one that stands still is cut off with 4408", async ({ defer }) => {
  relaying(defer);
  const hub = await openHub({ highBytes: 5_000, page: 20, stallMs: 400 });
  defer(() => hub.stop());
  const before = await demoted();
  const slow = subscribe(hub, {}, new Reader(2_000)).reader;
  const still = subscribe(hub, {}, new Reader(0)).reader;
  await eventually("both are live", () => slow.caughtUp && still.caughtUp);
  await writeMany(nats, 300);
  await relayed();
  const expected = placesOf(await matching({}));
  await eventually("the slow one has all", () => slow.events.length >= expected.length);
  assert.equal(slow.places, expected);
  assert.ok((await demoted()) > before);
  await eventually("the one that stands still is cut off", () => still.closed !== undefined);
  assert.is(still.closed!.code, CLOSE.slow);
  assert.match(still.closed!.reason, /nothing was read for 400 ms/);
  assert.ok(still.buffered < 10_000, "its backlog was bounded");
  assert.is(slow.closed, undefined);
});

test("a socket that stops reading is cut off with 4408, and its backlog stays bounded", async ({ defer }) => {
  relaying(defer);
  const hub = await openHub({ highBytes: 50_000, page: 20, stallMs: 500 });
  defer(() => hub.stop());
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  defer(() => new Promise((resolve) => server.close(resolve)));
  let sink: Sink | undefined;
  let cut: { code: number; reason: string } | undefined;
  server.on("connection", (socket) => {
    const inner = webSocketSink(socket);
    sink = {
      transport: inner.transport,
      get buffered() {
        return inner.buffered;
      },
      event: (event, position) => inner.event(event, position),
      frame: (frame) => inner.frame(frame),
      close: (code, reason) => {
        cut = { code, reason };
        inner.close(code, reason);
      },
    };
    const query: EventsQuery = { start: { from: "now" }, heartbeatMs: 60_000, onGap: "close" };
    const options = { organisation: "org_a", contexts: new Map([["toy", {}]]), query, sink, ended: () => undefined };
    const subscription = hub.subscribe(options);
    socket.on("close", () => subscription.gone());
  });
  await eventually("it listens", () => server.address() !== null);
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  defer(() => client.terminate());
  client.on("error", () => {});
  let closed: number | undefined;
  client.on("close", (code) => {
    closed = code;
  });
  await new Promise((resolve) => client.once("open", resolve));
  client.pause();
  const large = "x".repeat(200_000);
  let most = 0;
  // What the system's own buffers take is several megabytes on the loopback.
  for (let i = 0; i < 200 && cut === undefined; i++) {
    await write(nats, "cnt_1", [{ type: "CounterStarted", data: { name: large } }]);
    most = Math.max(most, sink?.buffered ?? 0);
  }
  await eventually("it is cut off", () => cut !== undefined);
  assert.is(cut!.code, CLOSE.slow);
  assert.ok(most < 10_000_000, `${most} bytes`);
  client.resume();
  await eventually("it learns of it", () => closed !== undefined);
  assert.ok(closed === CLOSE.slow || closed === 1006, `${closed}`);
  assert.is(hub.size, 0);
});

test("one that has fallen too far behind is cut off with 4408", async ({ defer }) => {
  relaying(defer);
  const hub = await openHub({ highBytes: 3_000, page: 20, behindMost: 100, ringEvents: 50 });
  defer(() => hub.stop());
  const reader = subscribe(hub, {}, new Reader(5)).reader;
  await eventually("it is live", () => reader.caughtUp);
  await writeMany(nats, 300);
  await eventually("it is cut off", () => reader.closed !== undefined);
  assert.is(reader.closed!.code, CLOSE.slow);
  assert.match(reader.closed!.reason, /events behind/);
});

test("who comes with the position of a command that is not relayed yet sees only what follows it", async ({
  defer,
}) => {
  await write(nats, "cnt_1", [added(1)]);
  const seq = await write(nats, "cnt_1", [added(2), added(3)]);
  const { encodePosition, WHOLE_COMMIT } = await import("@millrace/contracts/position.ts");
  const hub = await openHub();
  defer(() => hub.stop());
  const { reader } = subscribe(hub, { after: encodePosition({ toy: { seq, index: WHOLE_COMMIT } }) });
  await eventually("it is caught up", () => reader.caughtUp);
  relaying(defer);
  const next = await write(nats, "cnt_1", [added(4)]);
  await eventually("it sees what follows", () => reader.events.length > 0);
  assert.equal(reader.places, [`${next}.0`]);
  assert.equal(decodePosition(reader.position), { toy: { seq: next, index: 0 } });
});

for (const onGap of ["close", "resume"] as const) {
  test(`what is trimmed is told as a gap (${onGap})`, async ({ defer }) => {
    relaying(defer);
    await writeMany(nats, 60);
    await relayed();
    const all = await wholeFeed(nats);
    const [seen, last, kept] = [all[9]!, all[29]!, all[30]!];
    await nats.jsm.streams.purge("FEED_TOY", { seq: kept.seq });
    const hub = await openHub({ ringEvents: 10, page: 10 });
    defer(() => hub.stop());
    const { reader } = subscribe(hub, { after: seen.event.position, onGap });
    await eventually("the gap is told", () => reader.frames.some(({ type }) => type === "gap"));
    const gap = reader.frames.find((frame) => frame.type === "gap")!;
    assert.equal(decodePosition(gap.type === "gap" ? gap.oldest : ""), { toy: last.place });
    const rest = placesOf((await matching({})).filter(({ seq }) => seq >= kept.seq));
    if (onGap === "close") {
      assert.is(reader.closed?.code, CLOSE.gap);
      assert.is(reader.events.length, 0);
      const { reader: again } = subscribe(hub, { after: gap.type === "gap" ? gap.oldest : "" });
      await eventually("it goes on with the oldest that is left", () => again.caughtUp);
      assert.equal(again.places, rest);
      assert.is(again.closed, undefined);
    } else {
      await eventually("it goes on", () => reader.caughtUp);
      assert.equal(reader.places, rest);
    }
    // Whoever has seen the last one that is gone has missed nothing; nor has who begins at the beginning by name.
    const exact = subscribe(hub, { after: last.event.position }).reader;
    const fromStart = subscribe(hub, { from: "beginning" }).reader;
    await eventually("both are caught up", () => exact.caughtUp && fromStart.caughtUp);
    assert.equal(exact.places, rest);
    assert.is(
      exact.frames.some(({ type }) => type === "gap"),
      false,
    );
    assert.equal(fromStart.places, rest);
    assert.is(
      fromStart.frames.some(({ type }) => type === "gap"),
      true,
    );
  });
}

test("a feed that limits have emptied: who has seen the end has missed nothing, who has not is told", async ({
  defer,
}) => {
  const end = relaying(defer);
  await writeMany(nats, 30);
  await relayed();
  await end();
  const all = await wholeFeed(nats);
  await nats.jsm.streams.purge("FEED_TOY");
  const hub = await openHub();
  defer(() => hub.stop());
  const complete = subscribe(hub, { after: all.at(-1)!.event.position }).reader;
  const behind = subscribe(hub, { after: all.at(-2)!.event.position }).reader;
  await eventually("one is live, the other told", () => complete.caughtUp && behind.closed !== undefined);
  assert.is(behind.closed!.code, CLOSE.gap);
  relaying(defer);
  await write(nats, "cnt_1", [added(7)]);
  await eventually("it goes on", () => complete.events.length === 1);
});

test("a feed that was lost and filled again: nobody who stays or comes back sees anything twice or misses anything", async ({
  defer,
}) => {
  let end = relaying(defer);
  await writeMany(nats, 80);
  await relayed();
  const hub = await openHub({ ringEvents: 30, page: 16 });
  defer(() => hub.stop());
  const stays = subscribe(hub, { from: "beginning" }).reader;
  await eventually("it is live", () => stays.caughtUp);
  const half = (await wholeFeed(nats))[40]!;
  await end();
  await nats.jsm.streams.delete("FEED_TOY");
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  end = relaying(defer);
  await writeMany(nats, 40);
  await relayed();
  const expected = placesOf(await matching({}));
  await eventually("who stayed has all", () => stays.events.length >= expected.length);
  assert.equal(stays.places, expected);
  await eventually("the hub is ready again", () => hub.trouble === undefined);
  const back = subscribe(hub, { after: half.event.position }).reader;
  await eventually("who came back is live", () => back.caughtUp);
  assert.equal(back.places, placesOf((await matching({})).filter(({ place }) => comparePlaces(place, half.place) > 0)));
});

test("messages deleted within the feed on purpose are no gap", async ({ defer }) => {
  relaying(defer);
  await writeMany(nats, 60);
  await relayed();
  await nats.jsm.streams.purge("FEED_TOY", { filter: "feed.org_b.>" });
  const hub = await openHub({ ringEvents: 5, page: 7 });
  defer(() => hub.stop());
  const reader = subscribe(hub, { from: "beginning", onGap: "close" }).reader;
  await eventually("it is caught up", () => reader.caughtUp);
  assert.equal(reader.places, placesOf(await matching({})));
});

test("a position ahead of the log is told as a gap", async ({ defer }) => {
  relaying(defer);
  await write(nats, "cnt_1", [added(1)]);
  await relayed();
  const hub = await openHub();
  defer(() => hub.stop());
  const { encodePosition } = await import("@millrace/contracts/position.ts");
  const { reader } = subscribe(hub, { after: encodePosition({ toy: { seq: 9_999, index: 0 } }) });
  await eventually("it is told", () => reader.closed !== undefined);
  assert.is(reader.closed!.code, CLOSE.gap);
  assert.match(JSON.stringify(reader.frames), /ahead of the log/);
});

test("whose right has ended is cut off before the next event, and within a second without one", async ({ defer }) => {
  relaying(defer);
  const hub = await openHub();
  defer(() => hub.stop());
  let revoked = false;
  const ended = () => (revoked ? { code: CLOSE.unauthenticated, reason: "the token was revoked" } : undefined);
  const { reader } = subscribe(hub, { ended });
  const quiet = subscribe(hub, { ended, ids: ["cnt_none"] }).reader;
  await eventually("both are live", () => reader.caughtUp && quiet.caughtUp);
  revoked = true;
  await write(nats, "cnt_1", [added(1)]);
  const began = Date.now();
  await eventually("both are cut off", () => reader.closed !== undefined && quiet.closed !== undefined, 5_000);
  assert.ok(Date.now() - began < 2_000);
  assert.equal(reader.events, []);
  assert.is(reader.closed!.code, 4401);
  assert.is(hub.size, 0);
});

test("heartbeats carry the head of all contexts, so that silence can be checked", async ({ defer }) => {
  relaying(defer);
  const hub = await openHub();
  defer(() => hub.stop());
  const { reader } = subscribe(hub, { ids: ["cnt_none"], heartbeatMs: 50 });
  await eventually("it is live", () => reader.caughtUp);
  const seq = await write(nats, "cnt_1", [added(1)]);
  await eventually("the position moves without an event", () => {
    const beat = reader.frames.findLast(({ type }) => type === "heartbeat");
    return (
      beat?.type === "heartbeat" &&
      beat.live &&
      comparePlaces(decodePosition(beat.position)!.toy!, { seq, index: 0 }) >= 0
    );
  });
  assert.equal(reader.events, []);
});

test("draining tells everybody to come back", async ({ defer }) => {
  const hub = await openHub();
  defer(() => hub.stop());
  const { reader } = subscribe(hub);
  hub.drain("the gateway restarts");
  assert.equal(reader.closed, { code: 1012, reason: "the gateway restarts" });
  assert.is(hub.trouble, "the gateway restarts");
});

test.run();
