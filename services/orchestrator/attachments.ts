/** Attachments: what no work item names any more, and what was never brought to its end, goes from the object store. */
import { type ItemState, item } from "@millrace/domain/work/item.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { nameOf, type Swept, sweepObjects } from "@millrace/eventlog/objects-kept.ts";
import { pause } from "@millrace/eventlog/pause.ts";

export interface AttachmentSweep {
  readonly log: EventLog;
  readonly logger: Logger;
  /** After so long without anybody who names it, content goes. */
  readonly graceMs: number;
  readonly nowMs: () => number;
}

const HOUR_MS = 3_600_000;
/** All of the log of work is read for it: not while the installation starts, and not often. */
const FIRST_MS = HOUR_MS / 6;
const EVERY_MS = 24 * HOUR_MS;
/** Longer than any body may take. */
const UNFINISHED_MS = 24 * HOUR_MS;

/** Until the signal. */
export async function keepSweeping(options: AttachmentSweep, signal: AbortSignal): Promise<void> {
  await pause(FIRST_MS, signal);
  while (!signal.aborted) {
    try {
      const swept = await sweepAttachments(options, signal);
      if (swept.objects + swept.unfinished > 0)
        options.logger.info({ swept }, "attachments that nobody names are gone");
    } catch (error) {
      if (!(error instanceof LogUnavailable)) throw error;
    }
    await pause(EVERY_MS, signal);
  }
}

/** One round. @throws LogUnavailable */
export function sweepAttachments(
  { log, logger, graceMs, nowMs }: AttachmentSweep,
  signal: AbortSignal,
): Promise<Swept> {
  return sweepObjects(log.nats, {
    used: () => namedOnes(log, logger, signal),
    graceMs,
    unfinishedMs: Math.min(UNFINISHED_MS, graceMs),
    nowMs: nowMs(),
    signal,
  });
}

/** By the log as it is now. @throws LogUnavailable, also when not all of it can be read: then nobody knows what is named */
async function namedOnes(log: EventLog, logger: Logger, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const index = await startLiveIndex({
    log,
    context: item.context,
    kinds: [item],
    keep: (_, state) => (state as ItemState).exists && (state as ItemState).attachments.length > 0,
    onError: (err) => logger.warn({ err }, "the index of work items starts again"),
  });
  try {
    await Promise.race([index.caughtUp(), pause(10 * 60_000, signal)]);
    const { caughtUp, stopped } = index.status();
    if (!caughtUp || stopped.length > 0) throw new LogUnavailable({ what: "log of work", cause: stopped[0]?.reason });
    const used = new Set<string>();
    for (const { organisation, state } of index.all(item)) {
      for (const { sha256 } of state.attachments) used.add(nameOf(organisation, sha256));
    }
    return used;
  } finally {
    await index.stop();
  }
}
