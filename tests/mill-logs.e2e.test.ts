/** `mill logs` against a gateway: the past, several applications, following over the gateway's end. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { openLogs } from "@millrace/eventlog/logs.ts";
import { freePort } from "@millrace/local/ports.ts";
import * as assert from "uvu/assert";
import { ask, eventually, testGateway } from "./harness/gateway.ts";
import { CHECKOUT, follow } from "./harness/mill.ts";
import { fastStart } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("mill logs", { timeoutMs: 120_000 });

const gateway = await testGateway();
const { natsUrl, natsUser, natsPassword } = gateway.config;
const nats = await connectNats({ url: natsUrl, user: natsUser!, password: natsPassword!, name: "test" });
deferToEndOfFile(() => nats.close());
const logs = await openLogs(nats);
const home = mkdtempSync(join(tmpdir(), "mill-logs-"));
deferToEndOfFile(() => rmSync(home, { recursive: true, force: true }));

const post = async (path: string, body: object) => {
  const answer = await ask(gateway.url, "POST", path, { token: gateway.owner, body });
  assert.ok(answer.status < 300, answer.text);
  return answer.body;
};
const org: string = (await post("/v1/organisations", { name: "acme" })).id;
const makeApp = async (name: string): Promise<string> =>
  (
    await post(`/v1/organisations/${org}/applications`, {
      name,
      source: { kind: "git", url: "https://example.test/x.git" },
      build: { kind: "static" },
    })
  ).id;
const shop = await makeApp("shop");
const api = await makeApp("api");

const write = async (id: string, source: string, ...texts: string[]) => {
  const writer = await logs.writer({ organisation: org, context: "applications", kind: "application", id, source });
  for (const text of texts) await writer.line({ text });
  assert.is(await writer.close(), 0);
};

const mill = (...args: string[]) => millAt(gateway.url, ...args);
const millAt = (url: string, ...args: string[]) => {
  const child = spawn(join(CHECKOUT, "cli/mill"), ["logs", ...args, "--org", org, "--url", url], {
    env: {
      ...fastStart(),
      PATH: process.env.PATH,
      HOME: home,
      XDG_STATE_HOME: home,
      XDG_CONFIG_HOME: home,
      MILLRACE_TOKEN: gateway.owner,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  deferToEndOfFile(() => child.kill("SIGKILL"));
  return follow(child);
};
const textsOf = (out: string): string[] =>
  out
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line).text);

test("the past: the last lines, builds, patterns, several applications by time", async () => {
  await write(shop, "build", "compiling", "\u001b[31mERROR\u001b[0m broken");
  await write(shop, "run", "INFO up", "WARN slow");
  await write(api, "run", "INFO api up");
  const out = async (...args: string[]) => {
    const { code, out, err } = await mill(...args).ended;
    assert.is(code, 0, err);
    return out;
  };
  assert.equal(textsOf(await out("shop", "-o", "jsonl", "--limit", "2")), ["INFO up", "WARN slow"]);
  assert.equal(textsOf(await out("shop", "api", "-o", "jsonl", "--since", "1h", "--level", "warn")), [
    "\u001b[31mERROR\u001b[0m broken",
    "WARN slow",
  ]);
  assert.is(textsOf(await out("shop", "api", "-o", "jsonl")).length, 5);
  const people = await out("shop", "--build");
  assert.match(people, /^\S+Z {2}build {2}compiling\n\S+Z {2}build {2}ERROR broken\n$/);
  assert.equal(textsOf(await out("shop", "--regex", "^(INFO|WARN) s", "-o", "jsonl")), ["WARN slow"]);
  assert.is((await mill("shop", "--regex", "(a").ended).code, 2);
  assert.is((await mill("nothing").ended).code, 3);
  assert.is((await mill("shop", "--since", "yesterday").ended).code, 2);
});

test("following shows what comes, and ends with Ctrl-C", async () => {
  const tail = mill("shop", "--follow", "--limit", "1", "-o", "jsonl");
  await tail.says("WARN slow");
  await write(shop, "run", "one", "two");
  await eventually(async () => tail.out().includes('"two"') || undefined, "the line is shown");
  assert.equal(textsOf(tail.out()), ["WARN slow", "one", "two"]);
  tail.child.kill("SIGINT");
  assert.is((await tail.ended).code, 130);
});

/** A gateway of its own process over the same log, on a port that it comes back to. */
async function startKillable(port: number): Promise<{ child: ChildProcess; url: string }> {
  const child = fork(fileURLToPath(new URL("fuzz/gateway-process.ts", import.meta.url)), { execArgv: ["--expose-gc"] });
  deferToEndOfFile(() => child.kill("SIGKILL"));
  child.send({ start: { ...gateway.config, port } });
  const [{ url }] = await once(child, "message");
  return { child, url };
}

test("over a gateway that is killed and comes back every line is shown, and none twice", async () => {
  const port = await freePort();
  let { child, url } = await startKillable(port);
  const id = await makeApp("killed");
  const writers = await Promise.all(
    ["run", "build"].map((source) =>
      logs.writer({ organisation: org, context: "applications", kind: "application", id, source }, { lingerMs: 20 }),
    ),
  );
  const written: string[] = [];
  let isWriting = true;
  const writing = (async () => {
    for (let i = 0; isWriting || i % 2 === 1; i++) {
      const text = `line ${i}`;
      written.push(text);
      await writers[i % 2]!.line({ text });
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await Promise.all(writers.map((writer) => writer.close()));
  })();
  const tail = millAt(url, "killed", "--follow", "--since", "1h", "-o", "jsonl");
  const shown = () => tail.out().split("\n").length - 1;
  for (let kills = 0; kills < 2; kills++) {
    const before = shown();
    await eventually(async () => shown() > before + 50 || undefined, "lines are shown");
    child.kill("SIGKILL");
    await once(child, "exit");
    // Lines come while nobody serves them.
    const missed = written.length + 50;
    await eventually(async () => written.length > missed || undefined, "lines are written meanwhile");
    ({ child } = await startKillable(port));
  }
  isWriting = false;
  await writing;
  await eventually(async () => shown() >= written.length || undefined, "all lines are shown");
  tail.child.kill("SIGINT");
  const { code, out, err } = await tail.ended;
  assert.is(code, 130, err);
  assert.match(err, /connection lost/);
  assert.equal(textsOf(out).sort(), [...written].sort());
  child.kill("SIGKILL");
});

test("a link is made, and shows the lines", async () => {
  const made = await mill("share", "shop", "--grep", "slow", "--expires", "10m", "-o", "json").ended;
  assert.is(made.code, 0, made.err);
  const { url, expiresAt } = JSON.parse(made.out);
  assert.ok(url.startsWith(`${gateway.url}/v1/shared-logs/`), url);
  assert.ok(Date.parse(expiresAt) > Date.now());
  const shown = (await (await fetch(url)).json()) as { items: { text: string }[] };
  assert.equal(
    shown.items.map(({ text }) => text),
    ["WARN slow"],
  );
  const bare = await mill("share", "shop", "api", "-o", "name").ended;
  assert.is((await fetch(bare.out.trim())).status, 200);
  assert.is((await mill("share", "shop", "--expires", "8d").ended).code, 2);
  assert.is((await mill("share", "shop", "--expires", "soon").ended).code, 2);
});

test.run();
