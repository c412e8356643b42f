/** Builds from manifests, from HTTP and `mill` to what clients see: out of Git and out of an archive, in order, cancelled, killed in the middle, twice; what is kept of one that failed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeId } from "@millrace/contracts/ids.ts";
import { Installation } from "@millrace/publisher/adapters/builder/installation.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { eventually } from "./harness/eventually.ts";
import { HERE, RUNTIME, testRuntime } from "./harness/flatpak-runtime.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { testMill } from "./harness/mill.ts";
import { openGrounds } from "./harness/orchestrator.ts";
import { spawnPublisher } from "./harness/publisher.ts";
import { testPublishing } from "./harness/publishing.ts";
import { testNats } from "./harness/servers.ts";
import { suite, type TestContext } from "./harness/suite.ts";

const test = suite("builds of manifests from HTTP to clients", { timeoutMs: 300_000 });
const example = fileURLToPath(new URL("../examples/flatpak-hello", import.meta.url));

const nats = await testNats();
const started = await testGateway({ natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass });
await testProjector(started.config);
const { expect } = callerOf(started);
// Uploads go to the orchestrator of the node.
const grounds = await openGrounds({ nats, caddy: false, env: { MILLRACE_MASTER_KEY: started.config.masterKey } });
const { data, repositories: repos } = grounds;

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
  const breaks = other("org.test.Breaks", "echo why not > config.log; head -c 3000000 /dev/zero > large; false");
  writeFileSync(join(folder, "breaks.json"), JSON.stringify(breaks));
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

const SSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IHJlYWxseQ==\n-----END OPENSSH PRIVATE KEY-----";

function sshThatAsks(bin: string): string {
  mkdirSync(bin, { recursive: true });
  const script = `#!/bin/sh
for word; do [ "$before" != -i ] || key=$word; before=$word; done
grep -q bm90IHJlYWxseQ "$key" || { echo "git@h: Permission denied (publickey)." >&2; exit 255; }
exec sh -c "$before"
`;
  writeFileSync(join(bin, "ssh"), script, { mode: 0o755 });
  return bin;
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
    MILLRACE_BUILD_ARTEFACT_MIB: "1",
    // No server of SSH is needed to see what is sent to it: this one runs the command here, when the key is the right one.
    PATH: `${sshThatAsks(join(data, "ssh-bin"))}${delimiter}${process.env.PATH}`,
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
  await (await grounds.start()).ready();
  const own = { MILLRACE_URL: started.url, MILLRACE_TOKEN: started.owner, MILLRACE_ORG: "home" };
  const mill = testMill(context, own);
  const run = ["builds", "run", "stable", "--manifest", "org.test.Hello.yml", "--upload", example];
  const next = JSON.parse(await mill.out([...run, "--needs", hello.id, "-o", "json"]));
  const failed = until(hello.status.number, ({ state }) => state === "failed", doomed.said).then(
    ({ status }) => status.failure,
    () => undefined,
  );
  assert.equal(await Promise.race([doomed.ended, failed]), "SIGKILL", doomed.said());
  // Another begins it anew. What nobody knows of, or has built for long, goes.
  const stray = leave(hello);
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
  const shown = await mill.out(["builds", "logs", `${one.status.number}`, "--limit", "1000"]);
  assert.equal(shown.trimEnd().split("\n").length, lines.length);
  assert.match(shown, /Running: install -D hello\.sh \/app\/bin\/hello/);
  assert.equal(await mill.out(["logs", one.id, "--limit", "1000"]), shown);
  assert.match(
    await mill.out(["logs", `${one.status.number}`, "--grep", "install -D"]),
    /^[^\n]*install -D hello\.sh[^\n]*\n/,
  );
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
  await fails(begin, mill, said);
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
  await eventually(
    async () => stray.every((folder) => !existsSync(folder)) || undefined,
    `what was left is gone: ${said()}`,
  );
  const apps = join(data, "publisher/local/builder", one.organisation, "apps");
  await eventually(async () => {
    const left = readdirSync(apps).flatMap((app) =>
      readdirSync(join(apps, app, HERE)).filter((name) => name.startsWith("bld_")),
    );
    return left.length === 0 || undefined;
  }, "nothing of builds that ended is left");
  assert.ok(!readdirSync("/proc").some((pid) => /^\d+$/.test(pid) && readable(`/proc/${pid}/cmdline`).includes(apps)));
});

/** As after a restore, or of applications that are built no more. */
function leave({ organisation }: { readonly organisation: string }): string[] {
  const old = new Date(Date.now() - 40 * 86_400_000);
  const own = join(data, "publisher/local/builder", organisation);
  const unknown = makeId("bld", Date.now(), randomBytes(10));
  return [join(own, "failed", unknown), join(own, "apps/org.test.Old", HERE)].map((folder) => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "x"), "x");
    utimesSync(folder, old, old);
    return folder;
  });
}

type Begin = (source: object) => Promise<any>;

/** What is kept of it, and what is missing, named. */
async function fails(begin: Begin, mill: ReturnType<typeof testMill>, said: () => string): Promise<void> {
  const url = `git@git.example.org:${join(repos, "hello")}/.git`;
  const secretOf = async (name: string, value: string): Promise<string> =>
    (await expect(201, "POST", "/secrets", { body: { name, value } })).body.id;
  const over = async ({ status }: any) => until(status.number, ended, said);
  const withKey = (secret: string) => ({ url, ref: "main", credentials: { kind: "ssh-key", secret } });
  const wrong = await over(
    await begin({ manifest: "quick.json", git: withKey(await secretOf("wrong", SSH_KEY.replace("bm90", "b3Ro"))) }),
  );
  assert.equal(wrong.status.failure.code, "CREDENTIALS_REFUSED", JSON.stringify(wrong.status));
  const arches = ["s390x", HERE];
  const foreign = await over(await begin({ manifest: "quick.json", git: { url: join(repos, "hello") }, arches }));
  assert.equal(foreign.status.failure.code, "ARCH_CANNOT_RUN", JSON.stringify(foreign.status));
  await expect(422, "POST", "/builds", {
    body: {
      repository: "stable",
      source: {
        type: "manifest",
        manifest: "quick.json",
        git: { url: "http://h/x", credentials: { kind: "token", secret: makeId("sec", 1, randomBytes(10)) } },
      },
    },
  });

  const right = await secretOf("right", SSH_KEY);
  const how = ["--git", url, "--ref", "main", "--key-secret", right, "-o", "json"];
  const begun = JSON.parse(await mill.out(["builds", "run", "stable", "--manifest", "breaks.json", ...how]));
  const { number } = begun.status;
  const { status } = await over(begun);
  assert.equal(status.failure.code, "BUILD_FAILED", JSON.stringify(status));
  const [kept, ...others] = status.failure.artefacts;
  assert.deepEqual([kept.arch, kept.omitted, others], [HERE, 1, []]);
  const going = (await expect(200, "GET", "/builds/retention")).body.builds;
  const [goes] = going.filter((each: any) => each.number === number);
  assert.ok(goes?.state === "failed" && goes.bytes > 0 && Date.parse(goes.at) > Date.now(), JSON.stringify(going));
  assert.match(await mill.out(["builds", "retention"]), new RegExp(`^${number} +failed `, "m"));
  const file = join(data, "kept.tar.gz");
  await mill.out(["builds", "artefacts", `${number}`, "--to", file]);
  const listed = execFileSync("tar", ["-tzf", file], { encoding: "utf8" });
  assert.match(listed, /^manifest\.json$/m);
  const log = /^failed\/.*config\.log$/m.exec(listed)![0];
  assert.equal(execFileSync("tar", ["-xzOf", file, log], { encoding: "utf8" }), "why not\n");
  assert.ok(!/large/.test(listed), listed);
  assert.ok(!(await mill.out(["builds", "logs", `${number}`])).includes("bm90"), "the key is not in the log");
  await expect(202, "POST", `/builds/${number}/purge`, { body: {} });
  await until(number, ({ state }) => state === "purged", said);
  await expect(404, "GET", `/builds/${number}/artefacts`);
  assert.deepEqual(readdirSync(join(data, "publisher/local/builder", begun.organisation, "failed")), []);
}

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
