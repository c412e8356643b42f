/**
 * Subscribers of NATS: they hear and read their part of the feed and nothing else, over the real server, its auth callout, a gateway and a
 * projector; and are cut off when they may no longer.
 */
import assert from "node:assert/strict";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { type Credentials, connectAs, natsWithDoor, readAs } from "./harness/subscribers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("subscribers of NATS", { timeoutMs: 60_000 });
const { nats, config: door } = await natsWithDoor();
const gateway = await testGateway(door);
await testProjector(gateway.config);
const { expect } = callerOf(gateway);
const org: string = (await expect(200, "GET", "")).body.id;

async function made(name: string, body: object = {}, token = gateway.owner): Promise<Credentials> {
  return (await expect(201, "POST", "/subscribers", { body: { name, ...body }, token })).body;
}
const open = async (title: string) =>
  (await expect(201, "POST", "/work-items", { body: { type: "task", title } })).body.id as string;

test("hears live what its filter says, and reads what it has missed", async ({ defer }) => {
  const one = await made("one", { events: { context: ["work"], type: ["ItemOpened"] } });
  const client = await connectAs(nats.url, one);
  defer(() => client.close());
  const heard: string[] = [];
  const { live } = (await expect(200, "GET", "/subscribers/one/connections")).body;
  assert.deepEqual(live, [`feed.${org}.work.*.*.ItemOpened`]);
  for (const subject of live) client.subscribe(subject, { callback: (_, message) => void heard.push(message.subject) });
  await client.flush();
  const first = await readAs(client, one.id);
  assert.deepEqual([first.code, first.body.events, first.body.live], ["", [], true]);
  const id = await open("Heard");
  await eventually(async () => heard[0], "the event live");
  assert.deepEqual(heard, [`feed.${org}.work.item.${id}.ItemOpened`]);
  const read = await readAs(client, one.id, { after: first.body.position, waitMs: 10_000 });
  assert.deepEqual(
    read.body.events.map(({ source, type }: any) => [source, type]),
    [[`/organisations/${org}/work/item/${id}`, "millrace.work.ItemOpened.v1"]],
  );
});

test.run();
