/** Webhooks as their receivers see them: through HTTP, log, relay, feed and outbox. */
import assert from "node:assert/strict";
import { Webhook as Verifier } from "standardwebhooks";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { startReceiver } from "./harness/receiver.ts";
import { suite } from "./harness/suite.ts";

const test = suite("webhooks end to end");

const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
await testProjector(config, { outboxRetryPermille: 1, outboxTimeoutMs: 1_000 });
const { expect } = callerOf({ url, owner });
const receiver = await startReceiver();

let serial = 0;
const create = async (over: object = {}) => {
  const name = `hook-${++serial}`;
  const { body } = await expect(201, "POST", "/webhooks", {
    body: { name, url: `${receiver.url}/${name}`, events: { context: ["work"] }, ...over },
  });
  return { ...body, path: `/${name}`, at: () => receiver.at(`/${name}`) };
};
const open = async (title: string) =>
  (await expect(201, "POST", "/work-items", { body: { type: "task", title } })).body.id as string;
const comment = (id: string, text: string) => expect(200, "POST", `/work-items/${id}/comments`, { body: { text } });
const state = async (id: string) => (await expect(200, "GET", `/webhooks/${id}`)).body.status;

test("an event is delivered once, signed as Standard Webhooks says", async () => {
  const hook = await create();
  assert.match(hook.secret, /^whsec_/);
  const id = await open("Signed");
  const [one] = await eventually(async () => (hook.at().length > 0 ? hook.at() : undefined), "a delivery");
  assert.equal(one!.headers["content-type"], "application/json");
  assert.match(one!.message, /^msg_work_\d+_0$/);
  const verified = new Verifier(hook.secret).verify(one!.text, one!.headers as Record<string, string>) as any;
  assert.equal(verified.type, "millrace.work.ItemOpened.v1");
  assert.equal(verified.source.endsWith(`/work/item/${id}`), true);
  assert.equal(verified.data.title, "Signed");
  assert.equal(verified.timestamp, verified.time);
  assert.equal(verified.specversion, "1.0");
});

test.run();
