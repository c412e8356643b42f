/** Configurations of devices in a Git repository, by the agent, with real git and a bare repository: out, in, dead in the middle, and hostile. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { type Dirent, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeId } from "@millrace/contracts/ids.ts";
import { AGENT_SETTINGS } from "@millrace/device-agent/config.ts";
import { startDeviceAgent } from "@millrace/device-agent/start.ts";
import { type DeviceCommand, type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { type SyncCommand, type SyncSpec, type SyncState, sync } from "@millrace/domain/devices/sync.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { readSettings } from "@millrace/eventlog/settings.ts";
import { startBound } from "@millrace/local/process.ts";
import * as assert from "uvu/assert";
import { serve, smart } from "../services/orchestrator/adapters/fixtures/git-world.ts";
import { eventually } from "./harness/eventually.ts";
import { eventsOf } from "./harness/orchestrator.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { sshKey, startSshd } from "./harness/sshd.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("device syncs", { timeoutMs: 120_000 });

const ORGANISATION = "org_00000000000000000000000000";
const MASTER_KEY = Buffer.alloc(32, 9).toString("base64");
const nats = await testNats();
const log = await EventLog.open({ url: nats.url, user: nats.user, password: nats.pass, name: "test" }, [
  "devices",
  "identity",
]);
deferToEndOfFile(() => log.close());
const root = testFolder("syncs");

const environment: Record<string, string> = {
  MILLRACE_NATS_URL: nats.url,
  MILLRACE_NATS_USER: nats.user,
  MILLRACE_NATS_PASSWORD: nats.pass,
  MILLRACE_SITE: "hall",
  MILLRACE_LEASE_SECONDS: "2",
  MILLRACE_DATA: join(root, "data"),
  MILLRACE_LOCAL_SOURCES: root,
  MILLRACE_MASTER_KEY: MASTER_KEY,
  MILLRACE_LOG_LEVEL: "error",
};

const startAgent = () =>
  startDeviceAgent(
    readSettings(AGENT_SETTINGS, environment),
    makeLogger({ service: "device-agent", level: "error" }),
    "test",
  );
let agent = await startAgent();
deferToEndOfFile(() => agent.stop());

const git = (folder: string, ...args: string[]): string =>
  execFileSync("git", ["-C", folder, "-c", "user.name=Ann", "-c", "user.email=ann@localhost", ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH!, HOME: root, GIT_CONFIG_NOSYSTEM: "1" },
  }).trim();

const treeOf = (folder: string, input: string): string =>
  execFileSync("git", ["-C", folder, "mktree"], { encoding: "utf8", input }).trim();

async function command<S, C>(kind: Kind<S, C>, id: string, asked: C): Promise<void> {
  const outcome = await execute(log, { kind, id, command: asked }, ownContext("test", ORGANISATION));
  assert.ok("ok" in outcome, JSON.stringify(outcome));
}

let macs = 0xa0dd0c000000;
async function add(name: string, tag: string): Promise<{ readonly id: string; readonly mac: string }> {
  const mac = (++macs).toString(16).toUpperCase();
  const id = makeId("dev", Date.now(), randomBytes(10));
  const spec = { mac, name, site: "nowhere", tags: [tag], groups: [], expected: false };
  await command<DeviceState, DeviceCommand>(device, id, { do: "add", spec });
  await want(id, { "switch:0": { name, in_mode: "follow" } });
  return { id, mac };
}
const want = (id: string, configuration: Record<string, unknown>) =>
  command<DeviceState, DeviceCommand>(device, id, { do: "configure", configuration });
const wantedOf = async (id: string) => (await log.aggregates.load(device, id)).state.configuration;

/** A bare repository, a sync with it, and a person's clone. */
async function repository(name: string, more: Partial<SyncSpec> = {}) {
  const bare = join(root, `${name}.git`);
  git(root, "init", "-q", "--bare", "-b", "main", bare);
  const id = makeId("syn", Date.now(), randomBytes(10));
  const spec = {
    name,
    repository: { path: bare },
    site: "hall",
    select: { tag: name },
    direction: "both",
    ...more,
  } as const;
  await command<SyncState, SyncCommand>(sync, id, { do: "create", spec });
  const clone = join(root, name);
  const pull = () => {
    git(root, ...(readdirSync(root).includes(name) ? ["-C", clone, "pull", "-q"] : ["clone", "-q", bare, clone]));
    return readdirSync(join(clone, "devices")).sort();
  };
  const push = (file: string, text: string) => {
    mkdirSync(join(clone, "devices"), { recursive: true });
    writeFileSync(join(clone, "devices", file), text);
    git(clone, "add", "-A");
    git(clone, "commit", "-q", "-m", "by a person");
    git(clone, "push", "-q", "origin", "HEAD:main");
    return git(clone, "rev-parse", "HEAD");
  };
  const read = (file: string) => readFileSync(join(clone, "devices", file), "utf8");
  return { id, bare, clone, pull, push, read };
}

const ended = (id: string, run: number): Promise<SyncState> =>
  eventually(
    async () => {
      const { state } = await log.aggregates.load(sync, id);
      return state.run === run && state.state !== "running" ? state : undefined;
    },
    `run ${run} to end`,
    60_000,
  );
async function run(id: string, asked: SyncCommand = { do: "run" }): Promise<SyncState> {
  const before = (await log.aggregates.load(sync, id)).state.run;
  await command<SyncState, SyncCommand>(sync, id, asked);
  return ended(id, before + 1);
}

test("out: a file for each device, no commit where nothing changed, what is somebody's stays; in: planned, approved, wanted", async () => {
  const [hall, attic] = [await add("hall-lamp", "both"), await add("attic-lamp", "both")];
  await add("elsewhere", "other");
  const { id, bare, pull, push, read } = await repository("both");
  const first = await run(id);
  assert.equal(
    [first.state, first.result?.written, first.result?.pushed],
    ["succeeded", 2, true],
    JSON.stringify(first.failure),
  );
  assert.equal(pull(), ["attic-lamp.toml", "hall-lamp.toml"]);
  assert.match(read("hall-lamp.toml"), new RegExp(`mac = "${hall.mac}"`));
  const again = await run(id);
  assert.equal([again.state, again.result?.pushed, again.commit], ["succeeded", false, first.commit]);
  // A person changes one, and adds a page; meanwhile the other is changed here, and one is removed.
  writeFileSync(join(root, "both", "README.md"), "Our lamps\n");
  const commit = push("hall-lamp.toml", read("hall-lamp.toml").replace('"follow"', '"detached"'));
  await want(attic.id, { "switch:0": { name: "here" } });
  const waiting = await run(id);
  assert.equal([waiting.state, waiting.plan?.commit, waiting.plan?.steps.length], ["waiting", commit, 1]);
  assert.equal(waiting.plan!.steps[0]!.fields, ["switch:0/in_mode"]);
  assert.is(((await wantedOf(hall.id)) as { "switch:0": { in_mode: string } })["switch:0"].in_mode, "follow");
  const applied = await run(id, { do: "approve", commit });
  assert.equal(
    [applied.state, applied.result?.applied, applied.result?.written],
    ["succeeded", 1, 1],
    JSON.stringify(applied.failure),
  );
  assert.equal(await wantedOf(hall.id), { "switch:0": { name: "hall-lamp", in_mode: "detached" } });
  pull();
  assert.match(read("attic-lamp.toml"), /name = "here"/);
  await command<DeviceState, DeviceCommand>(device, attic.id, { do: "remove" });
  const removed = await run(id);
  assert.equal([removed.result?.removed, pull()], [1, ["hall-lamp.toml"]]);
  assert.match(git(bare, "show", "main:README.md"), /Our lamps/);
  assert.is(git(bare, "rev-list", "--count", "main"), "4");
});

test("in: what is wrong is told with file and line, and nothing of it is taken in; new devices are added", async () => {
  const lamp = await add("in-lamp", "in");
  const { id, clone, push } = await repository("in", { direction: "in", apply: "apply" });
  git(root, "clone", "-q", join(root, "in.git"), clone);
  const text = (mac: string, field: string) => `[device]\nmac = "${mac}"\ntags = ["in"]\n\n["switch:0"]\n${field}\n`;
  const refusals: ReadonlyArray<readonly [text: string, place: RegExp]> = [
    [text(lamp.mac, 'in_modee = "follow"'), /switch:0\.in_modee/],
    ["[device\n", /^$/],
    [text(lamp.mac, 'in_mode = "nonsense"'), /switch:0\.in_mode/],
    [
      `[device]\nmac = "${lamp.mac}"\n\n[mqtt]\npass = { "$secret" = "sec_00000000000000000000000000" }\n`,
      /mqtt\.pass/,
    ],
    [`[device]\nmac = "${lamp.mac}"\ngroups = ["nobody"]\n`, /device\.groups/],
  ];
  push("new.toml", text("A0DD0CFFFF01", 'in_mode = "follow"'));
  for (const [bad, place] of refusals) {
    push("bad.toml", bad);
    const { state, failure } = await run(id);
    assert.equal([state, failure?.code, failure?.faults[0]?.file], ["failed", "FILES_REFUSED", "devices/bad.toml"]);
    assert.match(failure!.faults[0]!.place, place);
  }
  push("bad.toml", text(lamp.mac, 'in_modee = "follow"'));
  assert.is((await run(id)).failure!.faults[0]!.line, 6);
  assert.is(
    [...agent.index.all(device)].some(({ state }) => state.mac === "A0DD0CFFFF01"),
    false,
  );
  push("bad.toml", text(lamp.mac, 'in_mode = "detached"'));
  const { state, result, failure } = await run(id);
  assert.equal([state, result?.applied], ["succeeded", 2], JSON.stringify(failure));
  assert.equal(await wantedOf(lamp.id), { "switch:0": { in_mode: "detached" } });
});

test("hostile repositories are refused in words: a link, a huge file, ten thousand files, a place that is not allowed", async () => {
  const codeOf = async (id: string) => (await run(id)).failure?.code;
  const link = await repository("link", { direction: "in" });
  git(root, "clone", "-q", link.bare, link.clone);
  mkdirSync(join(link.clone, "devices"));
  symlinkSync("/etc/passwd", join(link.clone, "devices", "passwd.toml"));
  link.push("a.toml", "");
  assert.is(await codeOf(link.id), "LINK_REFUSED");
  execFileSync("rm", [join(link.clone, "devices", "passwd.toml")]);
  link.push("a.toml", `# ${"x".repeat(300_000)}`);
  assert.is(await codeOf(link.id), "FILE_TOO_LARGE");
  const blob = git(link.clone, "hash-object", "-w", "--stdin");
  const many = Array.from({ length: 10_000 }, (_, i) => `100644 blob ${blob}\t${i}.toml\n`).join("");
  const tree = treeOf(link.clone, `040000 tree ${treeOf(link.clone, many)}\tdevices\n`);
  const commit = git(link.clone, "commit-tree", tree, "-p", "HEAD", "-m", "many");
  git(link.clone, "push", "-q", "origin", `${commit}:main`);
  assert.is(await codeOf(link.id), "REPOSITORY_TOO_LARGE");
  const outside = await repository("outside", { repository: { path: "/etc" } });
  assert.is(await codeOf(outside.id), "PATH_REFUSED");
});

test("dead at each effect, the next agent ends the run: one commit, each device changed once", async () => {
  const lamp = await add("fault-lamp", "faults");
  const { id, bare, pull, push, read } = await repository("faults", { apply: "apply" });
  assert.is((await run(id)).state, "succeeded");
  await agent.stop();
  pull();
  push("fault-lamp.toml", read("fault-lamp.toml").replace('"follow"', '"flip"'));
  await add("fault-other", "faults");
  await command<SyncState, SyncCommand>(sync, id, { do: "run" });
  for (const point of ["sync.wanted", "sync.committed", "sync.pushed"]) {
    const dying = await startBound({
      name: "agent",
      command: process.execPath,
      args: [fileURLToPath(new URL("../services/device-agent/main.ts", import.meta.url))],
      inputPipe: true,
      env: { ...process.env, ...environment, MILLRACE_PARENT_PIPE: "1", MILLRACE_DIE_AT: `${point}:1` },
      logFile: join(root, "agent.log"),
    });
    await eventually(async () => dying.exit(), `it dies at ${point}`, 60_000);
  }
  agent = await startAgent();
  const { state, failure } = await ended(id, 2);
  assert.is(state, "succeeded", JSON.stringify(failure));
  assert.equal(await wantedOf(lamp.id), { "switch:0": { name: "fault-lamp", in_mode: "flip" } });
  assert.is(git(bare, "rev-list", "--count", "main"), "3");
  const types = (await eventsOf(log, device, lamp.id)).map(({ type }) => type);
  assert.is(types.filter((type) => type === "DeviceConfigured").length, 2);
  assert.equal(pull(), ["fault-lamp.toml", "fault-other.toml"]);
});

/** A secret of the organisation, sealed. @returns its id */
async function stored(name: string, value: string): Promise<string> {
  const sealing = await Sealing.open({ nats: log.nats, masterKeys: parseMasterKeys(MASTER_KEY) });
  try {
    const id = makeId("sec", Date.now(), randomBytes(10));
    const sealed = await sealing.seal({ organisation: ORGANISATION, subject: id }, value);
    await command(secret as Kind, id, { type: "StoreSecret", name, sealed } as const);
    return id;
  } finally {
    sealing.close();
  }
}

test("over SSH with a key that is kept sealed: out and in; a server with another key is not talked to, another's key is refused", async ({
  skip,
}) => {
  const folder = join(root, "ssh");
  mkdirSync(folder);
  const [host, other, own, foreign] = ["host", "other", "own", "foreign"].map((name) => sshKey(join(folder, name)));
  const sshd = await startSshd(folder, host!, [`${own}.pub`]);
  if (typeof sshd === "string") return skip(sshd);
  const key = readFileSync(own!, "utf8");
  const lamp = await add("ssh-lamp", "ssh-fleet");
  const url = (name: string) => `ssh://${sshd.user}@127.0.0.1:${sshd.port}${join(root, name)}`;
  const { id, pull, push, read } = await repository("ssh-fleet", {
    repository: { url: url("ssh-fleet.git") },
    credentials: { secret: await stored("ssh-own", key), kind: "ssh-key" },
    apply: "apply",
  });
  const out = await run(id);
  assert.equal([out.state, out.result?.written], ["succeeded", 1], JSON.stringify(out.failure));
  assert.equal(pull(), ["ssh-lamp.toml"]);
  push("ssh-lamp.toml", read("ssh-lamp.toml").replace('in_mode = "follow"', 'in_mode = "flip"'));
  const taken = await run(id);
  assert.equal([taken.state, taken.result?.applied], ["succeeded", 1], JSON.stringify(taken.failure));
  const flipped = { "switch:0": { name: "ssh-lamp", in_mode: "flip" } };
  assert.equal(await wantedOf(lamp.id), flipped);
  assert.match(sshd.said(), /Accepted publickey/);

  // What the server showed first is what it is known by from then on.
  const data = readdirSync(join(root, "data"), { recursive: true }) as string[];
  const known = data.find((name) => /(^|[/])known_hosts$/.test(name))!;
  const [kind, shown] = readFileSync(`${host}.pub`, "utf8").split(" ");
  assert.ok(readFileSync(join(root, "data", known), "utf8").includes(`${kind} ${shown}`));
  await sshd.stop();
  const impostor = await startSshd(folder, other!, [`${own}.pub`], sshd.port);
  assert.ok(typeof impostor !== "string", String(impostor));
  push("ssh-lamp.toml", read("ssh-lamp.toml").replace("flip", "detached"));
  const kept = await run(id);
  assert.equal([kept.state, kept.failure?.code], ["failed", "HOST_KEY_CHANGED"], JSON.stringify(kept.failure));
  assert.not.match(impostor.said(), /Accepted publickey/);
  await impostor.stop();
  assert.ok(typeof (await startSshd(folder, host!, [`${own}.pub`], sshd.port)) !== "string");
  const wrong = { secret: await stored("ssh-foreign", readFileSync(foreign!, "utf8")), kind: "ssh-key" } as const;
  await command<SyncState, SyncCommand>(sync, id, { do: "change", spec: { credentials: wrong } });
  const refused = await run(id);
  assert.is(refused.failure?.code, "CREDENTIALS_REFUSED", JSON.stringify(refused.failure));
  assert.equal(await wantedOf(lamp.id), flipped);

  const told = JSON.stringify([await eventsOf(log, sync, id), await eventsOf(log, secret as Kind, wrong.secret)]);
  const left = (readdirSync(join(root, "data"), { recursive: true, withFileTypes: true }) as Dirent[])
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));
  const secretLine = key.split("\n")[2]!;
  for (const text of [told, ...left]) assert.ok(!text.includes(secretLine) && !text.includes("PRIVATE KEY"));
});

test("over HTTP with a token that is kept sealed; who pushes meanwhile loses nothing, and a wrong token is told in words", async () => {
  const token = "sealed-token-of-ours";
  await add("raced-lamp", "raced");
  let overtakings = 0;
  const answer = smart(root, token);
  const server = await serve((asked, reply) => {
    // Between what was fetched and what is pushed now somebody else pushes, twice.
    if (asked.method === "POST" && asked.url!.endsWith("/git-receive-pack") && overtakings < 2) {
      overtakings += 1;
      pull();
      writeFileSync(join(clone, `page-${overtakings}.md`), "Somebody's\n");
      push("raced-other.toml", `[device]\nmac = "A0DD0CFFFF0${overtakings + 1}"\ntags = ["raced"]\n`);
    }
    answer(asked, reply);
  });
  deferToEndOfFile(() => server.close());
  const credentials = { secret: await stored("token-right", token), kind: "token" } as const;
  const { id, bare, clone, pull, push } = await repository("raced", {
    repository: { url: `${server.url}/raced.git` },
    credentials,
    direction: "out",
  });
  git(bare, "config", "http.receivepack", "true");
  git(root, "clone", "-q", bare, clone);
  push("first.toml", "# nothing yet\n");
  const raced = await run(id);
  assert.is(raced.state, "succeeded", JSON.stringify(raced.failure));
  assert.is(overtakings, 2);
  assert.ok(server.authorizations.every((one) => one === `x-access-token:${token}`));
  const here = git(bare, "ls-tree", "-r", "--name-only", "main").split("\n");
  for (const file of ["page-1.md", "page-2.md", "devices/raced-lamp.toml"]) assert.ok(here.includes(file), `${here}`);
  const said = JSON.stringify(await eventsOf(log, sync, id));
  assert.ok(!said.includes(token));

  const wrong = { secret: await stored("token-wrong", "another"), kind: "token" } as const;
  await command<SyncState, SyncCommand>(sync, id, { do: "change", spec: { credentials: wrong } });
  const refused = await run(id);
  assert.equal(
    [refused.state, refused.failure?.code],
    ["failed", "CREDENTIALS_REFUSED"],
    JSON.stringify(refused.failure),
  );
});

test.run();
