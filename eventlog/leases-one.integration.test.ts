/** Leases on one server, and through its restart: leases are in its memory. */
import * as assert from "uvu/assert";
import { eventually } from "../tests/harness/eventually.ts";
import { startOwnNats, testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { leasePromises } from "./conformance-leases.ts";
import { connectNats } from "./connection.ts";
import { type Lease, Leases } from "./leases.ts";

const test = suite("leases on one server");
leasePromises(test, async () => {
  const { url, user, pass: password } = await testNats();
  return { url, user, password, name: "leases" };
});

test("a server that was restarted has forgotten them: the holder notices, and they can be taken again", async ({
  defer,
}) => {
  const server = await startOwnNats();
  const nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "leases" });
  defer(() => nats.close());
  const leases = await Leases.open(nats, { node: "home", ttlMs: 2_000 });
  defer(() => leases.close());
  const lease = (await leases.acquire("a", "x")) as Lease;
  assert.ok(lease.held());
  await server.kill();
  await server.restart();
  await eventually(async () => !lease.held() || undefined, "lost");
  assert.ok(lease.signal.aborted);
  const again = await eventually(async () => {
    const answer = await leases.acquire("a", "x").catch(() => undefined);
    return answer !== undefined && !("heldBy" in answer) ? answer : undefined;
  }, "taken again");
  await eventually(async () => leases.list().find(({ key }) => key === "a"), "watched again");
  await again.release();
});
test.run();
