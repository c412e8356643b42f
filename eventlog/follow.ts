/**
 * Following a context's log: every commit from a sequence on, in order, live, for as long as the signal is not aborted.
 * Reconnects and resumes by itself; a hole in the sequence (which the stream's settings make impossible) is an error.
 */
import { decodeCommitBody, type StoredCommit } from "./commit.ts";
import type { Nats } from "./connection.ts";
import { type OrderedMessage, readOrdered, stampMs } from "./ordered.ts";
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
  const over = new AbortController();
  let expected = options.fromSeq;
  try {
    await readOrdered(nats, {
      stream: logStream(options.context),
      from: { deliver_policy: "by_start_sequence", opt_start_seq: options.fromSeq },
      most: options.most,
      signal: AbortSignal.any([options.signal, over.signal]),
      onBatch: async (messages) => {
        const whole = untilHole(messages, expected);
        const last = whole.at(-1);
        if (last !== undefined) {
          const { seq, stamp, pending } = last;
          expected = seq + 1;
          try {
            await options.onBatch({ commits: commitsOf(whole), lastSeq: seq, lastStamp: BigInt(stamp), pending });
          } catch (error) {
            failure = error as Error;
            over.abort();
            return;
          }
          passed(seq);
        }
        if (whole.length === messages.length) return;
        options.onHole?.(expected, messages[whole.length]!.seq);
        over.abort(); // Not what comes next: resume from what was passed on.
      },
    });
  } catch {
    // The server is away: made again by the caller.
  }
  return failure;
}

/** Those that come one after the other, from a sequence on. */
function untilHole(messages: ReadonlyArray<OrderedMessage>, from: number): ReadonlyArray<OrderedMessage> {
  const hole = messages.findIndex(({ seq }, i) => seq !== from + i);
  return hole < 0 ? messages : messages.slice(0, hole);
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function commitsOf(batch: ReadonlyArray<OrderedMessage>): StoredCommit[] {
  const commits: StoredCommit[] = [];
  for (const message of batch) {
    const place = parseAggregateSubject(message.subject);
    if (place === undefined) continue;
    // Written into what was just parsed, which nobody else has: a copy of every commit would be most of a replay's garbage.
    const commit = decodeCommitBody(message.data) as Writable<StoredCommit>;
    commit.context = place.context;
    commit.kind = place.kind;
    commit.aggregate = place.id;
    commit.subject = message.subject;
    commit.seq = message.seq;
    commit.time = stampMs(message.stamp);
    commits.push(commit);
  }
  return commits;
}
