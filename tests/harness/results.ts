/**
 * What became of the tests of a process, one JSON line each in a file: written at once, so that of a process that is
 * killed it is known what it was at.
 */
import { appendFileSync, readFileSync } from "node:fs";

export type TestRecord =
  /** The process begins with this file. */
  | { readonly kind: "file"; readonly file: string }
  | { readonly kind: "start"; readonly suite: string; readonly test: string }
  | { readonly kind: "pass"; readonly suite: string; readonly test: string; readonly milliseconds: number }
  | {
      readonly kind: "fail";
      readonly suite: string;
      readonly test: string;
      readonly milliseconds: number;
      readonly error: string;
    }
  | { readonly kind: "skip"; readonly suite: string; readonly test: string; readonly reason: string }
  /** The process is through with this file, clean-ups included. */
  | { readonly kind: "done"; readonly file: string; readonly processorSeconds: number };

/** Writes a record; without a runner (a file run by hand) to the terminal. */
export function record(entry: TestRecord): void {
  const file = process.env.MILLRACE_TEST_RESULTS;
  if (file) appendFileSync(file, `${JSON.stringify(entry)}\n`);
  else if (entry.kind === "fail") console.error(entry.error);
}

export interface FileResult {
  readonly file: string;
  passed: number;
  readonly failures: { readonly suite: string; readonly test: string; readonly error: string }[];
  readonly skips: { readonly suite: string; readonly test: string; readonly reason: string }[];
  /** The test that had begun and not ended when the records stop. */
  running: string | undefined;
  done: boolean;
  milliseconds: number;
  /** What the process and those that it started and saw end have used of the processors meanwhile. */
  processorSeconds: number;
}

/** What is known of a file that has only begun. */
export function fresh(file: string): FileResult {
  return {
    file,
    passed: 0,
    failures: [],
    skips: [],
    running: undefined,
    done: false,
    milliseconds: 0,
    processorSeconds: 0,
  };
}

/** The records of a process, by file; files it never began are not among them. */
export function readResults(path: string): FileResult[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return [];
  }
  const results: FileResult[] = [];
  for (const line of text.split("\n")) {
    let entry: TestRecord;
    try {
      entry = JSON.parse(line) as TestRecord;
    } catch {
      continue; // the last line of a killed process may be cut off
    }
    if (entry.kind === "file") {
      results.push(fresh(entry.file));
      continue;
    }
    const current = results.at(-1);
    if (!current) continue;
    if (entry.kind === "start") current.running = `${entry.suite} › ${entry.test}`;
    else if (entry.kind === "done") {
      current.done = true;
      current.processorSeconds = entry.processorSeconds;
    } else {
      current.running = undefined;
      if (entry.kind === "pass") current.passed++;
      if (entry.kind === "fail") current.failures.push({ suite: entry.suite, test: entry.test, error: entry.error });
      if (entry.kind === "skip") current.skips.push({ suite: entry.suite, test: entry.test, reason: entry.reason });
      if (entry.kind !== "skip") current.milliseconds += entry.milliseconds;
    }
  }
  return results;
}
