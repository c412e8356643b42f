/**
 * The test suite of this house: uvu, with a time-out per test, a stack of clean-ups that runs even when the test fails,
 * and skips that give a reason and are counted.
 *
 *     const test = suite("leases");
 *     test("one holder at a time", async ({ defer, skip }) => { … });
 *     test.run();
 */
import { suite as uvuSuite } from "uvu";
import { record } from "./results.ts";

/** What a test may do beside asserting. */
export interface TestContext {
  /** Runs when the test is over, passed or failed; the last one first. A failing clean-up fails the test. */
  defer(cleanUp: () => unknown): void;
  /** Ends the test here as skipped; the reason is reported. */
  skip(reason: string): never;
  /** Aborted when the test has run out of time. */
  readonly signal: AbortSignal;
}

export interface TestOptions {
  /** Milliseconds; default 60 000, or the suite's. */
  readonly timeoutMs?: number;
}

type TestBody = (context: TestContext) => unknown;

export interface Suite {
  (name: string, body: TestBody, options?: TestOptions): void;
  (name: string, options: TestOptions, body: TestBody): void;
  /** Only these tests of the suite run; refused where CI is set. */
  only(name: string, body: TestBody, options?: TestOptions): void;
  /** Not run; counted, with the reason. */
  skip(name: string, reason: string, body?: TestBody): void;
  /** Before and after all tests of the suite. Each has the suite's time-out. */
  before(hook: () => unknown): void;
  after(hook: () => unknown): void;
  beforeEach(hook: () => unknown): void;
  afterEach(hook: () => unknown): void;
  /** Hands the suite to the runner. A file that forgets it fails. */
  run(): void;
}

class Skipped extends Error {}

interface Known {
  readonly name: string;
  ran: boolean;
  only: boolean;
}

/** Every suite made in this process since the runner last looked. */
const known: Known[] = [];

/** For the runner: takes the list of suites made since the last call. */
export function takeSuites(): Known[] {
  return known.splice(0);
}

const fileCleanUps: (() => unknown)[] = [];

/** Runs when the whole file is over, even when tests failed; the last one first. */
export function deferToEndOfFile(cleanUp: () => unknown): void {
  fileCleanUps.push(cleanUp);
}

/** For the runner: runs what was deferred to the end of the file; answers the errors. */
export function runFileCleanUps(): Promise<unknown[]> {
  return runAll(fileCleanUps, 60_000);
}

/**
 * Makes a suite.
 * @param options.timeoutMs for each of its tests; default 60 000.
 */
export function suite(name: string, options: TestOptions = {}): Suite {
  const inner = uvuSuite(name);
  const suiteTimeout = options.timeoutMs ?? 60_000;
  const me: Known = { name, ran: false, only: false };
  known.push(me);

  const wrapped = (title: string, body: TestBody, timeoutMs: number) => async () => {
    const started = performance.now();
    record({ kind: "start", suite: name, test: title });
    const cleanUps: (() => unknown)[] = [];
    const abort = new AbortController();
    let skipped: string | undefined;
    const context: TestContext = {
      defer: (cleanUp) => void cleanUps.push(cleanUp),
      skip: (reason) => {
        throw new Skipped(reason);
      },
      signal: abort.signal,
    };
    const errors: unknown[] = [];
    try {
      await inTime(
        Promise.resolve().then(() => body(context)),
        timeoutMs,
        () => abort.abort(),
      );
    } catch (error) {
      if (error instanceof Skipped) skipped = error.message;
      else errors.push(error);
    }
    errors.push(...(await runAll(cleanUps, suiteTimeout)));
    const milliseconds = Math.round(performance.now() - started);
    const error = errors[0];
    if (error !== undefined) {
      record({ kind: "fail", suite: name, test: title, milliseconds, error: textOf(error) });
      throw error;
    }
    if (skipped !== undefined) record({ kind: "skip", suite: name, test: title, reason: skipped });
    else record({ kind: "pass", suite: name, test: title, milliseconds });
  };
  const hook = (what: string, body: () => unknown) => async () => {
    try {
      await inTime(Promise.resolve().then(body), suiteTimeout, () => {});
    } catch (error) {
      record({ kind: "fail", suite: name, test: `(${what})`, milliseconds: 0, error: textOf(error) });
      throw error;
    }
  };

  const test = ((title: string, second: TestBody | TestOptions, third?: TestBody | TestOptions) => {
    const body = (typeof second === "function" ? second : third) as TestBody;
    const settings = (typeof second === "function" ? third : second) as TestOptions | undefined;
    inner(title, wrapped(title, body, settings?.timeoutMs ?? suiteTimeout));
  }) as Suite;
  test.only = (title, body, settings) => {
    me.only = true;
    inner.only(title, wrapped(title, body, settings?.timeoutMs ?? suiteTimeout));
  };
  test.skip = (title, reason) => {
    inner(title, () => record({ kind: "skip", suite: name, test: title, reason }));
  };
  test.before = (body) => void inner.before(hook("before", body));
  test.after = (body) => void inner.after(hook("after", body));
  test.beforeEach = (body) => void inner.before.each(hook("beforeEach", body));
  test.afterEach = (body) => void inner.after.each(hook("afterEach", body));
  test.run = () => {
    me.ran = true;
    inner.run();
  };
  return test;
}

async function inTime<T>(work: Promise<T>, timeoutMs: number, late: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  // Not unref'd: it also keeps a process alive whose only test waits for something that never comes.
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late();
      reject(new Error(`not over after ${timeoutMs} ms`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

async function runAll(cleanUps: (() => unknown)[], timeoutMs: number): Promise<unknown[]> {
  const errors: unknown[] = [];
  for (let cleanUp = cleanUps.pop(); cleanUp; cleanUp = cleanUps.pop()) {
    const act = cleanUp;
    try {
      await inTime(
        Promise.resolve().then(() => act()),
        timeoutMs,
        () => {},
      );
    } catch (error) {
      errors.push(error);
    }
  }
  return errors;
}

/** An error as text: what an assertion compared, else the stack. */
export function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const details = (error as { details?: unknown }).details;
  const shown = typeof details === "string" && details ? `${error.message}\n${details}` : "";
  return shown ? `${shown}\n${(error.stack ?? "").split("\n").slice(1, 6).join("\n")}` : (error.stack ?? error.message);
}
