/**
 * Runs test files in this process, one after the other, and guards them: a file that cannot be imported, forgets
 * `.run()`, holds no test, or leaves a child process behind has failed. Started by `tests/run.ts`; the arguments are
 * the files. The process always ends by itself, whatever handles are still open.
 */
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { pathToFileURL } from "node:url";
import { commandLine, endProcesses, processesWhere, waitFor } from "@millrace/local/process.ts";
import { belongsTo } from "./leaks.ts";
import { record } from "./results.ts";

// Makes uvu hand its suites over instead of running them by itself. Before uvu is imported, hence the imports below.
interface UvuGlobals {
  UVU_DEFER?: number;
  UVU_INDEX?: number;
  UVU_QUEUE?: unknown[][];
}
const uvu = globalThis as unknown as UvuGlobals;
uvu.UVU_DEFER = 1;
uvu.UVU_QUEUE = [];
const { runFileCleanUps, takeSuites, textOf } = await import("./suite.ts");

type RunSuite = () => Promise<[errors: string | true, passed: number, skipped: number, total: number]>;

let guardFailures = 0;
const guard = (error: string) => {
  guardFailures++;
  record({ kind: "fail", suite: "guard", test: "(file)", milliseconds: 0, error });
};

for (const [event, word] of [
  ["uncaughtException", "an uncaught exception"],
  ["unhandledRejection", "an unhandled rejection"],
] as const) {
  process.on(event, (error: unknown) => guard(`${word}: ${textOf(error)}`));
}

const files = process.argv.slice(2);
for (const [index, file] of files.entries()) {
  record({ kind: "file", file });
  const before = processorSeconds();
  await runFile(file, index);
  record({ kind: "done", file, processorSeconds: processorSeconds() - before });
}
process.exit(guardFailures > 0 ? 1 : 0);

async function runFile(file: string, index: number): Promise<void> {
  const group: unknown[] = [];
  uvu.UVU_INDEX = index;
  uvu.UVU_QUEUE![index] = group;
  takeSuites();
  try {
    await import(pathToFileURL(file).href);
  } catch (error) {
    guard(`cannot be imported: ${textOf(error)}`);
    return;
  }
  const suites = takeSuites();
  for (const suite of suites) {
    if (!suite.ran) guard(`the suite "${suite.name}" is never run: call .run() at the end of the file`);
    if (suite.only && process.env.CI) guard(`the suite "${suite.name}" uses .only`);
  }
  if (suites.length === 0) guard(`${relative(process.cwd(), file)} makes no suite of tests/harness/suite.ts`);
  let total = 0;
  for (const run of group as RunSuite[]) {
    try {
      const [, , , count] = await run();
      total += count;
    } catch {
      total++; // a hook of the suite failed; it has recorded that
    }
  }
  if (suites.length > 0 && suites.every((suite) => suite.ran) && total === 0) guard("holds no test");
  for (const error of await runFileCleanUps()) guard(`clean-up at the end of the file: ${textOf(error)}`);
  await lookForLeaks();
}

/** Of this process and of its children that ended, in hundredths; 0 where the system does not tell. */
function processorSeconds(): number {
  try {
    // After the name, which may hold anything: user, system, and both of the children, in ticks of a hundredth.
    const fields = readFileSync("/proc/self/stat", "latin1").split(") ").at(-1)!.split(" ");
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
  } catch {
    return 0;
  }
}

/** What the file started must have ended; a moment is given to what is just ending. */
async function lookForLeaks(): Promise<void> {
  const mark = process.env.MILLRACE_TEST_MARK;
  if (!mark) return;
  const left = () => processesWhere((pid) => belongsTo(pid, mark));
  if (await waitFor(() => left().length === 0, 2000)) return;
  const pids = left();
  guard(`left processes behind: ${pids.map((pid) => `${pid} ${commandLine(pid)}`).join("; ")}`);
  await endProcesses(pids, "SIGKILL", 2000);
}
