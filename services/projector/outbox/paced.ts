/**
 * Deliveries of a channel with quiet hours, a digest or a flood cap: in order, one message at a time. An event is told by itself, or
 * gathered into what is told of many; that is of bounded size and stands in the record together with the places it covers. Before it
 * is sent it is fixed there, so that after a crash the same message is sent. Events that are neither told nor gathered hold the places
 * back: they stand in the feed.
 */
import { RETRY_MS } from "@millrace/contracts/integrations/values.ts";
import { comparePlaces, type LogPlace } from "@millrace/contracts/position.ts";
import type { ChannelState } from "@millrace/domain/integrations/channel.ts";
import {
  floodEnd,
  type Gathered,
  gather,
  gatheredMessage,
  gatheredText,
  isHeld,
  mayTellAt,
  type Spent,
  spend,
} from "@millrace/domain/integrations/pace.ts";
import { type FeedEvent, placeText } from "@millrace/eventlog/cloudevents.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { justBefore } from "@millrace/eventlog/feed.ts";
import type { HeldRecord, OutboxRecord } from "@millrace/eventlog/outbox-records.ts";
import type { ChannelSender } from "./channel.ts";
import { type Courier, type Destination, SKIP } from "./destination.ts";
import { messageOf, THROTTLE } from "./lanes.ts";
import type { Outcome } from "./sender.ts";

const QUEUED_MOST = 256;
const AGAIN_MS = 1_000;
const TIMER_MOST_MS = 2 ** 31 - 1;
const SUMMARY_TYPE = "millrace.integrations.ChannelSummary.v1";

/** A message of many events, as it is sent with every try. */
interface Outgoing {
  readonly message: string;
  readonly text: string;
  readonly subject: string;
  /** Events in it, and when it began; milliseconds since 1970. */
  readonly count: number;
  readonly since: number;
}

/** What was under way by lanes, before the channel had a pace: everything up to the places was told, but for these entities. */
interface Before {
  readonly places: Readonly<Record<string, LogPlace>>;
  readonly held: ReadonlyArray<Pick<HeldRecord, "context" | "kind" | "id" | "after">>;
}

/** In the record's `pace`. */
interface PaceRecord {
  readonly spent: Spent;
  readonly gathered?: Gathered;
  readonly outgoing?: Outgoing;
  readonly before?: Before;
  /** The message that `held` tells of. */
  readonly failing?: string;
}

interface Failing extends HeldRecord {
  readonly message: string;
}

/** Whether something was gathered that lanes know nothing of. */
export const isGathering = ({ pace }: OutboxRecord): boolean => {
  const { gathered, outgoing, before } = (pace ?? {}) as Partial<PaceRecord>;
  return gathered !== undefined || outgoing !== undefined || before !== undefined;
};

export class Paced implements Courier {
  /** By context: where reading begins. */
  readonly from: Readonly<Record<string, LogPlace>>;
  readonly #destination: Destination;
  readonly #sender: ChannelSender;
  readonly #spec: NonNullable<ChannelState["spec"]>;
  readonly #queue: FeedEvent[] = [];
  #spent: Spent;
  #gathered: Gathered | undefined;
  #outgoing: Outgoing | undefined;
  #before: Before | undefined;
  #failing: Failing | undefined;
  /** What is to be sent stands in the record. */
  #isFixed: boolean;
  #throttledUntil: number;
  #throttles = 0;
  #deliveredAt: number;
  #isSuspect = false;
  #over = false;
  #running: Promise<void> | undefined;
  /** Something came while it ran, perhaps after it had looked for the last time. */
  #isAwaited = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(destination: Destination, record: OutboxRecord) {
    this.#destination = destination;
    this.#sender = destination.sender as ChannelSender;
    this.#spec = destination.state.spec as NonNullable<ChannelState["spec"]>;
    this.#throttledUntil = record.throttledUntil;
    this.#deliveredAt = record.deliveredAt;
    const own = record.pace as PaceRecord | undefined;
    this.#spent = own?.spent ?? { since: 0, count: 0 };
    this.#gathered = own?.gathered;
    this.#outgoing = own?.outgoing;
    this.#isFixed = own?.outgoing !== undefined;
    const [held] = record.held;
    if (own?.failing !== undefined && held !== undefined) this.#failing = { ...held, message: own.failing };
    this.#before = own === undefined && held !== undefined ? { places: record.places, held: record.held } : own?.before;
    this.from = own === undefined ? rewound(record) : record.places;
  }

  begin(): void {
    this.#wake();
  }

  full(): boolean {
    return this.#over || this.#queue.length >= QUEUED_MOST;
  }

  take(event: FeedEvent): void {
    if (this.#wasTold(event)) return;
    this.#queue.push(event);
    this.#wake();
  }

  /** By lanes, before there was a pace. */
  #wasTold({ context, kind, id, place }: FeedEvent): boolean {
    const told = this.#before?.places[context];
    if (told === undefined || comparePlaces(place, told) > 0) return false;
    const held = this.#before!.held.find((one) => one.id === id && one.kind === kind && one.context === context);
    return held === undefined || comparePlaces(place, held.after) <= 0;
  }

  remember(): ReturnType<Courier["remember"]> {
    const places: Record<string, LogPlace> = { ...this.from, ...this.#destination.reader.places };
    // The first of each context that is neither told nor gathered; it is set last.
    for (const { context, place } of this.#queue.toReversed()) places[context] = justBefore(place);
    const wasTold = Object.entries(this.#before?.places ?? {});
    if (wasTold.every(([context, place]) => comparePlaces(places[context]!, place) >= 0)) {
      this.#before = undefined;
    }
    const failing = this.#failing;
    const pace: PaceRecord = {
      spent: this.#spent,
      ...(this.#gathered === undefined ? {} : { gathered: this.#gathered }),
      ...(this.#outgoing === undefined ? {} : { outgoing: this.#outgoing }),
      ...(this.#before === undefined ? {} : { before: this.#before }),
      ...(failing === undefined ? {} : { failing: failing.message }),
    };
    const held = failing === undefined ? [] : [failing];
    return { places, held, pace, throttledUntil: this.#throttledUntil, deliveredAt: this.#deliveredAt };
  }

  async stop(graceMs: number): Promise<void> {
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#running === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
  }

  #wake(): void {
    if (this.#over) return;
    this.#isAwaited = this.#running !== undefined;
    if (this.#isAwaited) return;
    clearTimeout(this.#timer);
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#isAwaited) this.#wake();
    });
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    let at: number | undefined = 0;
    // Never within the fan-out of an event.
    await new Promise((resolve) => setImmediate(resolve));
    try {
      while (!this.#over && at !== undefined && at <= Date.now()) at = await this.#step();
    } catch (error) {
      // NATS is away, or the secret cannot be opened: no fault of the receiver's.
      this.#destination.parts.logger.warn({ err: error, destination: this.#destination.id }, "a message waits");
      at = Date.now() + AGAIN_MS;
    }
    if (this.#over || at === undefined) return;
    const waitMs = Math.min(TIMER_MOST_MS, Math.max(0, at - Date.now()));
    this.#timer = setTimeout(() => this.#wake(), waitMs);
  }

  /** Does what is next. @returns when there is more to do, in milliseconds since 1970; undefined: when the next event comes */
  async #step(): Promise<number | undefined> {
    const now = Date.now();
    const pace = this.#spec.pace ?? {};
    this.#gatherHeld(now);
    const [event] = this.#queue;
    const message = this.#outgoing?.message ?? (event === undefined ? undefined : messageOf(event));
    if (this.#outgoing === undefined && this.#gathered !== undefined) {
      const at = mayTellAt(pace, this.#spent, now, this.#gathered.since);
      if (at <= now) this.#close(this.#gathered);
      return at;
    }
    if (message === undefined) return undefined;
    const failing = this.#failing?.message === message ? this.#failing : undefined;
    if (failing?.attempts === SKIP) {
      this.#done();
      return now;
    }
    if (failing?.nextAt === null) return undefined;
    const at = Math.max(mayTellAt(pace, this.#spent, now), this.#throttledUntil, failing?.nextAt ?? 0);
    if (at > now) return at;
    if (this.#outgoing !== undefined && !this.#isFixed) {
      this.#destination.changed();
      if (!(await this.#destination.written())) return now + AGAIN_MS;
      this.#isFixed = true;
    }
    await this.#tell(message, event);
    return Date.now();
  }

  /** Takes from the queue what is not told by itself. */
  #gatherHeld(now: number): void {
    const { pace = {}, service } = this.#spec;
    const isFlood = floodEnd(pace.flood, this.#spent, now) > now;
    for (let event = this.#queue[0]; event !== undefined; event = this.#queue[0]) {
      const isBehind = this.#gathered !== undefined || this.#outgoing !== undefined;
      const message = messageOf(event);
      // One that has failed goes on as what it was.
      const canWait = this.#failing?.message !== message && isHeld(pace, this.#spent, now);
      if (!isBehind && !canWait) break;
      const line = isFlood ? undefined : this.#sender.line(event);
      this.#gathered = gather(service, this.#gathered, { message, type: event.type, line }, now);
      if (this.#failing?.message === message) this.#failing = undefined;
      this.#queue.shift();
      this.#destination.changed();
    }
    if (!this.full()) this.#destination.reader.room();
  }

  /** Nothing is added any more. */
  #close(gathered: Gathered): void {
    this.#outgoing = {
      message: gatheredMessage(gathered),
      text: gatheredText(this.#spec.service, gathered),
      subject: `${gathered.count} events`,
      count: gathered.count,
      since: gathered.since,
    };
    this.#isFixed = false;
    this.#gathered = undefined;
  }

  /** What was under way is through. */
  #done(): void {
    if (this.#outgoing === undefined) this.#queue.shift();
    this.#outgoing = undefined;
    this.#failing = undefined;
    this.#destination.changed();
    if (!this.full()) this.#destination.reader.room();
  }

  /** @param event told by itself, unless a message of many is there */
  async #tell(message: string, event: FeedEvent | undefined): Promise<void> {
    const { parts } = this.#destination;
    const outgoing = this.#outgoing;
    const give = await parts.slots.take(this.#isSuspect);
    try {
      if (this.#over) return;
      const began = performance.now();
      faultPoint(outgoing === undefined ? "outbox.send.before" : "outbox.summary.before");
      const outcome =
        outgoing === undefined
          ? await this.#sender.send(event!, message)
          : await this.#sender.say(outgoing.text, message, outgoing.subject);
      faultPoint(outgoing === undefined ? "outbox.send.after" : "outbox.summary.after");
      this.#settle(message, outgoing === undefined ? event : undefined, {
        ...outcome,
        durationMs: performance.now() - began,
      });
    } finally {
      give();
    }
  }

  #settle(message: string, event: FeedEvent | undefined, outcome: Outcome & { readonly durationMs: number }): void {
    const now = Date.now();
    const known = this.#failing?.message === message ? this.#failing : undefined;
    const attempts = (known?.attempts ?? 0) + 1;
    const what = {
      ...{ message, attempt: attempts, type: event?.attribute("type") ?? SUMMARY_TYPE },
      ...(event === undefined ? {} : { event: placeText(event.place), source: event.attribute("source") }),
    };
    this.#isSuspect = !outcome.ok;
    if (outcome.ok) {
      this.#destination.tried(what, outcome);
      this.#throttles = 0;
      this.#deliveredAt = now;
      this.#spent = spend(this.#spec.pace?.flood, this.#spent, now);
      this.#done();
      return;
    }
    const scale = this.#destination.parts.retryScale;
    if (outcome.throttle !== undefined) {
      const usual = Math.min(THROTTLE.mostMs, THROTTLE.leastMs * 2 ** this.#throttles++) * scale;
      this.#throttledUntil = Math.max(this.#throttledUntil, now + (outcome.throttle.forMs ?? usual));
    }
    const retryMs = outcome.gone === true ? undefined : RETRY_MS[attempts - 1];
    const nextAt =
      retryMs === undefined
        ? null
        : Math.max(now + retryMs * scale * (0.9 + 0.2 * Math.random()), this.#throttledUntil);
    const { context, kind, id } = event ?? { context: "integrations", kind: "channel", id: this.#destination.id };
    const after = event === undefined ? { seq: 0, index: 0 } : justBefore(event.place);
    this.#failing = { message, context, kind, id, after, attempts, nextAt, since: known?.since || now };
    this.#destination.tried(what, outcome, nextAt ?? undefined);
    this.#destination.changed();
    if (nextAt !== null) return;
    this.#over = true;
    const { resumes } = this.#destination.state;
    const { reason } = outcome;
    void this.#destination.tell({ do: outcome.gone === true ? "disable" : "park", reason, resumes });
  }
}

/** Read again from the first that was held back; what was told since is known by it. */
function rewound({ places, held }: OutboxRecord): Record<string, LogPlace> {
  const from = { ...places };
  for (const { context, after } of held) {
    if (from[context] === undefined || comparePlaces(after, from[context]) < 0) from[context] = after;
  }
  return from;
}
