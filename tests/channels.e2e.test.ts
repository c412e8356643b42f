/** Channels as those who are told see them: requests over real sockets, and mail by SMTP. */
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { type Received, startReceiver } from "./harness/receiver.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("channels end to end");

const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
await testProjector(config, { outboxRetryPermille: 0, outboxTimeoutMs: 2_000 });
const { expect } = callerOf({ url, owner });
const receiver = await startReceiver();
const { host } = new URL(receiver.url);

let serial = 0;
const create = async (address: string, more: object = {}) =>
  (
    await expect(201, "POST", "/channels", {
      body: { name: `channel-${++serial}`, url: address, events: { type: ["ItemOpened"] }, ...more },
    })
  ).body;
const open = (title: string) => expect(201, "POST", "/work-items", { body: { type: "task", title } });
const arrived = (what: (one: Received) => boolean, count = 1) =>
  eventually(async () => {
    const found = receiver.received.filter(what);
    return found.length >= count ? found : undefined;
  }, "what was said");

test("every service is told in its own form, and no secret is shown", async () => {
  const server = `server=${encodeURIComponent(receiver.url)}`;
  const secrets = [
    "SLACKSECRET",
    "discord-secret",
    "telegram-secret-key",
    "ntfysecret",
    "gotifysecret",
    "matrixsecret",
  ];
  const made = [
    await create(`slack://T0001/B0001/SLACKSECRET?${server}`),
    await create(`discord://12345678/discord-secret?${server}`),
    await create(`telegram://12345678:telegram-secret-key@telegram?chats=@room,42&${server}`),
    await create(`ntfy://me:ntfysecret@${host}/topic?scheme=http`),
    await create(`gotify://${host}/gotifysecret?disabletls=yes`),
    await create(`matrix://:matrixsecret@${host}/?rooms=!room:example.com&scheme=http`),
    await create(`json://${host}/anything`),
  ];
  await open("Tell & <everybody> @here");
  const at = async (path: string, count = 1) => (await arrived((one) => one.path === path, count)) as Received[];
  const [slack] = await at("/services/T0001/B0001/SLACKSECRET");
  assert.match(slack!.body.text, /opened the task "Tell &amp; &lt;everybody&gt; @here"/);
  assert.equal(slack!.body.blocks[0].text.text, slack!.body.text);
  const [discord] = await at("/api/webhooks/12345678/discord-secret?wait=true");
  assert.deepEqual(discord!.body.allowed_mentions, { parse: [] });
  assert.equal(discord!.body.content.includes("@here"), false);
  const telegram = await at("/bot12345678:telegram-secret-key/sendMessage", 2);
  assert.deepEqual(telegram.map(({ body }) => body.chat_id).sort(), ["42", "@room"]);
  const [ntfy] = await at("/topic");
  assert.equal(ntfy!.headers.authorization, `Basic ${btoa("me:ntfysecret")}`);
  assert.match(ntfy!.text, /Tell & <everybody>/);
  const [gotify] = await at("/message");
  assert.equal(gotify!.headers["x-gotify-key"], "gotifysecret");
  const [matrix] = await arrived(({ path }) => path.startsWith("/_matrix/"));
  assert.equal(matrix!.method, "PUT");
  assert.match(matrix!.path, /\/rooms\/!room%3Aexample\.com\/send\/m\.room\.message\/msg_work_\d+_0$/);
  assert.equal(matrix!.headers.authorization, "Bearer matrixsecret");
  const [json] = await at("/anything");
  assert.equal(json!.body.event.type, "millrace.work.ItemOpened.v1");
  for (const { id } of made) {
    const shown = [`/channels/${id}`, `/channels/${id}/deliveries`].map((path) => expect(200, "GET", path));
    for (const { text } of await Promise.all(shown)) {
      for (const secret of secrets) assert.equal(text.includes(secret), false, text);
    }
  }
});

test("mail arrives by SMTP, with a template's text", async () => {
  const mails: string[] = [];
  const smtp = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS", "AUTH"],
    onData: (stream, _, done) => {
      let text = "";
      stream.on("data", (chunk: Buffer) => {
        text += chunk;
      });
      stream.on("end", () => {
        mails.push(text);
        done();
      });
    },
  });
  await new Promise<void>((resolve) => smtp.listen(0, "127.0.0.1", () => resolve()));
  deferToEndOfFile(() => new Promise<void>((resolve) => smtp.close(() => resolve())));
  const { port } = smtp.server.address() as AddressInfo;
  const made = await create(`smtp://127.0.0.1:${port}/?from=mill@example.com&to=ada@example.com`, {
    templates: { ItemOpened: "{{actor}} asks for: {{data.title}}{{data.nothing}}" },
  });
  assert.equal(made.spec.service, "mail");
  await open("New paint");
  const mail = await eventually(async () => mails[0], "a mail");
  assert.match(mail, /^To: ada@example\.com/m);
  assert.match(mail, /^Subject: .*millrace.*opened/m);
  assert.match(mail, /^Message-ID: <msg_work_\d+_0@millrace>/im);
  assert.match(mail, /asks for: New/);
});

test("what fails is tried again and parked; a test says how it stands", async () => {
  const made = await create(`json://${host}/broken`);
  receiver.answer(({ path }) => (path === "/broken" ? 500 : 204));
  await open("Nobody hears");
  const state = async () => (await expect(200, "GET", `/channels/${made.id}`)).body.status.state;
  await eventually(async () => (await state()) === "parked" || undefined, "it is parked");
  assert.equal(receiver.at("/broken").length, 10);
  receiver.answer(() => 204);
  await expect(202, "POST", `/channels/${made.id}/test`);
  await eventually(
    async () => receiver.at("/broken").at(-1)?.body.text.includes("This is a test") || undefined,
    "a test",
  );
  await expect(200, "POST", `/channels/${made.id}/resume`, { body: {} });
  await eventually(
    async () => receiver.at("/broken").at(-1)?.body.text.includes("Nobody hears") || undefined,
    "the rest",
  );
});

test("addresses that are none, templates with code, and private places are refused", async () => {
  for (const address of ["slack://A/B", "http://example.com/", "discord://x/y", "mailto://nobody", "ntfy://a b", "x"]) {
    const answer = await expect(400, "POST", "/channels", { body: { name: "bad", url: address } });
    assert.equal(answer.body.errors[0].pointer, "/body/url");
  }
  await expect(400, "POST", "/channels", { body: { name: "bad", url: "json://10.0.0.1/x" } });
  await expect(400, "POST", "/channels", {
    body: { name: "bad", url: "smtp://192.168.0.9/?from=a@b.example&to=c@d.example" },
  });
  for (const text of [
    "{{constructor.constructor('x')()}}",
    "{% if x %}",
    "{{#each data}}",
    "$" + "{process.env}",
    "{{data.a",
    "<%= 1 %>",
  ]) {
    const answer = await expect(400, "POST", "/channels", {
      body: { name: "bad", url: "ntfy://topic", templates: { ItemOpened: text } },
    });
    assert.match(answer.body.errors[0].detail, /code/, text);
  }
});

test.run();
