/**
 * `mill` as people run it: a process of its own, with configuration and state in a folder of the test's. What it brings
 * (NATS server, PostgreSQL) stays in the machine's cache.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { platformCommands } from "@millrace/cli/commands/platform.ts";
import { run as runMill } from "@millrace/cli/run.ts";
import { processesWhere, waitFor, workingFolder } from "@millrace/local/process.ts";
import { lastRunState, type RunningService } from "@millrace/local/run-state.ts";
import { testFolder } from "./servers.ts";
import type { TestContext } from "./suite.ts";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
export const CHECKOUT = fileURLToPath(new URL("../..", import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcess;
  out(): string;
  err(): string;
  readonly ended: Promise<Ended>;
  /** Resolves when the output (both streams) holds the text. @throws Error when it ends or a minute passes before */
  says(text: string | RegExp): Promise<void>;
}

export interface Mill {
  /** The data folder of `up`. */
  readonly data: string;
  readonly env: NodeJS.ProcessEnv;
  start(args: readonly string[], input?: string): Running;
  /** Runs to the end; in this process, but for commands that deal with the machine: most of such a call is the start of a process. */
  run(args: readonly string[], input?: string): Promise<Ended>;
  /** Runs to the end, and answers stdout. @throws Error when the exit code is not 0 */
  out(args: readonly string[], input?: string): Promise<string>;
  /** Starts `mill up` on a free port, or the given one, and waits until it is there. */
  up(args?: readonly string[]): Promise<Running>;
  /** What runs on the data folder, as its own record says. */
  services(): readonly RunningService[];
}

/** For tests that kill none of the services: they are there sooner. */
export const ONE_PROCESS = { MILLRACE_PROCESSES: "one" } as const;

/** A home of its own for `mill`; whatever it started ends with the test. */
export function testMill(context: Pick<TestContext, "defer">, env: Readonly<Record<string, string>> = {}): Mill {
  const home = testFolder("mill");
  const data = join(home, "data");
  const inherited = { ...process.env };
  for (const name of ["MILLRACE_URL", "MILLRACE_TOKEN", "MILLRACE_ORG", "MILLRACE_CONTEXT"]) delete inherited[name];
  const own: NodeJS.ProcessEnv = {
    ...inherited,
    XDG_CONFIG_HOME: join(home, "config"),
    XDG_STATE_HOME: join(home, "state"),
    MILLRACE_DATA: data,
    MILLRACE_KEYRING: "off",
    NO_COLOR: "1",
    ...env,
  };
  const start = (args: readonly string[], input?: string): Running => {
    const running = follow(
      spawn(process.execPath, [MAIN, ...args], { env: own, cwd: home, stdio: ["pipe", "pipe", "pipe"] }),
    );
    running.child.stdin?.on("error", () => {}); // it may end before it has read
    running.child.stdin?.end(input ?? "");
    context.defer(() => end(running));
    return running;
  };
  const run = (args: readonly string[], input?: string): Promise<Ended> =>
    OF_THE_MACHINE.has(args[0] ?? "") ? start(args, input).ended : runHere(args, { env: own, cwd: home, input });
  return {
    data,
    env: own,
    start,
    run,
    async out(args, input) {
      const { code, signal, out, err } = await run(args, input);
      if (code !== 0) throw new Error(`mill ${args.join(" ")}: ${signal ?? `exit code ${code}`}\n${err}${out}`);
      return out;
    },
    async up(args = ["--port", "0"]) {
      const running = start(["up", ...args]);
      await running.says("Ctrl-C stops it.");
      return running;
    },
    services: () => lastRunState(data)?.services ?? [],
  };
}

/** They look at their process, or start others. */
const OF_THE_MACHINE = new Set([...platformCommands.map(({ path }) => path), "backup", "devices"]);

/** One call of `mill` without a process of its own. */
async function runHere(
  args: readonly string[],
  { env, cwd, input }: { readonly env: NodeJS.ProcessEnv; readonly cwd: string; readonly input: string | undefined },
): Promise<Ended> {
  let out = "";
  let err = "";
  const code = await runMill(args, {
    env,
    cwd,
    out: async (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    stdin: Readable.from(input === undefined ? [] : [input]),
    outIsTerminal: false,
    errIsTerminal: false,
    columns: undefined,
    interrupted: new AbortController().signal,
  });
  return { code, signal: null, out, err };
}

/** Gathers what a process says. */
export function follow(child: ChildProcess): Running {
  let out = "";
  let err = "";
  const listeners = new Set<() => void>();
  const heard = () => listeners.forEach((listener) => void listener());
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    heard();
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    err += text;
    heard();
  });
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => {
      resolve({ code, signal, out, err });
      heard();
    });
  });
  return {
    child,
    out: () => out,
    err: () => err,
    ended,
    says: (text) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => done(new Error(`it does not say ${text}:\n${err}${out}`)), 90_000);
        const done = (error?: Error) => {
          clearTimeout(timer);
          listeners.delete(look);
          if (error) reject(error);
          else resolve();
        };
        const look = () => {
          const isSaid = typeof text === "string" ? (out + err).includes(text) : text.test(out + err);
          if (isSaid) done();
          else if (child.exitCode !== null || child.signalCode !== null) {
            done(new Error(`it ended (${child.signalCode ?? child.exitCode}) without saying ${text}:\n${err}${out}`));
          }
        };
        listeners.add(look);
        look();
      }),
  };
}

async function end({ child, ended }: Running): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
  await ended;
  clearTimeout(late);
}

/** Waits until no process works in or on the data folder. @returns those that are left */
export async function leftOn(data: string, timeoutMs: number): Promise<number[]> {
  const pids = new Set(lastRunState(data)?.services.flatMap(({ pid }) => (pid === undefined ? [] : [pid])));
  const left = () => processesWhere((pid) => pids.has(pid) || (workingFolder(pid) ?? "").startsWith(data));
  await waitFor(() => left().length === 0, timeoutMs);
  return existsSync(data) ? left() : [];
}
