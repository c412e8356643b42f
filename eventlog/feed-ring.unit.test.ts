/** The ring holds the newest, and says truly what it covers. */

import { headers } from "@nats-io/transport-node";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { FeedEvent } from "./cloudevents.ts";
import { Ring } from "./feed-ring.ts";

const test = suite("hub ring");

const event = (seq: number, bytes = 10): FeedEvent => {
  const h = headers();
  h.set("ce-id", `${seq * 3}.${seq % 4}`);
  return new FeedEvent("feed.org_a.toy.counter.cnt_1.CounterAdded", seq, h, new Uint8Array(bytes));
};
const seqs = (ring: Ring, after: number) => [...ring.after(after)].map(({ seq }) => seq);

test("keeps the newest by number and by bytes, and at least one", () => {
  const ring = new Ring(5, 1_000);
  for (let seq = 1; seq <= 23; seq++) ring.push(event(seq));
  assert.is(ring.coveredFrom, 18);
  assert.equal(seqs(ring, 18), [19, 20, 21, 22, 23]);
  assert.equal(seqs(ring, 21), [22, 23]);
  assert.equal(seqs(ring, 23), []);
  ring.push(event(24, 990));
  assert.equal([ring.coveredFrom, ring.length], [22, 2]);
  ring.push(event(25, 5_000));
  assert.equal([ring.coveredFrom, ring.length], [24, 1]);
  assert.is(ring.first?.seq, 25);
});

test("an event that is kept says the same as it did", () => {
  const h = headers();
  const attributes = {
    id: "7.0",
    type: "millrace.toy.CounterAdded.v1",
    source: "/a%20b",
    time: "2026-01-01T00:00:00.000Z",
  };
  for (const [name, value] of Object.entries(attributes)) h.set(`ce-${name}`, value);
  const read = new FeedEvent("feed.org_a.toy.counter.cnt_1.CounterAdded", 7, h, Buffer.from('{"by":1}'));
  const said = () => [...Object.keys(attributes), "data", "none"].map((name) => read.attribute(name));
  const [before, json] = [said(), read.json];
  assert.equal(before.slice(0, 2), ["7.0", "millrace.toy.CounterAdded.v1"]);
  assert.equal([read.keep().json, said()], [json, before]);
  assert.equal(read.event.data, { by: 1 });
});

test("finds the last event at or before a place", () => {
  const ring = new Ring(10, 1_000, 4);
  for (let seq = 5; seq <= 9; seq++) ring.push(event(seq));
  assert.is(ring.seqAt({ seq: 14, index: 9999 }), 4);
  assert.is(ring.seqAt({ seq: 15, index: 1 }), 5);
  assert.is(ring.seqAt({ seq: 15, index: 0 }), 4);
  assert.is(ring.seqAt({ seq: 22, index: 0 }), 7);
  assert.is(ring.seqAt({ seq: 999, index: 0 }), 9);
  ring.reset(40);
  assert.equal([ring.length, ring.coveredFrom, ring.first, ring.seqAt({ seq: 1, index: 0 })], [0, 40, undefined, 40]);
});

test.run();
