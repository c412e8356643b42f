/** `mill tour` as people run it: its commands work, what it says of the crash is true, and it leaves nothing that it does not name. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { leftIn, testDocker } from "./harness/docker.ts";
import { type Mill, testMill } from "./harness/mill.ts";
import { suite } from "./harness/suite.ts";

const test = suite("tour", { timeoutMs: 240_000 });

const LEASE = { MILLRACE_LEASE_SECONDS: "2" };

/** The chapters of what was printed, by their titles. */
function chaptersOf(out: string): Map<string, string> {
  const parts = out.split(/^\d+ · (.*)$/m).slice(1);
  return new Map(parts.flatMap((part, index) => (index % 2 === 0 ? [[part, parts[index + 1]!] as const] : [])));
}

/** Every command that was shown, without the flags that only say which. */
const commandsIn = (text: string): string[] =>
  [...text.matchAll(/^ {2}\$ mill (\w+(?: [a-z]+)?)/gm)].map((match) => match[1]!);

function checkSite(chapters: ReadonlyMap<string, string>): void {
  const made = chapters.get("An application")!;
  assert.equal(commandsIn(made), ["apps create", "apps deploy"]);
  assert.match(made, /200 {2}Hello from the first release {2}\(from dep_\w{26}\)/);

  const crash = chapters.get("A change, and a crash in the middle of it")!;
  const pid = [...crash.matchAll(/------ the orchestrator, process (\d+), is killed ------/g)].at(-1)?.[1];
  assert.ok(pid, crash);
  const [, dead, successor] = /Process (\d+) was killed\. Its successor is process (\d+); /.exec(crash) ?? [];
  assert.is(dead, pid, crash);
  assert.is.not(successor, pid);
  assert.match(crash, /Not done again, since the log has them: PULLING_SOURCE(, | and )BUILDING/);
  assert.match(crash, /^Adopted, since it was found done and whole, though the log did not know: [A-Z_]+\.$/m);
  assert.match(crash, /^ {6}[A-Z_]+ +again {2}attempt 2, by /m);
  assert.match(crash, "Outcomes in the log, of the phases and of the whole: 7, each of them once.");
  assert.match(crash, /Visitors meanwhile: \d{2,}; without an answer: 0\./);
  assert.match(crash, /200 {2}Hello from the second release/);

  const back = chapters.get("Back")!;
  assert.equal(commandsIn(back), ["apps rollback", "apps rollback"]);
  assert.match(back, /PULLING_SOURCE +0\.00 s {2}kept from before/);
  assert.match(back, /200 {2}Hello from the first release/);

  const past = chapters.get("What was")!;
  assert.match(past, /mill apps show hello-site --at v\d+\n {4}name +hello-site\n[\s\S]* {4}live +deployment 2, /);
  assert.match(past, /asked for deployment 3 .*a rollback/);
  assert.match(past, /created the application "hello-site"/);
}

/** Nothing is left but what the last chapter names. */
async function checkEnd(mill: Mill, chapters: ReadonlyMap<string, string>): Promise<void> {
  const left = chapters.get("What is left")!;
  const ids = [...left.matchAll(/mill\s+history\s+application\s+(app_\w{26})`/g)].map((match) => match[1]!);
  assert.is(await mill.out(["apps", "list", "-o", "name"]), "");
  assert.equal(readdirSync(join(mill.data, "local-sources")), []);
  assert.equal(readdirSync(join(mill.data, "orchestrator", "local", "apps")), []);
  for (const id of new Set(ids))
    assert.match(await mill.out(["history", "application", id]), "removed the application");
  assert.match(left, /That was the tour: \d+ s\./);
}

test("without Millrace running here it says how to start it", async ({ defer }) => {
  const mill = testMill({ defer });
  const { code, err } = await mill.run(["tour"]);
  assert.is(code, 2);
  assert.match(err, "mill up");
});

test("a site is deployed, its worker killed in the middle, gone on for, taken back, and looked at as it was; then a container, where an engine is", async (context) => {
  // Where the engine is away, that it is left out is what is tested.
  const docker = process.env.MILLRACE_TEST_NO_DOCKER === undefined ? await testDocker(context) : undefined;
  const scope = docker?.scope() ?? "";
  const mill = testMill(context, {
    ...LEASE,
    MILLRACE_DOCKER_HOST: docker?.endpoint ?? "unix:///nonexistent/docker.sock",
    MILLRACE_DOCKER_SCOPE: scope,
  });
  await mill.up();
  const base = docker === undefined ? [] : ["--base-image", await docker.busybox()];
  const { code, out, err } = await mill.run(["tour", ...base]);
  assert.is(code, 0, err + out);
  const chapters = chaptersOf(out);
  assert.equal(
    [...chapters.keys()],
    ["An application", "A change, and a crash in the middle of it", "Back", "A container", "What was", "What is left"],
  );
  checkSite(chapters);
  const container = chapters.get("A container")!;
  if (docker === undefined) assert.match(container, /^Left out\..*Docker/m);
  else {
    assert.equal(commandsIn(container), ["apps create", "apps deploy", "apps change", "apps deploy"]);
    assert.match(container, /200 {2}Welcome, from a container/);
    assert.match(container, /200 {2}Willkommen, from a container/);
    assert.match(container, /BUILDING +[\d.]+ s {2}adopted; image /);
  }
  await checkEnd(mill, chapters);
  if (docker !== undefined) assert.equal(await leftIn(docker.endpoint, scope), []);
  for (const line of out.split("\n").filter((text) => !text.startsWith(" "))) {
    assert.ok(line.length <= 100, `too wide for a page: ${line}`);
  }
});

test.run();
