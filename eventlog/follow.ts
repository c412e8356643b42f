/**
 * Following a context's log: every commit from a sequence on, in order, live, for as long as the signal is not aborted.
 * Reconnects and resumes by itself; a hole in the sequence (which the stream's settings make impossible) is an error.
 */
import type { JsMsg } from "@nats-io/jetstream";
import { decodeCommitBody, type StoredCommit } from "./commit.ts";
import type { Nats } from "./connection.ts";
import { logStream, parseAggregateSubject } from "./subjects.ts";

/** What a follower is given: commits, and claims as bare places so that sequences have no holes. */
export interface FollowBatch {
  readonly commits: ReadonlyArray<StoredCommit>;
  /** Sequence of the last message in it, of whatever kind. */
  readonly lastSeq: number;
  /** Messages that waited behind this batch when it was taken; 0: caught up. */
  readonly pending: number;
}

export interface FollowOptions {
  readonly context: string;
  /** First sequence wanted. */
  readonly fromSeq: number;
  /** Messages of one batch at most. */
  readonly most: number;
  readonly signal: AbortSignal;
  /** Called for each batch, one at a time; when it throws, following ends with that error. */
  readonly onBatch: (batch: FollowBatch) => Promise<void> | void;
  /** Called when the next message is not the one that must come next; it is then read again from there. */
  readonly onHole?: (expected: number, found: number) => void;
}

/** Resolves when aborted. Rejects with what `onBatch` threw. */
export async function follow(nats: Nats, options: FollowOptions): Promise<void> {
  let next = options.fromSeq;
  while (!options.signal.aborted) {
    const failure = await followOnce(nats, { ...options, fromSeq: next }, (seq) => {
      next = seq + 1;
    });
    if (failure !== undefined) throw failure;
    if (!options.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 200));
  }
}

/** @returns the error of `onBatch`, or undefined when the consumer ended and should be made again */
async function followOnce(
  nats: Nats,
  options: FollowOptions,
  passed: (seq: number) => void,
): Promise<Error | undefined> {
  let failure: Error | undefined;
  try {
    const consumer = await nats.js.consumers.get(logStream(options.context), {
      opt_start_seq: options.fromSeq,
      deliver_policy: "by_start_sequence",
    } as never);
    const messages = await consumer.consume({ max_messages: Math.max(options.most * 2, 256), idle_heartbeat: 5_000 });
    const end = () => messages.stop();
    options.signal.addEventListener("abort", end);
    const watching = endOnReconnect(nats, end);
    // Aborted while the consumer was being made: no event comes any more.
    if (options.signal.aborted) end();
    let expected = options.fromSeq;
    let waiting: JsMsg[] = [];
    try {
      for await (const message of messages) {
        if (message.seq !== expected) {
          options.onHole?.(expected, message.seq);
          break; // Not what comes next: resume from what was passed on.
        }
        expected = message.seq + 1;
        waiting.push(message);
        // Whatever is already here goes together: many when behind, one when live.
        if (waiting.length < options.most && messages.getReceived() > messages.getProcessed() + 1) continue;
        const batch = waiting;
        waiting = [];
        try {
          await options.onBatch({
            commits: batch.flatMap(toCommit),
            lastSeq: batch[batch.length - 1]!.seq,
            pending: batch[batch.length - 1]!.info.pending,
          });
        } catch (error) {
          failure = error as Error;
          break;
        }
        passed(batch[batch.length - 1]!.seq);
        if (options.signal.aborted) break;
      }
    } finally {
      options.signal.removeEventListener("abort", end);
      watching();
      messages.stop();
      await consumer.delete().catch(() => {});
    }
  } catch {
    // The server is away or the consumer was lost: made again by the caller.
  }
  return failure;
}

/**
 * A server that was restarted has forgotten the consumer, and the client finds that out late (up to half a minute when it asks
 * before JetStream answers): a new consumer is quicker.
 * @returns stops watching
 */
function endOnReconnect(nats: Nats, end: () => void): () => void {
  const status = nats.nc.status();
  void (async () => {
    for await (const { type } of status) if (type === "reconnect") end();
  })().catch(() => {});
  return () => (status as unknown as { stop?: () => void }).stop?.();
}

function toCommit(message: JsMsg): StoredCommit[] {
  const place = parseAggregateSubject(message.subject);
  if (place === undefined) return [];
  return [
    {
      ...decodeCommitBody(message.data),
      context: place.context,
      kind: place.kind,
      aggregate: place.id,
      subject: message.subject,
      seq: message.seq,
      // Cut, never rounded, as direct reads have it: nanoseconds as a number would be a millisecond late now and then.
      time: Number(message.timestampNanos / 1_000_000n),
    },
  ];
}
