/** The runner run on fixtures that break each of its rules. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { commandLine, processesWhere } from "@millrace/local/process.ts";
import * as assert from "uvu/assert";
import { suite } from "./suite.ts";

const runner = fileURLToPath(new URL("../run.ts", import.meta.url));
const fixtures = fileURLToPath(new URL("./fixtures", import.meta.url));

function run(...words: string[]): Promise<{ code: number; lines: string[]; text: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, MILLRACE_TEST_PROCESS_MS: "6000" };
    const args = [runner, "test", "--root", fixtures, ...words];
    execFile(process.execPath, args, { env }, (error, stdout) => {
      resolve({ code: error ? Number(error.code) : 0, lines: stdout.trimEnd().split("\n"), text: stdout });
    });
  });
}

const test = suite("runner");

test("counts, gives the reasons of skips, and ends with the summary", async () => {
  const { code, lines, text } = await run("good.unit");
  assert.is(code, 0);
  assert.is(lines.at(-1), "2 passed, 0 failed, 2 skipped");
  assert.match(text, "is skipped by itself: there is no printer");
  assert.match(text, "is skipped from outside: not today");
});

const broken: [file: string, says: RegExp, counts: string][] = [
  ["forgets-run", /the suite "forgotten" is never run/, "0 passed, 1 failed"],
  ["empty", /holds no test/, "0 passed, 1 failed"],
  ["no-import", /cannot be imported/, "0 passed, 1 failed"],
  ["dies", /SIGKILL\) during "dies › takes its process down"/, "0 passed, 1 failed"],
  ["blocks", /not over after 6 s during "blocks › never gives the processor back"/, "0 passed, 1 failed"],
  ["late", /an uncaught exception: Error: behind the back/, "1 passed, 1 failed"],
  ["leaks", /left processes behind: \d+ sleep 300/, "1 passed, 1 failed"],
  ["fails", /waits for ever: Error: not over after 200 ms/, "1 passed, 3 failed"],
];
let ran: ReturnType<typeof run> | undefined;
/** All in one run: what one of them breaks must not reach the others. */
const runAll = () => (ran ??= run(...broken.map(([file]) => `${file}.unit`), "good.unit", "open-handle.unit"));
for (const [file, says, counts] of broken) {
  test(`a file fails that ${file.replaceAll("-", " ")}`, async () => {
    const { code, text } = await runAll();
    const told = text.split(/^(?=FAIL|ok )/m).find((part) => part.startsWith(`FAIL  ${file}.unit.test.ts`)) ?? text;
    assert.match(told, says);
    assert.match(told, counts);
    assert.is(code, 1);
  });
}

test("one file that breaks does not take the others along", async () => {
  const { lines, text } = await runAll();
  assert.match(text, /ok {4}good\.unit/);
  assert.match(text, /ok {4}open-handle\.unit/);
  assert.is(lines.at(-1), "6 passed, 10 failed, 2 skipped");
});

test("a file with servers that failed has a second try, alone, and is named; what fails twice has failed", async () => {
  const { code, lines, text } = await run("wrong.integration", "unsteady.integration");
  assert.match(
    text,
    /unsteady \(failed, and passed at a second try.*\n.*fails the first time: Assertion: a busy machine/,
  );
  assert.is(lines.at(-1), "1 passed, 1 failed, 0 skipped");
  assert.is(code, 1);
});

test("nothing found is a failure", async () => {
  const { code, lines } = await run("there-is-no-such-file");
  assert.is(code, 1);
  assert.is(lines.at(-1), "0 passed, 0 failed, 0 skipped");
});

test("a run starts its servers for who needs them, and leaves nothing", async () => {
  const { code, lines } = await run("servers.integration");
  assert.is(code, 0);
  assert.is(lines.at(-1), "1 passed, 0 failed, 0 skipped");
  assert.is(processesWhere((pid) => commandLine(pid) === "sleep 300").length, 0);
});

test.run();
