/**
 * What a build uses, looked at while it runs: memory of all its processes and of the file systems that they keep in memory, how many they are,
 * the disk, and what it writes to the log. Over a limit it is ended, with the reason. (The kernel holds limits for each process; for all
 * together it would need a control group, which not every machine gives to a service.)
 */
import { readdir, readFile, readlink, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Failed, fail } from "@millrace/eventlog/outcome.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";

export interface BuildLimits {
  readonly timeoutMs: number;
  /** Of all processes together, and of each by itself. */
  readonly memoryBytes: number;
  /** What its folder may grow by. */
  readonly diskBytes: number;
  readonly processes: number;
  /** Of what it writes. */
  readonly logBytes: number;
}

export interface Usage {
  readonly ms: number;
  /** The most that was seen. */
  readonly memoryBytes: number;
  /** By which the folder grew, as last seen. */
  readonly diskBytes: number;
  readonly processes: number;
}

const MIB = 1024 ** 2;
const LOOK_MS = 250;
/** Looking at the disk takes at most so much of the time. */
const DISK_SHARE = 20;
const TMPFS = 0x01021994;
const PAGE = 4096;

export interface Watch {
  /** Aborted when a limit is passed. */
  readonly signal: AbortSignal;
  readonly failed: Failed | undefined;
  readonly start: (pid: number) => void;
  /** @returns whether the line is still within what it may write */
  line(text: string): boolean;
  /** Ends the watching; what it asks for last is waited for. */
  stop(): Promise<Usage>;
}

export function watchBuild(folder: string, limits: BuildLimits): Watch {
  const abort = new AbortController();
  const ended = new AbortController();
  const began = performance.now();
  const usage = { memoryBytes: 0, diskBytes: 0, processes: 0 };
  let failed: Failed | undefined;
  let written = 0;
  const rounds: Promise<void>[] = [];
  const end = (code: string, message: string, fix: string) => {
    failed ??= fail("permanent", code, message, fix);
    abort.abort();
  };
  const mib = (bytes: number) => `${Math.round(bytes / MIB)} MiB`;

  async function lookAtProcesses(root: number): Promise<void> {
    while (!ended.signal.aborted) {
      const { memory, count } = await usedBelow(root);
      usage.memoryBytes = Math.max(usage.memoryBytes, memory);
      usage.processes = Math.max(usage.processes, count);
      if (memory > limits.memoryBytes) {
        const fix = "Build with fewer jobs (no-parallel-make), or raise MILLRACE_BUILD_MEMORY_MIB.";
        end("BUILD_MEMORY", `The build used more than ${mib(limits.memoryBytes)} of memory.`, fix);
      }
      if (count > limits.processes) {
        end("BUILD_PROCESSES", `The build started more than ${limits.processes} processes.`, "Build with fewer jobs.");
      }
      await pause(LOOK_MS, ended.signal);
    }
  }
  async function lookAtDisk(): Promise<void> {
    const before = await bytesBelow(folder);
    while (!ended.signal.aborted) {
      const since = performance.now();
      usage.diskBytes = Math.max(0, (await bytesBelow(folder)) - before);
      if (usage.diskBytes > limits.diskBytes) {
        const fix = "Clean up in the modules, or raise MILLRACE_BUILD_DISK_MIB.";
        end("BUILD_DISK", `The build wrote more than ${mib(limits.diskBytes)}.`, fix);
      }
      await pause(Math.max(LOOK_MS, (performance.now() - since) * DISK_SHARE), ended.signal);
    }
  }
  return {
    signal: abort.signal,
    get failed() {
      return failed;
    },
    start: (pid) => {
      rounds.push(lookAtProcesses(pid), lookAtDisk());
    },
    line: (text) => {
      written += text.length + 1;
      if (written <= limits.logBytes) return true;
      end("BUILD_LOG", `The build wrote more than ${mib(limits.logBytes)} of log.`, "Let it say less.");
      return false;
    },
    stop: async () => {
      ended.abort();
      await Promise.all(rounds);
      return { ms: Math.round(performance.now() - began), ...usage };
    },
  };
}

/** What a folder takes on the disk. */
export async function bytesBelow(folder: string): Promise<number> {
  const { stdout } = await runCommand({
    program: "du",
    args: ["-sx", "--block-size=1", folder],
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" },
    timeoutMs: 60_000,
  });
  return Number(/^\d+/.exec(stdout.toString("latin1"))?.[0] ?? 0);
}

interface Seen {
  readonly pid: number;
  readonly parent: number;
  readonly memory: number;
}

/** One and all that it started, as long as they live; nothing for those that end meanwhile. */
async function usedBelow(root: number): Promise<{ memory: number; count: number }> {
  const children = new Map<number, Seen[]>();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const seen = await lookAt(Number(name));
    if (seen === undefined) continue;
    const among = children.get(seen.parent);
    if (among === undefined) children.set(seen.parent, [seen]);
    else among.push(seen);
  }
  const below: Seen[] = [];
  const todo = [root];
  for (let pid = todo.pop(); pid !== undefined; pid = todo.pop()) {
    for (const child of children.get(pid) ?? []) {
      below.push(child);
      todo.push(child.pid);
    }
  }
  const memory = below.reduce((sum, seen) => sum + seen.memory, 0) + (await inMemory(below.map(({ pid }) => pid)));
  return { memory, count: below.length };
}

async function lookAt(pid: number): Promise<Seen | undefined> {
  try {
    const [status, memory] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "latin1"),
      readFile(`/proc/${pid}/statm`, "latin1"),
    ]);
    // Its name may hold anything; behind the last bracket stand state and parent.
    const parent = Number(status.slice(status.lastIndexOf(")") + 2).split(" ")[1]);
    const [, resident = 0, shared = 0] = memory.split(" ").map(Number);
    return { pid, parent, memory: (resident - shared) * PAGE };
  } catch {
    return undefined;
  }
}

/** Bytes of file systems in memory that these processes see; each once. */
async function inMemory(pids: ReadonlyArray<number>): Promise<number> {
  const spaces = new Set<string>();
  const systems = new Map<number, number>();
  for (const pid of pids) {
    const space = await readlink(`/proc/${pid}/ns/mnt`).catch(() => undefined);
    if (space === undefined || spaces.has(space)) continue;
    spaces.add(space);
    for (const place of ["tmp", "dev/shm", "run", "var/tmp", "own"]) {
      const path = join(`/proc/${pid}/root`, place);
      try {
        const [{ dev }, { type, blocks, bfree, bsize }] = await Promise.all([stat(path), statfs(path)]);
        if (type === TMPFS) systems.set(dev, (blocks - bfree) * bsize);
      } catch {
        // it has ended, or there is no such place
      }
    }
  }
  return [...systems.values()].reduce((sum, bytes) => sum + bytes, 0);
}
