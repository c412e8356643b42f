/** Channels that hold what happens: nothing is lost or told twice, also when the projector dies while it holds or right after it has told. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { callerOf, eventually, testGateway } from "./harness/gateway.ts";
import { startReceiver } from "./harness/receiver.ts";
import { suite } from "./harness/suite.ts";

const test = suite("channels that hold", { timeoutMs: 240_000 });
const MAIN = fileURLToPath(new URL("../services/projector/main.ts", import.meta.url));

const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
const { expect } = callerOf({ url, owner });
const receiver = await startReceiver();
const { host } = new URL(receiver.url);

/** A projector as a process of its own. */
function start(dieAt = "") {
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
      MILLRACE_DIE_AT: dieAt,
    },
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once("exit", (_, signal) => resolve(signal)));
  return { child, ended };
}

/** An hour before now and one after it. */
const quietNow = () => {
  const clock = (ms: number) => new Date(ms).toISOString().slice(11, 16);
  return { from: clock(Date.now() - 3_600_000), to: clock(Date.now() + 3_600_000), zone: "UTC" };
};
/** Matrix: a message's id is in its path. */
const create = async (name: string, more: object) =>
  (
    await expect(201, "POST", "/channels", {
      body: {
        ...{ name, url: `matrix://:token@${host}/?rooms=!${name}:example.com&scheme=http` },
        ...{ events: { type: ["ItemOpened"] }, templates: { ItemOpened: "{{data.title}}" }, ...more },
      },
    })
  ).body.id as string;
const told = (name: string) => receiver.received.filter(({ path }) => path.includes(`!${name}%3A`));
const open = (title: string) => expect(201, "POST", "/work-items", { body: { type: "task", title } });
/** Until the record says that so many are held. */
const holds = (id: string, count: number) =>
  eventually(
    async () => (await expect(200, "GET", `/channels/${id}/outbox`)).body.gathered?.events === count || undefined,
    `${count} are held`,
    60_000,
  );
const change = (id: string, pace: object) =>
  expect(200, "PATCH", `/channels/${id}`, { body: { pace }, headers: { "if-match": "*" } });

test("quiet hours: what comes in them is told together afterwards, once, whoever dies meanwhile", async ({ defer }) => {
  const id = await create("night", { pace: { quiet: quietNow() } });
  const begin = (dieAt?: string) => {
    const one = start(dieAt);
    defer(() => one.child.kill("SIGKILL"));
    return one;
  };
  const first = begin();
  await open("one");
  await open("two");
  await holds(id, 2);
  first.child.kill("SIGKILL");
  await first.ended;
  await open("three");
  const second = begin();
  await holds(id, 3);
  await open("four");
  assert.equal(told("night").length, 0, "it is quiet");
  second.child.kill("SIGKILL");
  await second.ended;
  await change(id, {});
  // It dies when it has told, before it could remember that.
  assert.equal(await begin("outbox.summary.after:1").ended, "SIGKILL");
  assert.equal(told("night").length, 1);
  const last = begin();
  await eventually(async () => told("night").length >= 2 || undefined, "it is told again", 30_000);
  const [once, again] = told("night");
  assert.equal(again!.path, once!.path, "a repeat is the same message");
  assert.equal(again!.text, once!.text);
  const lines: string[] = once!.body.body.split("\n");
  assert.deepEqual(lines.slice(0, 3), ["one", "two", "three"]);
  // From now on each is told by itself; what came last may have been held no more.
  await open("five");
  await eventually(async () => told("night").at(-1)!.body.body === "five" || undefined, "the next", 60_000);
  const all = told("night")
    .slice(1)
    .flatMap(({ body }) => body.body.split("\n"));
  assert.deepEqual(all, ["one", "two", "three", "four", "five"]);
  last.child.kill("SIGTERM");
  await last.ended;
});

test("a flood is told up to its cap, and summed up; a digest is one message", async ({ defer }) => {
  const projector = start();
  defer(() => projector.child.kill("SIGKILL"));
  const flood = await create("flood", { pace: { flood: { messages: 2, minutes: 1_440 } } });
  const digest = await create("digest", { pace: { digestMinutes: 1_440 } });
  const titles = Array.from({ length: 30 }, (_, n) => `item ${n}`);
  for (const title of titles) await open(title);
  await eventually(async () => told("flood").length === 2 || undefined, "the first two", 60_000);
  await holds(flood, 28);
  await holds(digest, 30);
  await change(flood, {});
  await change(digest, {});
  const both = () => told("flood").length >= 3 && told("digest").length >= 1;
  await eventually(async () => both() || undefined, "all is told", 60_000);
  const texts = told("flood").map(({ body }) => body.body as string);
  assert.deepEqual(texts.slice(0, 2), titles.slice(0, 2));
  assert.match(texts[2]!, /^… and 28 more, of which 28 ItemOpened$/u);
  assert.deepEqual(told("digest")[0]!.body.body.split("\n"), titles);
  projector.child.kill("SIGTERM");
  await projector.ended;
});

test("a pace given while an entity waits: it is told, and what was told since is not told again", async ({ defer }) => {
  const projector = start();
  defer(() => projector.child.kill("SIGKILL"));
  const id = await create("switch", {});
  const isSlow = { now: true };
  // Never answered, as long as it is slow.
  receiver.answer(({ body }) => (isSlow.now && body.body === "slow" ? undefined : 204));
  const times = (title: string) => told("switch").filter(({ body }) => body.body === title).length;
  const come = (title: string, count: number) =>
    eventually(async () => times(title) >= count || undefined, `${title} is told`, 30_000);
  await open("slow");
  await come("slow", 1);
  await open("quick");
  await come("quick", 1);
  isSlow.now = false;
  await change(id, { flood: { messages: 100, minutes: 1 } });
  await come("slow", 2);
  await open("after");
  await come("after", 1);
  assert.deepEqual([times("slow"), times("quick"), times("after")], [2, 1, 1]);
  projector.child.kill("SIGTERM");
  await projector.ended;
});

test("hours and zones that are none, and too much, are refused", async () => {
  const bad = [
    { quiet: { from: "22:00", to: "22:00", zone: "UTC" } },
    { quiet: { from: "22:00", to: "07:00", zone: "Europe/Atlantis" } },
    { quiet: { from: "24:00", to: "07:00", zone: "UTC" } },
    { digestMinutes: 0 },
    { digestMinutes: 1_441 },
    { flood: { messages: 0, minutes: 1 } },
  ];
  for (const pace of bad) {
    const answer = await expect(400, "POST", "/channels", { body: { name: "bad", url: "ntfy://topic", pace } });
    assert.match(answer.body.errors[0].pointer, /^\/body\/pace/, JSON.stringify(pace));
  }
});

test.run();
