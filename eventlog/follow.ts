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
  /** When JetStream stamped that one, nanoseconds since 1970. */
  readonly lastStamp: bigint;
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
        const { seq } = message;
        if (seq !== expected) {
          options.onHole?.(expected, seq);
          break; // Not what comes next: resume from what was passed on.
        }
        expected = seq + 1;
        waiting.push(message);
        // Whatever is already here goes together: many when behind, one when live.
        if (waiting.length < options.most && messages.getReceived() > messages.getProcessed() + 1) continue;
        const commits = commitsOf(waiting);
        waiting = [];
        try {
          const lastStamp = message.timestampNanos as unknown as bigint;
          await options.onBatch({ commits, lastSeq: seq, lastStamp, pending: message.info.pending });
        } catch (error) {
          failure = error as Error;
          break;
        }
        passed(seq);
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
export function endOnReconnect(nats: Nats, end: () => void): () => void {
  const status = nats.nc.status();
  void (async () => {
    for await (const { type } of status) if (type === "reconnect") end();
  })().catch(() => {});
  return () => (status as unknown as { stop?: () => void }).stop?.();
}

/** Nanoseconds that a number of this size may be off by. */
const OFF_BY = 512;

/**
 * Milliseconds since 1970, cut and never rounded, as direct reads have it. The exact nanoseconds are asked for only where the number that
 * the client has anyway could fall on either side: its exact form costs as much as decoding the whole commit.
 */
function timeOf(message: JsMsg): number {
  const nanos = message.info.timestampNanos;
  const beyond = nanos % 1_000_000;
  if (beyond < OFF_BY || beyond > 1_000_000 - OFF_BY) return Number(message.timestampNanos / 1_000_000n);
  return Math.floor(nanos / 1_000_000);
}

function commitsOf(batch: ReadonlyArray<JsMsg>): StoredCommit[] {
  const commits: StoredCommit[] = [];
  for (const message of batch) {
    const place = parseAggregateSubject(message.subject);
    if (place === undefined) continue;
    const body = decodeCommitBody(message.data);
    // Written into what was just parsed, which nobody else has: a copy of every commit would be most of a replay's garbage.
    commits.push(
      Object.assign(body, {
        context: place.context,
        kind: place.kind,
        aggregate: place.id,
        subject: message.subject,
        seq: message.seq,
        time: timeOf(message),
      }),
    );
  }
  return commits;
}
