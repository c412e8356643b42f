/** One context's feed as who follows it for many sees it (the hub, the outbox): its tail, the ring of what was newest, and who listens live. */
import { comparePlaces, type LogPlace } from "@millrace/contracts/position.ts";
import type { FeedEvent } from "./cloudevents.ts";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import {
  atBeginning,
  BEGINNING,
  type FeedState,
  feedState,
  type Located,
  locate,
  RelayMarks,
  readFeed,
  tailFeed,
} from "./feed.ts";
import type { Leg } from "./feed-leg.ts";
import { Ring } from "./feed-ring.ts";
import { logStream } from "./subjects.ts";

export interface FeedOptions {
  readonly nats: Nats;
  readonly context: string;
  readonly ringEvents: number;
  readonly ringBytes: number;
  readonly signal: AbortSignal;
  /** Something new is at the head. */
  readonly onHead: () => void;
  readonly onTrouble: (error: unknown) => void;
}

/** What the tail began with may be trimmed before it is read: after this long it begins anew. */
const READY_MS = 10_000;

/** Pages kept for others who catch up, of four megabytes at the most, and for how long. */
const PAGES_MOST = 8;
const PAGE_MS = 5_000;

/** Who listens live, so that an event finds its listeners without asking all. */
class Listeners {
  readonly all = new Set<Leg>();
  readonly byId = new Map<string, Set<Leg>>();
}

export class ContextFeed {
  readonly context: string;
  readonly ring: Ring;
  /** The newest event that was seen; the place is 0.0 while there was none. */
  head: { seq: number; place: LogPlace } = { seq: 0, place: BEGINNING };
  /** Counts how often sequences have changed their meaning: what was located before must be located again. */
  epoch = 0;
  /** The whole of the feed was seen up to where it ended when the tail began. */
  ready = false;
  /** Whether the tail hears: if not, the head may be outdated. */
  hearing = false;
  readonly #options: FeedOptions;
  readonly #listeners = new Map<string, Listeners>();
  /** Pages that were read lately, by their first sequence: who comes back after a restart comes back with all others. */
  readonly #pages = new Map<number, Promise<ReadonlyArray<FeedEvent>>>();
  #made: string | undefined;
  #restart: AbortController | undefined;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.context = options.context;
    this.ring = new Ring(options.ringEvents, options.ringBytes);
  }

  /** Follows the feed until the signal is aborted; never rejects. */
  async run(): Promise<void> {
    const { nats, context, signal, onTrouble } = this.#options;
    while (!signal.aborted) {
      const restart = new AbortController();
      this.#restart = restart;
      const late = setTimeout(() => this.ready || restart.abort(), READY_MS);
      try {
        const state = await feedState(nats, context);
        if (!this.ready || state.made !== this.#made || state.lastSeq < this.head.seq) await this.#begin(state);
        this.ready ||= this.head.seq >= state.lastSeq;
        const target = state.lastSeq;
        await tailFeed(nats, {
          context,
          fromSeq: this.head.seq + 1,
          signal: AbortSignal.any([signal, restart.signal]),
          onHearing: (hearing) => {
            this.hearing = hearing;
          },
          onEvent: (event) => {
            this.#take(event);
            this.ready ||= event.seq >= target;
          },
        });
      } catch (error) {
        onTrouble(error);
      }
      clearTimeout(late);
      this.hearing = false;
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 200));
    }
  }

  /** The connection came back: a new consumer is quicker than finding out whether the old one lives. */
  reconnected(): void {
    this.#restart?.abort();
  }

  /** A feed that was not known: its newest events go into the ring. @throws LogUnavailable */
  async #begin(state: FeedState): Promise<void> {
    const { nats, context, ringEvents } = this.#options;
    const from = Math.max(state.firstSeq, state.lastSeq - ringEvents + 1);
    let place = BEGINNING;
    if (from > state.lastSeq && state.lastSeq > 0) {
      const mark = await (await RelayMarks.open(nats)).read(context, state.made);
      if (mark?.feedSeq !== state.lastSeq) {
        throw new LogUnavailable({
          what: "NATS",
          cause: "the feed is empty and its relay has not said how far it had come",
        });
      }
      place = mark.last;
    }
    const known = this.#made !== undefined;
    this.#made = state.made;
    this.ready = false;
    this.#lose(from - 1, known);
    this.head = { seq: from - 1, place };
    this.#options.onHead();
  }

  /** Sequences mean something else from now on, or some are missing: live listeners must look where they are. */
  #lose(coveredFrom: number, newEpoch: boolean): void {
    this.ring.reset(coveredFrom);
    this.#pages.clear();
    if (newEpoch) this.epoch++;
    const at = this.head;
    for (const { all, byId } of this.#listeners.values()) {
      for (const leg of [...all, ...[...byId.values()].flatMap((legs) => [...legs])]) leg.backTo(at.seq, at.place);
    }
  }

  #take(event: FeedEvent): void {
    if (event.seq <= this.head.seq) return;
    const { previous, place } = event;
    const empty = this.ring.length === 0;
    if (comparePlaces(place, this.head.place) <= 0) {
      this.#lose(event.seq - 1, true); // The feed was emptied and is filled again from the log.
    } else if (
      !empty &&
      event.seq !== this.head.seq + 1 &&
      (previous === undefined || comparePlaces(previous, this.head.place) > 0)
    ) {
      this.#lose(event.seq - 1, false); // Trimmed or deleted while nobody listened: who reads on will find out which.
    }
    this.ring.push(event);
    this.head = { seq: event.seq, place };
    this.#options.onHead();
    const listeners = this.#listeners.get(event.organisation);
    if (listeners === undefined) return;
    for (const leg of listeners.byId.get(event.id) ?? []) leg.offer(event);
    for (const leg of listeners.all) leg.offer(event);
  }

  add(leg: Leg): void {
    const { organisation, ids } = leg.filter;
    let listeners = this.#listeners.get(organisation);
    if (listeners === undefined) {
      listeners = new Listeners();
      this.#listeners.set(organisation, listeners);
    }
    if (ids === undefined) listeners.all.add(leg);
    for (const id of ids ?? []) {
      const legs = listeners.byId.get(id);
      if (legs === undefined) listeners.byId.set(id, new Set([leg]));
      else legs.add(leg);
    }
  }

  remove(leg: Leg): void {
    const { organisation, ids } = leg.filter;
    const listeners = this.#listeners.get(organisation);
    if (listeners === undefined) return;
    listeners.all.delete(leg);
    for (const id of ids ?? []) {
      const legs = listeners.byId.get(id);
      legs?.delete(leg);
      if (legs?.size === 0) listeners.byId.delete(id);
    }
    if (listeners.all.size === 0 && listeners.byId.size === 0) this.#listeners.delete(organisation);
  }

  /** Where a place lies. @throws LogUnavailable, also while the newest events are not all known */
  async locate(place: LogPlace): Promise<Located> {
    if (!this.ready) throw new LogUnavailable({ what: "NATS", cause: "the feed is still being read" });
    if (comparePlaces(place, this.head.place) >= 0) return { seq: this.head.seq };
    const { first } = this.ring;
    if (first === undefined) return { seq: this.head.seq, gap: { oldest: this.head.place } };
    if (comparePlaces(place, first.place) >= 0) return { seq: this.ring.seqAt(place) };
    const near = atBeginning(first, place);
    return near.gap === undefined ? near : locate(this.#options.nats, this.context, place, first);
  }

  /** Whether the log itself has not come so far: the place is another log's, or of before this one was restored. @throws LogUnavailable */
  async isAheadOfLog(place: LogPlace): Promise<boolean> {
    try {
      const { state } = await this.#options.nats.jsm.streams.info(logStream(this.context));
      return place.seq > state.last_seq;
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
  }

  /**
   * The events after a sequence, at least one, unless something is in the way: `again` later (a replica is behind, or sequences
   * have changed their meaning), or a gap.
   * @throws LogUnavailable
   */
  async page(
    afterSeq: number,
    place: LogPlace,
    most: number,
  ): Promise<
    | { readonly events: ReadonlyArray<FeedEvent> }
    | { readonly again: true }
    | { readonly gap: { readonly oldest: LogPlace } }
  > {
    const { nats, context } = this.#options;
    const events = await this.#read(afterSeq, most);
    const next = events[0];
    if (next !== undefined && next.seq === afterSeq + 1) return { events };
    const state = await feedState(nats, context);
    if (state.made !== this.#made) return { again: true };
    if (next === undefined) {
      if (state.firstSeq <= state.lastSeq) return { again: true };
      // Nothing is left but what the ring holds.
      const { first } = this.ring;
      const gone = first === undefined ? this.head.place : (first.previous ?? BEGINNING);
      if (comparePlaces(place, gone) < 0) return { gap: { oldest: gone } };
      return { events: [...this.ring.after(afterSeq)] };
    }
    // Before the feed's beginning it was trimmed; within it messages are deleted only on purpose.
    const gap = afterSeq + 1 < state.firstSeq ? atBeginning(next, place).gap : undefined;
    return gap === undefined ? { events } : { gap };
  }

  /** Pages begin at multiples of their length, so that one reading and decoding serves all who pass by. */
  async #read(afterSeq: number, most: number): Promise<ReadonlyArray<FeedEvent>> {
    const { nats, context } = this.#options;
    const start = afterSeq - (afterSeq % most) + 1;
    let page = this.#pages.get(start);
    if (page === undefined) {
      const reading = readFeed(nats, context, start, most);
      page = reading;
      this.#pages.set(start, page);
      if (this.#pages.size > PAGES_MOST) this.#pages.delete(this.#pages.keys().next().value!);
      // What is not full grows, and what could not be read is read again.
      const forget = () => void (this.#pages.get(start) === reading && this.#pages.delete(start));
      reading.then((events) => (events.length < most ? forget() : setTimeout(forget, PAGE_MS).unref()), forget);
    }
    const events = (await page).filter(({ seq }) => seq > afterSeq);
    return events.length > 0 ? events : readFeed(nats, context, afterSeq + 1, most);
  }
}
