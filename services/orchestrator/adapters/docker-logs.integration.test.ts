/** Logs over cuts, hints over lost streams, an engine that goes away. */
import { existsSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import * as assert from "uvu/assert";
import { startOwnDocker, type TestDocker, testDocker } from "../../../tests/harness/docker.ts";
import { suite, type TestContext } from "../../../tests/harness/suite.ts";
import {
  type ContainerSpec,
  type DockerEngine,
  type DockerFailed,
  type EngineHint,
  type LogLine,
  openDocker,
} from "./docker.ts";
import { contextOf, cuttingProxy, failureOf, freshId, requestFor, specFor, until } from "./fixtures/docker.ts";
import { probeReady } from "./probe.ts";

const test = suite("docker logs and events", { timeoutMs: 90_000 });

interface Place {
  readonly docker: TestDocker;
  readonly engine: DockerEngine;
  readonly scope: string;
  readonly image: string;
}

async function place(context: TestContext): Promise<Place> {
  const docker = await testDocker(context);
  return placeOn(context, docker);
}

async function placeOn(context: TestContext, docker: TestDocker): Promise<Place> {
  const scope = docker.scope();
  const engine = openDocker({ endpoint: docker.endpoint, scope, timeoutMs: 5_000 });
  context.defer(() => engine.close());
  const folder = contextOf({
    Dockerfile: `FROM ${await docker.busybox()}\nRUN mkdir /site && echo hi > /site/index.html\n`,
  });
  return { docker, engine, scope, image: (await engine.build(requestFor(folder))).id };
}

function shell(image: string, script: string, more: Partial<ContainerSpec> = {}): ContainerSpec {
  return specFor(image, { command: ["sh", "-c", script], stopTimeoutMs: 0, ...more });
}

function numbers(lines: readonly LogLine[], stream: string): number[] {
  return lines.filter((line) => line.stream === stream && /^\d+$/.test(line.text)).map(({ text }) => Number(text));
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

test("twenty thousand lines over random cuts: none twice, none left out", { timeoutMs: 120_000 }, async (context) => {
  const { docker, scope, engine, image } = await place(context);
  const proxy = await cuttingProxy(docker.endpoint);
  const through = openDocker({ endpoint: proxy.endpoint, scope });
  context.defer(() => through.close());
  const script =
    "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo $i; echo $i >&2; [ $((i % 1000)) = 0 ] && sleep 0.2; done; sleep 600";
  const { id } = await engine.startContainer(shell(image, script, { cpus: 2 }));
  const lines: LogLine[] = [];
  const stop = new AbortController();
  const following = through.followLogs(id, { signal: stop.signal, onLine: (line) => void lines.push(line) });
  let cuts = 0;
  const done = () => numbers(lines, "stdout").length >= 10_000 && numbers(lines, "stderr").length >= 10_000;
  await until(
    "all lines",
    async () => {
      await pause(Math.random() * 400);
      // Not for ever: on a busy machine reading on takes longer than the time between two cuts.
      if (cuts++ < 12) proxy.cut();
      return done();
    },
    90_000,
  );
  stop.abort();
  const { ended, cursor } = await following;
  assert.is(ended, false);
  assert.ok(cuts >= 4, `${cuts} cuts`);
  assert.equal(numbers(lines, "stdout"), upTo(10_000));
  assert.equal(numbers(lines, "stderr"), upTo(10_000));
  assert.is(cursor, lines.at(-1)!.cursor);
});

test("goes on after the line whose cursor is given, and ends with the container", async (context) => {
  const { engine, image } = await place(context);
  const long = "dd if=/dev/zero bs=1000 count=100 2>/dev/null | busybox tr '\\0' x; echo; ";
  const script = `echo 1; echo 2; printf 'ä\\r\\n'; ${long} seq 3 40; exit 0`;
  const spec = shell(image, `${script}`);
  // The engine would start it again: let it stay where it ends.
  const { id } = await engine.startContainer({
    ...spec,
    command: ["sh", "-c", `${script.replace("exit 0", "sleep 600")}`],
  });
  const signal = new AbortController().signal;
  const all: LogLine[] = [];
  const first = engine.followLogs(id, { signal, onLine: (line) => void all.push(line) });
  await until("all lines", () => numbers(all, "stdout").length === 40);
  await engine.stopContainer(id);
  assert.is((await first).ended, true);
  assert.equal(numbers(all, "stdout"), upTo(40));
  assert.is(all[2]!.text, "ä");
  assert.is(all[3]!.text, "x".repeat(16 << 10));
  assert.is(all[3]!.cut, true);
  for (const at of [0, 2, 3, 20, 41]) {
    const rest: string[] = [];
    const after = all[at]!.cursor;
    const { ended } = await engine.followLogs(id, { after, signal, onLine: (line) => void rest.push(line.text) });
    assert.is(ended, true);
    assert.equal(
      rest,
      all.slice(at + 1).map(({ text }) => text),
    );
  }
  await engine.removeContainer(id);
  assert.equal(await engine.followLogs(id, { signal, onLine: () => {} }), { cursor: undefined, ended: true });
});

test("a crash loop is followed through its restarts; a reader that throws ends it", async (context) => {
  const { engine, image } = await place(context);
  const { id } = await engine.startContainer(shell(image, "echo up; sleep 0.3; echo down >&2; exit 1"));
  const lines: LogLine[] = [];
  const stop = new AbortController();
  const following = engine.followLogs(id, { signal: stop.signal, onLine: (line) => void lines.push(line) });
  await until("three lives", () => lines.filter(({ text }) => text === "up").length >= 3);
  stop.abort();
  await following;
  assert.is(new Set(lines.map(({ cursor }) => cursor)).size, lines.length);
  const broken = engine.followLogs(id, {
    signal: new AbortController().signal,
    onLine: () => Promise.reject(new Error("the store is full")),
  });
  assert.match((await broken.catch((error: Error) => error.message)) as string, "the store is full");
});

test("hints: of this scope, with what they concern; listed anew after a lost stream", async (context) => {
  const { docker, engine, scope, image } = await place(context);
  const proxy = await cuttingProxy(docker.endpoint);
  const through = openDocker({ endpoint: proxy.endpoint, scope });
  context.defer(() => through.close());
  const hints: EngineHint[] = [];
  const stop = new AbortController();
  const watching = through.watch((hint) => void hints.push(hint), stop.signal);
  const listed = () => hints.filter(({ hint }) => hint === "list").length;
  const of = (id: string) => hints.filter((hint) => hint.hint === "container" && hint.id === id);
  await until("connected", () => listed() === 1);
  const spec = specFor(image, { command: ["httpd", "-f", "-p", "8080", "-h", "/site"] });
  const { id } = await engine.startContainer(spec);
  await until("healthy", () => of(id).some((hint) => hint.hint === "container" && hint.health === "healthy"));
  const started = of(id).find((hint) => hint.hint === "container" && hint.action === "start");
  assert.is(started?.hint === "container" && started.application, spec.application);
  proxy.cut();
  await until("listed anew", () => listed() === 2);
  await engine.removeContainer(id);
  await until("gone", () => of(id).some((hint) => hint.hint === "container" && hint.action === "destroy"));
  const died = of(id).find((hint) => hint.hint === "container" && hint.action === "die");
  assert.ok(died?.hint === "container" && (died.exitCode ?? -1) >= 0);
  stop.abort();
  await watching;
});

test("the engine dies in the middle: typed, transient, and all goes on when it is back", {
  timeoutMs: 180_000,
}, async (context) => {
  const docker = await startOwnDocker(context);
  const { engine, image } = await placeOn(context, docker);
  const spec = specFor(image, { command: ["sh", "-c", "echo born; exec httpd -f -p 8080 -h /site"] });
  const running = await engine.startContainer(spec);
  const born: LogLine[] = [];
  const hints: EngineHint[] = [];
  const stop = new AbortController();
  const following = engine.followLogs(running.id, { signal: stop.signal, onLine: (line) => void born.push(line) });
  const watching = engine.watch((hint) => void hints.push(hint), stop.signal);
  await until("the first line", () => born.length === 1);
  const building = failureOf(
    engine.build(requestFor(contextOf({ Dockerfile: `FROM ${await docker.busybox()}\nRUN echo on && sleep 60\n` }))),
  );
  await pause(1_000); // it may or may not have begun: both end the same way
  await docker.kill();
  const cut = await building;
  assert.is(cut.class, "transient");
  assert.ok(["BUILD_CUT_SHORT", "DOCKER_UNREACHABLE"].includes(cut.code), cut.code);
  const acts: Promise<unknown>[] = [
    engine.info(),
    engine.listContainers(),
    engine.startContainer(spec),
    engine.removeContainer(running.id),
    engine.ensureNetwork(freshId("app")),
    engine.findImage("millrace/x:y", "0"),
    engine.pruneImages("x", []),
  ];
  for (const failed of await Promise.all(acts.map(failureOf))) {
    assert.is(failed.code, "DOCKER_UNREACHABLE", failed.reason);
    assert.is(failed.class, "transient");
  }
  // Let in by the last breath of the engine's builder, it may be cut off as the one before was.
  const late = await failureOf(engine.build(requestFor(contextOf({ Dockerfile: "FROM scratch\n" }))));
  assert.is(late.class, "transient");
  assert.ok(["BUILD_CUT_SHORT", "DOCKER_UNREACHABLE"].includes(late.code), late.reason);
  await docker.start();
  const again = await engine.startContainer(spec);
  assert.equal(again, running);
  await probeReady(again.address, "/", {
    successes: 2,
    timeoutMs: 1_000,
    deadlineAt: Date.now() + 20_000,
    signal: stop.signal,
  });
  await until("its log goes on", () => born.length === 2);
  await until("listed anew", () => hints.filter(({ hint }) => hint === "list").length >= 2);
  docker.freeze();
  const failed: string[] = [];
  await until("frozen", async () => {
    await engine.listContainers().catch((error: DockerFailed) => failed.push(error.code));
    return failed.length > 0;
  });
  assert.equal(failed, ["DOCKER_UNREACHABLE"]);
  docker.thaw();
  await until("it answers again", async () => (await engine.listContainers().catch(() => [])).length === 1);
  stop.abort();
  await Promise.all([following, watching]);
  assert.equal(
    born.map(({ text }) => text),
    ["born", "born"],
  );
});

test("no engine at all is said with the command that installs one", async (context) => {
  const places = ["/var/run/docker.sock", "/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"];
  if (places.some((path) => existsSync(path))) context.skip("this machine has an engine");
  const { PATH, DOCKER_HOST } = process.env;
  process.env.PATH = "/nowhere";
  delete process.env.DOCKER_HOST;
  context.defer(() => {
    process.env.PATH = PATH;
    if (DOCKER_HOST !== undefined) process.env.DOCKER_HOST = DOCKER_HOST;
  });
  const engine = openDocker({ scope: "none" });
  const failed = await failureOf(engine.info());
  assert.is(failed.code, "DOCKER_MISSING");
  assert.is(failed.class, "permanent");
  assert.match(failed.fix, "docker.io");
});

test.run();
