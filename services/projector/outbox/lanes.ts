/**
 * Deliveries in order for each entity: a lane each, in which one event is under way at a time, and those that come after wait behind it
 * while it fails. Other entities go on. What waits behind a failure is not kept in memory: it stands in the feed.
 */
import { RETRY_MS } from "@millrace/contracts/integrations/values.ts";
import { comparePlaces, type LogPlace } from "@millrace/contracts/position.ts";
import { FeedEvent, placeText } from "@millrace/eventlog/cloudevents.ts";
import { leaderMessage } from "@millrace/eventlog/connection.ts";
import { readBatch } from "@millrace/eventlog/direct.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { justBefore } from "@millrace/eventlog/feed.ts";
import type { HeldRecord, OutboxRecord } from "@millrace/eventlog/outbox-records.ts";
import { feedStream } from "@millrace/eventlog/subjects.ts";
import { type Courier, type Destination, SKIP } from "./destination.ts";
import type { Outcome } from "./sender.ts";

/** Entities that are on their way or held back, of one destination: then nothing more is read until one is through. */
const LANES_MOST = 256;
const QUEUED_MOST = 512;
/** Requests at the same moment, of one destination: as many as it has proved to take. */
const WIDTH = { first: 2, most: 16 } as const;
const SLOW_MS = 2_000;
const REFILL = 50;
const AGAIN_MS = 500;
/** How long a receiver is left alone that asks for it and does not say how long. */
export const THROTTLE = { leastMs: 5_000, mostMs: 300_000 } as const;
const TIMER_MOST_MS = 2 ** 31 - 1;

interface Lane {
  readonly key: string;
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  readonly queue: FeedEvent[];
  /** Everything of the entity up to here was delivered, or was before. */
  after: LogPlace;
  /** There is more in the feed, before what is read now, than stands in the queue. */
  behind: boolean;
  /** What waits in the feed is being read. */
  reading: boolean;
  attempts: number;
  nextAt: number | null;
  since: number;
  state: "ready" | "sending" | "waiting";
}

const keyOf = (context: string, kind: string, id: string): string => `${context}.${kind}.${id}`;

export const messageOf = (event: FeedEvent): string => `msg_${event.context}_${event.place.seq}_${event.place.index}`;

export class Lanes implements Courier {
  readonly #destination: Destination;
  readonly #lanes = new Map<string, Lane>();
  readonly #ready: Lane[] = [];
  #queued = 0;
  #sending = 0;
  #width: number = WIDTH.first;
  #isSuspect = false;
  #isAsking = false;
  #throttledUntil: number;
  #throttles = 0;
  #deliveredAt: number;
  #timer: NodeJS.Timeout | undefined;
  #idle: Array<() => void> = [];
  /** The destination as a whole has come to its end: parked, or gone. */
  #over = false;

  constructor(destination: Destination, record: OutboxRecord) {
    this.#destination = destination;
    this.#throttledUntil = record.throttledUntil;
    this.#deliveredAt = record.deliveredAt;
    for (const { context, kind, id, after, attempts, nextAt, since } of record.held) {
      const key = keyOf(context, kind, id);
      const lane: Lane = {
        key,
        context,
        kind,
        id,
        queue: [],
        after,
        behind: true,
        reading: false,
        attempts,
        nextAt,
        since,
        state: "waiting",
      };
      this.#lanes.set(key, lane);
    }
  }

  begin(): void {
    this.#wake();
  }

  full(): boolean {
    return this.#over || this.#queued >= QUEUED_MOST || this.#lanes.size >= LANES_MOST;
  }

  take(event: FeedEvent): void {
    const { context, kind, id } = event;
    const key = keyOf(context, kind, id);
    const lane = this.#lanes.get(key);
    if (lane === undefined) {
      const after = justBefore(event.place);
      const made: Lane = {
        ...{ key, context, kind, id, after, attempts: 0, nextAt: 0, since: 0 },
        ...{ queue: [event], behind: false, reading: false, state: "ready" as const },
      };
      this.#lanes.set(key, made);
      this.#queued++;
      this.#ready.push(made);
      this.#pump();
    } else if (comparePlaces(event.place, lane.after) <= 0) {
      return; // It was delivered already.
    } else if (lane.attempts === 0 && !lane.behind && !lane.reading) {
      lane.queue.push(event);
      this.#queued++;
    } else {
      lane.behind = true;
    }
  }

  remember(): ReturnType<Courier["remember"]> {
    const held: HeldRecord[] = [...this.#lanes.values()].map(
      ({ context, kind, id, after, attempts, nextAt, since }) => ({
        ...{ context, kind, id, after, attempts, nextAt, since },
      }),
    );
    return { held, pace: undefined, throttledUntil: this.#throttledUntil, deliveredAt: this.#deliveredAt };
  }

  async stop(graceMs: number): Promise<void> {
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#sending === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([new Promise<void>((resolve) => this.#idle.push(resolve)), late]);
    clearTimeout(timer);
  }

  /** What is due becomes ready, and a timer is set for what is not. */
  #wake(): void {
    clearTimeout(this.#timer);
    if (this.#over) return;
    const now = Date.now();
    if (now < this.#throttledUntil) {
      this.#wakeAt(this.#throttledUntil);
      return;
    }
    let next = Number.POSITIVE_INFINITY;
    for (const lane of this.#lanes.values()) {
      if (lane.state !== "waiting" || lane.nextAt === null) continue;
      if (lane.nextAt <= now) {
        lane.state = "ready";
        this.#ready.push(lane);
      } else next = Math.min(next, lane.nextAt);
    }
    if (next < Number.POSITIVE_INFINITY) this.#wakeAt(next);
    this.#pump();
  }

  #wakeAt(at: number): void {
    this.#timer = setTimeout(() => this.#wake(), Math.min(TIMER_MOST_MS, Math.max(0, at - Date.now())));
  }

  #pump(): void {
    const { slots } = this.#destination.parts;
    while (!this.#over && this.#ready.length > 0 && this.#sending < this.#width && Date.now() >= this.#throttledUntil) {
      const give = slots.tryTake(this.#isSuspect);
      if (give === undefined) {
        this.#ask();
        return;
      }
      this.#start(give);
    }
  }

  /** Once at a time: who waits for a place stands in the row once. */
  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    void this.#destination.parts.slots.take(this.#isSuspect).then((give) => {
      this.#isAsking = false;
      const canGo = !this.#over && this.#sending < this.#width && Date.now() >= this.#throttledUntil;
      if (canGo && this.#ready.length > 0) this.#start(give);
      else give();
      this.#pump();
    });
  }

  #start(give: () => void): void {
    const lane = this.#ready.shift()!;
    lane.state = "sending";
    this.#sending++;
    void this.#deliver(lane).finally(() => {
      give();
      this.#sending--;
      if (this.#sending === 0) for (const done of this.#idle.splice(0)) done();
      this.#pump();
    });
  }

  /** Never rejects. */
  async #deliver(lane: Lane): Promise<void> {
    try {
      const event = lane.queue[0] ?? (await this.#refill(lane));
      if (event === undefined) return this.#drained(lane);
      if (this.#destination.signal.aborted) return;
      const began = performance.now();
      faultPoint("outbox.send.before");
      const outcome = await this.#destination.sender.send(event, messageOf(event));
      faultPoint("outbox.send.after");
      this.#settle(lane, event, { ...outcome, durationMs: performance.now() - began });
    } catch (error) {
      // NATS is away, or the secret cannot be opened: no fault of the receiver's.
      this.#destination.parts.logger.warn({ err: error, destination: this.#destination.id }, "a delivery waits");
      this.#later(lane, Date.now() + AGAIN_MS * 2);
    }
  }

  #settle(lane: Lane, event: FeedEvent, outcome: Outcome & { readonly durationMs: number }): void {
    const message = messageOf(event);
    const [type, source] = [event.attribute("type"), event.attribute("source")];
    const what = { message, event: placeText(event.place), type, source, attempt: lane.attempts + 1 };
    this.#destination.changed();
    if (outcome.ok) {
      this.#destination.tried(what, outcome);
      this.#succeeded(lane, event, outcome.durationMs);
      return;
    }
    this.#isSuspect = true;
    this.#width = 1;
    lane.attempts++;
    if (lane.since === 0) lane.since = Date.now();
    this.#queued -= lane.queue.length;
    lane.queue.length = 0;
    lane.behind = true;
    if (outcome.throttle !== undefined) this.#throttle(outcome.throttle.forMs);
    const retryMs = RETRY_MS[lane.attempts - 1];
    if (outcome.gone === true || retryMs === undefined) {
      this.#destination.tried(what, outcome);
      this.#giveUp(lane, event, outcome);
    } else {
      const scaled = retryMs * this.#destination.parts.retryScale * (0.9 + 0.2 * Math.random());
      const nextAt = Math.max(Date.now() + scaled, this.#throttledUntil);
      this.#destination.tried(what, outcome, nextAt);
      this.#later(lane, nextAt);
    }
    this.#destination.reader.room();
  }

  #succeeded(lane: Lane, event: FeedEvent, durationMs: number): void {
    const isSlow = durationMs > SLOW_MS;
    this.#isSuspect = isSlow;
    this.#width = isSlow ? Math.max(1, this.#width >> 1) : Math.min(WIDTH.most, this.#width + 1);
    this.#throttles = 0;
    this.#deliveredAt = Date.now();
    lane.after = event.place;
    lane.attempts = 0;
    lane.nextAt = 0;
    lane.since = 0;
    lane.queue.shift();
    this.#queued--;
    this.#next(lane);
  }

  #next(lane: Lane): void {
    if (lane.queue.length > 0 || lane.behind) {
      lane.state = "ready";
      this.#ready.push(lane);
    } else this.#lanes.delete(lane.key);
    if (!this.full()) this.#destination.reader.room();
  }

  #later(lane: Lane, at: number): void {
    lane.state = "waiting";
    lane.nextAt = at;
    this.#wake();
  }

  #throttle(forMs: number | undefined): void {
    const { retryScale } = this.#destination.parts;
    const usual = Math.min(THROTTLE.mostMs, THROTTLE.leastMs * 2 ** this.#throttles++) * retryScale;
    // What the receiver asks for is honoured as it is.
    this.#throttledUntil = Math.max(this.#throttledUntil, Date.now() + (forMs ?? usual));
  }

  /** The receiver is gone, or the last retry has failed: of one entity alone, when others were delivered meanwhile. */
  #giveUp(lane: Lane, event: FeedEvent, outcome: Outcome): void {
    const { resumes } = this.#destination.state;
    const { reason } = outcome;
    lane.state = "waiting";
    lane.nextAt = null;
    if (outcome.gone === true) {
      this.#over = true;
      void this.#destination.tell({ do: "disable", reason, resumes });
    } else if (this.#deliveredAt > lane.since) {
      const { context, kind, id } = lane;
      const entity = { context, kind, id };
      void this.#destination.tell({ do: "parkEntity", entity, event: placeText(event.place), reason, resumes });
    } else {
      this.#over = true;
      void this.#destination.tell({ do: "park", reason, resumes });
    }
  }

  /** Nothing is left of it, as far as has been read. */
  #drained(lane: Lane): void {
    if (lane.behind) this.#later(lane, Date.now() + AGAIN_MS);
    else this.#next(lane);
  }

  /** What waits in the feed, up to what has been read. @returns the first of it @throws LogUnavailable */
  async #refill(lane: Lane): Promise<FeedEvent | undefined> {
    lane.reading = true;
    lane.behind = false; // Whatever comes from now on says so again.
    try {
      const { events, more } = await this.#read(lane);
      const { reader, state } = this.#destination;
      const known = events.filter(
        ({ place }) => comparePlaces(place, lane.after) > 0 && reader.passed(lane.context, place),
      );
      const { type } = state.spec!.events;
      for (const event of known) {
        if (type !== undefined && !type.includes(event.type)) continue;
        if (lane.attempts !== SKIP) {
          lane.queue.push(event);
          this.#queued++;
        } else {
          lane.after = event.place;
          lane.attempts = 0;
        }
      }
      if (more && known.length === events.length) lane.behind = true;
      if (lane.attempts === SKIP) lane.attempts = 0;
      return lane.queue[0];
    } catch (error) {
      lane.behind = true;
      throw error;
    } finally {
      lane.reading = false;
    }
  }

  /** Events of the entity after the last that was delivered: of one that has failed, only the next. */
  async #read(lane: Lane): Promise<{ readonly events: ReadonlyArray<FeedEvent>; readonly more: boolean }> {
    const { parts, state } = this.#destination;
    const feed = parts.feeds.get(lane.context);
    if (feed === undefined) throw new Error(`there is no feed of ${lane.context}`);
    const located = await feed.locate(lane.after);
    if (located.gap !== undefined) {
      const { oldest } = located.gap;
      void this.#destination.tell({ do: "missed", context: lane.context, resumedAt: placeText(oldest) });
      lane.after = oldest;
    }
    const stream = feedStream(lane.context);
    const subject = `feed.${state.organisation}.${lane.context}.${lane.kind}.${lane.id}.>`;
    const query = { seq: located.seq + 1, next_by_subj: subject, batch: lane.attempts > 0 ? 2 : REFILL };
    const page = await readBatch(parts.log.nats, stream, query);
    const events = page.messages.map(({ subject, seq, headers, data }) => new FeedEvent(subject, seq, headers, data));
    if (page.more || parts.log.nats.replicas === 1) return { events, more: page.more };
    // Of three servers one that is behind may have answered: the leader knows whether there is more.
    const seq = (events[events.length - 1]?.seq ?? located.seq) + 1;
    const next = await leaderMessage(parts.log.nats, stream, { seq, next_by_subj: subject });
    return { events, more: next !== null };
  }
}
