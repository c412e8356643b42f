/** A stretch of a context's log, page by page: for what looks over the past without following it. */
import { decodeCommitBody, type StoredCommit } from "./commit.ts";
import { readBatch } from "./direct.ts";
import type { EventLog } from "./eventlog.ts";
import { logStream, parseAggregateSubject } from "./subjects.ts";

/**
 * The first sequence that was written at a time or later; one beyond the end when there is none.
 * @param timeMs milliseconds since 1970
 * @throws LogUnavailable
 */
export async function seqAt(log: EventLog, context: string, timeMs: number): Promise<number> {
  const head = await log.head(context);
  let from = 1;
  let to = head + 1;
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    const { messages } = await readBatch(log.nats, logStream(context), { seq: middle, batch: 1 });
    const found = messages[0];
    // What follows a place is as late as the place itself, or later.
    if (found === undefined || found.time >= timeMs) to = middle;
    else from = found.seq + 1;
  }
  return from;
}

/**
 * Commits from a sequence on, oldest first.
 * @param most messages of one page
 * @returns `next`: where to go on; undefined at the end. @throws LogUnavailable
 */
export async function readSpan(
  log: EventLog,
  context: string,
  fromSeq: number,
  most: number,
): Promise<{ readonly commits: ReadonlyArray<StoredCommit>; readonly next: number | undefined }> {
  const query = { seq: fromSeq, next_by_subj: `evt.${context}.>`, batch: most };
  const { messages, more } = await readBatch(log.nats, logStream(context), query);
  const commits = messages.flatMap(({ subject, seq, time, data }): StoredCommit[] => {
    const place = parseAggregateSubject(subject);
    if (place === undefined) return [];
    return [{ ...decodeCommitBody(data), context, kind: place.kind, aggregate: place.id, subject, seq, time }];
  });
  const last = messages[messages.length - 1];
  return { commits, next: more && last !== undefined ? last.seq + 1 : undefined };
}
