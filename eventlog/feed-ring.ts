/** The newest events of a feed in memory: every one after `coveredFrom`, in order. */
import { comparePlaces, type LogPlace } from "@millrace/contracts/position.ts";
import type { FeedEvent } from "./cloudevents.ts";

export class Ring {
  readonly #most: number;
  readonly #mostBytes: number;
  #events: (FeedEvent | undefined)[] = [];
  /** Index of the oldest that still counts: what stands before it is cut off now and then. */
  #start = 0;
  #bytes = 0;
  /** Every event of the feed after this sequence, and up to the newest, is here. */
  coveredFrom: number;

  constructor(most: number, mostBytes: number, coveredFrom = 0) {
    this.#most = most;
    this.#mostBytes = mostBytes;
    this.coveredFrom = coveredFrom;
  }

  /** Forgets all. */
  reset(coveredFrom: number): void {
    this.#events = [];
    this.#start = 0;
    this.#bytes = 0;
    this.coveredFrom = coveredFrom;
  }

  push(event: FeedEvent): void {
    this.#events.push(event.keep());
    this.#bytes += event.bytes;
    while (this.length > 1 && (this.length > this.#most || this.#bytes > this.#mostBytes)) {
      const oldest = this.#events[this.#start]!;
      this.#events[this.#start++] = undefined;
      this.#bytes -= oldest.bytes;
      this.coveredFrom = oldest.seq;
    }
    if (this.#start > this.#most) {
      this.#events = this.#events.slice(this.#start);
      this.#start = 0;
    }
  }

  get length(): number {
    return this.#events.length - this.#start;
  }

  get first(): FeedEvent | undefined {
    return this.#events[this.#start];
  }

  /** Events after a sequence, oldest first. */
  *after(seq: number): Generator<FeedEvent> {
    for (let i = this.#find((event) => event.seq > seq); i < this.#events.length; i++) yield this.#events[i]!;
  }

  /** Sequence of the last event at or before a place; `coveredFrom` when all are after it. */
  seqAt(place: LogPlace): number {
    const next = this.#find((event) => comparePlaces(event.place, place) > 0);
    return next === this.#start ? this.coveredFrom : this.#events[next - 1]!.seq;
  }

  /** Index of the first event for which it holds; it must hold for all after that one. */
  #find(holds: (event: FeedEvent) => boolean): number {
    let low = this.#start;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (holds(this.#events[middle]!)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
