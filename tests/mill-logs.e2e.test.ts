/** `mill logs` against a gateway: the past, several applications, following over the gateway's end. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { openLogs } from "@millrace/eventlog/logs.ts";
import * as assert from "uvu/assert";
import { ask, eventually, testGateway } from "./harness/gateway.ts";
import { CHECKOUT, follow } from "./harness/mill.ts";
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

const mill = (...args: string[]) => {
  const child = spawn(join(CHECKOUT, "cli/mill"), ["logs", ...args, "--org", org, "--url", gateway.url], {
    env: {
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

test.run();
