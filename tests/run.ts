/**
 * The test runner: `tests/run.ts test|soak|bench [part of a file's name …]`.
 *
 * Prints a line per file, what failed, what was skipped and why, and as its last line
 * `N passed, N failed, N skipped`. Ends with 1 when a test failed or none passed. A few files with servers that failed are run once more,
 * alone: what passes then is named as unsteady (docs/decisions/0030-a-second-try.md).
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Row, reaches } from "./bench/measure.ts";
import { discover, type TestFile } from "./harness/discover.ts";
import { RunServers } from "./harness/run-servers.ts";
import { type Outcome, schedule } from "./harness/schedule.ts";

const minute = 60_000;
/** More files than this that failed are no accident. */
const SECOND_TRIES = 4;
/** Tests wait half of their time. */
const AT_ONCE = availableParallelism() < 2 ? 1 : 3;
const [verb = "test", ...words] = process.argv.slice(2);
if (verb !== "test" && verb !== "soak" && verb !== "bench") {
  console.error(`tests/run.ts: "${verb}" is none of test, soak, bench`);
  process.exit(2);
}
let root = fileURLToPath(new URL("..", import.meta.url));
const filters: string[] = [];
for (let word = words.shift(); word !== undefined; word = words.shift()) {
  if (word === "--root") root = resolve(words.shift() ?? ".");
  else filters.push(word);
}

const files = discover(root, verb, filters);
process.exit(verb === "bench" ? await runBenchmarks(files) : await runTests(files, verb));

async function runTests(files: readonly TestFile[], verb: "test" | "soak"): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-test-"));
  chmodSync(folder, 0o711); // PostgreSQL's user passes through it
  const interrupt = new AbortController();
  const outcomes: Outcome[] = [];
  const servers = new RunServers(folder, files);
  const unsteady: Outcome[] = [];
  const started = Date.now();
  const limit = setting("MILLRACE_TEST_TOTAL_MS", verb === "test" ? 25 * minute : 8 * 60 * minute);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => interrupt.abort());
  }
  const run = (files: readonly TestFile[], atOnce: number, servers: RunServers) =>
    schedule(files, {
      folder,
      run: randomBytes(6).toString("hex"),
      atOnce,
      processTimeoutMs: setting("MILLRACE_TEST_PROCESS_MS", verb === "test" ? 10 * minute : 2 * 60 * minute),
      deadline: started + limit,
      environment: (file) => servers.environmentOf(file),
      report: (outcome) => {
        outcomes.push(outcome);
        printOutcome(outcome);
      },
      signal: interrupt.signal,
    });
  try {
    await run(files, verb === "soak" ? 1 : AT_ONCE, servers);
    const again = verb === "test" && !interrupt.signal.aborted ? worthASecondTry(files, outcomes) : [];
    if (again.length > 0) {
      console.log(`\nonce more, alone: ${again.map(({ name }) => name).join(", ")}`);
      const isAgain = ({ name }: { readonly name: string }) => again.some((file) => file.name === name);
      unsteady.push(...outcomes.filter(isAgain));
      outcomes.splice(0, outcomes.length, ...outcomes.filter((outcome) => !isAgain(outcome)));
      // With servers of its own: in those of the first try stands what that one did.
      const place = join(folder, "again");
      mkdirSync(place, { mode: 0o711 });
      const fresh = new RunServers(place, again);
      await run(again, 1, fresh).finally(() => fresh.stop());
    }
  } finally {
    await servers.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  return printSummary(outcomes, unsteady, Date.now() - started);
}

/** Tests without servers have no excuse. */
function worthASecondTry(files: readonly TestFile[], outcomes: readonly Outcome[]): TestFile[] {
  const broken = outcomes.filter(({ failures }) => failures.length > 0);
  const found = files.filter((file) => broken.some(({ name }) => name === file.name));
  return found.length > SECOND_TRIES || found.some(({ kind }) => kind === "unit") ? [] : found;
}

function printOutcome(outcome: Outcome): void {
  const counts = [
    `${outcome.passed} passed`,
    ...(outcome.failures.length > 0 ? [`${outcome.failures.length} failed`] : []),
    ...(outcome.skips.length > 0 ? [`${outcome.skips.length} skipped`] : []),
  ].join(", ");
  const word = outcome.failures.length > 0 ? "FAIL" : "ok  ";
  console.log(
    `${word}  ${outcome.name}  ${counts}  (${(outcome.milliseconds / 1000).toFixed(1)} s, ${outcome.processorSeconds.toFixed(1)} of the processor)`,
  );
  // A soak is run for its figures, too.
  if (outcome.failures.length === 0 && outcome.name.endsWith(".soak.ts")) console.log(indent(outcome.output.trim(), 6));
  if (outcome.failures.length === 0) return;
  for (const { suite, test, error } of outcome.failures) {
    console.log(`\n      ✘ ${suite} › ${test}\n${indent(error, 8)}\n`);
  }
  const output = outcome.output.trim();
  // The end of it tells most; a chatty process must not bury the summary.
  if (output)
    console.log(`      output of the process (end):\n${indent(output.split("\n").slice(-40).join("\n"), 8)}\n`);
}

function printSummary(outcomes: readonly Outcome[], unsteady: readonly Outcome[], milliseconds: number): number {
  const sum = (count: (outcome: Outcome) => number) => outcomes.reduce((total, outcome) => total + count(outcome), 0);
  const passed = sum((outcome) => outcome.passed);
  const failed = sum((outcome) => outcome.failures.length);
  const skipped = sum((outcome) => outcome.skips.length);
  const skips = outcomes.flatMap((outcome) => outcome.skips.map((skip) => ({ ...skip, name: outcome.name })));
  if (skips.length > 0) console.log("\nskipped:");
  for (const { name, suite, test, reason } of skips) console.log(`  ${name}: ${suite} › ${test}: ${reason}`);
  const shaky = unsteady.filter(({ name }) => outcomes.some((one) => one.name === name && one.failures.length === 0));
  if (shaky.length > 0) console.log("\nunsteady (failed, and passed at a second try; find out why):");
  for (const { name, failures } of shaky) {
    for (const { suite, test, error } of failures)
      console.log(`  ${name}: ${suite} › ${test}: ${error.split("\n")[0]}`);
  }
  const broken = outcomes.filter((outcome) => outcome.failures.length > 0);
  if (broken.length > 0) console.log("\nfailed:");
  for (const { name, failures } of broken) {
    for (const { suite, test, error } of failures)
      console.log(`  ${name}: ${suite} › ${test}: ${error.split("\n")[0]}`);
  }
  if (outcomes.length === 0) console.log("no test file was found");
  console.log(`\n${outcomes.length} files in ${(milliseconds / 1000).toFixed(1)} s`);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

/** Benchmarks are programs: each prints its rows, they run one at a time, and the table of all stands at the end. */
async function runBenchmarks(files: readonly TestFile[]): Promise<number> {
  let failed = 0;
  const folder = mkdtempSync(join(tmpdir(), "millrace-rows-"));
  const collected = join(folder, "rows.jsonl");
  writeFileSync(collected, "");
  for (const file of files) {
    console.log(`\n== ${file.name}`);
    const code = await new Promise<number | null>((resolve) => {
      const child = spawn(process.execPath, [file.path], {
        stdio: "inherit",
        env: { ...process.env, BENCH_ROWS: collected },
      });
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => child.kill(signal));
      child.once("exit", resolve);
    });
    if (code !== 0) failed++;
  }
  const rows = readFileSync(collected, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Row);
  rmSync(folder, { recursive: true });
  console.log(
    "\n| ratio | reach | what | against | ours | theirs | durability |\n| --- | --- | --- | --- | --- | --- | --- |",
  );
  for (const row of rows) {
    const { what, against, ours, theirs, durability } = row;
    const ratio = `${row.ratio.toFixed(2)}${reaches(row) ? "" : " (missed)"}`;
    console.log(`| ${ratio} | ${row.reach} | ${what} | ${against} | ${ours} | ${theirs} | ${durability} |`);
  }
  console.log(`\n${files.length - failed} benchmarks ran, ${failed} failed`);
  return failed > 0 || files.length === 0 ? 1 : 0;
}

function setting(name: string, fallback: number): number {
  const value = Number(process.env[name] ?? fallback);
  if (Number.isFinite(value) && value > 0) return value;
  throw new Error(`${name} is a number of milliseconds above 0`);
}

function indent(text: string, by: number): string {
  return text
    .split("\n")
    .map((line) => `${" ".repeat(by)}${line}`)
    .join("\n");
}
