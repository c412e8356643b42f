/**
 * What runs on a data folder, for other terminals: `run.json` (who supervises, which processes on which ports) and the
 * lock that says whether it is still so.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lockHolder } from "./lock.ts";
import { endProcesses, isAlive, startTime, waitFor } from "./process.ts";

export type ServiceState = "starting" | "ready" | "waiting" | "stopping" | "stopped";

export interface RunningService {
  readonly name: string;
  readonly state: ServiceState;
  /** Undefined while it does not run. */
  readonly pid?: number | undefined;
  /** With the pid it names the process for good; see process.ts. */
  readonly processStart?: string | undefined;
  readonly ports: Readonly<Record<string, number>>;
  /** RFC 3339; of the process that runs now. */
  readonly startedAt?: string | undefined;
  readonly restarts: number;
  /** How the process before this one ended, if it did by itself. */
  readonly lastExit?: string | undefined;
  /** How an orphan of it is asked to end. */
  readonly stopSignal: NodeJS.Signals;
  readonly logFile: string;
}

export interface RunState {
  readonly version: 1;
  /** Of the supervisor. */
  readonly pid: number;
  /** RFC 3339. */
  readonly startedAt: string;
  readonly dataDir: string;
  /** What else another terminal wants to know, such as the address of the gateway. */
  readonly facts: Readonly<Record<string, string>>;
  /** In the order of their start. */
  readonly services: readonly RunningService[];
}

export const lockPath = (dataDir: string): string => join(dataDir, "lock");
const statePath = (dataDir: string): string => join(dataDir, "run.json");

/** Written beside and moved, so that a reader never sees half of it. */
export function writeRunState(state: RunState): void {
  const path = statePath(state.dataDir);
  writeFileSync(`${path}.new`, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** What was last written, also by a supervisor that has ended or died. Undefined: none ever ran here. */
export function lastRunState(dataDir: string): RunState | undefined {
  try {
    const state = JSON.parse(readFileSync(statePath(dataDir), "utf8")) as RunState;
    return state.version === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}

/** What runs now on this data folder, for `mill status`; undefined when nobody supervises it. */
export function readRunState(dataDir: string): RunState | undefined {
  if (lockHolder(lockPath(dataDir)) === undefined) return undefined;
  return lastRunState(dataDir);
}

/**
 * Ends what runs on this data folder, for `mill down`: asks the supervisor, and waits; ends what a dead one left.
 * @returns "stopped", "nothing" (nothing ran), or "still running" when the time was not enough.
 */
export async function stopRun(dataDir: string, timeoutMs = 60_000): Promise<"stopped" | "nothing" | "still running"> {
  const holder = lockHolder(lockPath(dataDir));
  if (holder === undefined) return (await endOrphans(dataDir)) ? "stopped" : "nothing";
  process.kill(holder, "SIGTERM");
  const isGone = () => lockHolder(lockPath(dataDir)) !== holder;
  return (await waitFor(isGone, timeoutMs)) ? "stopped" : "still running";
}

/**
 * Ends the processes that a supervisor left behind when it died, last started first. Mostly they have ended by
 * themselves, or are about to.
 * @returns whether there were any.
 */
export async function endOrphans(dataDir: string): Promise<boolean> {
  const state = lastRunState(dataDir);
  if (!state) return false;
  let found = false;
  for (const service of [...state.services].reverse()) {
    const { pid, processStart, stopSignal } = service;
    if (pid === undefined || !isAlive(pid)) continue;
    // The pid may be somebody else's by now; without /proc that cannot be told, and then it is left alone.
    if (processStart === undefined || startTime(pid) !== processStart) continue;
    found = true;
    await endProcesses([pid], stopSignal, 10_000);
  }
  return found;
}
