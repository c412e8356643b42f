/**
 * A lock that is a file: it names its holder (pid and start time), and the lock of a dead process is taken over.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { isAlive, startTime } from "./process.ts";

export interface Lock {
  /** Gives the lock back; may be called twice. */
  release(): void;
}

interface Holder {
  readonly pid: number;
  readonly startTime?: string | undefined;
  readonly nonce: string;
}

/** The lock is held by a living process. */
export class LockedError extends Error {
  readonly pid: number;
  constructor(path: string, pid: number) {
    super(`${path} is held by process ${pid}`);
    this.name = "LockedError";
    this.pid = pid;
  }
}

/**
 * Takes the lock, at once or not at all.
 * @throws LockedError when a living process holds it (this one included).
 */
export function takeLock(path: string): Lock {
  mkdirSync(dirname(path), { recursive: true });
  const nonce = `${process.pid}.${process.hrtime.bigint()}`;
  const mine = `${path}.${nonce}`;
  const holder: Holder = { pid: process.pid, startTime: startTime(process.pid), nonce };
  writeFileSync(mine, JSON.stringify(holder), { mode: 0o600 });
  try {
    for (;;) {
      try {
        linkSync(mine, path); // creates with content, or fails: nobody sees a half-written lock
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const other = read(path);
      if (other && isHeld(other)) throw new LockedError(path, other.pid);
      removeStale(path, other, nonce);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  return {
    release() {
      if (read(path)?.nonce === nonce) rmSync(path, { force: true });
    },
  };
}

/** Takes the lock, waiting for its holder up to `timeoutMs`. */
export async function waitForLock(path: string, timeoutMs: number): Promise<Lock> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return takeLock(path);
    } catch (error) {
      if (!(error instanceof LockedError) || Date.now() >= deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The pid of the living holder, or undefined. */
export function lockHolder(path: string): number | undefined {
  const holder = read(path);
  return holder && isHeld(holder) ? holder.pid : undefined;
}

function read(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Holder;
  } catch {
    return undefined;
  }
}

function isHeld(holder: Holder): boolean {
  if (!isAlive(holder.pid)) return false;
  return holder.startTime === undefined || holder.startTime === startTime(holder.pid);
}

function removeStale(path: string, seen: Holder | undefined, nonce: string): void {
  // Two may find it stale at once: move it aside, and put it back if by then it was somebody's new lock.
  const aside = `${path}.stale.${nonce}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // the other was faster
  }
  const moved = read(aside);
  if (moved && moved.nonce !== seen?.nonce) {
    try {
      linkSync(aside, path);
    } catch {
      // a third has it by now
    }
  }
  rmSync(aside, { force: true });
}
