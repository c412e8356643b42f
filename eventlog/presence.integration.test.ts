/** Presence: who is there is seen, who is gone is not, through the server's restart too. */
import * as assert from "uvu/assert";
import { eventually } from "../tests/harness/eventually.ts";
import { startOwnNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { connectNats } from "./connection.ts";
import { thisOwner } from "./owner.ts";
import { announce, listNodes, type NodeRecord } from "./presence.ts";

const test = suite("presence");

const record = (node: string): NodeRecord => ({
  node,
  service: "orchestrator",
  instance: thisOwner().name,
  pid: process.pid,
  host: "here",
  version: "0.1.0",
  dataFolder: "/data",
  docker: { endpoint: "unix:///var/run/docker.sock", missing: "Docker does not answer. Start it." },
  freeBytes: 1_000,
  capabilities: ["git", "static"],
  startedAt: new Date().toISOString(),
});

test("announced, refreshed, forgotten by a restarted server and said again, gone when it ends or falls silent", async ({
  defer,
}) => {
  const server = await startOwnNats();
  const nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "presence" });
  defer(() => nats.close());
  assert.equal(await listNodes(nats), [], "before anybody has said anything");
  let free = 1_000;
  const home = record("home");
  const first = await announce({ nats, describe: () => ({ ...home, freeBytes: free }), ttlMs: 2_000 });
  defer(() => first.stop());
  const attic = record("attic");
  const second = await announce({ nats, describe: () => attic, ttlMs: 2_000 });
  assert.equal(await listNodes(nats), [attic, home]);
  free = 7;
  await first.refresh();
  assert.is((await listNodes(nats)).find(({ node }) => node === "home")?.freeBytes, 7);

  await second.stop();
  assert.equal(
    (await listNodes(nats)).map(({ node }) => node),
    ["home"],
  );
  await nats.js.publish("$KV.NODES.orchestrator.cellar.x", JSON.stringify(record("cellar")), { ttl: "1s" });
  assert.is((await listNodes(nats)).length, 2);
  await eventually(async () => (await listNodes(nats)).length === 1 || undefined, "the silent one is gone");

  await server.kill();
  await server.restart();
  await eventually(async () => {
    const there = await listNodes(nats).catch(() => []);
    return there.length === 1 || undefined;
  }, "said again");
});

test.run();
