/**
 * Lines as they are stored. The server's consumer hands out no more than was taken, so whoever is slow falls behind and costs
 * nothing; each chunk names those before it in its source, so what was dropped meanwhile is known, and told.
 */
import type { ConsumerMessages, JsMsg } from "@nats-io/jetstream";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import type { LogLine, LogNews, TailQuery } from "./logs.ts";
import { Ahead } from "./logs-ahead.ts";
import { type ChunkHead, readHead } from "./logs-chunk.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import type { Found } from "./logs-look.ts";
import { type Matcher, matcherOf } from "./logs-match.ts";
import { Pace } from "./logs-pace.ts";
import { foundOf, lineOf, readLogs } from "./logs-reader.ts";
import { filterSubject, LOGS, type LogPlace, parseSource, placeOf, readPlace } from "./logs-stream.ts";

const AHEAD_BYTES = 4 * 1024 ** 2;
/** Chunks that are unpacked while those before them are told. */
const LOOKED_AHEAD = 6;
/** Lines told at once. */
const TOLD_MOST = 1_024;

interface Begin {
  /** Nothing up to here is told again. */
  readonly place: LogPlace;
  /** What is before was never asked for. */
  readonly isResumed: boolean;
  /** Lines of an earlier time are left out. */
  readonly since: number;
}

/** @throws LogUnavailable, LogQueryRefused */
export async function* tailLogs(nats: Nats, query: TailQuery): AsyncGenerator<LogNews, void, undefined> {
  const matcher = matcherOf(query);
  const after = query.after === undefined ? undefined : readPlace(query.after);
  if (query.after !== undefined && after === undefined) {
    const fix = "Send the position of the last line you have seen.";
    throw new LogQueryRefused({ field: "after", reason: "it is no position", fix });
  }
  const head = await headOf(nats);
  if (after !== undefined && after.seq > head) yield { type: "gap", from: undefined, position: placeOf(head) };
  let begin: Begin = { place: { seq: head, index: Infinity }, isResumed: true, since: 0 };
  if (after !== undefined && after.seq <= head) begin = { place: after, isResumed: true, since: 0 };
  else if (after === undefined && query.since !== undefined) {
    begin = { place: { seq: 0, index: Infinity }, isResumed: false, since: query.since };
  } else if (after === undefined && query.last !== undefined) {
    const newest = await readLogs(nats, { ...query, order: "newest", limit: query.last });
    const lines = newest.lines.filter((line) => readPlace(line.position)!.seq <= head).reverse();
    if (lines.length > 0) yield { type: "lines", lines, position: placeOf(head) };
  }
  yield* follow(nats, query, matcher, begin, head);
}

async function headOf(nats: Nats): Promise<number> {
  try {
    return (await nats.jsm.streams.info(LOGS)).state.last_seq;
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

async function* follow(
  nats: Nats,
  query: TailQuery,
  matcher: Matcher,
  begin: Begin,
  head: number,
): AsyncGenerator<LogNews, void, undefined> {
  const { signal } = query;
  const { messages, pending, remove } = await consume(nats, query, begin);
  const end = () => messages.stop();
  signal.addEventListener("abort", end);
  const broken = watch(messages);
  const told = new Tail(matcher, begin);
  const ahead = new Ahead(messages, LOOKED_AHEAD, (message) => told.look(message));
  try {
    let isBehind = pending > 0;
    if (!isBehind) yield { type: "caught-up", position: placeOf(head) };
    for await (const { one, made } of ahead) {
      if (signal.aborted) return;
      yield* told.tell(one, made);
      if (isBehind && one.info.pending === 0) {
        isBehind = false;
        yield { type: "caught-up", position: placeOf(one.seq) };
      }
    }
    if (!signal.aborted) throw new LogUnavailable({ what: "NATS", cause: broken.reason ?? "the consumer ended" });
  } finally {
    signal.removeEventListener("abort", end);
    ahead.end();
    matcher.end();
    messages.stop();
    void remove().catch(() => {});
  }
}

async function consume(
  nats: Nats,
  query: TailQuery,
  { place, since }: Begin,
): Promise<{ messages: ConsumerMessages; pending: number; remove: () => Promise<unknown> }> {
  const from =
    since > 0
      ? { deliver_policy: "by_start_time", opt_start_time: new Date(since).toISOString() }
      : {
          deliver_policy: "by_start_sequence",
          opt_start_seq: place.index === Infinity ? place.seq + 1 : Math.max(1, place.seq),
        };
  try {
    const filter_subjects = [...new Set(query.of.map(filterSubject))];
    const consumer = await nats.js.consumers.get(LOGS, { filter_subjects, ...from } as never);
    const { num_pending } = await consumer.info(true);
    const messages = await consumer.consume({ max_bytes: AHEAD_BYTES, idle_heartbeat: 1_000 } as never);
    return { messages, pending: num_pending, remove: () => consumer.delete() };
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

/** Ends the messages when there will be no more of them; the client itself would wait. */
function watch(messages: ConsumerMessages): { reason: string | undefined } {
  const broken: { reason: string | undefined } = { reason: undefined };
  void (async () => {
    for await (const { type } of messages.status()) {
      if (type !== "stream_not_found" && type !== "consumer_deleted") continue;
      broken.reason = type;
      messages.stop();
    }
  })().catch(() => {});
  return broken;
}

interface Looked {
  readonly head: ChunkHead;
  /** Undefined: it cannot have what is wanted. */
  readonly found: Promise<Found> | undefined;
}

class Tail {
  readonly #matcher: Matcher;
  readonly #begin: Begin;
  readonly #pace = new Pace();
  /** Last sequence of each source that was met. */
  readonly #met = new Map<string, number>();

  constructor(matcher: Matcher, begin: Begin) {
    this.#matcher = matcher;
    this.#begin = begin;
  }

  /** @returns undefined for what is no chunk of this format */
  look({ seq, headers, data }: JsMsg): Looked | undefined {
    const head = readHead(headers);
    if (head === undefined) return undefined;
    const { place, since } = this.#begin;
    const first = seq === place.seq ? place.index + 1 : 0;
    if (head.last < since || first >= head.count || !this.#matcher.may(head.levels)) return { head, found: undefined };
    const { count } = head;
    const at = { count, from: since, to: Number.MAX_SAFE_INTEGER, first, end: count, most: count, newest: false };
    const found = this.#matcher.look(data, at);
    // It may never be told.
    found.catch(() => {});
    return { head, found };
  }

  async *tell({ subject, seq }: JsMsg, looked: Looked | undefined): AsyncGenerator<LogNews, void, undefined> {
    if (looked === undefined) return;
    const from = parseSource(subject);
    const { place, isResumed } = this.#begin;
    const before = looked.head.before[0] ?? 0;
    const known = this.#met.get(subject) ?? (isResumed ? place.seq : before);
    this.#met.set(subject, seq);
    if (before > known) yield { type: "gap", from, position: placeOf(before) };
    if (looked.found === undefined) return;
    const found = await foundOf(looked.found);
    for (let n = 0; n < found.index.length; n += TOLD_MOST) {
      await this.#pace.breathe();
      const end = Math.min(n + TOLD_MOST, found.index.length);
      const lines = new Array<LogLine>(end - n);
      for (let i = n; i < end; i++) lines[i - n] = lineOf(found, i, seq, from);
      yield { type: "lines", lines, position: placeOf(seq, found.index[end - 1]!) };
    }
  }
}
