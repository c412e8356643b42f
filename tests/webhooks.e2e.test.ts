/** Webhooks as their receivers see them: through HTTP, log, relay, feed and outbox. */
import assert from "node:assert/strict";
import type { Delivery } from "@millrace/contracts/integrations/entities.ts";
import { Webhook as Verifier } from "standardwebhooks";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { type Received, startReceiver } from "./harness/receiver.ts";
import { suite } from "./harness/suite.ts";

const test = suite("webhooks end to end");

const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
await testProjector(config, { outboxRetryPermille: 0, outboxTimeoutMs: 1_000 });
const { expect, listed } = callerOf({ url, owner });
const receiver = await startReceiver();

interface Hook {
  readonly id: string;
  readonly secret: string;
  readonly path: string;
  readonly at: () => Received[];
}

let serial = 0;
const create = async (over: object = {}): Promise<Hook> => {
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
  const verified = new Verifier(hook.secret).verify(
    one!.text,
    one!.headers as Record<string, string>,
  ) as Received["body"];
  assert.equal(verified.type, "millrace.work.ItemOpened.v1");
  assert.equal(verified.source.endsWith(`item/${id}`), true);
  assert.equal(verified.data.title, "Signed");
  assert.equal(verified.timestamp, verified.time);
  assert.equal(verified.specversion, "1.0");
});

const inOrder = (received: ReadonlyArray<Received>, id: string) =>
  received.filter(({ body }) => body.source.endsWith(id)).map(({ body }) => body.data.text ?? body.data.title);
/** The first time that each came, in order. */
const firsts = (received: ReadonlyArray<Received>) => {
  const seen = new Set<string>();
  return received.filter(({ message }) => !seen.has(message) && seen.add(message));
};

test("what fails holds up its own entity, in order, and nobody else; the id stays over retries", async () => {
  const hook = await create();
  let refused = 0;
  receiver.answer(({ body, path }) => {
    const isBad = path === hook.path && (body.data.title ?? body.data.text).startsWith("bad");
    if (!isBad || refused >= 4) return 204;
    refused++;
    return 500;
  });
  const [bad, good] = [await open("bad"), await open("good")];
  for (let i = 1; i <= 5; i++) {
    await comment(bad, `bad ${i}`);
    await comment(good, `good ${i}`);
  }
  const delivered = () => firsts(hook.at().slice()).length;
  await eventually(async () => delivered() === 12 || undefined, "all of both");
  const comments = (id: string, word: string) =>
    assert.deepEqual(
      inOrder(firsts(hook.at()), id).slice(1),
      [1, 2, 3, 4, 5].map((i) => `${word} ${i}`),
    );
  comments(bad, "bad");
  comments(good, "good");
  assert.equal(hook.at().length, 16);
  const tries = hook.at().filter(({ body }) => body.source.endsWith(bad) && body.type.includes("ItemOpened"));
  assert.equal(tries.length, 5);
  assert.equal(new Set(tries.map(({ message }) => message)).size, 1);
  const log = await eventually(async () => {
    const { items } = (await expect(200, "GET", `/webhooks/${hook.id}/deliveries?message=${tries[0]!.message}`)).body;
    return items.length === 5 ? items : undefined;
  }, "five tries in the log");
  assert.deepEqual(
    log.map(({ attempt, outcome, status }: Delivery) => [attempt, outcome, status]),
    [
      [5, "delivered", 204],
      [4, "failed", 500],
      [3, "failed", 500],
      [2, "failed", 500],
      [1, "failed", 500],
    ],
  );
  receiver.answer(() => 204);
});

test("410 disables it; resumed, it goes on where it stopped", async () => {
  const hook = await create();
  receiver.answer(({ path }) => (path === hook.path ? 410 : 204));
  const id = await open("Gone");
  await eventually(async () => (await state(hook.id)).state === "disabled" || undefined, "it is disabled");
  await comment(id, "later");
  assert.equal(hook.at().length, 1);
  receiver.answer(() => 204);
  await expect(200, "POST", `/webhooks/${hook.id}/resume`, { body: {} });
  await eventually(async () => hook.at().length === 3 || undefined, "the rest");
  assert.deepEqual(inOrder(hook.at().slice(1), id), ["Gone", "later"]);
});

test("when the table is exhausted it is parked, and resumed by hand; one entity alone when others went through", async () => {
  const hook = await create();
  receiver.answer(({ path }) => (path === hook.path ? 503 : 204));
  const id = await open("Parked");
  const parked = await eventually(async () => {
    const status = await state(hook.id);
    return status.state === "parked" ? status : undefined;
  }, "it is parked");
  assert.match(parked.reason, /503/);
  assert.equal(hook.at().length, 10);
  const others = () => hook.at().filter(({ body }) => !body.source.endsWith(id)).length;
  // Between two tries nothing is waited for here: each is answered when another one has come, so that others do go through meanwhile.
  receiver.answer(async ({ path, body }) => {
    if (path !== hook.path || !body.source.endsWith(id)) return 204;
    const before = others();
    await eventually(async () => others() > before || undefined, "another one", 900).catch(() => {});
    return 500;
  });
  await expect(200, "POST", `/webhooks/${hook.id}/resume`, { body: {} });
  let n = 0;
  const status = await eventually(async () => {
    await open(`Other ${n++}`);
    const now = await state(hook.id);
    return now.parked.length > 0 ? now : undefined;
  }, "the entity is parked");
  assert.deepEqual([status.state, status.parked[0].id], ["active", id]);
  receiver.answer(() => 204);
  await expect(200, "POST", `/webhooks/${hook.id}/resume`, { body: { skip: true } });
  await comment(id, "after the bad one");
  await eventually(
    async () => hook.at().some(({ body }) => body.data.text === "after the bad one") || undefined,
    "what came after it",
  );
  const own = hook.at().filter(({ body }) => body.source.endsWith(id));
  assert.equal(own.at(-2)!.body.type, "millrace.work.ItemOpened.v1", "the opening was passed over, not tried again");
  assert.deepEqual((await state(hook.id)).parked, []);
});

test("Retry-After is honoured by all that is sent there; redirects and liars are failures", async () => {
  const hook = await create();
  let tries = 0;
  const begun = Date.now();
  receiver.answer(({ path }, response) => {
    if (path !== hook.path) return 204;
    tries++;
    if (tries === 1) return void response.writeHead(429, { "retry-after": "1" }).end("slow down");
    if (tries === 2) return void response.writeHead(307, { location: `${receiver.url}/elsewhere` }).end();
    if (tries === 3) return void response.destroy();
    if (tries === 4) return void response.socket?.end("SMTP ready\r\n");
    return 200;
  });
  await open("Retried");
  const seconds: number[] = [];
  await eventually(async () => {
    seconds.push(Date.now());
    return tries >= 5 || undefined;
  }, "the fifth try");
  assert.ok(Date.now() - begun >= 1_000);
  assert.equal(receiver.at("/elsewhere").length, 0);
  const log = await eventually(async () => {
    const { items } = (await expect(200, "GET", `/webhooks/${hook.id}/deliveries`)).body;
    return items.length >= 5 ? items : undefined;
  }, "the log");
  assert.deepEqual([log[4].status, log[4].answer, log[3].status], [429, "slow down", 307]);
  assert.match(log[3].reason, /redirects are not followed/);
  receiver.answer(() => 204);
});

test("a rotated secret and the old one both sign for a time", async () => {
  const hook = await create();
  const rotated = (await expect(200, "POST", `/webhooks/${hook.id}/rotate-secret`, { body: { overlapHours: 1 } })).body;
  assert.notEqual(rotated.secret, hook.secret);
  assert.ok(Date.parse(rotated.status.oldSecretUntil) > Date.now());
  await open("Rotated");
  const [one] = await eventually(async () => (hook.at().length > 0 ? hook.at() : undefined), "a delivery");
  for (const secret of [hook.secret, rotated.secret]) {
    new Verifier(secret).verify(one!.text, one!.headers as Record<string, string>);
  }
  const last = (await expect(200, "POST", `/webhooks/${hook.id}/rotate-secret`, { body: { overlapHours: 0 } })).body;
  await open("Rotated at once");
  await eventually(async () => hook.at().length > 1 || undefined, "another delivery");
  const two = hook.at()[1]!;
  new Verifier(last.secret).verify(two.text, two.headers as Record<string, string>);
  assert.throws(() => new Verifier(rotated.secret).verify(two.text, two.headers as Record<string, string>));
});

test("paused, nothing is sent; a test is, once; a replay begins anew from a time, with the same ids", async () => {
  const hook = await create();
  const id = await open("Replayed");
  await eventually(async () => hook.at().length === 1 || undefined, "a delivery");
  await expect(200, "POST", `/webhooks/${hook.id}/pause`);
  await comment(id, "meanwhile");
  assert.equal((await expect(202, "POST", `/webhooks/${hook.id}/test`)).body.status.state, "paused");
  const tested = await eventually(
    async () => hook.at().find(({ message }) => message.startsWith("msg_test_")),
    "a test",
  );
  assert.equal(tested.body.type, "millrace.integrations.WebhookTest.v1");
  new Verifier(hook.secret).verify(tested.text, tested.headers as Record<string, string>);
  assert.equal(hook.at().length, 2);
  await expect(200, "POST", `/webhooks/${hook.id}/resume`, { body: {} });
  await eventually(async () => hook.at().length === 3 || undefined, "what happened meanwhile");
  const from = hook.at()[0]!.body.time;
  await expect(202, "POST", `/webhooks/${hook.id}/replay`, { body: { time: from } });
  await eventually(async () => hook.at().length === 5 || undefined, "the replay");
  const messages = hook.at().map(({ message }) => message);
  assert.deepEqual(messages.slice(3), [messages[0], messages[2]]);
  const outbox = await eventually(async () => {
    const { body } = await expect(200, "GET", `/webhooks/${hook.id}/outbox`);
    return body.held.length === 0 && body.position !== undefined ? body : undefined;
  }, "the outbox is empty");
  assert.equal(typeof outbox.writtenAt, "string");
});

test("nobody has sent what they may not read, nor where they may not; a secret is shown once", async () => {
  const token = async (grants: string[]) =>
    (await expect(201, "POST", "/tokens", { body: { name: `t-${++serial}`, grants } })).body.secret;
  const reader = await token(["integrations:read", "work:read"]);
  const editor = await token(["integrations:edit", "integrations:read", "work:read"]);
  const body = { name: "narrow", url: receiver.url };
  assert.equal((await expect(403, "POST", "/webhooks", { body, token: reader })).body.permission, "integrations:edit");
  const other = { ...body, events: { context: ["identity"] } };
  assert.equal(
    (await expect(403, "POST", "/webhooks", { body: other, token: editor })).body.permission,
    "identity:read",
  );
  const made = (await expect(201, "POST", "/webhooks", { body, token: editor })).body;
  assert.deepEqual(made.spec.events.context.includes("work"), true);
  assert.equal(made.spec.events.context.includes("identity"), false);
  const all = (await create({ events: {} })).id;
  await expect(403, "PATCH", `/webhooks/${all}`, {
    body: { url: `${receiver.url}/mine` },
    token: editor,
    headers: { "if-match": "*" },
  });
  const shown = await expect(200, "GET", `/webhooks/${made.id}`);
  assert.equal(shown.text.includes("whsec_"), false);
  const history = await listed(`/webhooks/${made.id}/history`, shown);
  assert.equal(history.text.includes("sealed"), false);
  for (const url of ["http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::1]:8080/", "ftp://example.com/"]) {
    const answer = await expect(400, "POST", "/webhooks", { body: { name: "bad", url } });
    assert.equal(answer.body.errors[0].pointer, "/body/url");
  }
  const gone = await expect(204, "DELETE", `/webhooks/${made.id}`, { headers: { "if-match": "*" } });
  assert.equal(gone.text, "");
  await expect(404, "GET", `/webhooks/${made.id}/deliveries`);
});

test.run();
