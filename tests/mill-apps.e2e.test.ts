/** `mill apps`, `mill deployments`, `mill nodes` against the product as `mill up` runs it: a static site from its creation to its end. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PHASES } from "@millrace/contracts/applications/values.ts";
import { lastRunState } from "@millrace/local/run-state.ts";
import * as assert from "uvu/assert";
import { CHECKOUT, ONE_PROCESS, testMill } from "./harness/mill.ts";
import { get } from "./harness/orchestrator.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("mill apps", { timeoutMs: 120_000 });

const mill = testMill(
  { defer: deferToEndOfFile },
  // Never the machine's own engine.
  { ...ONE_PROCESS, MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock", MILLRACE_LEASE_SECONDS: "2" },
);
await mill.up();
const publicPort = Number(new URL(lastRunState(mill.data)!.facts.publicUrl!).port);
const HOST = "site.home.localhost";

const repository = join(mill.data, "local-sources", "site");
mkdirSync(repository, { recursive: true });
cpSync(join(CHECKOUT, "examples", "hello-site"), repository, { recursive: true });
const git = (...args: string[]) =>
  execFileSync("git", ["-C", repository, "-c", "user.name=t", "-c", "user.email=t@example.org", ...args], {
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: repository },
  }).trim();
git("init", "-q", "-b", "main");
git("add", "-A");
git("commit", "-q", "-m", "first");
const first = git("rev-parse", "HEAD");

const json = async (...args: string[]) => JSON.parse(await mill.out([...args, "-o", "json"]));
const lines = (text: string) => text.trim().split("\n");

/** Exit code, and the error as `-o json` prints it. */
async function fails(...args: string[]) {
  const { code, err } = await mill.run([...args, "-o", "json"]);
  const { error } = JSON.parse(lines(err).at(-1)!);
  return { code, error };
}

test("created, deployed with its phases as they end, served, changed, rolled back", async () => {
  const flags = ["--repository", repository, "--folder", "public", "--not-found", "404.html"];
  assert.is(await mill.out(["apps", "create", "site", ...flags, "-o", "name"]), "site\n");
  const said = lines(await mill.out(["apps", "deploy", "site", "--wait"]));
  assert.match(said[0]!, /^dep_\w{26}: deployment 1 of site, manual, main, asked for by owner-\w{6}$/);
  assert.equal(
    said.slice(1, -1).map((line) => /^ {2}([A-Z_]+) +\d+\.\d\d s/.exec(line)?.[1]),
    PHASES,
    said.join("\n"),
  );
  assert.match(said[1]!, `commit ${first.slice(0, 10)} of main`);
  assert.match(said.at(-1)!, new RegExp(`^succeeded after [\\d.]+ s: http://${HOST}:${publicPort}$`));
  const served = await get(publicPort, HOST);
  assert.equal([served.status, served.deployment], [200, said[0]!.slice(0, 30)]);
  assert.match(served.text, "Hello from the first release");
  const lost = await get(publicPort, HOST, "/nowhere");
  assert.is(lost.status, 404);
  assert.match(lost.text, "Not here");

  writeFileSync(join(repository, "public", "index.html"), "<h1>Second</h1>\n");
  git("commit", "-q", "-a", "-m", "second");
  const second = await json("apps", "deploy", "site", "--wait");
  assert.equal([second.status.state, second.spec.seq], ["succeeded", 2]);
  assert.match((await get(publicPort, HOST)).text, "Second");

  const plan = await json("apps", "rollback", "site", "--plan");
  assert.equal(plan.commit, { from: git("rev-parse", "HEAD"), to: first });
  const states = lines(await mill.out(["apps", "rollback", "site", "--to", "1", "--wait", "-o", "jsonl"])).map((line) =>
    JSON.parse(line),
  );
  assert.is(states.at(-1).status.state, "succeeded");
  assert.equal(
    states
      .at(-1)
      .status.phases.slice(0, 2)
      .map(({ attempt, adopted }: { attempt: number; adopted?: boolean }) => [attempt, adopted]),
    [
      [0, true],
      [0, true],
    ],
    "nothing is fetched and nothing is built again",
  );
  assert.match((await get(publicPort, HOST)).text, "Hello from the first release");
});

test("shown to people and programs: the application, its deployments, the node", async () => {
  const shown = await mill.out(["apps", "show", "site"]);
  assert.match(shown, /^state +running$/m);
  assert.match(shown, new RegExp(`^live +deployment 3, commit ${first.slice(0, 10)} of main`, "m"));
  const listed = lines(await mill.out(["apps", "list"]));
  assert.match(listed[0]!, /^NAME +STATE +KIND +LIVE/);
  assert.match(listed[1]!, /^site +running +static +3 \(/);
  const ids = lines(await mill.out(["deployments", "list", "-o", "name"]));
  assert.is(ids.length, 3);
  const all = await json("deployments", "list", "--sort", "number");
  assert.equal(
    all.map(({ spec }: { spec: { seq: number; trigger: string } }) => [spec.seq, spec.trigger]),
    [
      [1, "manual"],
      [2, "manual"],
      [3, "rollback"],
    ],
  );
  const one = await mill.out(["deployments", "show", all[0].id]);
  assert.match(one, /^PULLING_SOURCE +completed +\d+\.\d\d s +1 /m);
  const watched = await mill.out(["deployments", "watch", "site"]);
  assert.match(watched, /deployment 3 of site, rollback.*\n.*kept from before/);
  const [node] = await json("nodes");
  assert.equal([node.name, node.workers.length], ["local", 1]);
  assert.match(await mill.out(["nodes"]), / missing\n\nlocal: .*Docker/);
});

test("stopped and started, hosts and title at once, what is wrong with a line says how to write it", async () => {
  await mill.out(["apps", "stop", "site", "--wait"]);
  assert.is((await get(publicPort, HOST)).status, 503);
  await mill.out(["apps", "start", "site", "--wait"]);
  assert.is((await get(publicPort, HOST)).status, 200);
  await mill.out(["apps", "change", "site", "--domain", "www.example.org", "--title", "The site"]);
  const changed = await json("apps", "show", "site");
  assert.equal([changed.spec.title, changed.spec.domains], ["The site", ["www.example.org"]]);
  await mill.out(["apps", "change", "site", "--remove-domain", "www.example.org", "--title", "none"]);
  const back = await json("apps", "show", "site");
  assert.equal([back.spec.title, back.spec.domains, back.spec.build.folder], [undefined, [], "public"]);

  assert.is((await fails("apps", "create", "nothing")).code, 2);
  assert.is((await fails("apps", "create", "both", "-r", "/x", "--folder", "a", "--dockerfile", "b")).code, 2);
  assert.is((await fails("apps", "create", "site", "-r", repository)).code, 5, "the name is taken");
  assert.is((await fails("apps", "change", "site")).code, 2);
  assert.is((await fails("apps", "change", "site", "--ref", "x", "--seen", "1")).code, 5);
  assert.is((await fails("apps", "deploy", "nobody")).code, 3);
  const { code, error } = await fails("apps", "rollback", "site", "--to", "77");
  assert.equal([code, error.code], [6, "release-not-kept"]);
  assert.match(error.fix, "Kept are those of: 3, 2, 1");
});

test("one that fails says where, why and what to do; the former release goes on", async () => {
  const { code, error } = await fails("apps", "deploy", "site", "--ref", "no-such-branch", "--wait");
  assert.equal([code, error.code], [1, "deployment-failed"]);
  assert.match(error.message, "PULLING_SOURCE: ");
  assert.match(error.message, "no-such-branch");
  assert.match(error.fix, /mill deployments show dep_\w{26}/);
  assert.is((await get(publicPort, HOST)).status, 200);
  assert.match(await mill.out(["apps", "show", "site"]), /problem since .* in PULLING_SOURCE/);
});

test("deleted: nothing of it answers or lies about, and its past is still told", async () => {
  const { id } = await json("apps", "show", "site");
  assert.is((await mill.run(["apps", "delete", "site"])).code, 2, "nobody can be asked");
  const { code, err } = await mill.run(["apps", "delete", "site", "--yes", "--wait"]);
  assert.is(code, 0, err);
  assert.match(err, `Deleted site; \`mill history application ${id}\``);
  assert.is((await fails("apps", "show", "site")).code, 3);
  assert.not.match((await get(publicPort, HOST)).text, "Hello");
  assert.not(existsSync(join(mill.data, "orchestrator", "local", "apps", id)), "its folder is gone");
  const told = await mill.out(["history", "application", id]);
  assert.match(told, 'removed the application "site"');
  assert.match(told, "created the application");
  assert.is(await mill.out(["apps", "list", "-o", "name"]), "");
});

test.run();
