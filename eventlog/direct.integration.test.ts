/** Reading pages by direct get. */
import * as assert from "uvu/assert";
import { testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { connectNats, type Nats } from "./connection.ts";
import { readBatch } from "./direct.ts";
import { LogUnavailable } from "./failures.ts";
import { ensureStreams } from "./streams.ts";

const test = suite("direct reads");
let nats: Nats;
test.before(async () => {
  const { url, user, pass } = await testNats();
  nats = await connectNats({ url, user, password: pass, name: "direct" });
  await ensureStreams(nats, ["toy"], { replicas: 1 });
  for (let i = 0; i < 20; i++) await nats.nc.request(`evt.toy.00.k.${i % 2 === 0 ? "a" : "b"}`, "x".repeat(1_000));
});
test.after(() => nats?.close());

const subscriptions = () =>
  (nats.nc as unknown as { protocol: { subscriptions: { size(): number } } }).protocol.subscriptions.size();

test("a page by number, by subject and by bytes, and whether there is more", async () => {
  const all = await readBatch(nats, "EVT_TOY", { seq: 1, batch: 100 });
  assert.is(all.messages.length, 20);
  assert.is(all.more, false);
  const some = await readBatch(nats, "EVT_TOY", { seq: 5, batch: 3 });
  assert.equal(
    some.messages.map(({ seq }) => seq),
    [5, 6, 7],
  );
  assert.is(some.more, true);
  const odd = await readBatch(nats, "EVT_TOY", { seq: 1, batch: 10, next_by_subj: "evt.toy.00.k.b" });
  assert.is(odd.messages.length, 10);
  assert.is(odd.more, false);
  const bytes = await readBatch(nats, "EVT_TOY", { seq: 1, batch: 100, max_bytes: 3_000 });
  assert.ok(bytes.messages.length < 20 && bytes.more, `${bytes.messages.length} ${bytes.more}`);
  assert.equal(await readBatch(nats, "EVT_TOY", { seq: 99, batch: 5 }), { messages: [], more: false });
});

test("no subscription is left behind, and a stream that is not there is told", async () => {
  const before = subscriptions();
  for (let i = 0; i < 20; i++) await readBatch(nats, "EVT_TOY", { seq: 1, batch: 5 });
  for (let i = 0; i < 20; i++) await readBatch(nats, "EVT_TOY", { seq: 99, batch: 5 });
  try {
    await readBatch(nats, "EVT_NOTHING", { seq: 1, batch: 5 }, 300);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, LogUnavailable);
  }
  assert.is(subscriptions(), before);
});

test.run();
