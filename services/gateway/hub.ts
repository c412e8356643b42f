/**
 * The hub: tails each context's feed once and fans it out. Who comes back with a position is caught up by pages of
 * the feed and joined to the live tail without hole or double:
 *
 * 1. While the subscriber is behind the ring: a page of the feed, unfiltered (a filter would hide what is missing), send what
 *    matches, pass the rest; wait while its socket holds too much.
 * 2. Otherwise, in one tick: what the ring has more, and into the live set.
 * 3. Live, an event at or before its place is skipped. When its socket is full it is taken out of the live set and goes to 1:
 *    what it has not read stands in the feed, not in our memory. When it does not move at all, it is cut off.
 */
import { CLOSE, type ControlFrame, type EventsQuery } from "@millrace/contracts/feed.ts";
import { comparePlaces, encodePosition, type LogPlace } from "@millrace/contracts/position.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import { BEGINNING } from "@millrace/eventlog/feed.ts";
import { ContextFeed } from "@millrace/eventlog/feed-context.ts";
import { Leg, type LegFilter, type LegOwner, positionOf } from "@millrace/eventlog/feed-leg.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { logStream } from "@millrace/eventlog/subjects.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";
import type { Sink } from "./hub-sinks.ts";

export interface HubOptions {
  readonly nats: Nats;
  readonly contexts: ReadonlyArray<string>;
  readonly log: Pick<Logger, "warn">;
  /** Events of each context kept in memory. */
  readonly ringEvents?: number;
  readonly ringBytes?: number;
  /** A socket that holds more than this many bytes is full. */
  readonly highBytes?: number;
  /** Pages read at the same moment. */
  readonly catchUps?: number;
  /** Events of one page. */
  readonly page?: number;
  /** A full socket that has taken nothing for so long is cut off. */
  readonly stallMs?: number;
  /** Who was live and has fallen behind by more events than this is cut off. */
  readonly behindMost?: number;
}

/** What a subscription is made from. */
export interface Subscriber {
  readonly organisation: string;
  /** Contexts it may read and wants, each with the ids it is restricted to, or what else lets an event through, if it is. */
  readonly contexts: ReadonlyMap<string, Pick<LegFilter, "ids" | "admits">>;
  readonly query: EventsQuery;
  readonly sink: Sink;
  /** Asked before each event and twice a second: why it must end now, or undefined. */
  readonly ended: () => { readonly code: number; readonly reason: string } | undefined;
}

export interface Subscription {
  /** Its side has gone: nothing is sent any more. */
  readonly gone: () => void;
}

const ENDED_EVERY_MS = 500;
const AGAIN_MS = 25;
/** How often a full socket is looked at. */
const LOOK_MS = 10;

type Settings = Required<Omit<HubOptions, "nats" | "contexts" | "log">>;

export class Hub {
  readonly contexts: ReadonlyArray<string>;
  readonly settings: Settings;
  readonly nats: Nats;
  readonly #feeds = new Map<string, ContextFeed>();
  readonly #stop = new AbortController();
  readonly #runs: Promise<void>[] = [];
  readonly #subscriptions = new Set<HubSubscription>();
  readonly #tokens = new Map<string, { readonly version: number; readonly token: string }>();
  readonly #connection: ReturnType<Nats["nc"]["status"]>;
  readonly #ends: NodeJS.Timeout;
  #version = 0;
  #pages = 0;
  #queue: Array<() => void> = [];
  #draining: string | undefined;

  /** Begins at once; `trouble` says when it is not yet, or no longer, able to serve. */
  constructor(options: HubOptions) {
    const { nats, contexts, log, ...settings } = options;
    this.nats = nats;
    this.contexts = contexts;
    this.settings = {
      ringEvents: 4_096,
      ringBytes: 16 * 1024 * 1024,
      highBytes: 1024 * 1024,
      catchUps: 8,
      page: 500,
      stallMs: 30_000,
      behindMost: 100_000,
      ...settings,
    };
    const { ringEvents, ringBytes } = this.settings;
    const { signal } = this.#stop;
    for (const context of contexts) {
      const onHead = () => void this.#version++;
      const onTrouble = (error: unknown) => log.warn({ context, err: error }, "the hub does not hear its feed");
      const feed = new ContextFeed({ nats, context, ringEvents, ringBytes, signal, onHead, onTrouble });
      this.#feeds.set(context, feed);
      this.#runs.push(feed.run());
    }
    this.#connection = nats.nc.status();
    void this.#watch();
    this.#ends = setInterval(() => {
      for (const one of this.#subscriptions) one.checkEnded();
    }, ENDED_EVERY_MS);
  }

  async #watch(): Promise<void> {
    for await (const { type } of this.#connection) {
      if (type === "disconnect") for (const feed of this.#feeds.values()) feed.hearing = false;
      if (type === "reconnect") for (const feed of this.#feeds.values()) feed.reconnected();
    }
  }

  /** Why nobody can subscribe at this moment; undefined when they can. */
  get trouble(): string | undefined {
    if (this.#draining !== undefined) return this.#draining;
    const waiting = [...this.#feeds.values()].filter(({ ready }) => !ready).map(({ context }) => context);
    return waiting.length === 0 ? undefined : `the feed of ${waiting.join(", ")} is still being read`;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  /** Greets, catches up and goes live by itself. Only while there is no `trouble`. */
  subscribe(subscriber: Subscriber): Subscription {
    const subscription = new HubSubscription(this, subscriber, (context) => this.#feeds.get(context)!);
    this.#subscriptions.add(subscription);
    subscription.begin();
    return subscription;
  }

  forget(subscription: HubSubscription): void {
    this.#subscriptions.delete(subscription);
  }

  /** Ends every subscription with "come back": they do, elsewhere. */
  drain(reason: string): void {
    this.#draining = reason;
    for (const one of [...this.#subscriptions]) one.close(CLOSE.restart, reason);
  }

  async stop(): Promise<void> {
    this.drain("the gateway stops");
    clearInterval(this.#ends);
    this.#stop.abort();
    (this.#connection as unknown as { stop?: () => void }).stop?.();
    await Promise.all(this.#runs);
  }

  /** Whether the head of each is what the feed's head is. */
  hears(legs: ReadonlyArray<Leg>): boolean {
    return legs.every(({ feed }) => feed.hearing);
  }

  /** The same of contexts by name: what was not sent did not happen. */
  isHearing(contexts: Iterable<string>): boolean {
    return [...contexts].every((context) => this.#feeds.get(context)?.hearing === true);
  }

  /** The position of all who are live in exactly these contexts: encoded once for all of them. */
  headToken(contexts: string): string {
    const known = this.#tokens.get(contexts);
    if (known?.version === this.#version) return known.token;
    const places = contexts.split(",").map((context) => [context, this.#feeds.get(context)!.head.place] as const);
    const token = encodePosition(Object.fromEntries(places));
    this.#tokens.set(contexts, { version: this.#version, token });
    return token;
  }

  /** Runs the work when fewer than `catchUps` others do: many at once would starve the tail. In order of asking. */
  async admitted<T>(work: () => Promise<T>): Promise<T> {
    if (this.#pages >= this.settings.catchUps) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#pages++;
    try {
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#pages--;
      else setImmediate(next); // The tail comes in between.
    }
  }
}

class HubSubscription implements Subscription, LegOwner {
  readonly #hub: Hub;
  readonly #subscriber: Subscriber;
  readonly #legs: Leg[];
  readonly #contexts: string;
  readonly #sent;
  #heartbeat: NodeJS.Timeout | undefined;
  #closed = false;
  #caughtUp = false;
  #behind = 0;

  constructor(hub: Hub, subscriber: Subscriber, feedOf: (context: string) => ContextFeed) {
    this.#hub = hub;
    this.#subscriber = subscriber;
    const { organisation, query } = subscriber;
    const { start, kind, type } = query;
    this.#legs = [...subscriber.contexts].map(([context, { ids, admits }]) => {
      const feed = feedOf(context);
      const place =
        "after" in start ? (start.after[context] ?? BEGINNING) : start.from === "now" ? feed.head.place : BEGINNING;
      const filter: LegFilter = {
        organisation,
        ...(ids === undefined ? {} : { ids }),
        ...(admits === undefined ? {} : { admits }),
        ...(kind === undefined ? {} : { kinds: new Set(kind) }),
        ...(type === undefined ? {} : { types: new Set(type) }),
      };
      return new Leg(feed, filter, place, this);
    });
    this.#contexts = this.#legs.map(({ feed }) => feed.context).join(",");
    this.#sent = metrics.hubEventsSent.labels({ transport: subscriber.sink.transport });
  }

  begin(): void {
    const { sink, query } = this.#subscriber;
    metrics.hubSubscribers.inc({ transport: sink.transport });
    this.#frame({ type: "hello", position: positionOf(this.#legs), contexts: this.#contexts.split(",") });
    this.#heartbeat = setInterval(() => this.#beat(), query.heartbeatMs);
    this.#behind = this.#legs.length;
    for (const leg of this.#legs) void this.#catchUp(leg, true);
  }

  gone(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#heartbeat);
    for (const leg of this.#legs) leg.leave();
    this.#hub.forget(this);
    metrics.hubSubscribers.dec({ transport: this.#subscriber.sink.transport });
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.gone();
    this.#subscriber.sink.close(code, reason);
  }

  #cut(code: number, cause: "slow" | "stalled" | "ended" | "gap", reason: string): void {
    metrics.hubCuts.inc({ reason: cause });
    this.close(code, reason);
  }

  /** @returns whether it has ended, now or before */
  checkEnded(): boolean {
    const end = this.#closed ? undefined : this.#subscriber.ended();
    if (end !== undefined) this.#cut(end.code, "ended", end.reason);
    return this.#closed;
  }

  send(event: FeedEvent): void {
    if (this.checkEnded()) return;
    this.#sent.inc();
    this.#subscriber.sink.event(event, this.#position());
  }

  full(): boolean {
    return this.#subscriber.sink.buffered > this.#hub.settings.highBytes;
  }

  demoted(leg: Leg, slow: boolean): void {
    if (slow) metrics.hubDemotions.inc();
    this.#behind++;
    void this.#catchUp(leg, false);
  }

  #position(): string {
    return this.#behind === 0 && this.#legs.every(({ atHead }) => atHead)
      ? this.#hub.headToken(this.#contexts)
      : positionOf(this.#legs);
  }

  #frame(frame: ControlFrame): void {
    this.#subscriber.sink.frame(frame);
  }

  #beat(): void {
    if (this.checkEnded() || this.full()) return;
    this.#frame({
      type: "heartbeat",
      position: this.#position(),
      live: this.#behind === 0 && this.#hub.hears(this.#legs),
    });
  }

  /** Brings a leg into the live tail; never rejects. */
  async #catchUp(leg: Leg, first: boolean): Promise<void> {
    // Never within the fan-out of an event, and after the greeting has gone out.
    await new Promise((resolve) => setImmediate(resolve));
    let unchecked = first;
    while (!this.checkEnded()) {
      try {
        if (unchecked && (await this.#aheadOfLog(leg))) continue;
        unchecked = false;
        if (!(await this.#roomy()) || this.#tooFarBehind(leg)) return;
        if (leg.seq === undefined || leg.epoch !== leg.feed.epoch) await this.#locate(leg);
        else if (leg.seq < leg.feed.ring.coveredFrom) await this.#hub.admitted(() => this.#page(leg));
        else if (leg.join()) break;
      } catch {
        await pause(AGAIN_MS * (4 + Math.random() * 8)); // NATS is away: again when it is back.
      }
    }
    if (this.#closed) leg.leave();
    this.#behind--;
    if (this.#closed || this.#behind > 0 || this.#caughtUp) return;
    this.#caughtUp = true;
    this.#frame({ type: "caught-up", position: this.#position() });
  }

  async #locate(leg: Leg): Promise<void> {
    const { epoch } = leg.feed;
    const located = await this.#hub.admitted(() => leg.feed.locate(leg.place));
    if (located.gap !== undefined) {
      if (!this.#closed) this.#gap(leg, located.gap.oldest);
      return;
    }
    leg.seq = located.seq;
    leg.epoch = epoch;
  }

  async #page(leg: Leg): Promise<void> {
    const page = await leg.feed.page(leg.seq!, leg.place, this.#hub.settings.page);
    if (this.#closed) return;
    if ("again" in page) await pause(AGAIN_MS);
    else if ("gap" in page) this.#gap(leg, page.gap.oldest);
    else for (const event of page.events) leg.pass(event);
  }

  /** A position that the log has not reached: of another log, or of this one before it was restored from a backup. */
  async #aheadOfLog(leg: Leg): Promise<boolean> {
    const { feed, place } = leg;
    if (comparePlaces(place, feed.head.place) <= 0) return false;
    const { state } = await this.#hub.nats.jsm.streams.info(logStream(feed.context));
    if (place.seq <= state.last_seq) return false;
    this.#gap(
      leg,
      BEGINNING,
      "The position is ahead of the log: it is another log's, or this one was restored from a backup.",
    );
    return true;
  }

  #gap(leg: Leg, oldest: LogPlace, why = "Events after the position are no longer in the feed."): void {
    const { query, organisation } = this.#subscriber;
    const { context } = leg.feed;
    const places = this.#legs.map((other) => [other.feed.context, other === leg ? oldest : other.passed] as const);
    const goesOn = query.onGap === "resume" || ("from" in query.start && query.start.from === "beginning");
    this.#frame({
      type: "gap",
      context,
      oldest: encodePosition(Object.fromEntries(places)),
      history: `/v1/organisations/${organisation}/{collection}/{id}/history`,
      detail: `${why} ${goesOn ? "It goes on with the oldest that is left." : "Read what you need anew, and come back with `oldest`."}`,
    });
    if (!goesOn) this.#cut(CLOSE.gap, "gap", `events of ${context} after the position are gone; see the gap frame`);
    leg.place = oldest;
    leg.seq = undefined;
  }

  /** Waits until the socket has taken most of what it holds. @returns false when it was cut off meanwhile */
  async #roomy(): Promise<boolean> {
    const { sink } = this.#subscriber;
    const { highBytes, stallMs } = this.#hub.settings;
    let least = sink.buffered;
    let moved = Date.now();
    while (sink.buffered > highBytes / 2) {
      if (this.checkEnded()) return false;
      if (sink.buffered < least) {
        least = sink.buffered;
        moved = Date.now();
      } else if (Date.now() - moved > stallMs) {
        this.#cut(CLOSE.slow, "stalled", `nothing was read for ${stallMs} ms; come back with the last position`);
        return false;
      }
      await pause(LOOK_MS);
    }
    return !this.#closed;
  }

  #tooFarBehind(leg: Leg): boolean {
    const behind = leg.feed.head.seq - (leg.seq ?? leg.feed.head.seq);
    if (!leg.wasSlow || behind <= this.#hub.settings.behindMost) return false;
    this.#cut(CLOSE.slow, "slow", `${behind} events behind; come back with the last position`);
    return true;
  }
}
