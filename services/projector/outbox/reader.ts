/** What a destination reads: a leg through each context's feed, caught up and joined to the live tail, held back while it is full. */
import { comparePlaces, type LogPlace } from "@millrace/contracts/position.ts";
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import type { ContextFeed } from "@millrace/eventlog/feed-context.ts";
import { Leg, type LegFilter, type LegOwner } from "@millrace/eventlog/feed-leg.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { Turns } from "./turns.ts";

export interface ReaderOptions {
  readonly feeds: ReadonlyArray<ContextFeed>;
  readonly filter: LegFilter;
  /** By context: what was read before. */
  readonly places: Readonly<Record<string, LogPlace>>;
  /** Pages of the feed read at the same moment, by all. */
  readonly turns: Turns;
  /** In order within a context. */
  readonly take: (event: FeedEvent) => void;
  readonly full: () => boolean;
  /** Events before the place are gone. */
  readonly missed: (context: string, oldest: LogPlace) => void;
}

const BEGINNING: LogPlace = { seq: 0, index: 0 };
const PAGE = 200;
const AGAIN_MS = 200;

export class Reader implements LegOwner {
  readonly #options: ReaderOptions;
  readonly #legs: ReadonlyArray<Leg>;
  readonly #stopping = new AbortController();
  #roomy: Array<() => void> = [];
  /** Where it was when it stopped. */
  #last: Readonly<Record<string, LogPlace>> | undefined;

  constructor(options: ReaderOptions) {
    this.#options = options;
    const { feeds, filter, places } = options;
    this.#legs = feeds.map((feed) => new Leg(feed, filter, places[feed.context] ?? BEGINNING, this));
  }

  begin(): void {
    for (const leg of this.#legs) void this.#catchUp(leg, true);
  }

  stop(): void {
    // A leg that leaves knows only what it had passed before it was live.
    this.#last ??= this.places;
    this.#stopping.abort();
    for (const leg of this.#legs) leg.leave();
    this.room();
  }

  /** By context: everything up to here was taken, or did not match. */
  get places(): Readonly<Record<string, LogPlace>> {
    if (this.#last !== undefined) return this.#last;
    return Object.fromEntries(this.#legs.map((leg) => [leg.feed.context, leg.passed]));
  }

  /** Whether everything up to a place of a context has been passed. */
  passed(context: string, place: LogPlace): boolean {
    const passed = this.places[context];
    return passed !== undefined && comparePlaces(place, passed) <= 0;
  }

  /** It is not full any more. */
  room(): void {
    const waiting = this.#roomy;
    this.#roomy = [];
    for (const go of waiting) go();
  }

  send(event: FeedEvent): void {
    this.#options.take(event);
  }

  full(): boolean {
    return this.#stopping.signal.aborted || this.#options.full();
  }

  demoted(leg: Leg): void {
    void this.#catchUp(leg, false);
  }

  /** Never rejects. */
  async #catchUp(leg: Leg, first: boolean): Promise<void> {
    const { signal } = this.#stopping;
    const { turns } = this.#options;
    let unchecked = first;
    // Never within the fan-out of an event.
    await new Promise((resolve) => setImmediate(resolve));
    while (!signal.aborted) {
      try {
        if (this.full()) await new Promise<void>((resolve) => this.#roomy.push(resolve));
        else if (leg.seq === undefined || leg.epoch !== leg.feed.epoch) {
          await turns.with(() => this.#locate(leg, unchecked));
          unchecked = false;
        } else if (leg.seq < leg.feed.ring.coveredFrom) await turns.with(() => this.#page(leg));
        else if (leg.join()) break;
      } catch {
        await pause(AGAIN_MS * (1 + Math.random()), signal); // NATS is away, or the feed is still being read.
      }
    }
    if (signal.aborted) leg.leave();
  }

  async #locate(leg: Leg, isFirst: boolean): Promise<void> {
    const { feed } = leg;
    const { epoch } = feed;
    const located = await feed.locate(leg.place);
    // Ahead of everything: usually a position whose events are on their way; of a log that was restored, ahead of all that will come.
    if (isFirst && comparePlaces(leg.place, feed.head.place) > 0 && (await feed.isAheadOfLog(leg.place))) {
      return this.#gap(leg, feed.head.place);
    }
    if (located.gap !== undefined) return this.#gap(leg, located.gap.oldest);
    leg.seq = located.seq;
    leg.epoch = epoch;
  }

  async #page(leg: Leg): Promise<void> {
    const page = await leg.feed.page(leg.seq!, leg.place, PAGE);
    if (this.#stopping.signal.aborted) return;
    if ("again" in page) await pause(AGAIN_MS / 4);
    else if ("gap" in page) this.#gap(leg, page.gap.oldest);
    else for (const event of page.events) leg.pass(event);
  }

  #gap(leg: Leg, oldest: LogPlace): void {
    this.#options.missed(leg.feed.context, oldest);
    leg.place = oldest;
    leg.seq = undefined;
  }
}
