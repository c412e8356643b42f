/**
 * Subscribers of NATS where it takes long: ten thousand tries with wrong passwords, which must leave nothing behind and harm nobody; and a cluster
 * of three servers, of which one dies under a follower.
 *
 * SUBSCRIBERS_TRIES: how many tries (10 000).
 */
import assert from "node:assert/strict";
import { connect as dial } from "node:net";
import { makeToken } from "@millrace/contracts/token.ts";
import { callerOf, eventually, testGateway, testProjector } from "../harness/gateway.ts";
import { threeServers } from "../harness/servers.ts";
import { type Credentials, connectAs, makeDoor, natsWithDoor, readAs } from "../harness/subscribers.ts";
import { suite } from "../harness/suite.ts";

const test = suite("subscribers of NATS, for long", { timeoutMs: 900_000 });
const TRIES = Number(process.env.SUBSCRIBERS_TRIES ?? 10_000);
const AT_ONCE = 64;

const memory = () => {
  global.gc?.();
  return process.memoryUsage().heapUsed / 1024 ** 2;
};

/** One connection in the plain protocol. @returns what the server said at last */
function tried(url: string, { id, secret }: Credentials): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let said = "";
    const socket = dial({ host: hostname, port: Number(port) });
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on("data", (data) => {
      const greeted = said !== "";
      said += data;
      if (!greeted) socket.write(`CONNECT ${JSON.stringify({ user: id, pass: secret, verbose: false })}\r\nPING\r\n`);
      if (/PONG|-ERR/.test(said)) socket.end();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(/-ERR[^\r]*|PONG/.exec(said)?.[0] ?? "nothing"));
  });
}

test(`${TRIES} tries with wrong passwords let nobody in, leave nothing behind, and others go on`, async ({ defer }) => {
  const { nats, config } = await natsWithDoor();
  const gateway = await testGateway(config);
  await testProjector(gateway.config);
  const { expect } = callerOf(gateway);
  const one: Credentials = (await expect(201, "POST", "/subscribers", { body: { name: "one" } })).body;
  const client = await connectAs(nats.url, one);
  defer(() => client.close());
  const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
  const attack = async (count: number) => {
    const heard = new Map<string, number>();
    let left = count;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (left-- > 0) {
          const id = left % 3 === 0 ? one.id : left % 3 === 1 ? `sub_${"0".repeat(26)}` : `nobody-${left}`;
          const said = await tried(nats.url, { id, secret: makeToken("mrs", random) });
          heard.set(said, (heard.get(said) ?? 0) + 1);
        }
      }),
    );
    return heard;
  };
  await attack(TRIES / 10);
  const before = memory();
  const began = performance.now();
  const heard = await attack(TRIES);
  const seconds = (performance.now() - began) / 1_000;
  const after = memory();
  assert.deepEqual([...heard], [["-ERR 'Authorization Violation'", TRIES]]);
  console.log(
    `${TRIES} tries in ${seconds.toFixed(1)} s (${Math.round(TRIES / seconds)}/s); heap of gateway, projector and tester ${before.toFixed(1)} MB before, ${after.toFixed(1)} MB after`,
  );
  assert.ok(after - before < 20, `the heap grew by ${(after - before).toFixed(1)} MB`);
  await expect(201, "POST", "/work-items", { body: { type: "task", title: "After it" } });
  const read = async () => (await readAs(client, one.id, { from: "beginning", most: 1_000 })).body;
  await eventually(async () => JSON.stringify(await read()).includes("After it") || undefined, "it is read after all");
  const { connections } = (await expect(200, "GET", "/subscribers/one/connections")).body;
  assert.equal(connections.length, 1, "nobody else is connected");
});

test("on three servers: let in by each, followed over the death of one, ended on whichever it is", async ({
  defer,
}) => {
  const door = makeDoor();
  const three = await threeServers(door.nats);
  const [natsUrl, natsUser, natsPassword] = [three.urls.join(","), three.user, three.pass];
  const gateway = await testGateway({ ...door.config, natsUrl, natsUser, natsPassword, replicas: 3 });
  await testProjector(gateway.config);
  const { expect } = callerOf(gateway);
  const one: Credentials = (
    await expect(201, "POST", "/subscribers", { body: { name: "one", events: { context: ["work"] } } })
  ).body;
  const clients = await Promise.all(three.urls.map((url) => connectAs(url, one, { reconnect: false })));
  defer(() => Promise.all(clients.map((client) => client.close())));
  const heard = clients.map(() => new Set<string>());
  const { live } = (await expect(200, "GET", "/subscribers/one/connections")).body;
  for (const [i, client] of clients.entries()) {
    client.subscribe(live[0], { callback: (_, message) => void heard[i]!.add(message.subject) });
    await client.flush();
  }
  const follower = await connectAs(three.urls[2]!, one, { servers: [...three.urls].reverse() });
  defer(() => follower.close());
  const open = async (title: string) =>
    (await expect(201, "POST", "/work-items", { body: { type: "task", title } })).body.id;
  const first = await open("First");
  for (const [i] of clients.entries()) {
    await eventually(
      async () => [...heard[i]!].some((subject) => subject.includes(first)) || undefined,
      `heard on ${i}`,
      60_000,
    );
  }
  await eventually(async () => {
    const { connections } = (await expect(200, "GET", "/subscribers/one/connections")).body;
    return connections.length === 4 || undefined;
  }, "all four are known");
  let { position } = (await readAs(follower, one.id, { from: "beginning" })).body;
  await three.cluster.servers[2]!.kill();
  await clients[2]!.closed();
  const titles: string[] = [];
  const made: string[] = [];
  for (let i = 0; i < 20; i++) {
    const title = `After the death ${i}`;
    await eventually(
      async () => {
        const options = { body: { type: "task", title }, headers: { "idempotency-key": `after-${i}` } };
        const { status } = await callerOf(gateway).call("POST", "/work-items", options);
        return status === 201 || undefined;
      },
      "an item is opened",
      60_000,
    );
    made.push(title);
  }
  await eventually(
    async () => {
      const read = await readAs(follower, one.id, { after: position, waitMs: 1_000 }, 5_000).catch(() => undefined);
      if (read === undefined || read.code !== "") return undefined;
      titles.push(...read.body.events.flatMap(({ data }: any) => data.title ?? []));
      position = read.body.position;
      return titles.length >= made.length || undefined;
    },
    "the follower goes on",
    120_000,
  );
  assert.deepEqual(
    titles.filter((title) => title !== "First"),
    made,
  );
  await three.cluster.restart(2);
  // The streams have new leaders, and the server that came back catches up.
  const revoked = async () =>
    (await callerOf(gateway).call("DELETE", "/subscribers/one", { headers: { "if-match": "*" } })).status;
  await eventually(async () => [204, 404].includes(await revoked()) || undefined, "it is revoked", 60_000);
  await Promise.all([clients[0]!.closed(), clients[1]!.closed()]);
  await assert.rejects(connectAs(three.urls[0]!, one, { reconnect: false }));
});

test.run();
