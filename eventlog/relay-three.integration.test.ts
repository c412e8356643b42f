/** The relay on three servers: exactly once while the leaders of log and feed are killed and come back. */
import * as assert from "uvu/assert";
import { threeServers } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { connectNats, type Nats } from "./connection.ts";
import { feedState } from "./feed.ts";
import { assertExact, eventually, KINDS, publicPlaces, writeMany } from "./fixtures/feed.ts";
import { startRelay } from "./relay.ts";
import { ensureStreams } from "./streams.ts";
import { feedStream } from "./subjects.ts";

const test = suite("relay on three servers", { timeoutMs: 180_000 });

test("two relays, and the feed's leader killed under load, twice", async ({ defer }) => {
  const { urls, user, pass: password, cluster } = await threeServers();
  const settings = { url: urls.join(","), user, password, replicas: 3 } as const;
  const connect = (name: string): Promise<Nats> => connectNats({ ...settings, name });
  const [writer, one, two] = await Promise.all([connect("writer"), connect("one"), connect("two")]);
  defer(() => Promise.all([writer.close(), one.close(), two.close()]));
  await ensureStreams(writer, ["toy"], { replicas: 3 });
  const stop = new AbortController();
  const log = { info() {}, warn() {}, error() {} } as never;
  const relays = [one, two].map((nats) =>
    startRelay({ nats, context: "toy", kinds: KINDS, signal: stop.signal, log, park: async () => {} }),
  );
  defer(async () => {
    stop.abort();
    await Promise.all(relays.map(({ ended }) => ended));
  });

  for (let round = 0; round < 2; round++) {
    const writing = writeMany(writer, 300);
    await eventually("some are relayed", async () => (await feedState(writer, "toy").catch(() => null))?.lastSeq !== 0);
    let victim = -1;
    await eventually("the feed has a leader", async () => {
      const info = await writer.jsm.streams.info(feedStream("toy")).catch(() => undefined);
      victim = ["n1", "n2", "n3"].indexOf(info?.cluster?.leader ?? "");
      return victim >= 0;
    });
    await cluster.servers[victim]!.kill();
    await cluster.restart(victim);
    await writing;
  }
  const complete = async () => {
    try {
      return (await feedState(writer, "toy")).lastSeq >= (await publicPlaces(writer)).length;
    } catch {
      return false;
    }
  };
  await eventually("every public event is on the feed", complete, 90_000);
  await assertExact(writer);
  assert.ok((await feedState(writer, "toy")).lastSeq > 500);
});

test.run();
