/**
 * The relay of one context: every public event of the log, once and in order, as one message on the feed.
 *
 * Each write expects the feed's last sequence, so what stands on the feed is always exactly what this algorithm would have
 * written: a second relay, or a memory that is wrong, is refused, reads the feed's end and goes on from there. The
 * feed itself is the checkpoint: its last message names its place in the log. When limits have trimmed even
 * that one, the mark in KV says how far it had come, or the log is counted through from its beginning: sequence n
 * on the feed is the nth public event of the log.
 */
import { comparePlaces, type LogPlace, WHOLE_COMMIT } from "@millrace/contracts/position.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { type Msg, nuid } from "@nats-io/transport-node";
import { type FeedEvent, type FeedMessage, PREVIOUS, placeText, toFeedMessage } from "./cloudevents.ts";
import type { StoredCommit } from "./commit.ts";
import { leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable, UnknownEvent } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import { BEGINNING, feedEvent, feedState, type RelayMark, RelayMarks } from "./feed.ts";
import { type FollowBatch, follow } from "./follow.ts";
import type { Logger } from "./logging.ts";
import { pause } from "./pause.ts";
import { logStream, parseAggregateSubject } from "./subjects.ts";
import { ATTRIBUTES, metrics, SPANS } from "./telemetry.ts";
import { linkTo, withSpan } from "./tracing.ts";

export interface RelayOptions {
  readonly nats: Nats;
  readonly context: string;
  readonly kinds: Readonly<Record<string, Kind>>;
  readonly signal: AbortSignal;
  readonly log: Pick<Logger, "info" | "warn" | "error">;
  /** Remembers an event that cannot be mapped; the relay then goes on without it. Rejects when that cannot be written. */
  readonly park: (letter: UnmappableEvent) => Promise<void>;
}

/** An event whose public form cannot be made: a pointer, never a copy. */
export interface UnmappableEvent {
  readonly stream: string;
  readonly seq: number;
  readonly index: number;
  readonly cause: unknown;
}

export type RelayStatus =
  | { readonly state: "starting" }
  | { readonly state: "relaying"; readonly place: LogPlace }
  /** Another relay writes, or the feed had moved otherwise: waits a moment and looks again. */
  | { readonly state: "standby" }
  /** The log cannot be reached; tries again. */
  | { readonly state: "waiting"; readonly reason: string }
  /** Stands still until this release is replaced or somebody acts. */
  | { readonly state: "stopped"; readonly reason: string };

export interface Relay {
  readonly context: string;
  readonly status: () => RelayStatus;
  /** Resolves when the signal was aborted and nothing is under way any more. */
  readonly ended: Promise<void>;
}

/** Begins at once; never rejects. */
export function startRelay(options: RelayOptions): Relay {
  const run = new RelayRun(options);
  return { context: options.context, status: () => run.status, ended: run.run() };
}

/**
 * Messages of one atomic batch, as many as the server takes: a batch costs its syncs however large it is, and beside busy writers
 * they are what a relay waits for (batches of 200 fell behind 48 writers). Fewer than `BATCH_FROM` are faster as single publishes, each
 * expecting its predecessor.
 */
const BATCH_MOST = 1_000;
const BATCH_BYTES = 4_000_000;
const BATCH_FROM = 12;
const PUBLISH_TIMEOUT_MS = 2_500;
const MARK_EVERY_MS = 1_000;
/** Room for the headers of a message beside its data. */
const HEADERS_MOST = 4_096;
const STANDBY_MOST_MS = 3_000;

const WRONG_LAST_SEQUENCE = new Set([10071, 10164]);

/** The feed's last sequence is another than we believed. */
class Fenced extends Error {}
/** Nothing more can be done by this release. */
class Stopped extends Error {}

/** What is known of the feed's end. */
interface End {
  readonly made: string;
  readonly feedSeq: number;
  /** Place of the feed's last event. */
  readonly last: LogPlace;
  /** Everything of the log up to here is on the feed. */
  readonly place: LogPlace;
  /** Public events after `place` that are on the feed all the same. */
  readonly skip: number;
}

class RelayRun {
  status: RelayStatus = { state: "starting" };
  readonly #options: RelayOptions;
  #marks: RelayMarks | undefined;
  #end: End | undefined;
  #marked: RelayMark | undefined;
  #fences = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { signal, context, log } = this.#options;
    const marking = setInterval(() => void this.#mark().catch(() => {}), MARK_EVERY_MS);
    while (!signal.aborted) {
      try {
        this.#marks ??= await RelayMarks.open(this.#options.nats);
        this.#end = await this.#readEnd(this.#marks);
        this.status = { state: "relaying", place: this.#end.place };
        await this.#mark();
        await this.#relay(this.#end.place.seq);
      } catch (error) {
        if (signal.aborted) break;
        if (error instanceof UnknownEvent || error instanceof Stopped) {
          const reason = error instanceof UnknownEvent ? unknownReason(error) : error.message;
          this.status = { state: "stopped", reason };
          log.error({ context, reason }, "the relay stands still");
          await aborted(signal);
        } else if (error instanceof Fenced) {
          this.status = { state: "standby" };
          await pause(Math.min(STANDBY_MOST_MS, 100 * 2 ** this.#fences++) * (0.5 + Math.random()), signal);
        } else {
          const reason = error instanceof Error ? error.message || error.name : String(error);
          this.status = { state: "waiting", reason };
          log.warn({ context, err: error }, "the relay tries again");
          await pause(200 + Math.random() * 300, signal);
        }
      }
    }
    clearInterval(marking);
    await this.#mark().catch(() => {});
  }

  /** Asked of the leader; what changes meanwhile is caught by the expectation. */
  async #readEnd(marks: RelayMarks): Promise<End> {
    const { nats, context } = this.#options;
    const { made, lastSeq: feedSeq } = await feedState(nats, context);
    const mark = await marks.read(context, made);
    const last = feedSeq === 0 ? undefined : await feedEvent(nats, context, feedSeq);
    if (last !== undefined) {
      const head = (await nats.jsm.streams.info(logStream(context))).state.last_seq;
      if (last.place.seq > head) {
        throw new Stopped(
          `The feed is ahead of the log (${last.place.seq} > ${head}): was the log restored from an older backup? ` +
            `Delete the stream FEED_${context.toUpperCase()} and restart; it is filled again from the log.`,
        );
      }
      await this.#checkLog(last);
      const place = mark?.feedSeq === feedSeq ? mark.place : last.place;
      return { made, feedSeq, last: last.place, place, skip: 0 };
    }
    const from =
      mark !== undefined && mark.feedSeq <= feedSeq ? mark : { feedSeq: 0, last: BEGINNING, place: BEGINNING };
    return { made, feedSeq, last: from.last, place: from.place, skip: feedSeq - from.feedSeq };
  }

  /** The feed's last event must be of this log: one that was restored and has grown on has others at the same places. */
  async #checkLog({ place, kind, id, time }: FeedEvent): Promise<void> {
    const { nats, context } = this.#options;
    const message = await leaderMessage(nats, logStream(context), { seq: place.seq });
    if (message === null) throw new LogUnavailable({ what: "NATS", cause: `no message ${place.seq} in the log` });
    const from = parseAggregateSubject(message.subject);
    const sameTime = new Date(message.timestamp).getTime() === Date.parse(time);
    if (from?.kind === kind && from.id === id && sameTime) return;
    throw new Stopped(
      `The feed is of another log (at ${place.seq} stands something else): was the log restored from a backup? ` +
        `Delete the stream FEED_${context.toUpperCase()} and restart; it is filled again from the log.`,
    );
  }

  #relay(fromSeq: number): Promise<void> {
    const { nats, context, signal } = this.#options;
    return follow(nats, {
      context,
      fromSeq: Math.max(1, fromSeq),
      most: BATCH_MOST,
      signal,
      onBatch: (batch) =>
        withSpan(
          SPANS.relay(context),
          { [ATTRIBUTES.context]: context, [ATTRIBUTES.messagingCount]: batch.commits.length },
          () => this.#onBatch(batch),
          { kind: "CONSUMER", links: linkTo(batch.commits.map((commit) => commit.trace)) },
        ),
    });
  }

  async #onBatch({ commits, lastSeq, pending }: FollowBatch): Promise<void> {
    let messages: FeedMessage[] = [];
    let bytes = 0;
    for (const commit of commits) {
      for (let index = 0; index < commit.events.length; index++) {
        const place: LogPlace = { seq: commit.seq, index };
        if (comparePlaces(place, this.#end!.place) <= 0) continue;
        const message = await this.#map(commit, index).catch(async (error) => {
          await this.#publish(messages); // What stands before it is not held back.
          throw error;
        });
        if (message === undefined) continue;
        if (this.#end!.skip > 0) {
          this.#end = { ...this.#end!, last: place, place, skip: this.#end!.skip - 1 };
          continue;
        }
        messages.push(message);
        bytes += message.data.length;
        if (messages.length < BATCH_MOST && bytes < BATCH_BYTES) continue;
        await this.#publish(messages);
        messages = [];
        bytes = 0;
      }
    }
    await this.#publish(messages);
    this.#end = { ...this.#end!, place: { seq: lastSeq, index: WHOLE_COMMIT } };
    this.status = { state: "relaying", place: this.#end.place };
    metrics.relayLag.set({ context: this.#options.context }, pending);
  }

  /** @returns undefined for what is not public, and for what was parked @throws UnknownEvent */
  async #map(commit: StoredCommit, index: number): Promise<FeedMessage | undefined> {
    const { context, kinds, park, nats, log } = this.#options;
    const event = commit.events[index]!;
    const kind = kinds[commit.kind];
    if (kind === undefined) {
      const { aggregate, seq, kind: name } = commit;
      throw new UnknownEvent({ context, kind: name, aggregate, seq, type: event.type, version: event.v });
    }
    try {
      const message = toFeedMessage(kind, commit, index);
      if (message !== undefined && message.data.length + HEADERS_MOST > (nats.nc.info?.max_payload ?? Infinity)) {
        throw new RangeError(`its public form of ${message.data.length} bytes does not fit into a message`);
      }
      return message;
    } catch (cause) {
      if (cause instanceof UnknownEvent) throw cause;
      await park({ stream: logStream(context), seq: commit.seq, index, cause });
      log.error({ context, seq: commit.seq, index, err: cause }, "an event has no public form and was parked");
      return undefined;
    }
  }

  /** @throws Fenced, or what the connection throws; what was stored then is found by reading the feed's end again */
  async #publish(messages: ReadonlyArray<FeedMessage>): Promise<void> {
    if (messages.length === 0) return;
    const { context } = this.#options;
    let previous = this.#end!.last;
    for (const { headers: h, place } of messages) {
      if (comparePlaces(previous, BEGINNING) > 0) h.set(PREVIOUS, placeText(previous));
      previous = place;
    }
    faultPoint("relay.before-publish");
    if (messages.length < BATCH_FROM) await this.#publishChained(messages);
    else await this.#publishBatch(messages);
    faultPoint("relay.after-publish");
    const feedSeq = this.#end!.feedSeq + messages.length;
    this.#end = { ...this.#end!, feedSeq, last: previous, place: previous };
    this.#fences = 0;
    metrics.relayEvents.inc({ context }, messages.length);
  }

  async #publishBatch(messages: ReadonlyArray<FeedMessage>): Promise<void> {
    const { nc } = this.#options.nats;
    const batch = nuid.next();
    messages[0]!.headers.set("Nats-Expected-Last-Sequence", String(this.#end!.feedSeq));
    for (const [i, { headers: h }] of messages.entries()) {
      h.set("Nats-Batch-Id", batch);
      h.set("Nats-Batch-Sequence", String(i + 1));
    }
    for (const { subject, data, headers: h } of messages.slice(0, -1)) {
      nc.publish(subject, data, { headers: h.asHeaders() });
    }
    const { subject, data, headers: h } = messages.at(-1)!;
    h.set("Nats-Batch-Commit", "1");
    const answer = readAnswer(await nc.request(subject, data, { headers: h.asHeaders(), timeout: PUBLISH_TIMEOUT_MS }));
    if (
      answer.batch !== batch ||
      answer.count !== messages.length ||
      answer.seq !== this.#end!.feedSeq + messages.length
    ) {
      throw new Error(`a batch of ${messages.length} was answered as ${answer.count} up to ${answer.seq}`);
    }
  }

  /** Sent without waiting for each other: the first that is refused makes all after it refused. */
  async #publishChained(messages: ReadonlyArray<FeedMessage>): Promise<void> {
    const { nc } = this.#options.nats;
    const { feedSeq } = this.#end!;
    const answers = messages.map(({ subject, data, headers: h }, i) => {
      h.set("Nats-Expected-Last-Sequence", String(feedSeq + i));
      return nc.request(subject, data, { headers: h.asHeaders(), timeout: PUBLISH_TIMEOUT_MS }).then(readAnswer);
    });
    for (const settled of await Promise.allSettled(answers)) if (settled.status === "rejected") throw settled.reason;
  }

  /** Writes how far it has come. It is needed only when the feed's last message is gone, so it may lag. */
  async #mark(): Promise<void> {
    const end = this.#end;
    if (end === undefined || end.skip > 0 || this.#marks === undefined) return;
    if (this.#marked?.made === end.made && comparePlaces(this.#marked.place, end.place) === 0) return;
    const { made, feedSeq, last, place } = end;
    const mark: RelayMark = { made, feedSeq, last, place };
    await this.#marks.write(this.#options.context, mark);
    this.#marked = mark;
  }
}

interface Answer {
  readonly seq?: number;
  readonly batch?: string;
  readonly count?: number;
  readonly error?: { readonly code: number; readonly err_code: number; readonly description: string };
}

/** @throws Fenced; Error for what may be tried again after reading the feed's end */
function readAnswer(reply: Msg): Answer {
  const answer = reply.json<Answer>();
  if (answer.error === undefined) return answer;
  const { err_code: code, description } = answer.error;
  if (WRONG_LAST_SEQUENCE.has(code)) throw new Fenced(description);
  throw new Error(`the feed answered ${code}: ${description}`);
}

const unknownReason = ({ context, kind, aggregate, seq, type, version }: UnknownEvent): string =>
  `This release does not know version ${version} of ${context}.${kind}.${type} (${aggregate}, sequence ${seq}). Upgrade it.`;

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
