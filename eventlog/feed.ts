/**
 * Reading the public feed of a context. Its messages stand in the order of the log, so a place in the log (what a position
 * holds) is found by binary search; and each names the one before it, so that a reader knows exactly whether
 * what was trimmed from the feed's beginning is something it had not seen.
 */

import { comparePlaces, type LogPlace, WHOLE_COMMIT } from "@millrace/contracts/position.ts";
import { type KV, Kvm } from "@nats-io/kv";
import { FeedEvent, parsePlace, placeText } from "./cloudevents.ts";
import { leaderMessage, type Nats } from "./connection.ts";
import { readBatch } from "./direct.ts";
import { LogUnavailable } from "./failures.ts";
import { readOrdered } from "./ordered.ts";
import { feedStream } from "./subjects.ts";

export const BEGINNING: LogPlace = { seq: 0, index: 0 };

/** What the leader says of a feed. */
export interface FeedState {
  /** When the stream was made: another time is another feed, whose sequences mean something else. */
  readonly made: string;
  /** Sequence of the oldest message; lastSeq + 1 when there is none. */
  readonly firstSeq: number;
  /** Sequence of the newest message there ever was. */
  readonly lastSeq: number;
}

/** @throws LogUnavailable */
export async function feedState(nats: Nats, context: string): Promise<FeedState> {
  try {
    const { created, state } = await nats.jsm.streams.info(feedStream(context));
    const made = typeof created === "string" ? created : new Date(created).toISOString();
    return { made, firstSeq: state.messages === 0 ? state.last_seq + 1 : state.first_seq, lastSeq: state.last_seq };
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

/** One event as the leader has it; undefined when it is no longer there. @throws LogUnavailable */
export async function feedEvent(nats: Nats, context: string, seq: number): Promise<FeedEvent | undefined> {
  const message = await leaderMessage(nats, feedStream(context), { seq });
  return message === null ? undefined : new FeedEvent(message.subject, message.seq, message.header, message.data);
}

const PAGE_BYTES = 4 * 1024 * 1024;

/**
 * Events from a sequence on, whosoever they are: a filter would hide what is missing.
 * @returns oldest first; fewer than asked for, or none, also when a replica is behind
 * @throws LogUnavailable
 */
export async function readFeed(nats: Nats, context: string, fromSeq: number, most: number): Promise<FeedEvent[]> {
  const query = { seq: fromSeq, batch: most, ...(most > 1 ? { max_bytes: PAGE_BYTES } : {}) };
  const { messages } = await readBatch(nats, feedStream(context), query);
  return messages.map(({ subject, seq, headers, data }) => new FeedEvent(subject, seq, headers, data));
}

/** Where a place of the log lies on the feed. */
export interface Located {
  /** Sequence of the last message at or before the place. */
  readonly seq: number;
  /** Events after the place are gone: `seq` is the last one that is gone, and this its place where it is known. */
  readonly gap?: { readonly oldest: LogPlace };
}

/**
 * @param before an event that is known to lie after the place
 * @returns a sequence that may be too low where a replica is behind, never too high
 * @throws LogUnavailable
 */
export async function locate(nats: Nats, context: string, place: LogPlace, before: FeedEvent): Promise<Located> {
  let { firstSeq: low } = await feedState(nats, context);
  if (low >= before.seq) return atBeginning(before, place);
  const oldest = await feedEvent(nats, context, low);
  if (oldest === undefined) throw new LogUnavailable({ what: "NATS", cause: "the feed was trimmed meanwhile" });
  if (comparePlaces(place, oldest.place) < 0) return atBeginning(oldest, place);
  let high = before.seq;
  // What stands at `low` is at or before the place, what stands at `high` is after it.
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    const event = (await readFeed(nats, context, middle, 1))[0];
    if (event === undefined || event.seq >= high || comparePlaces(event.place, place) > 0) high = middle;
    else low = event.seq;
  }
  return { seq: low };
}

/** The place lies before the oldest event there is: is something missing between the two? */
export function atBeginning(oldest: FeedEvent, place: LogPlace): Located {
  const seq = oldest.seq - 1;
  const { previous } = oldest;
  if (previous === undefined ? seq === 0 : comparePlaces(previous, place) <= 0) return { seq };
  return { seq, gap: { oldest: previous ?? justBefore(oldest.place) } };
}

/** A place that stands before this one and after every other event that is before it. */
export const justBefore = ({ seq, index }: LogPlace): LogPlace =>
  index > 0 ? { seq, index: index - 1 } : { seq: Math.max(0, seq - 1), index: WHOLE_COMMIT };

/**
 * The place before the oldest event that happened at a time or after it; the newest event's where all are older.
 * @param timeMs milliseconds since 1970, by the log's own clock
 * @throws LogUnavailable
 */
export async function placeAtTime(nats: Nats, context: string, timeMs: number): Promise<LogPlace> {
  const { firstSeq, lastSeq } = await feedState(nats, context);
  let [low, high] = [firstSeq, lastSeq + 1];
  let found: FeedEvent | undefined;
  let newest: FeedEvent | undefined;
  // Everything before `low` is older; `found`, at or behind `high`, is not.
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const event = (await readFeed(nats, context, middle, 1))[0];
    if (event === undefined || Date.parse(event.time) >= timeMs) {
      found = event ?? found;
      high = middle;
    } else {
      newest = event;
      low = event.seq + 1;
    }
  }
  return found === undefined ? (newest?.place ?? BEGINNING) : justBefore(found.place);
}

/** Events of one piece at most. */
const AT_ONCE = 500;

export interface TailOptions {
  readonly context: string;
  readonly fromSeq: number;
  readonly signal: AbortSignal;
  /** In order; sequences may jump where messages were deleted or trimmed. */
  readonly onEvent: (event: FeedEvent) => void;
  /** Whether the tail hears of what happens; false: what was heard last may be outdated. */
  readonly onHearing: (hearing: boolean) => void;
}

/**
 * Follows a feed from a sequence on until the consumer ends (the connection broke, the stream went, the signal was aborted).
 * @throws LogUnavailable, and what `onEvent` throws
 */
export async function tailFeed(
  nats: Nats,
  { context, fromSeq, signal, onEvent, onHearing }: TailOptions,
): Promise<void> {
  try {
    await readOrdered(nats, {
      stream: feedStream(context),
      from: { deliver_policy: "by_start_sequence", opt_start_seq: fromSeq },
      most: AT_ONCE,
      heartbeatMs: 1_000,
      signal,
      onHearing,
      onBatch: (messages) => {
        for (const { subject, seq, message, data } of messages) {
          if (signal.aborted) return;
          onEvent(new FeedEvent(subject, seq, message.headers!, data));
        }
      },
    });
  } finally {
    onHearing(false);
  }
}

/** How far a relay had come, written now and then: what is not needed while the feed's last message is there. */
export interface RelayMark {
  /** `FeedState.made` of the feed it speaks of. */
  readonly made: string;
  /** Last sequence on the feed… */
  readonly feedSeq: number;
  /** …and the place of its event; 0.0 when there was none. */
  readonly last: LogPlace;
  /** Everything of the log up to here had been relayed; at or after `last`: not every event is public. */
  readonly place: LogPlace;
}

/** Marks of the relays: a KV bucket that may vanish, it only spares reading the log from its beginning. */
export class RelayMarks {
  readonly #bucket: KV;

  private constructor(bucket: KV) {
    this.#bucket = bucket;
  }

  /** @throws LogUnavailable */
  static async open(nats: Nats): Promise<RelayMarks> {
    try {
      const options = { history: 1, storage: "file", replicas: nats.replicas, max_bytes: 1024 * 1024 };
      return new RelayMarks(await new Kvm(nats.js).create("RELAY", options as never));
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
  }

  /** @returns undefined when there is none for this feed @throws LogUnavailable */
  async read(context: string, made: string): Promise<RelayMark | undefined> {
    try {
      const entry = await this.#bucket.get(context);
      if (entry === null || entry.operation !== "PUT") return undefined;
      const mark = entry.json<{ made: string; feedSeq: number; last: string; place: string }>();
      const last = parsePlace(mark.last);
      const place = parsePlace(mark.place);
      if (place === undefined || last === undefined || mark.made !== made) return undefined;
      return { made, feedSeq: mark.feedSeq, last, place };
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
  }

  /** Never ahead of the feed: called after what it says is stored. @throws LogUnavailable */
  async write(context: string, mark: RelayMark): Promise<void> {
    try {
      await this.#bucket.put(
        context,
        JSON.stringify({ ...mark, last: placeText(mark.last), place: placeText(mark.place) }),
      );
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
  }
}
