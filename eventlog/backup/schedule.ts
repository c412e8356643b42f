/** The one in the whole installation that makes backups: when they are due, when one is asked for, and again when one failed. */

import type { Nats } from "../connection.ts";
import type { Logger } from "../logging.ts";
import { metrics } from "../telemetry.ts";
import type { BackupKeys } from "./keys.ts";
import { BACKUPS, listIds, type Manifest, type NodePart, timeOfId } from "./manifest.ts";
import { prune, type Retention } from "./prune.ts";
import { type NodesWriting, runBackup } from "./run.ts";
import { BackupBoard, type BackupStatus } from "./status.ts";
import type { Target } from "./target.ts";

export interface ScheduleOptions {
  readonly nats: Nats;
  readonly target: Target;
  readonly keys: BackupKeys;
  readonly version: string;
  /** From the beginning of one to that of the next. */
  readonly everyHours: number;
  readonly retention: Retention;
  readonly lines: boolean;
  readonly nodes: (writing: NodesWriting) => Promise<ReadonlyArray<NodePart>>;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

const LOOK_MS = 1_000;
const HOUR_MS = 3_600_000;
const RETRY_MS = 60_000;
const RETRY_MOST_MS = HOUR_MS;

/** Resolves when the signal is aborted. @throws LogUnavailable: to be begun again */
export async function keepBackups(options: ScheduleOptions): Promise<void> {
  const { nats, target, everyHours, signal, logger } = options;
  const board = await BackupBoard.open(nats);
  const about = { target: target.description, everyHours };
  const before = await board.read();
  let known: BackupStatus = before;
  const say = (change: Partial<Record<keyof BackupStatus, unknown>>) => {
    known = present({ ...known, ...about, ...change });
    return board.write(known);
  };
  let failures = 0;
  let due = await firstDue(options, before).catch(() => Date.now());
  await say({ running: undefined, next: new Date(due).toISOString() });
  while (!signal.aborted) {
    const asked = await board.asked();
    if (asked === 0 && Date.now() < due) {
      await pause(LOOK_MS, signal);
      continue;
    }
    const since = new Date().toISOString();
    try {
      const manifest = await one(options, (part) => void say({ running: { since, part } }).catch(() => {}));
      failures = 0;
      due = Date.parse(since) + everyHours * HOUR_MS;
      await say({ running: undefined, failed: undefined, last: doneOf(manifest), next: iso(due) });
      if (asked > 0) await board.answered(asked);
    } catch (error) {
      if (signal.aborted) break;
      failures++;
      due = Date.now() + Math.min(RETRY_MOST_MS, RETRY_MS * 2 ** (failures - 1));
      const reason = error instanceof Error && error.message !== "" ? error.message : String(error);
      logger.error({ err: error }, "a backup failed");
      metrics.backups.inc({ outcome: "failed" });
      const failed = { at: new Date().toISOString(), reason };
      await say({ running: undefined, failed, next: iso(due) });
      // Who asked is told; the schedule goes on trying.
      if (asked > 0) await board.answered(asked);
    }
  }
}

async function one(options: ScheduleOptions, running: (part: string) => void): Promise<Manifest> {
  const { target, keys, retention, logger } = options;
  running("");
  const manifest = await runBackup({ ...options, progress: ({ part }) => running(part) });
  const { id, tookMs, stored, reused, position } = manifest;
  logger.info({ backup: id, tookMs, stored, reused, position }, "a backup was made");
  metrics.backups.inc({ outcome: "made" });
  metrics.backupTime.set(Date.parse(manifest.at) / 1_000);
  metrics.backupBytes.inc(stored.bytes);
  metrics.backupDuration.observe(tookMs / 1_000);
  // A backup is one also when old ones cannot be let go of.
  try {
    const { backups, removed } = await prune(target, keys, retention);
    if (backups.length + removed > 0) logger.info({ backups, chunks: removed }, "old backups were let go");
  } catch (error) {
    logger.warn({ err: error }, "old backups could not be let go");
  }
  return manifest;
}

/** By what stands at the target: also when nobody remembers. */
async function firstDue({ target, everyHours }: ScheduleOptions, { last }: BackupStatus): Promise<number> {
  const newest = (await listIds(target, BACKUPS)).at(-1);
  const at = newest === undefined ? Number.NaN : timeOfId(newest);
  if (Number.isNaN(at)) return Date.now();
  if (last !== undefined) metrics.backupTime.set(Date.parse(last.at) / 1_000);
  return at + everyHours * HOUR_MS;
}

const iso = (ms: number): string => new Date(ms).toISOString();

const doneOf = ({ id, at, tookMs, position, stored, reused }: Manifest) => ({
  id,
  at,
  tookMs,
  position,
  storedBytes: stored.bytes,
  reusedBytes: reused.bytes,
});

const present = (status: object): BackupStatus =>
  Object.fromEntries(Object.entries(status).filter(([, value]) => value !== undefined));

const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
