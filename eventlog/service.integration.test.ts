/** The process shell: settings, health, signals, crashes, the parent's end; in processes of their own. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { fastStart } from "../tests/harness/servers.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { Health, openHealthServer } from "./health.ts";
import { makeLogger } from "./logging.ts";
import { defineService, startService } from "./service.ts";
import { defineSettings, Text } from "./settings.ts";

const test = suite("the process shell");

interface Line {
  readonly level: string;
  readonly service: string;
  readonly msg: string;
  readonly healthPort?: number;
  readonly why?: string;
  readonly err?: { readonly message: string; readonly stack: string };
}

class Process {
  readonly child: ChildProcessWithoutNullStreams;
  readonly exit: Promise<[number | null, NodeJS.Signals | null]>;
  output = "";
  errors = "";

  constructor({ defer }: Pick<TestContext, "defer">, env: Record<string, string>, names = ["tiny"]) {
    this.child = spawn(process.execPath, [join(import.meta.dirname, "fixtures/tiny-service.ts"), ...names], {
      env: {
        ...fastStart(),
        PATH: process.env.PATH!,
        MILLRACE_TEST_MARK: process.env.MILLRACE_TEST_MARK ?? "",
        ...env,
      },
    });
    this.child.stdout.on("data", (chunk) => (this.output += chunk));
    this.child.stderr.on("data", (chunk) => (this.errors += chunk));
    // `close`: ended and everything it said has been read.
    this.exit = once(this.child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
    defer(() => this.child.kill("SIGKILL"));
  }

  get lines(): Line[] {
    return this.output
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  }

  /** Waits for a line, twenty seconds at most. */
  async said(msg: string, count = 1): Promise<Line> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const found = this.output.includes(msg) ? this.lines.filter((line) => line.msg === msg) : [];
      if (found.length >= count) return found[0]!;
      if (Date.now() > deadline) throw new Error(`"${msg}" was not said: ${this.output}${this.errors}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

async function get(port: number, path: string, method = "GET") {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method });
  return {
    status: answer.status,
    cache: answer.headers.get("cache-control"),
    type: answer.headers.get("content-type"),
    text: await answer.text(),
  };
}

test("settings that are wrong are all told, with fix and without secrets; exit code 78", async (context) => {
  const process = new Process(context, {
    MILLRACE_HEALTH_PORT: "0",
    MILLRACE_TINY: "badly",
    MILLRACE_TINY_PASSWORD: "hunter2".repeat(1_000),
  });
  assert.equal(await process.exit, [78, null]);
  assert.match(process.errors, /MILLRACE_TINY is not valid.*Set MILLRACE_TINY=well/);
  assert.match(process.errors, /MILLRACE_TINY_PASSWORD is not valid/);
  assert.not.match(process.errors, /hunter2/);
  const other = new Process(context, { MILLRACE_LOG_LEVEL: "loud", MILLRACE_TINY: "well" });
  assert.equal(await other.exit, [78, null]);
  assert.match(other.errors, /MILLRACE_LOG_LEVEL/);
});

test("health is answered on its own port, is not kept by caches and not logged", async (context) => {
  const process = new Process(context, { MILLRACE_HEALTH_PORT: "0", MILLRACE_TINY: "well" });
  const health = (await process.said("health on its port")).healthPort!;
  await process.said("started");
  const before = process.output;
  for (const path of ["/livez", "/readyz", "/startupz"]) {
    const { status, cache, text } = await get(health, path);
    assert.equal([status, cache, text], [200, "no-store", "ok\n"], path);
  }
  assert.is((await get(health, "/readyz?verbose")).text, "[+]disk ok\nready\n");
  const metrics = await get(health, "/metrics");
  assert.is(metrics.cache, "no-store");
  assert.match(metrics.type!, /^text\/plain; version=0\.0\.4/);
  assert.match(metrics.text, /^millrace_build_info\{service="tiny"/m);
  assert.match(metrics.text, /^millrace_ready\{service="tiny"\} 1$/m);
  assert.match(metrics.text, /^nodejs_eventloop_lag_seconds /m);
  assert.is((await get(health, "/")).status, 404);
  assert.is((await get(health, "/livez", "POST")).status, 405);
  assert.is((await get(health, "/livez", "HEAD")).text, "");
  assert.is(process.output, before, "nothing of it is logged");
});

test("SIGTERM and SIGINT: an orderly end, exit code 0", async (context) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const process = new Process(context, { MILLRACE_TINY: "well" });
    await process.said("started");
    process.child.kill(signal);
    assert.equal(await process.exit, [0, null], signal);
    assert.equal(
      process.lines.map(({ msg }) => msg),
      ["started", "stopping", "told to end", "stopped"],
    );
    assert.is(process.lines[1]!.why, signal);
  }
});

test("while it ends it is not ready; a second signal ends it at once", async (context) => {
  const process = new Process(context, { MILLRACE_HEALTH_PORT: "0", MILLRACE_TINY: "slow-stop" });
  const health = (await process.said("health on its port")).healthPort!;
  await process.said("started");
  process.child.kill("SIGTERM");
  await process.said("told to end");
  const answer = await get(health, "/readyz?verbose");
  assert.is(answer.status, 503);
  assert.match(answer.text, /\[-\]process failed: stopping/);
  assert.is((await get(health, "/livez")).status, 200);
  process.child.kill("SIGTERM");
  assert.equal(await process.exit, [143, null]);
});

test("an end that takes longer than ten seconds is forced, and says so", { timeoutMs: 40_000 }, async (context) => {
  const process = new Process(context, { MILLRACE_TINY: "slow-stop" });
  await process.said("started");
  process.child.kill("SIGINT");
  assert.equal(await process.exit, [1, null]);
  assert.match(process.lines.at(-1)!.err!.message, /did not end within 10000 ms/);
});

test("an end that fails is told", async (context) => {
  const process = new Process(context, { MILLRACE_TINY: "broken-stop" });
  await process.said("started");
  process.child.kill("SIGTERM");
  assert.equal(await process.exit, [1, null]);
  assert.match(process.lines.at(-1)!.err!.message, /could not hand over/);
});

test("a service that is only coming up ends at the first signal", async (context) => {
  const process = new Process(context, { MILLRACE_HEALTH_PORT: "0", MILLRACE_TINY: "slow-start" });
  const health = (await process.said("health on its port")).healthPort!;
  assert.is((await get(health, "/startupz")).status, 503);
  assert.is((await get(health, "/readyz")).status, 503);
  assert.is((await get(health, "/livez")).status, 200);
  process.child.kill("SIGTERM");
  assert.equal(await process.exit, [0, null]);
});

test("what nobody caught, and what must not happen, is logged and ends the process with 1", async (context) => {
  for (const [behaviour, message] of [
    ["throws", /thrown, with password=\[redacted\]/],
    ["rejects", /nobody caught this/],
    ["crashes", /what must not happen/],
  ] as const) {
    const process = new Process(context, { MILLRACE_TINY: behaviour, MILLRACE_TINY_PASSWORD: "hunter2" });
    assert.equal(await process.exit, [1, null], behaviour);
    const last = process.lines.at(-1)!;
    assert.equal([last.level, last.msg], ["fatal", "crashed"]);
    assert.match(last.err!.message, message);
    assert.match(last.err!.stack, /tiny-service\.ts/);
    assert.not.match(process.output + process.errors, /hunter2/);
  }
});

test("it ends with its parent: when standard input is closed", async (context) => {
  const process = new Process(context, { MILLRACE_TINY: "well", MILLRACE_PARENT_PIPE: "1" });
  await process.said("started");
  process.child.stdin.end();
  assert.equal(await process.exit, [0, null]);
  assert.is(process.lines[1]!.why, "the parent is gone");
});

test("whoever read its lines is gone: it goes on, and ends in order", async (context) => {
  const process = new Process(context, { MILLRACE_HEALTH_PORT: "0", MILLRACE_TINY: "well" });
  const health = (await process.said("health on its port")).healthPort!;
  await process.said("started");
  process.child.stdout.destroy();
  process.child.stderr.destroy();
  assert.is((await get(health, "/readyz")).status, 200);
  process.child.kill("SIGTERM");
  assert.equal(await process.exit, [0, null]);
});

test("several services in one process: each with its lines, one health with all checks", async (context) => {
  const process = new Process(context, { MILLRACE_HEALTH_PORT: "0", MILLRACE_TINY: "well" }, ["one", "two"]);
  const health = (await process.said("health on its port")).healthPort!;
  await process.said("started", 2);
  assert.is((await get(health, "/readyz?verbose")).text, "[+]one/disk ok\n[+]two/disk ok\nready\n");
  process.child.kill("SIGTERM");
  assert.equal(await process.exit, [0, null]);
  for (const service of ["one", "two"]) {
    assert.equal(
      process.lines.filter((line) => line.service === service).map(({ msg }) => msg),
      ["started", "told to end", "stopped"],
    );
  }
});

const silent = makeLogger({ service: "test", level: "silent" });

test("inside a test: started with an environment of its own, ended, the port closed", async () => {
  let ended = 0;
  const service = defineService({
    name: "inner",
    settings: defineSettings({ word: { variable: "MILLRACE_WORD", schema: Text, describe: "A word.", example: "x" } }),
    start: async ({ word }, { name, stopping }) => ({
      ready: () => [{ name: `${name} ${word}`, ok: !stopping.aborted }],
      stop: async () => void ended++,
    }),
  });
  const started = await startService(service, {
    env: { MILLRACE_WORD: "yes", MILLRACE_HEALTH_PORT: "0" },
    log: silent,
  });
  assert.is((await get(started.healthPort!, "/readyz?verbose")).text, "[+]inner yes ok\nready\n");
  await Promise.all([started.stop(), started.stop()]);
  assert.is(ended, 1);
  assert.is(
    await get(started.healthPort!, "/livez").then(
      () => "open",
      () => "closed",
    ),
    "closed",
  );
});

test("a start that fails leaves nothing open", async () => {
  const health = new Health();
  const service = defineService({
    name: "failing",
    settings: {},
    start: async () => {
      throw new Error("no disk");
    },
  });
  const server = await openHealthServer(health, { host: "127.0.0.1", port: 0 });
  let error: Error | undefined;
  await startService(service, { env: { MILLRACE_HEALTH_PORT: String(server.port) }, log: silent }).catch(
    (caught) => (error = caught),
  );
  assert.is((error as { code?: string } | undefined)?.code, "EADDRINUSE", "a port that is taken is told");
  await server.close();
  for (let i = 0; i < 2; i++) {
    await startService(service, { env: { MILLRACE_HEALTH_PORT: String(server.port) }, log: silent }).catch(
      (caught) => (error = caught),
    );
    assert.is(error?.message, "no disk");
  }
});

test("checks that never answer, or throw, are a failed check and not a hanging answer", async () => {
  const health = new Health();
  health.started("stuck", () => new Promise(() => {}));
  const stuck = await health.answer("/readyz", new URLSearchParams("verbose"));
  assert.is(stuck?.status, 503);
  assert.match(stuck!.body, /\[-\]checks failed: no answer within 2000 ms/);
  health.started("stuck", () => {
    throw new Error("cannot reach postgres://u:hunter2@db/x");
  });
  const thrown = await health.answer("/readyz", new URLSearchParams("verbose"));
  assert.match(thrown!.body, /\[-\]checks failed: cannot reach postgres:\/\/\[redacted\]@db/);
  health.started("stuck", () => [
    { name: "nats", ok: true },
    { name: "postgres", ok: false, detail: "no\nanswer" },
  ]);
  assert.is(
    (await health.answer("/readyz", new URLSearchParams("verbose")))!.body,
    "[+]nats ok\n[-]postgres failed: no answer\nnot ready\n",
  );
  assert.is((await health.answer("/readyz", new URLSearchParams("exclude=postgres")))!.status, 200);
  assert.is(await health.answer("/elsewhere"), undefined);
});

test.run();
