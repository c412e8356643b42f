/**
 * Lines as they are stored. The server's consumer hands out no more than was taken, so whoever is slow falls behind and costs
 * nothing; each chunk names those before it in its source, so what was dropped meanwhile is known, and told.
 */
import type { ConsumerMessages, JsMsg } from "@nats-io/jetstream";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import type { LogNews, TailQuery } from "./logs.ts";
import { Lines, readHead } from "./logs-chunk.ts";
import { LogQueryRefused } from "./logs-failures.ts";
import { type Matcher, matcherOf } from "./logs-match.ts";
import { lineOf, readLogs } from "./logs-reader.ts";
import { filterSubject, LOGS, type LogPlace, parseSource, placeOf, readPlace } from "./logs-stream.ts";

const AHEAD_BYTES = 2 * 1024 ** 2;

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
  try {
    let isBehind = pending > 0;
    if (!isBehind) yield { type: "caught-up", position: placeOf(head) };
    for await (const message of messages) {
      if (signal.aborted) return;
      yield* told.take(message);
      if (isBehind && message.info.pending === 0) {
        isBehind = false;
        yield { type: "caught-up", position: placeOf(message.seq) };
      }
    }
    if (!signal.aborted) throw new LogUnavailable({ what: "NATS", cause: broken.reason ?? "the consumer ended" });
  } finally {
    signal.removeEventListener("abort", end);
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

class Tail {
  readonly #matcher: Matcher;
  readonly #begin: Begin;
  /** Last sequence of each source that was met. */
  readonly #met = new Map<string, number>();

  constructor(matcher: Matcher, begin: Begin) {
    this.#matcher = matcher;
    this.#begin = begin;
  }

  async *take({ subject, seq, headers, data }: JsMsg): AsyncGenerator<LogNews, void, undefined> {
    const head = readHead(headers);
    if (head === undefined) return;
    const from = parseSource(subject);
    const { place, isResumed, since } = this.#begin;
    const before = head.before[0] ?? 0;
    const known = this.#met.get(subject) ?? (isResumed ? place.seq : before);
    this.#met.set(subject, seq);
    if (before > known) yield { type: "gap", from, position: placeOf(before) };
    if (head.last < since || !this.#matcher.may(head.levels)) return;
    const lines = await Lines.unpack(data, head.count);
    const first = seq === place.seq ? place.index + 1 : 0;
    if (first >= head.count) return;
    const found = await this.#matcher.find(lines, first, head.count);
    const wanted = since === 0 ? found : found.filter((i) => lines.time(i) >= since);
    if (wanted.length === 0) return;
    yield {
      type: "lines",
      lines: wanted.map((i) => lineOf(lines, i, seq, from, lines.line(i))),
      position: placeOf(seq, wanted.at(-1)!),
    };
  }
}
