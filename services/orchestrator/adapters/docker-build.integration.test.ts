/** Building, in each way it can go wrong, on a real engine. */
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { askDocker } from "../../../local/docker.ts";
import { leftIn, type TestDocker, testDocker } from "../../../tests/harness/docker.ts";
import { suite, type TestContext } from "../../../tests/harness/suite.ts";
import { type DockerEngine, imageTag, openDocker } from "./docker.ts";
import { contextOf, cuttingProxy, failureOf, freshId, requestFor, until } from "./fixtures/docker.ts";

const test = suite("docker build", { timeoutMs: 90_000 });
const building = fileURLToPath(new URL("./fixtures/docker-building.ts", import.meta.url));
const never = new AbortController().signal;

interface Place {
  readonly docker: TestDocker;
  readonly engine: DockerEngine;
  readonly scope: string;
  readonly base: string;
}

async function place(context: TestContext): Promise<Place> {
  const docker = await testDocker(context);
  const scope = docker.scope();
  const engine = openDocker({ endpoint: docker.endpoint, scope });
  context.defer(() => engine.close());
  return { docker, engine, scope, base: await docker.busybox() };
}

/** Containers of any kind that run such a command: the steps of builds have no labels of ours. */
async function runningWith(endpoint: string, word: string): Promise<number> {
  const { text } = await askDocker(endpoint, "GET", "/containers/json?all=1");
  return (JSON.parse(text) as { Command: string }[]).filter(({ Command }) => Command.includes(word)).length;
}

test("builds, tags last, finds by tag and input, shares what is equal, prunes the rest", async (context) => {
  const { engine, base, docker, scope } = await place(context);
  const application = freshId("app");
  const folder = contextOf({ Dockerfile: `FROM ${base}\nARG WORD\nRUN echo größe $WORD | tee /said\n`, "a.txt": "a" });
  const lines: string[] = [];
  const request = requestFor(folder, { application, args: { WORD: "naïve" }, inputHash: "a".repeat(64), lines });
  assert.is(await engine.findImage(request.tag, request.inputHash), undefined);
  const built = await engine.build(request);
  assert.is(built.tag, request.tag);
  assert.match(built.id, /^sha256:/);
  assert.ok(lines.includes("größe naïve"), lines.join("\n"));
  assert.equal(await engine.findImage(request.tag, request.inputHash), built);
  assert.is(await engine.findImage(request.tag, "b".repeat(64)), undefined);
  // Another deployment with the same input: the same image by a second tag, built or only tagged.
  const second = await engine.build({ ...request, tag: imageTag(application, freshId("dep")) });
  assert.is(second.id, built.id);
  const tag = imageTag(application, freshId("dep"));
  assert.equal(await engine.retagImage(application, request.inputHash, tag), { ...built, tag });
  assert.is(await engine.retagImage(application, "c".repeat(64), imageTag(application, freshId("dep"))), undefined);
  // Another scope on the engine neither takes it for its own nor removes it.
  const other = openDocker({ endpoint: docker.endpoint, scope: docker.scope() });
  context.defer(() => other.close());
  assert.is(await other.findImage(tag, request.inputHash), undefined);
  assert.is(await other.removeImage(tag), false);
  assert.is(await other.pruneImages(application, []), 0);
  assert.is(await engine.pruneImages(application, [tag]), 2);
  assert.equal(await engine.findImage(tag, request.inputHash), { ...built, tag });
  assert.is(await engine.removeImage(tag), true);
  assert.is(await engine.removeImage(tag), false);
  assert.equal(await leftIn(docker.endpoint, scope), []);
});

test("the context: ignored files stay away, links stay links, folders and modes are kept", async (context) => {
  const { engine, base } = await place(context);
  const folder = contextOf({
    "build/Dockerfile": `FROM ${base}\nCOPY . /c\nRUN cd /c && test ! -e secret.key && test ! -e logs && test -e keep/logs/x && test "$(busybox readlink out)" = /etc/shadow && echo as expected\n`,
    ".dockerignore": "*.key\nlogs\nbuild\n",
    "secret.key": "s",
    "logs/x": "x",
    "keep/logs/x": "x",
    out: "-> /etc/shadow",
  });
  const lines: string[] = [];
  await engine.build(requestFor(folder, { dockerfile: "build/Dockerfile", lines }));
  assert.ok(lines.includes("as expected"));
});

const wrong: [what: string, dockerfile: string, code: string, reason: RegExp][] = [
  ["an unknown instruction (HTTP 400)", "FROM scratch\nRUNN x\n", "BUILD_DOCKERFILE", /unknown instruction/i],
  ["an empty Dockerfile", "", "BUILD_DOCKERFILE", /empty/],
  ["no FROM", "RUN true\n", "BUILD_DOCKERFILE", /no build stage/],
  ["a failing step (in-band)", "FROM $BASE\nRUN echo oh && exit 7\n", "BUILD_STEP_FAILED", /non-zero code: 7/],
  ["a missing file", "FROM $BASE\nCOPY absent /x\n", "BUILD_STEP_FAILED", /absent/],
  ["a step killed for memory", "FROM $BASE\nRUN x=a; while true; do x=$x$x; done\n", "BUILD_STEP_FAILED", /memory/],
  ["no network where none is allowed", "FROM $BASE\nRUN wget -O- http://10.0.0.1/\n", "BUILD_STEP_FAILED", /wget/],
  ["a base image that is nowhere", "FROM 127.0.0.1:1/nowhere/none:1\nRUN true\n", "BUILD_BASE_IMAGE", /127\.0\.0\.1:1/],
];
for (const [what, dockerfile, code, reason] of wrong) {
  test(`fails with a reason: ${what}`, async (context) => {
    const { engine, base, docker, scope } = await place(context);
    const folder = contextOf({ Dockerfile: dockerfile.replace("$BASE", base) });
    const request = requestFor(folder, {
      network: false,
      limits: { timeoutMs: 60_000, contextBytes: 1 << 20, memoryBytes: 32 << 20, cpus: 0.8 },
    });
    const failed = await failureOf(engine.build(request));
    assert.is(failed.code, code, failed.reason);
    assert.match(failed.reason, reason);
    assert.ok(failed.fix);
    assert.is(await engine.findImage(request.tag, request.inputHash), undefined);
    assert.is(await runningWith(docker.endpoint, "x=$x$x"), 0);
    await engine.pruneImages(request.application, []);
    assert.equal(await leftIn(docker.endpoint, scope), []);
  });
}

test("a context that cannot be used is refused before the engine is asked", async (context) => {
  const { engine, base } = await place(context);
  const Dockerfile = `FROM ${base}\n`;
  const of = (folder: string, more = {}) => failureOf(engine.build(requestFor(folder, more)));
  assert.is((await of(contextOf({ other: "x" }))).code, "BUILD_DOCKERFILE");
  assert.is((await of(contextOf({ Dockerfile }), { dockerfile: "../Dockerfile" })).code, "BUILD_CONTEXT");
  assert.is((await of(contextOf({ Dockerfile: "-> /etc/passwd" }))).code, "BUILD_DOCKERFILE");
  const limits = { timeoutMs: 10_000, contextBytes: 1_000 };
  const large = await of(contextOf({ Dockerfile, large: "x".repeat(2_000) }), { limits });
  assert.is(large.code, "BUILD_CONTEXT");
  assert.match(large.reason, "larger");
  const pipe = contextOf({ Dockerfile });
  execFileSync("mkfifo", [join(pipe, "pipe")]);
  assert.match((await of(pipe)).reason, "pipe");
});

test("base images: those there by their ids, those that are not as a failure", async (context) => {
  const { engine, base } = await place(context);
  const text = `ARG TAG=none\nFROM ${base} AS one\nFROM one\nCOPY --from=one /bin/sh /x\nFROM scratch\n`;
  const ask = (Dockerfile: string) =>
    engine.baseImages({
      folder: contextOf({ Dockerfile }),
      dockerfile: "Dockerfile",
      timeoutMs: 20_000,
      signal: never,
      onLine: () => {},
    });
  const found = await ask(text);
  assert.is(found.length, 1);
  assert.is(found[0]!.name, base);
  assert.match(found[0]!.id, /^sha256:/);
  const failed = await failureOf(ask(`${text}FROM 127.0.0.1:1/nowhere:$TAG`));
  assert.is(failed.code, "BUILD_BASE_IMAGE");
  assert.is(failed.class, "transient");
});

test("a build that never ends is ended, a cancelled one at once; neither leaves a container", async (context) => {
  const { engine, base, docker } = await place(context);
  const folder = contextOf({ Dockerfile: `FROM ${base}\nRUN sleep 4321\n` });
  const late = requestFor(folder, { limits: { timeoutMs: 2_500, contextBytes: 1 << 20 } });
  const timeout = await failureOf(engine.build(late));
  assert.is(timeout.code, "BUILD_TIMEOUT");
  assert.is(timeout.class, "timeout");
  const cancel = new AbortController();
  const request = requestFor(folder, { signal: cancel.signal });
  const cancelled = failureOf(engine.build(request));
  await until("the step runs", async () => (await runningWith(docker.endpoint, "sleep 4321")) > 0);
  cancel.abort();
  assert.is((await cancelled).code, "CANCELLED");
  assert.is((await failureOf(engine.build(request))).code, "CANCELLED");
  await until("no container is left", async () => (await runningWith(docker.endpoint, "sleep 4321")) === 0);
  for (const { tag, inputHash } of [late, request]) assert.is(await engine.findImage(tag, inputHash), undefined);
});

test("an answer that is cut short is transient, and the next try goes on from the cache", async (context) => {
  const { docker, engine, scope, base } = await place(context);
  const proxy = await cuttingProxy(docker.endpoint);
  const through = openDocker({ endpoint: proxy.endpoint, scope });
  context.defer(() => through.close());
  const folder = contextOf({
    Dockerfile: `FROM ${base}\nRUN echo once\nRUN for i in $(seq 500); do echo $i; done; sleep 2\n`,
  });
  const request = requestFor(folder);
  proxy.cutAfter(3_000);
  const failed = await failureOf(through.build(request));
  assert.is(failed.code, "BUILD_CUT_SHORT", failed.reason);
  assert.is(failed.class, "transient");
  proxy.cutAfter(Number.POSITIVE_INFINITY);
  const built = await through.build(request);
  assert.equal(await engine.findImage(request.tag, request.inputHash), built);
});

test("output is bounded, and its lines come whole", async (context) => {
  const { engine, base } = await place(context);
  const folder = contextOf({ Dockerfile: `FROM ${base}\nRUN yes 0123456 | head -n 3000\n` });
  const lines: string[] = [];
  const limits = { timeoutMs: 60_000, contextBytes: 1 << 20, outputBytes: 10_000 };
  await engine.build(requestFor(folder, { limits, lines }));
  const said = lines.filter((line) => !/^(Step| --->|Removing|Successfully|…|yes:)/.test(line));
  assert.ok(
    said.length > 500 && said.every((line) => line === "0123456"),
    JSON.stringify(said.filter((line) => line !== "0123456")),
  );
  assert.match(lines.at(-1)!, "left out");
  const odd = contextOf({ Dockerfile: `FROM ${base}\nRUN printf 'no newline'; sleep 0.2; printf red >&2\n` });
  const few: string[] = [];
  await engine.build(requestFor(odd, { lines: few }));
  assert.ok(few.includes("no newlinered"), few.join("\n"));
});

test("a client killed at any moment leaves nothing that is taken for whole", {
  timeoutMs: 120_000,
}, async (context) => {
  const { docker, engine, scope, base } = await place(context);
  const application = freshId("app");
  for (let round = 0; round < 6; round++) {
    const tag = imageTag(application, freshId("dep"));
    const folder = contextOf({ Dockerfile: `FROM ${base}\nRUN echo ${tag}\nRUN sleep 0.31\n` });
    const request = requestFor(folder, { application, tag });
    const asked = JSON.stringify({ endpoint: docker.endpoint, scope, folder, application, tag });
    const client = spawn(process.execPath, [building, asked], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = new Promise((resolve) => client.once("exit", resolve));
    // It prints its first line when the engine has begun; the moment of death differs from round to round.
    await new Promise((resolve) => client.stdout.once("data", resolve));
    setTimeout(() => client.kill("SIGKILL"), round * 250);
    await exited;
    const found = await engine.findImage(tag, request.inputHash);
    const built = found ?? (await engine.build(request));
    assert.equal(await engine.findImage(tag, request.inputHash), built);
  }
  await until("steps of killed builds are over", async () => (await runningWith(docker.endpoint, "sleep 0.31")) === 0);
  await engine.pruneImages(application, []);
  assert.equal(await leftIn(docker.endpoint, scope), []);
});

test.run();
