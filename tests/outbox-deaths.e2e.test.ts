/** The projector dies at each place around a delivery: nothing is lost, nothing comes before what was before it, and repeats keep their ids. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import { callerOf, eventually, testGateway } from "./harness/gateway.ts";
import { type Received, startReceiver } from "./harness/receiver.ts";
import { suite } from "./harness/suite.ts";

const test = suite("deaths of the outbox", { timeoutMs: 240_000 });
const MAIN = fileURLToPath(new URL("../services/projector/main.ts", import.meta.url));

const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
const { expect } = callerOf({ url, owner });

/** A projector as a process of its own; without `dieAt` until it is ended. */
function start(dieAt?: string) {
  const child = spawn(process.execPath, [MAIN], {
    stdio: "ignore",
    env: {
      ...process.env,
      MILLRACE_NATS_URL: config.natsUrl,
      MILLRACE_NATS_USER: config.natsUser,
      MILLRACE_NATS_PASSWORD: config.natsPassword,
      MILLRACE_POSTGRES_URL: config.postgresUrl,
      MILLRACE_MASTER_KEY: config.masterKey,
      MILLRACE_WEBHOOK_ALLOW: "127.0.0.0/8",
      MILLRACE_OUTBOX_RETRY_PERMILLE: "0",
      MILLRACE_HEALTH_PORT: "0",
      MILLRACE_LOG_LEVEL: "error",
      ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
    },
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once("exit", (_, signal) => resolve(signal)));
  return { child, ended };
}

/** The first time that each message came. */
const firsts = (received: ReadonlyArray<Received>): Received[] =>
  [...new Map(received.toReversed().map((one) => [one.message, one])).values()].toReversed();

test("it dies before a delivery, after it, before its record and after that; shards go to a second one, and back when the first dies", async ({
  defer,
}) => {
  const receiver = await startReceiver();
  // Every third try fails, so that lanes are held back when it dies.
  let tries = 0;
  receiver.answer(() => (++tries % 3 === 0 ? 500 : 204));
  await expect(201, "POST", "/webhooks", {
    body: { name: "deaths", url: receiver.url, events: { context: ["work"] } },
  });
  const open = async (title: string) =>
    (await expect(201, "POST", "/work-items", { body: { type: "task", title } })).body.id as string;
  const items = [await open("one"), await open("two")];
  let said = 0;
  const say = async () => {
    said++;
    for (const id of items) await expect(200, "POST", `/work-items/${id}/comments`, { body: { text: `${said}` } });
  };
  for (const place of ["send.before:2", "send.after:1", "record.before:1", "record.after:1"]) {
    await say();
    await say();
    const { child, ended } = start(`outbox.${place}`);
    defer(() => child.kill("SIGKILL"));
    assert.equal(await ended, "SIGKILL", `it died at ${place}`);
  }
  const last = start();
  defer(() => last.child.kill("SIGKILL"));
  const all = () => firsts(receiver.received.slice());
  await eventually(async () => all().length >= 2 * (said + 1) || undefined, "everything is there", 90_000);
  for (const id of items) {
    const own = all().filter(({ body }) => body.source.endsWith(id));
    // Opened, then every comment, in the order they were made.
    const texts = own.map(({ body }) => body.data.text ?? "opened");
    assert.deepEqual(texts, ["opened", ...Array.from({ length: said }, (_, i) => `${i + 1}`)]);
  }
  const bodies = new Map<string, string>();
  for (const { message, text } of receiver.received) {
    assert.equal(bodies.get(message) ?? text, text, "a repeat is the same message");
    bodies.set(message, text);
  }

  const { natsUrl, natsUser, natsPassword } = config;
  const nats = await connectNats({ url: natsUrl, user: natsUser!, password: natsPassword!, name: "shares" });
  const leases = await Leases.open(nats, { node: "test" });
  defer(() => leases.close().then(nats.close));
  /** Shards by process. */
  const shares = () => {
    const held = leases.list().filter(({ key }) => /^outbox\.\d+$/.test(key));
    return [...Map.groupBy(held, ({ owner }) => owner.name).values()].map(({ length }) => length);
  };
  const spread = (as: string) => eventually(async () => `${shares()}` === as || undefined, `shares of ${as}`, 60_000);
  await spread("16");
  // What fails again and again would be parked.
  receiver.answer(() => 204);
  const second = start();
  defer(() => second.child.kill("SIGKILL"));
  /** While shards go from one to the other: nothing is lost or out of order. */
  const goesOn = async (until: Promise<unknown>) => {
    let over = false;
    void until.finally(() => {
      over = true;
    });
    while (!over) {
      await say();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await until;
    await say();
    await eventually(async () => all().length >= 2 * (said + 1) || undefined, "everything is there", 90_000);
    for (const id of items) {
      const texts = all()
        .filter(({ body }) => body.source.endsWith(id))
        .map(({ body }) => body.data.text ?? "opened");
      assert.deepEqual(texts, ["opened", ...Array.from({ length: said }, (_, i) => `${i + 1}`)]);
    }
  };
  await goesOn(spread("8,8"));
  last.child.kill("SIGKILL");
  await last.ended;
  await goesOn(spread("16"));
  second.child.kill("SIGTERM");
  assert.equal(await second.ended, null, "it ends by itself");
});

test.run();
