/** Runs a program to its end: bounded in time and output, ended as a whole group when it is interrupted. */
import { spawn, spawnSync } from "node:child_process";
import { StringDecoder } from "node:string_decoder";

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly input?: string | Uint8Array;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds. */
  readonly timeoutMs: number;
  /** Most of standard output that is kept; beyond it the program is ended. Default 64 MiB. */
  readonly outputBytes?: number;
  /** Each line of standard error; a carriage return ends one too (progress). */
  readonly onLine?: (line: string) => void;
  /** Ended by the kernel when this process dies (Linux with setpriv). */
  readonly bound?: boolean;
  /** Told its process, which leads its group. */
  readonly onStart?: (pid: number) => void;
}

export interface Ended {
  /** Null: it was ended by a signal. */
  readonly code: number | null;
  readonly stdout: Buffer;
  /** The last 16 KiB of standard error. */
  readonly stderr: string;
  /** Why it was ended from here; undefined: it ended by itself. */
  readonly why?: "cancelled" | "timeout" | "output";
  /** It could not be started: `ENOENT` and the like. */
  readonly notStarted?: string;
}

const stderrKept = 16 * 1024;
const lineKept = 4096;

/** Never rejects. */
export function runCommand(command: Command): Promise<Ended> {
  const { signal } = command;
  const none = Buffer.alloc(0);
  if (signal?.aborted) return Promise.resolve({ code: null, stdout: none, stderr: "", why: "cancelled" });
  return new Promise((resolve) => {
    const [program, ...args] = [...(command.bound ? boundBy() : []), command.program, ...command.args];
    // A group of its own: git's helpers (ssh, remote-https) are ended with it.
    const child = spawn(program!, args, {
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...command.env },
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    });
    if (child.pid !== undefined) command.onStart?.(child.pid);
    let why: Ended["why"];
    let notStarted: string | undefined;
    const end = (reason: NonNullable<Ended["why"]>) => {
      why ??= reason;
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // it has ended
      }
    };
    const timer = setTimeout(() => end("timeout"), Math.max(1, command.timeoutMs));
    const abort = () => end("cancelled");
    signal?.addEventListener("abort", abort, { once: true });
    const kept: Buffer[] = [];
    let size = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > (command.outputBytes ?? 64 * 1024 * 1024)) end("output");
      else kept.push(chunk);
    });
    let stderr = "";
    const lines = lineSplitter(command.onLine);
    child.stderr.on("data", (chunk: Buffer) => {
      stderr = (stderr + chunk.toString("utf8")).slice(-stderrKept);
      lines.write(chunk);
    });
    child.stdin.on("error", () => {}); // it may end without reading
    child.stdin.end(command.input ?? "");
    child.once("error", (error: NodeJS.ErrnoException) => {
      notStarted = error.code ?? error.message;
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      lines.end();
      const stdout = Buffer.concat(kept);
      resolve({ code, stdout, stderr, ...(why ? { why } : {}), ...(notStarted ? { notStarted } : {}) });
    });
  });
}

function lineSplitter(onLine: ((line: string) => void) | undefined) {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  const tell = (line: string) => {
    const text = line.trimEnd();
    if (text) onLine?.(text.slice(0, lineKept));
  };
  return {
    write(chunk: Buffer) {
      const parts = (rest + decoder.write(chunk)).split(/[\r\n]+/);
      rest = parts.pop()!.slice(0, lineKept);
      for (const part of parts) tell(part);
    },
    end: () => tell(rest + decoder.end()),
  };
}

let bound: readonly string[] | undefined;

/** What to put before a command so that the kernel ends it with this process; nothing where that cannot be had. */
function boundBy(): readonly string[] {
  if (bound === undefined) {
    const words = ["--pdeathsig", "KILL", "--"];
    const probe = spawnSync("setpriv", [...words, "true"], { stdio: "ignore", timeout: 5000 });
    bound = probe.status === 0 ? ["setpriv", ...words] : [];
  }
  return bound;
}
