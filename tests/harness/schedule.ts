/**
 * Runs test files in processes of their own: unit files a few to a process, the others alone, a bounded number at
 * once, each bounded in time, and whatever a process leaves behind ended.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BoundProcess, endProcesses, processesWhere, startBound } from "@millrace/local/process.ts";
import { type TestFile, takesDocker } from "./discover.ts";
import { belongsTo } from "./leaks.ts";
import { type FileResult, fresh, readResults } from "./results.ts";

const runFile = fileURLToPath(new URL("./run-file.ts", import.meta.url));
const filesPerProcess = 8;

export interface Outcome extends FileResult {
  readonly name: string;
  /** What the process wrote; shared by the files of a process. */
  readonly output: string;
}

export interface ScheduleOptions {
  /** For results and output; must exist. */
  readonly folder: string;
  /** A name for this run that no other has. */
  readonly run: string;
  /** How many processes at once. */
  readonly atOnce: number;
  /** How long one process may take, in milliseconds. */
  readonly processTimeoutMs: number;
  /** When the run must be over, in milliseconds since the epoch. */
  readonly deadline: number;
  /** The environment of a file's process, asked when the file's turn has come. It may wait for servers. */
  readonly environment: (file: TestFile) => Promise<Record<string, string | undefined>>;
  /** Told as soon as the outcome of a file is known. */
  readonly report: (outcome: Outcome) => void;
  /** Aborted: nothing more is begun, and what runs is ended. */
  readonly signal: AbortSignal;
}

interface Task {
  readonly files: readonly TestFile[];
}

/** Runs all files; resolves when every one of them has been reported. */
export async function schedule(files: readonly TestFile[], options: ScheduleOptions): Promise<void> {
  const units = files.filter((file) => file.kind === "unit");
  const [waiting, others] = inTheirOrder(files.filter((file) => file.kind !== "unit"));
  const size = Math.max(1, Math.min(filesPerProcess, Math.ceil(units.length / options.atOnce)));
  const tasks: Task[] = [];
  for (let start = 0; start < units.length; start += size) tasks.push({ files: units.slice(start, start + size) });
  tasks.push(...others.map((file) => ({ files: [file] })));
  const beside: Task[] = waiting.map((file) => ({ files: [file] }));
  let number = 0;
  const worker = async (tasks: Task[], next = () => tasks.shift()) => {
    for (let task = next(); task; task = next()) {
      const rest = await runTask(task, number++, options);
      // The file that took its process down has been reported; those after it get a process of their own.
      if (rest.length > 0) tasks.unshift({ files: rest });
    }
  };
  if (options.atOnce === 1) return worker([...tasks, ...beside]);
  // At the end stand those that wait the most: what is left of them goes beside the others, too.
  const besides = worker(beside).then(() => worker(tasks, () => tasks.pop()));
  await Promise.all([besides, ...Array.from({ length: options.atOnce }, () => worker(tasks))]);
}

/**
 * Those that deal with containers wait for most of their time: they go beside the others, one at a time. Of the others the longest go end
 * to end, and first: begun last, one of them would run alone while the other places stand empty.
 */
function inTheirOrder(files: readonly TestFile[]): [waiting: TestFile[], others: TestFile[]] {
  const others = files.filter((file) => !takesDocker(file));
  const ends = others.filter(({ kind }) => kind === "e2e");
  const rest = others.filter(({ kind }) => kind !== "e2e");
  // By chance of their names those that take long stand at the end.
  return [files.filter(takesDocker), [...ends, ...rest.reverse()]];
}

/** Runs one process; answers the files it did not come to. */
async function runTask(task: Task, number: number, options: ScheduleOptions): Promise<readonly TestFile[]> {
  const first = task.files[0]!;
  const over = () => (options.signal.aborted ? "the run was interrupted" : "the time for the whole run is over");
  if (options.signal.aborted || Date.now() >= options.deadline) {
    for (const file of task.files) options.report(failed(file, `not begun: ${over()}`));
    return [];
  }
  const mark = `${options.run}.${number}`;
  const results = join(options.folder, `${mark}.results`);
  const logFile = join(options.folder, `${mark}.output`);
  let child: BoundProcess;
  try {
    const environment = await options.environment(first);
    child = await startBound({
      name: first.name,
      command: process.execPath,
      // Half of what a file's process needs at its start is young garbage.
      args: ["--min-semi-space-size=16", runFile, ...task.files.map((file) => file.path)],
      env: {
        ...environment,
        MILLRACE_TEST_MARK: mark,
        MILLRACE_TEST_RESULTS: results,
        MILLRACE_TEST_FOLDER: options.folder,
      },
      logFile,
      deathSignal: "SIGKILL",
    });
  } catch (error) {
    for (const file of task.files) options.report(failed(file, `cannot be run: ${(error as Error).message}`));
    return [];
  }
  let cut: string | undefined;
  const kill = (why: string) => {
    cut ??= why;
    void child.kill();
  };
  const limit = Math.min(options.processTimeoutMs, options.deadline - Date.now());
  const timer = setTimeout(
    () => kill(limit < options.processTimeoutMs ? over() : `not over after ${options.processTimeoutMs / 1000} s`),
    limit,
  );
  const interrupted = () => kill(over());
  options.signal.addEventListener("abort", interrupted);
  const exit = await child.exited;
  clearTimeout(timer);
  options.signal.removeEventListener("abort", interrupted);
  await endProcesses(
    processesWhere((pid) => belongsTo(pid, mark)),
    "SIGTERM",
    5000,
  );

  const output = readOutput(logFile);
  const seen = readResults(results);
  for (const file of task.files) {
    const result = seen.find((one) => one.file === file.path);
    if (!result) continue;
    if (!result.done) {
      const why = cut ?? `the process ended (${exit.signal ?? `code ${exit.code}`})`;
      const error = result.running ? `${why} during "${result.running}"` : why;
      result.failures.push({ suite: "guard", test: "(file)", error });
    }
    options.report({ ...result, name: file.name, output });
  }
  const rest = task.files.filter((file) => !seen.some((one) => one.file === file.path));
  if (rest.length === task.files.length) {
    const why = cut ?? `the process ended (${exit.signal ?? `code ${exit.code}`}) before it began`;
    for (const file of rest) options.report({ ...failed(file, why), output });
    return [];
  }
  return rest;
}

function failed(file: TestFile, error: string): Outcome {
  const failures = [{ suite: "guard", test: "(file)", error }];
  return { ...fresh(file.path), name: file.name, failures, output: "" };
}

function readOutput(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
