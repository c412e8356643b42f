/** Builds from manifests, from HTTP to what clients see: out of Git and out of an archive, in order, cancelled, killed in the middle, twice. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeId } from "@millrace/contracts/ids.ts";
import { upload } from "@millrace/domain/applications/upload.ts";
import { blobPath } from "@millrace/eventlog/bytes-store.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { Installation } from "@millrace/publisher/adapters/builder/installation.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { eventually } from "./harness/eventually.ts";
import { HERE, RUNTIME, testRuntime } from "./harness/flatpak-runtime.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { spawnPublisher } from "./harness/publisher.ts";
import { testPublishing } from "./harness/publishing.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { deferToEndOfFile, suite, type TestContext } from "./harness/suite.ts";

const test = suite("builds of manifests from HTTP to clients", { timeoutMs: 300_000 });
const example = fileURLToPath(new URL("../examples/flatpak-hello", import.meta.url));

const nats = await testNats();
const started = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(started.config);
const { expect } = callerOf(started);
const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "test", replicas: 1 } as const;
const log = await EventLog.open(connection, ["publishing", "applications"]);
deferToEndOfFile(() => log.close());
const data = testFolder("publisher");
const repos = testFolder("repos");

const until = (number: number, holds: (status: any) => boolean, said: () => string): Promise<any> =>
  eventually(
    async () => {
      const { body } = await expect(200, "GET", `/builds/${number}`);
      return holds(body.status) ? body : undefined;
    },
    `build ${number} is as wanted: ${said()}`,
    120_000,
  );
const ended = ({ state }: { state: string }) => state === "ready" || state === "failed";

/** A repository with the example, and manifests of other applications beside it. */
function gitRepository(): string {
  const folder = join(repos, "hello");
  cpSync(example, folder, { recursive: true });
  const other = (id: string, command: string) => ({
    id,
    runtime: RUNTIME.platform,
    "runtime-version": RUNTIME.branch,
    sdk: RUNTIME.sdk,
    command: "x",
    branch: "stable",
    modules: [
      { name: "m", buildsystem: "simple", "build-commands": [command, "mkdir -p /app/bin; echo x > /app/bin/x"] },
    ],
  });
  writeFileSync(join(folder, "slow.json"), JSON.stringify(other("org.test.Slow", "echo asleep; sleep 300")));
  writeFileSync(join(folder, "quick.json"), JSON.stringify(other("org.test.Quick", "true")));
  writeFileSync(
    join(folder, "open.json"),
    JSON.stringify({ ...other("org.test.Open", "true"), "build-options": { "build-args": ["--share=network"] } }),
  );
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", folder, "-c", "user.name=T", "-c", "user.email=t@x", ...args], { stdio: "pipe" });
  git("init", "-q", "-b", "main");
  git("add", "-A");
  git("commit", "-qm", "one");
  return folder;
}

/** What a node with uploads would have: the archive on its disk, and in the log. */
async function uploaded(folder: string): Promise<string> {
  const archive = execFileSync("tar", ["-C", folder, "-cz", "."]);
  const sha256 = createHash("sha256").update(archive).digest("hex");
  const { body } = await expect(200, "GET", "");
  const path = blobPath(join(data, "orchestrator/local/bytes"), body.id, sha256);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, archive);
  const id = makeId("upl", Date.now(), randomBytes(10));
  const run = (command: object) =>
    execute(log, { kind: upload, id, command: command as never }, ownContext("test", body.id));
  await run({ do: "open", name: "hello.tar.gz", bytes: archive.length, node: "local" });
  await run({ do: "complete", sha256, bytes: archive.length });
  return id;
}

async function world(context: TestContext) {
  const publishing = await testPublishing(context);
  const runtime = await testRuntime(context, publishing);
  const machine = new Installation({
    tools: publishing.programs.env,
    folder: join(data, "machine"),
    system: undefined,
  });
  const needs = [RUNTIME.platform, RUNTIME.sdk].map((id) => ({ kind: "runtime", id, branch: RUNTIME.branch }) as const);
  const how = { signal: context.signal, onLine: () => {} };
  const there = await machine.ensure(needs, HERE, [{ name: "runtimes", root: runtime.root }], how);
  assert.ok("used" in there, JSON.stringify(there));
  const env = {
    MILLRACE_PUBLISHING_TOOLS: JSON.stringify(publishing.programs.env),
    MILLRACE_FLATPAK_INSTALLATION: join(machine.folder, "flatpak"),
    MILLRACE_LOCAL_SOURCES: repos,
    MILLRACE_LEASE_SECONDS: "2",
  };
  return {
    publishing,
    publisher: (more: Record<string, string> = {}) => spawnPublisher(started.config, data, { ...env, ...more }),
  };
}

test("out of Git and an archive, in order; seen by clients; cancelled, refused, killed in the middle", async (context) => {
  const { publisher } = await world(context);
  const git = { url: gitRepository(), ref: "main" };
  const doomed = publisher({ MILLRACE_DIE_AT: "builder.run.during" });
  const { id: rep } = (await expect(201, "POST", "/repositories", { body: { name: "stable" } })).body;
  const begin = async (source: object): Promise<any> =>
    (await expect(201, "POST", "/builds", { body: { repository: "stable", source: { type: "manifest", ...source } } }))
      .body;
  const hello = await begin({ manifest: "org.test.Hello.yml", git, twice: true });
  assert.equal(hello.status.state, "queued");
  const next = await begin({ manifest: "org.test.Hello.yml", upload: await uploaded(example), needs: [hello.id] });
  const failed = until(hello.status.number, ({ state }) => state === "failed", doomed.said).then(
    ({ status }) => status.failure,
    () => undefined,
  );
  assert.equal(await Promise.race([doomed.ended, failed]), "SIGKILL", doomed.said());
  // Another begins it anew.
  const { said } = publisher();
  const one = await until(hello.status.number, ended, said);
  assert.equal(one.status.state, "ready", JSON.stringify(one.status.failure));
  assert.deepEqual(
    one.status.refs.map(({ ref }: { ref: string }) => ref),
    [`app/org.test.Hello/${HERE}/stable`],
  );
  const { built } = one.status;
  assert.match(built.source, /^[0-9a-f]{40}$/);
  assert.deepEqual(
    [built.appId, built.reproducible, built.differing, built.permissions],
    ["org.test.Hello", true, [], ["shared=ipc", "sockets=fallback-x11", "sockets=wayland"]],
  );
  const lines = (await expect(200, "GET", `/builds/${one.status.number}/logs?order=oldest&limit=1000`)).body.items;
  const texts = lines.map(({ text }: { text: string }) => text);
  assert.ok(texts.includes("Running: install -D hello.sh /app/bin/hello"), texts.join("\n"));
  assert.ok(lines.every((line: any) => line.build === one.id && line.source === "build"));
  const { body: waits } = await expect(200, "GET", `/builds/${next.status.number}`);
  assert.equal(waits.status.state, "queued");
  await expect(202, "POST", `/builds/${one.status.number}/publish`, { body: {} });
  // It waited for the one before it.
  const two = await until(next.status.number, ended, said);
  assert.equal(two.status.state, "ready", JSON.stringify(two.status.failure));
  assert.match(two.status.built.source, /^[0-9a-f]{64}$/);
  const main = await Repository.open(join(data, "publisher/local/repositories", rep, "repo"));
  const ref = one.status.refs[0].ref;
  assert.equal((await published(main))?.get(ref), await main.ref(ref));

  const refused = await until((await begin({ manifest: "open.json", git })).status.number, ended, said);
  assert.deepEqual([refused.status.state, refused.status.failure.code], ["failed", "MANIFEST_INVALID"]);
  assert.match(refused.status.failure.reason, /BUILD_ARGS/);
  const slow = await begin({ manifest: "slow.json", git });
  const quick = await begin({ manifest: "quick.json", git });
  await eventually(async () => {
    const { body } = await expect(200, "GET", `/builds/${slow.status.number}/logs`);
    return body.items.some(({ text }: { text: string }) => text === "asleep") || undefined;
  }, `it sleeps: ${said()}`);
  // One at a time: the other waits.
  assert.equal((await expect(200, "GET", `/builds/${quick.status.number}`)).body.status.state, "queued");
  await expect(202, "POST", `/builds/${slow.status.number}/cancel`, { body: {} });
  const after = await until(quick.status.number, ended, said);
  assert.equal(after.status.state, "ready", JSON.stringify(after.status.failure));
  const apps = join(data, "publisher/local/builder", one.organisation, "apps");
  await eventually(async () => {
    const left = readdirSync(apps).flatMap((app) =>
      readdirSync(join(apps, app, HERE)).filter((name) => name.startsWith("bld_")),
    );
    return left.length === 0 || undefined;
  }, "nothing of builds that ended is left");
  assert.ok(!readdirSync("/proc").some((pid) => /^\d+$/.test(pid) && readable(`/proc/${pid}/cmdline`).includes(apps)));
});

const readable = (path: string): string => {
  try {
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  } catch {
    return "";
  }
};

test("what cannot be asked for says why", async () => {
  const ask = (source: object) => ({ body: { repository: "stable", source: { type: "manifest", ...source } } });
  const git = { url: "https://example.org/x.git" };
  await expect(400, "POST", "/builds", ask({ manifest: "../x.json", git }));
  await expect(400, "POST", "/builds", ask({ manifest: "x.txt", git }));
  await expect(400, "POST", "/builds", ask({ manifest: "x.json" }));
  await expect(400, "POST", "/builds", ask({ manifest: "x.json", git, arches: ["x86_64", "x86_64"] }));
  await expect(404, "POST", "/builds", ask({ manifest: "x.json", upload: makeId("upl", Date.now(), randomBytes(10)) }));
  await expect(
    404,
    "POST",
    "/builds",
    ask({ manifest: "x.json", git, needs: [makeId("bld", Date.now(), randomBytes(10))] }),
  );
});

test.run();
