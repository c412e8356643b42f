/** A leg: the way of one subscriber through one context's feed. */
import { comparePlaces, encodePosition, type LogPlace } from "@millrace/contracts/position.ts";
import type { FeedEvent } from "./cloudevents.ts";
import { justBefore } from "./feed.ts";
import type { ContextFeed } from "./feed-context.ts";

/** What a leg lets through; sets that are left out let all through. */
export interface LegFilter {
  readonly organisation: string;
  readonly ids?: ReadonlySet<string>;
  readonly kinds?: ReadonlySet<string>;
  readonly types?: ReadonlySet<string>;
  /** Whether this event may be seen, where that is not told by its id alone. Asked of every event of the organisation, in order. */
  readonly admits?: (event: FeedEvent) => boolean;
}

/** What happens to a leg is decided by the hub. */
export interface LegOwner {
  /** Sends, unless it may no longer be sent. */
  readonly send: (event: FeedEvent) => void;
  /** Whether the socket holds more than it should. */
  readonly full: () => boolean;
  /** The leg has left the live tail and must catch up. @param slow its own socket was the reason */
  readonly demoted: (leg: Leg, slow: boolean) => void;
}

/**
 * A subscriber's way through one context. While it catches up, `seq` and `place` are what it has passed, matching or not. Live, it
 * has passed the feed's head; `place` may be ahead of that (a client that came with the position of a command
 * which has not been relayed yet).
 */
export class Leg {
  readonly feed: ContextFeed;
  readonly filter: LegFilter;
  readonly #owner: LegOwner;
  place: LogPlace;
  /** On the feed; undefined: to be located. */
  seq: number | undefined;
  epoch: number;
  live = false;
  /** It was live once and could not follow. */
  wasSlow = false;

  constructor(feed: ContextFeed, filter: LegFilter, place: LogPlace, owner: LegOwner) {
    this.feed = feed;
    this.filter = filter;
    this.place = place;
    this.epoch = feed.epoch;
    this.#owner = owner;
  }

  #matches(event: FeedEvent): boolean {
    const { organisation, ids, kinds, types, admits } = this.filter;
    return (
      event.organisation === organisation &&
      (admits === undefined || admits(event)) &&
      (ids === undefined || ids.has(event.id)) &&
      (kinds === undefined || kinds.has(event.kind)) &&
      (types === undefined || types.has(event.type))
    );
  }

  /** While catching up: the next event of the feed, whosoever it is. */
  pass(event: FeedEvent): void {
    this.seq = event.seq;
    if (comparePlaces(event.place, this.place) <= 0) return;
    this.place = event.place;
    if (this.#matches(event)) this.#owner.send(event);
  }

  /** In one tick: what the ring has more, then live. @returns false when the socket is full before the end */
  join(): boolean {
    for (const event of this.feed.ring.after(this.seq!)) {
      if (this.#owner.full()) return false;
      this.pass(event);
    }
    this.live = true;
    this.feed.add(this);
    return true;
  }

  /** Live: an event of this organisation, and of this id where ids are asked for. */
  offer(event: FeedEvent): void {
    if (comparePlaces(event.place, this.place) <= 0 || !this.#matches(event)) return;
    if (!this.#owner.full()) {
      this.#owner.send(event);
      return;
    }
    this.wasSlow = true;
    this.backTo(event.seq - 1, event.previous ?? justBefore(event.place), true);
  }

  /** Out of the live tail, to catch up from there. */
  backTo(seq: number, place: LogPlace, slow = false): void {
    if (!this.live) return;
    this.leave();
    this.seq = seq;
    if (comparePlaces(this.place, place) < 0) this.place = place;
    this.#owner.demoted(this, slow);
  }

  leave(): void {
    if (this.live) this.feed.remove(this);
    this.live = false;
  }

  /** Everything up to here has been passed. */
  get passed(): LogPlace {
    return this.live && comparePlaces(this.feed.head.place, this.place) > 0 ? this.feed.head.place : this.place;
  }

  /** Live and at the head, not ahead of it. */
  get atHead(): boolean {
    return this.live && comparePlaces(this.place, this.feed.head.place) <= 0;
  }
}

/** The position of several legs together. */
export const positionOf = (legs: ReadonlyArray<Leg>): string =>
  encodePosition(Object.fromEntries(legs.map((leg) => [leg.feed.context, leg.passed])));
