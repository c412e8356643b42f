/**
 * A child process bound to the life of this one: when this process ends, however it ends (SIGKILL included), the
 * child is told to end as well. On Linux the kernel does it (`setpriv --pdeathsig`); elsewhere a tiny watcher holds a
 * pipe and signals the child when the pipe closes.
 */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { dirname, isAbsolute } from "node:path";

/** How a process ended: exactly one of the two is set. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface BoundSpec {
  /** Shown in errors. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the child; default: that of this process. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Run as this user; only root may. Supplementary groups are dropped. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** stdout and stderr are appended to this file; without it they are this process's own. */
  readonly logFile?: string;
  /** Which signal the child gets when this process dies. Default SIGTERM. */
  readonly deathSignal?: NodeJS.Signals;
  /** Which signal asks the child to end. Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** How long the child may take to end before SIGKILL, in milliseconds. Default 10 000. */
  readonly stopTimeoutMs?: number;
  /** Standard input is a pipe that closes when this process dies: for programs that heed it. Default: nothing to read. */
  readonly inputPipe?: boolean;
}

export interface BoundProcess {
  readonly pid: number;
  readonly name: string;
  /** Resolves once, when the process has ended; never rejects. */
  readonly exited: Promise<Exit>;
  /** Set as soon as the process has ended. */
  exit(): Exit | undefined;
  /** Sends the stop signal (or the given one), after `stopTimeoutMs` SIGKILL; resolves when the process has ended. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  /** SIGKILL; resolves when the process has ended. */
  kill(): Promise<Exit>;
  /** Sends a signal, without waiting. */
  signal(signal: NodeJS.Signals): void;
}

let setprivPath: string | null | undefined;

/** The path of a `setpriv` that knows `--pdeathsig` (util-linux; busybox's does not), or null. */
export function findSetpriv(): string | null {
  if (setprivPath !== undefined) return setprivPath;
  setprivPath = null;
  // MILLRACE_WITHOUT_SETPRIV: the other way can then be tried where setpriv is.
  if (process.platform === "linux" && !process.env.MILLRACE_WITHOUT_SETPRIV) {
    for (const path of ["/usr/bin/setpriv", "/bin/setpriv", "setpriv"]) {
      const probe = spawnSync(path, ["--pdeathsig", "TERM", "true"], { stdio: "ignore", timeout: 5000 });
      if (probe.status === 0) {
        setprivPath = path;
        break;
      }
    }
  }
  return setprivPath;
}

/**
 * Starts a process in a session of its own (so a Ctrl-C in the terminal reaches only this process, which then stops
 * its children in order) and binds its life to this one's.
 * @throws Error when the command cannot be started at all (not found, not executable).
 */
export async function startBound(spec: BoundSpec): Promise<BoundProcess> {
  // Behind setpriv a missing program would only be an exit code.
  if (isAbsolute(spec.command) && !existsSync(spec.command))
    throw new Error(`${spec.name}: there is no ${spec.command}`);
  const deathSignal = spec.deathSignal ?? "SIGTERM";
  const setpriv = findSetpriv();
  let command = spec.command;
  let args = [...spec.args];
  let user = spec.user;
  if (setpriv) {
    // The death signal is cleared by a change of user, so setpriv must do both, in its own order: user first.
    const as = user ? ["--reuid", `${user.uid}`, "--regid", `${user.gid}`, "--clear-groups", "--no-new-privs"] : [];
    args = [...as, "--pdeathsig", deathSignal.slice(3), "--", command, ...args];
    command = setpriv;
    user = undefined;
  }
  let log: number | undefined;
  if (spec.logFile) {
    mkdirSync(dirname(spec.logFile), { recursive: true });
    log = openSync(spec.logFile, "a", 0o600);
  }
  const stdio: StdioOptions = [spec.inputPipe ? "pipe" : "ignore", log ?? "inherit", log ?? "inherit"];
  let child: ChildProcess;
  try {
    child = spawn(command, args, {
      stdio,
      detached: true,
      env: { ...(spec.env ?? process.env) },
      ...(spec.cwd ? { cwd: spec.cwd } : {}),
      ...(user ? { uid: user.uid, gid: user.gid } : {}),
    });
  } finally {
    if (log !== undefined) closeSync(log);
  }
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) =>
      reject(new Error(`${spec.name}: cannot start ${spec.command}: ${cause.message}`, { cause })),
    );
  });
  child.stdin?.on("error", () => {}); // it may close it
  if (!setpriv) watchFromOutside(child, deathSignal, spec.stopTimeoutMs ?? 10_000);
  return boundTo(child, spec);
}

/** What can be started, and how it says that it is ready. */
export interface Startable {
  readonly spec: BoundSpec;
  readonly logFile: string;
  /** Rejects when it does not become ready. @param exit asked now and then: it may have ended */
  readonly ready: (exit?: () => Exit | undefined) => Promise<unknown>;
}

/** Starts it and waits until it is ready. @throws Error with the end of its log when it does not come up; then it has ended. */
export async function startReady({ spec, logFile, ready }: Startable): Promise<BoundProcess> {
  const child = await startBound(spec);
  try {
    await ready(child.exit);
    return child;
  } catch (error) {
    await child.kill();
    throw new Error(`${(error as Error).message}\n${tail(logFile)}`, { cause: error });
  }
}

/** The last lines of a log, for an error message. */
export function tail(file: string, lines = 20): string {
  try {
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch {
    return "(no log)";
  }
}

function boundTo(child: ChildProcess, spec: BoundSpec): BoundProcess {
  let ended: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    child.once("exit", (code, signal) => {
      ended = { code, signal };
      resolve(ended);
    });
  });
  const send = (signal: NodeJS.Signals) => {
    if (!ended) child.kill(signal);
  };
  return {
    pid: child.pid!,
    name: spec.name,
    exited,
    exit: () => ended,
    signal: send,
    async stop(signal = spec.stopSignal ?? "SIGTERM") {
      send(signal);
      const timer = setTimeout(() => send("SIGKILL"), spec.stopTimeoutMs ?? 10_000);
      try {
        return await exited;
      } finally {
        clearTimeout(timer);
      }
    },
    kill() {
      send("SIGKILL");
      return exited;
    },
  };
}

/** Where the kernel offers no death signal: a shell that reads from a pipe which only this process holds open. */
function watchFromOutside(child: ChildProcess, signal: NodeJS.Signals, patienceMs: number): void {
  const seconds = Math.max(1, Math.ceil(patienceMs / 1000));
  const script = `read -r _; kill -${signal.slice(3)} ${child.pid} 2>/dev/null || exit 0; i=0
while [ $i -lt ${seconds} ]; do sleep 1; kill -0 ${child.pid} 2>/dev/null || exit 0; i=$((i+1)); done
kill -KILL ${child.pid} 2>/dev/null`;
  const watcher = spawn("/bin/sh", ["-c", script], { stdio: ["pipe", "ignore", "ignore"], detached: true });
  watcher.unref();
  (watcher.stdin as unknown as Socket).unref();
  watcher.once("error", () => {});
  child.once("exit", () => watcher.kill("SIGKILL"));
}

/** Whether a process with this id exists (also one of another user). */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  // A zombie answers signals but holds nothing any more.
  return processState(pid)?.state !== "Z";
}

/**
 * When a process was started: with the pid it names a process for good, although pids are used again. An opaque text;
 * undefined when there is no such process.
 */
export function startTime(pid: number): string | undefined {
  return process.platform === "linux" ? processState(pid)?.startTime : ps("lstart=", pid) || undefined;
}

/** What `ps` says where there is no /proc; empty when it says nothing. */
function ps(column: string, pid?: number): string {
  const which = pid === undefined ? ["-ax"] : ["-p", `${pid}`];
  return spawnSync("ps", [...which, "-o", column], { encoding: "utf8" }).stdout?.trim() ?? "";
}

function processState(pid: number): { state: string; startTime: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The command name stands in parentheses and may itself hold blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0]!, startTime: fields[19]! };
  } catch {
    return undefined;
  }
}

/** The pids of all living processes but this one for which `accept` answers true. */
export function processesWhere(accept: (pid: number) => boolean): number[] {
  const names = process.platform === "linux" ? readdirSync("/proc") : ps("pid=").split(/\s+/);
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && accept(pid) && isAlive(pid));
}

/** The working folder of a process, or undefined when unknown. */
export function workingFolder(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

/** The command line of a process, words joined by blanks; empty when unknown. */
export function commandLine(pid: number): string {
  if (process.platform !== "linux") return ps("command=", pid);
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

/** Waits until `done` answers true, asking every 20 ms; answers false when the time is over. */
export async function waitFor(done: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    if (await done()) return true;
    if (Date.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Ends processes that are not children of this one: the signal, then SIGKILL for those left after `timeoutMs`. */
export async function endProcesses(pids: readonly number[], signal: NodeJS.Signals, timeoutMs: number): Promise<void> {
  const send = (which: NodeJS.Signals) => {
    for (const pid of pids) {
      try {
        process.kill(pid, which);
      } catch {
        // gone already
      }
    }
  };
  if (pids.length === 0) return;
  send(signal);
  if (await waitFor(() => !pids.some(isAlive), timeoutMs)) return;
  send("SIGKILL");
  await waitFor(() => !pids.some(isAlive), 5000);
}
