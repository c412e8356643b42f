/**
 * What every destination does, whatever is sent and how: begins where it stopped, remembers how far it has come, tells what people must
 * know as events, and hands over. How events become deliveries is a `Courier`'s: one for webhooks, one for channels.
 */

import type { Delivery } from "@millrace/contracts/integrations/entities.ts";
import type { EventsFilter } from "@millrace/contracts/integrations/values.ts";
import { comparePlaces, decodePosition, type LogPlace } from "@millrace/contracts/position.ts";
import type { DestinationCommand, DestinationState } from "@millrace/domain/integrations/destination.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { type FeedEvent, placeText } from "@millrace/eventlog/cloudevents.ts";
import type { DeliveryLog } from "@millrace/eventlog/deliveries.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute } from "@millrace/eventlog/execute.ts";
import { AppendConflict } from "@millrace/eventlog/failures.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { placeAtTime } from "@millrace/eventlog/feed.ts";
import type { ContextFeed } from "@millrace/eventlog/feed-context.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import type { OutboxRecord, OutboxRecords } from "@millrace/eventlog/outbox-records.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { metrics } from "@millrace/eventlog/telemetry.ts";
import { nuid } from "@nats-io/transport-node";
import { Reader } from "./reader.ts";
import type { Outcome, Sender } from "./sender.ts";
import type { Slots, Turns } from "./turns.ts";

/** What all destinations of a process share. */
export interface Parts {
  readonly log: EventLog;
  readonly logger: Logger;
  readonly records: OutboxRecords;
  readonly deliveries: DeliveryLog;
  readonly feeds: ReadonlyMap<string, ContextFeed>;
  readonly slots: Slots;
  readonly turns: Turns;
  /** Times of the retry table are multiplied by it; 1 but in tests. */
  readonly retryScale: number;
}

export interface DestinationSpec {
  readonly name: string;
  readonly events: EventsFilter;
}
export type AnyState = DestinationState<DestinationSpec>;

/** How events become deliveries. */
export interface Courier {
  /** Whether it holds as much as it should. */
  full(): boolean;
  take(event: FeedEvent): void;
  /** Begins to deliver, what is held first. */
  begin(): void;
  /** Lets what is under way come to its end, for a while. */
  stop(graceMs: number): Promise<void>;
  /** Where reading begins by context, when it is not at the record's places. */
  readonly from?: Readonly<Record<string, LogPlace>>;
  /** What must be remembered; places, when they are not those that were read. */
  remember(): Pick<OutboxRecord, "held" | "throttledUntil" | "deliveredAt" | "pace"> &
    Partial<Pick<OutboxRecord, "places">>;
}

const FLUSH_MS = 400;
/** Nothing was sent, but places move on all the same: written now and then, so that a restart need not read everything since. */
const IDLE_MS = 10 * 60_000;
const GRACE_MS = 4_000;
const AGAIN_MS = 1_000;

const EMPTY: OutboxRecord = {
  replays: -1,
  resumes: 0,
  tests: 0,
  places: {},
  held: [],
  throttledUntil: 0,
  deliveredAt: 0,
  writtenAt: 0,
};

export class Destination {
  readonly id: string;
  readonly state: AnyState;
  readonly parts: Parts;
  readonly sender: Sender;
  /** Aborted when nothing more is to be sent. */
  readonly signal: AbortSignal;
  readonly #kind: Kind<AnyState, DestinationCommand<DestinationSpec>>;
  readonly #stopping = new AbortController();
  readonly #makeCourier: (destination: Destination, record: OutboxRecord) => Courier;
  #courier: Courier | undefined;
  #reader: Reader | undefined;
  #record: OutboxRecord = EMPTY;
  #seq = 0;
  #dirty = false;
  #flushing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #beginning: Promise<void> = Promise.resolve();
  #testing: Promise<void> = Promise.resolve();

  constructor(
    parts: Parts,
    kind: Kind<any, any>,
    state: AnyState,
    sender: Sender,
    courier: (destination: Destination, record: OutboxRecord) => Courier,
  ) {
    this.id = state.id;
    this.parts = parts;
    this.state = state;
    this.sender = sender;
    this.signal = this.#stopping.signal;
    this.#kind = kind;
    this.#makeCourier = courier;
  }

  /** Begins in the background, however long NATS is away; never rejects. */
  begin(): void {
    this.#beginning = this.#begin();
  }

  async #begin(): Promise<void> {
    while (!this.signal.aborted) {
      try {
        await this.#load();
        break;
      } catch (error) {
        this.parts.logger.warn({ err: error, destination: this.id }, "a destination waits");
        await pause(AGAIN_MS, this.signal);
      }
    }
    if (this.signal.aborted) return;
    if (this.state.tests > this.#record.tests) this.#testing = this.#test(this.state.tests);
    this.#idle = setInterval(() => this.changed(), IDLE_MS * (0.75 + Math.random() / 2));
    if (this.state.state === "active") this.#deliver();
  }

  async #load(): Promise<void> {
    const { parts, state } = this;
    const { record, seq } = await parts.records.read(this.id);
    this.#seq = seq;
    this.#record = record ?? EMPTY;
    if (this.#record.replays < state.start.replays) {
      const places = await this.#startPlaces();
      // What was held of before is within what is sent again, or before it and not wanted any more.
      this.#record = {
        ...EMPTY,
        ...record,
        places,
        held: [],
        pace: undefined,
        throttledUntil: 0,
        replays: state.start.replays,
      };
      this.#dirty = true;
    }
    if (this.#record.resumes < state.resumes) {
      const held = this.#record.held.map((one) =>
        one.attempts === 0 ? one : { ...one, attempts: isOut(one) && state.skips ? SKIP : 0, nextAt: 0, since: 0 },
      );
      this.#record = { ...this.#record, held, throttledUntil: 0, resumes: state.resumes };
      this.#dirty = true;
    }
    // So that what was decided here is decided once: a crash after the first delivery must not begin elsewhere.
    if (this.#dirty) await this.#write();
  }

  async #startPlaces(): Promise<Record<string, LogPlace>> {
    const { position, time } = this.state.start;
    if (time === undefined) return { ...(position === undefined ? {} : decodePosition(position)) };
    const places: Record<string, LogPlace> = {};
    for (const context of this.parts.feeds.keys()) {
      places[context] = await placeAtTime(this.parts.log.nats, context, Date.parse(time));
    }
    return places;
  }

  #deliver(): void {
    const { events } = this.state.spec!;
    const courier = this.#makeCourier(this, this.#record);
    this.#courier = courier;
    const feeds = [...this.parts.feeds.values()].filter(
      ({ context }) => events.context === undefined || events.context.includes(context),
    );
    this.#reader = new Reader({
      feeds,
      filter: {
        organisation: this.state.organisation,
        ...(events.id === undefined ? {} : { ids: new Set(events.id) }),
        ...(events.kind === undefined ? {} : { kinds: new Set(events.kind) }),
        ...(events.type === undefined ? {} : { types: new Set(events.type) }),
      },
      places: courier.from ?? this.#record.places,
      turns: this.parts.turns,
      take: (event) => courier.take(event),
      full: () => courier.full(),
      missed: (context, oldest) => {
        void this.tell({ do: "missed", context, resumedAt: placeText(oldest) });
      },
    });
    courier.begin();
    this.#reader.begin();
  }

  get reader(): Reader {
    return this.#reader!;
  }

  /** Hands over: nothing is sent any more when it resolves. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    clearInterval(this.#idle);
    clearTimeout(this.#timer);
    await this.#beginning;
    this.#reader?.stop();
    await this.#courier?.stop(GRACE_MS);
    await this.#testing;
    await this.#flushing;
    if (this.#dirty || this.#hasMoved()) await this.#write().catch(() => {});
  }

  #hasMoved(): boolean {
    const places = this.#reader?.places ?? {};
    return Object.entries(places).some(([context, place]) => {
      const known = this.#record.places[context];
      return known === undefined || comparePlaces(known, place) !== 0;
    });
  }

  /** Something is to be remembered: written in a moment, with whatever comes until then. */
  changed(): void {
    this.#dirty = true;
    if (this.#timer !== undefined || this.signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#flushing = this.#flushing.then(async () => {
        await this.#flush();
      });
    }, FLUSH_MS);
  }

  /** What is to be remembered is written now. @returns whether it is */
  async written(): Promise<boolean> {
    let isWritten = false;
    this.#flushing = this.#flushing.then(async () => {
      isWritten = await this.#flush();
    });
    await this.#flushing;
    return isWritten;
  }

  /** Never rejects. @returns false: it could not be written */
  async #flush(): Promise<boolean> {
    if (!this.#dirty) return true;
    try {
      await this.#write();
      return true;
    } catch (error) {
      if (error instanceof AppendConflict) {
        // Another process delivers: this one has lost its lease and will be told.
        this.parts.logger.warn({ destination: this.id }, "another process delivers");
        this.#stopping.abort();
        this.#reader?.stop();
      } else {
        this.parts.logger.warn({ err: error, destination: this.id }, "the outbox could not write; again soon");
        this.changed();
      }
      return false;
    }
  }

  async #write(): Promise<void> {
    this.#dirty = false;
    const record: OutboxRecord = {
      ...this.#record,
      ...(this.#reader === undefined ? {} : { places: { ...this.#record.places, ...this.#reader.places } }),
      ...this.#courier?.remember(),
      writtenAt: Date.now(),
    };
    faultPoint("outbox.record.before");
    try {
      this.#seq = await this.parts.records.write(this.id, record, this.#seq);
    } catch (error) {
      this.#dirty = true;
      throw error;
    }
    this.#record = record;
    faultPoint("outbox.record.after");
  }

  /** Once, and whatever comes of it: people look at the deliveries. */
  async #test(test: number): Promise<void> {
    const sent = await this.sender
      .test(test)
      .catch((error: unknown) => ({ ok: false, reason: String(error) }) as Outcome);
    const message = `msg_test_${this.id}_${test}`;
    const line = { message, type: this.sender.testType, attempt: 1 };
    this.tried(line, sent);
    this.#record = { ...this.#record, tests: test };
    this.changed();
  }

  /** A line of the delivery log. */
  tried(
    what: Pick<Delivery, "message" | "event" | "type" | "source" | "attempt">,
    outcome: Outcome & { readonly durationMs?: number },
    nextAt?: number,
  ): void {
    const { ok, status, answer, durationMs = 0 } = outcome;
    metrics.outboxDeliveries.inc({ kind: this.#kind.kind, outcome: ok ? "delivered" : "failed" });
    this.parts.deliveries.add(this.state.organisation, this.id, {
      at: new Date().toISOString(),
      ...what,
      outcome: ok ? "delivered" : "failed",
      ...(status === undefined ? {} : { status }),
      ...(ok ? {} : { reason: outcome.reason }),
      durationMs: Math.round(durationMs),
      ...(answer === undefined || answer === "" ? {} : { answer }),
      ...(nextAt === undefined ? {} : { nextAt: new Date(nextAt).toISOString() }),
    });
  }

  /** What people must know becomes an event, unless it is not so any more. Tried until it is written or the end. */
  async tell(command: DestinationCommand<DestinationSpec>): Promise<void> {
    const { log, logger } = this.parts;
    const commandId = `outbox_${nuid.next()}`;
    while (!this.signal.aborted) {
      try {
        const outcome = await execute(
          log,
          { kind: this.#kind, id: this.id, command },
          {
            organisation: this.state.organisation,
            actor: { kind: "service", id: "projector", name: "outbox" },
            commandId,
            digest: "",
            correlation: commandId,
            causation: commandId,
            now: new Date().toISOString(),
          },
        );
        if ("refusal" in outcome) logger.warn({ destination: this.id, refusal: outcome.refusal }, "not recorded");
        return;
      } catch (error) {
        logger.warn({ err: error, destination: this.id }, "what happened to a destination could not be recorded yet");
        await pause(AGAIN_MS, this.signal);
      }
    }
  }
}

/** In `attempts` of what is held: its next event is passed over. */
export const SKIP = -1;

/** Tried to the last. */
const isOut = ({ nextAt }: { readonly nextAt: number | null }): boolean => nextAt === null;
