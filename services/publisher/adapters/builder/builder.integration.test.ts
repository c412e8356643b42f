/** Builds by the real flatpak-builder: what comes out, what they can reach, how they are ended, and what a death leaves behind. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Failure } from "@millrace/eventlog/outcome.ts";
import { eventually } from "../../../../tests/harness/eventually.ts";
import { HERE, RUNTIME, testRuntime } from "../../../../tests/harness/flatpak-runtime.ts";
import { type TestPublishing, testPublishing } from "../../../../tests/harness/publishing.ts";
import { suite, type TestContext } from "../../../../tests/harness/suite.ts";
import { metadataTextOf } from "../ostree/diff.ts";
import { type BuildAsked, type BuiltApp, buildManifest } from "./build.ts";
import { Installation } from "./installation.ts";
import { compareBuilds } from "./reproduce.ts";

const test = suite("builds of manifests", { timeoutMs: 240_000 });
const example = fileURLToPath(new URL("../../../../examples/flatpak-hello", import.meta.url));
const LIMITS = {
  timeoutMs: 120_000,
  memoryBytes: 1024 ** 3,
  diskBytes: 200 * 1024 ** 2,
  processes: 100,
  logBytes: 1024 ** 2,
};

interface World {
  readonly publishing: TestPublishing;
  readonly lines: string[];
  readonly asked: BuildAsked;
}

async function world(context: TestContext, source = example, manifest = "org.test.Hello.yml"): Promise<World> {
  const publishing = await testPublishing(context);
  const runtime = await testRuntime(context, publishing);
  const { folder, programs } = publishing;
  const installation = new Installation({
    tools: programs.env,
    folder: join(folder, "installation"),
    system: undefined,
  });
  const lines: string[] = [];
  mkdirSync(join(folder, "work"), { recursive: true });
  const asked: BuildAsked = {
    tools: programs.env,
    folder: join(folder, "work"),
    name: "one",
    source,
    manifest,
    arch: HERE,
    branch: "master",
    installation,
    system: undefined,
    supplies: [{ name: "runtimes", root: runtime.root }],
    limits: LIMITS,
    jobs: 1,
    time: new Date("2026-01-02T03:04:05Z"),
    signal: context.signal,
    onLine: (line) => lines.push(line),
  };
  return { publishing, lines, asked };
}

/** A source with one module that runs these commands. */
function sourceOf(
  publishing: { readonly folder: string },
  name: string,
  commands: string[],
  more: object = {},
): string {
  const folder = join(publishing.folder, name);
  mkdirSync(folder, { recursive: true });
  const manifest = {
    id: "org.test.Other",
    runtime: RUNTIME.platform,
    "runtime-version": RUNTIME.branch,
    sdk: RUNTIME.sdk,
    command: "x",
    modules: [{ name: "m", buildsystem: "simple", "build-commands": commands, ...more }],
  };
  writeFileSync(join(folder, "app.json"), JSON.stringify(manifest));
  return folder;
}

async function built(asked: BuildAsked, lines: ReadonlyArray<string>): Promise<BuiltApp> {
  const outcome = await buildManifest(asked);
  if ("failed" in outcome) throw new Error(`${JSON.stringify(outcome.failed)}\n${lines.join("\n")}`);
  return outcome;
}

async function failing(asked: BuildAsked): Promise<Failure> {
  const outcome = await buildManifest(asked);
  assert.ok("failed" in outcome, "it was built");
  return outcome.failed;
}

/** Processes that know of this folder. */
function processesOf(folder: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(folder);
    } catch {
      return false;
    }
  });
}
const mountsOf = (folder: string) =>
  readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes(folder));

test("the example: references, permissions, what stores want to know; a second time the same", async (context) => {
  const { asked, lines, publishing } = await world(context);
  const one = await built(asked, lines);
  const [app, ...others] = one.refs.filter(({ ref }) => ref.startsWith("app/"));
  assert.deepEqual([app!.ref, others.length], [`app/org.test.Hello/${HERE}/stable`, 0]);
  assert.equal(await publishing.fsck(one.repository), undefined);
  const metadata = metadataTextOf(one.repository, app!.commit);
  assert.match(metadata, /^command=hello$/m);
  assert.deepEqual(
    one.findings.filter(({ severity }) => severity !== "note"),
    [],
  );
  assert.deepEqual(
    one.used.map(({ ref }) => ref),
    [`runtime/org.test.Platform/${HERE}/1`, `runtime/org.test.Sdk/${HERE}/1`],
  );
  assert.ok(one.usage.ms > 0);
  assert.ok(
    lines.some((line) => line.startsWith("Running: install -D hello.sh")),
    lines.join("\n"),
  );
  // Another build of it, elsewhere and later, of the same source: the same commit.
  const two = await built({ ...asked, name: "two" }, lines);
  assert.deepEqual(two.refs, one.refs);
});

test("two architectures at the same moment, each with its own runtime", async (context) => {
  const { asked, lines, publishing } = await world(context);
  // The same programs under another label: an emulator would run them.
  const other = HERE === "x86_64" ? "aarch64" : "x86_64";
  const { root } = await testRuntime(context, publishing, other);
  const supplies = [...asked.supplies, { name: `runtimes-${other}`, root }];
  const all = await Promise.all(
    [HERE, other].map((arch) => built({ ...asked, supplies, arch, name: `for-${arch}` }, lines)),
  );
  for (const [nth, arch] of [HERE, other].entries()) {
    const refs = all[nth]!.refs.map(({ ref }) => ref);
    assert.ok(refs.includes(`app/org.test.Hello/${arch}/stable`), refs.join(" "));
    assert.ok(
      refs.every((ref) => ref.split("/")[2] === arch),
      refs.join(" "),
    );
    assert.deepEqual(
      all[nth]!.used.map(({ ref }) => ref.split("/")[2]),
      [arch, arch],
    );
    assert.equal(await publishing.fsck(all[nth]!.repository), undefined);
  }
});

test("a module reaches nothing: no network, no processes, no files but its own", async (context) => {
  const { asked, lines, publishing } = await world(context);
  writeFileSync(join(publishing.folder, "secret"), "of the publisher");
  const commands = [
    "grep -c : /proc/net/dev | sed 's/^/interfaces: /'",
    "ls -d /proc/[0-9]* | wc -l | sed 's/^/processes: /'",
    `cat ${publishing.folder}/secret 2>&1 | sed 's/^/secret: /'`,
    "cat /etc/shadow /data/* /build/state/* 2>&1 | grep -c 'root:' | sed 's/^/shadow: /'",
    "for at in /usr /proc/sys/kernel; do touch $at/seen 2>/dev/null && echo written: $at; done; true",
    "for at in /build /build/state /data /data/flatpak; do touch $at/seen 2>/dev/null; done; true",
    "mkdir -p /app/bin && echo x > /app/bin/x",
  ];
  await built({ ...asked, source: sourceOf(publishing, "nosy", commands), manifest: "app.json" }, lines);
  const said = (word: string) => lines.filter((line) => line.startsWith(word));
  assert.deepEqual(said("interfaces: "), ["interfaces: 1"]);
  assert.ok(Number(said("processes: ")[0]!.split(" ")[1]) < 10);
  assert.match(said("secret: ")[0]!, /No such file/);
  assert.deepEqual(said("shadow: "), ["shadow: 0"]);
  assert.deepEqual(said("written: "), []);
  const places = [asked.folder, join(asked.folder, "state"), asked.installation.folder];
  assert.deepEqual(
    places.map((place) => readdirSync(place).includes("seen")),
    [false, false, false],
  );
});

/** Folders of modules that could not be built. */
const keptModules = (folder: string): string[] =>
  readdirSync(join(folder, "one/failed")).filter((name) => /^m-\d+$/.test(name));

test("limits: each ends the build with its name, and all that it started", async (context) => {
  const { asked, publishing, lines } = await world(context);
  const cases: [string, string, string, Partial<BuildAsked["limits"]>][] = [
    ["BUILD_TIMEOUT", "timeout", "sleep 300 & sleep 300", { timeoutMs: 2_000 }],
    [
      "BUILD_DISK",
      "permanent",
      "for i in 1 2 3 4 5 6; do dd if=/dev/zero of=$i bs=1M count=8; done; sleep 300",
      { diskBytes: 20 * 1024 ** 2 },
    ],
    [
      "BUILD_MEMORY",
      "permanent",
      "dd if=/dev/zero of=/tmp/much bs=1M count=200; sleep 300",
      { memoryBytes: 128 * 1024 ** 2 },
    ],
    ["BUILD_PROCESSES", "permanent", "for i in $(seq 60); do sleep 300 & done; sleep 300", { processes: 40 }],
    ["BUILD_LOG", "permanent", "while true; do echo and so on and so on; done", { logBytes: 20_000 }],
  ];
  for (const [code, kind, command, limits] of cases) {
    const source = sourceOf(publishing, code, [command]);
    const failure = await failing({ ...asked, source, manifest: "app.json", limits: { ...LIMITS, ...limits } });
    assert.deepEqual([failure.code, failure.class], [code, kind], `${failure.message}\n${lines.join("\n")}`);
    assert.ok(failure.fix !== "");
    assert.deepEqual(keptModules(asked.folder).length, 1, `${code}: what it was building is kept`);
    await eventually(
      async () => processesOf(publishing.folder).length === 0 || undefined,
      `${code}: its processes have ended`,
    );
  }
  // What fails by itself says what it said; the folder of the module stays.
  const source = sourceOf(publishing, "fails", ["echo told > config.log; echo it is broken >&2; exit 3"]);
  const failure = await failing({ ...asked, source, manifest: "app.json" });
  assert.deepEqual([failure.code, failure.class], ["BUILD_FAILED", "permanent"]);
  assert.ok(lines.includes("it is broken"));
  const [kept] = keptModules(asked.folder);
  assert.equal(readFileSync(join(asked.folder, "one/failed", kept!, "config.log"), "utf8"), "told\n");
  const stop = new AbortController();
  const slow = { ...asked, source: sourceOf(publishing, "slow", ["echo asleep; sleep 300"]), manifest: "app.json" };
  const cancelled = failing({ ...slow, signal: stop.signal, onLine: (line) => line === "asleep" && stop.abort() });
  assert.equal((await cancelled).class, "cancelled");
  await eventually(async () => processesOf(publishing.folder).length === 0 || undefined, "its processes have ended");
});

test("what is not there, or not allowed, is said before anything runs", async (context) => {
  const { asked, publishing } = await world(context);
  assert.equal((await failing({ ...asked, supplies: [] })).code, "RUNTIME_MISSING");
  assert.match((await failing({ ...asked, arch: "riscv64" })).message, /org\.test\.Platform\/riscv64\/1/);
  assert.equal((await failing({ ...asked, id: "org.test.Another" })).code, "OTHER_APPLICATION");
  const named = sourceOf(publishing, "named", [], { sources: [{ type: "file", path: "none" }] });
  assert.match(
    (await failing({ ...asked, source: named, manifest: "app.json" })).message,
    /none, which is not in the source/,
  );
  const open = sourceOf(publishing, "open", [], { "build-options": { "build-args": ["--share=network"] } });
  const failure = await failing({ ...asked, source: open, manifest: "app.json" });
  assert.deepEqual([failure.code, /BUILD_ARGS/.test(failure.message)], ["MANIFEST_INVALID", true]);
  assert.equal((await failing({ ...asked, manifest: "../app.json" })).code, "MANIFEST_INVALID");
  const without = await failing({ ...asked, tools: { PATH: "/nonexistent" } });
  assert.equal(without.code, "TOOLS_MISSING");
});

test("a publisher that dies in the middle leaves nothing running; begun anew it gives the same", async (context) => {
  const { asked, lines, publishing } = await world(context);
  const { refs } = await built({ ...asked, name: "whole" }, lines);
  const act = fileURLToPath(new URL("./fixtures/act.ts", import.meta.url));
  const { installation, signal: _, onLine: __, ...rest } = asked;
  const plain = {
    ...rest,
    folder: join(publishing.folder, "again"),
    data: installation.folder,
    home: join(publishing.folder, "home"),
  };
  mkdirSync(plain.folder);
  for (const point of ["builder.run.before", "builder.run.during", "builder.run.made"]) {
    const child = spawn(process.execPath, [act, JSON.stringify(plain)], {
      stdio: "ignore",
      env: { ...process.env, MILLRACE_DIE_AT: point },
    });
    context.defer(() => child.kill("SIGKILL"));
    assert.deepEqual(await once(child, "exit"), [null, "SIGKILL"], point);
    await eventually(async () => processesOf(publishing.folder).length === 0 || undefined, `${point}: nothing runs on`);
    assert.deepEqual(mountsOf(publishing.folder), []);
  }
  const again = await built({ ...asked, folder: plain.folder }, lines);
  assert.deepEqual(again.refs, refs);
});

test("built twice from nothing: the same, or what differs by its name", async (context) => {
  const { asked, lines, publishing } = await world(context);
  const twice = async (more: Partial<BuildAsked>) => {
    const one = await built({ ...asked, ...more, name: "first", fresh: true }, lines);
    const two = await built({ ...asked, ...more, name: "second", fresh: true }, lines);
    return compareBuilds(one, two);
  };
  const same = await twice({});
  assert.ok(same.length > 0 && same.every(({ first, second, differs }) => first === second && differs === undefined));
  const source = sourceOf(publishing, "moody", [
    "mkdir -p /app/bin; cat /proc/sys/kernel/random/uuid > /app/bin/mood; echo x > /app/bin/x",
  ]);
  const [other] = await twice({ source, manifest: "app.json" });
  assert.notEqual(other!.first, other!.second);
  assert.deepEqual(
    other!.differs!.files.map(({ path }) => path),
    ["/files/bin/mood"],
  );
});

test.run();
