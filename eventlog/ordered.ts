/**
 * What a stream has from a sequence on, in order and live, handed on in batches as it came in. The client's own ordered consumer takes each
 * message apart into eleven words and hands it on by a promise of its own, which costs more than decoding a commit
 * (docs/decisions/0087-batches-as-they-come.md).
 */
import type { ConsumerConfig } from "@nats-io/jetstream";
import { createInbox, type Msg, nanos, nuid } from "@nats-io/transport-node";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";

/** One message as it is stored. */
export interface OrderedMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** With its headers, taken apart when they are asked for. */
  readonly message: Msg;
  readonly seq: number;
  /** When JetStream stamped it: nanoseconds since 1970, in decimal digits. */
  readonly stamp: string;
  /** Messages of the stream that wait behind this one. */
  readonly pending: number;
}

/** Milliseconds since 1970, cut and never rounded, as direct reads have it. */
export const stampMs = (stamp: string): number => Number(stamp.slice(0, -6));

export interface OrderedOptions {
  readonly stream: string;
  /** Where to begin, and of which subjects. */
  readonly from: Pick<ConsumerConfig, "deliver_policy"> &
    Partial<Pick<ConsumerConfig, "opt_start_seq" | "opt_start_time" | "filter_subjects">>;
  /** Messages of one batch at most; twice as many are on their way or wait. */
  readonly most: number;
  readonly signal: AbortSignal;
  /** The server tells that it is there so often while nothing comes; default 5 s, at most 15. */
  readonly heartbeatMs?: number;
  /** Told while messages may come (`true`, at each heartbeat), and when a heartbeat did not come. */
  readonly onHearing?: (hearing: boolean) => void;
  /** Called for each batch, one at a time; what it throws ends the reading. */
  readonly onBatch: (messages: ReadonlyArray<OrderedMessage>) => Promise<void> | void;
}

/** A request for messages is made anew after that long. */
const EXPIRES_MS = 30_000;
/** The server forgets a consumer of which nobody has asked anything for so long. */
const FORGOTTEN_MS = 300_000;
/** Heartbeats are missed that often, one after the other, before the consumer is given up. */
const MISSED_MOST = 2;

/**
 * Resolves when the signal is aborted, and when the server has lost the consumer (it was restarted, the stream was deleted): it may be
 * begun anew then. A hole in the sequence is for the caller to see.
 * @throws LogUnavailable when no consumer can be made, and what `onBatch` throws
 */
export async function readOrdered(nats: Nats, options: OrderedOptions): Promise<void> {
  const { stream, from, signal, heartbeatMs = 5_000 } = options;
  if (signal.aborted) return;
  const name = `ordered_${nuid.next()}`;
  const config = {
    ...from,
    name,
    ack_policy: "none",
    max_deliver: 1,
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanos(FORGOTTEN_MS),
  };
  try {
    await nats.jsm.consumers.add(stream, config as Partial<ConsumerConfig>);
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
  options.onHearing?.(true);
  try {
    await new Reading(nats, name, { ...options, heartbeatMs }).ended;
  } finally {
    void nats.jsm.consumers.delete(stream, name).catch(() => {});
  }
}

class Reading {
  readonly ended: Promise<void>;
  readonly #nats: Nats;
  readonly #options: OrderedOptions;
  readonly #ask: string;
  readonly #expires: object;
  readonly #inbox = createInbox();
  readonly #window: number;
  #queue: OrderedMessage[] = [];
  /** Messages that were asked for and have not come. */
  #asked = 0;
  #isTaking = false;
  #isOver = false;
  #heard = false;
  /** Of this consumer, so far. */
  #delivered = 0;
  /** Where the numbers of an acknowledgement's subject begin: the same for all of a consumer. */
  #numbersAt = 0;
  #end: (failure?: { readonly error: unknown }) => void = () => {};

  constructor(nats: Nats, name: string, options: OrderedOptions & { readonly heartbeatMs: number }) {
    this.#nats = nats;
    this.#options = options;
    const { stream, most, signal, heartbeatMs } = options;
    this.#window = Math.max(most * 2, 256);
    this.#ask = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`;
    this.#expires = { expires: nanos(EXPIRES_MS), idle_heartbeat: nanos(heartbeatMs) };
    this.ended = new Promise((resolve, reject) => {
      const sub = nats.nc.subscribe(this.#inbox, {
        callback: (error, message) => {
          if (this.#isOver) return;
          this.#heard = true;
          if (error !== null) this.#end({ error });
          else if (message.reply?.startsWith("$JS.ACK.")) this.#hear(message, message.reply, name);
          else this.#told(message);
        },
      });
      let missed = 0;
      const watch = setInterval(() => {
        // While all that was asked for waits here, nothing can be heard.
        missed = this.#heard || this.#asked === 0 ? 0 : missed + 1;
        this.#heard = false;
        if (missed > 0) this.#options.onHearing?.(false);
        if (missed >= MISSED_MOST) this.#end();
      }, heartbeatMs * 1.5);
      const end = () => this.#end();
      const unwatch = endOnReconnect(nats, end);
      this.#end = (failure) => {
        if (this.#isOver) return;
        this.#isOver = true;
        clearInterval(watch);
        unwatch();
        signal.removeEventListener("abort", end);
        sub.unsubscribe();
        this.#queue = [];
        // What is being taken comes to its end first.
        const done = () => (failure === undefined ? resolve() : reject(failure.error));
        if (this.#isTaking) this.#taken = done;
        else done();
      };
      signal.addEventListener("abort", end);
      if (signal.aborted) end();
      else this.#more();
    });
  }

  #taken: (() => void) | undefined;

  /** Asks for more when half of what may be on its way or wait has been taken. */
  #more(): void {
    const room = this.#window - this.#asked - this.#queue.length;
    if (this.#isOver || room * 2 < this.#window) return;
    this.#asked += room;
    try {
      this.#nats.nc.publish(this.#ask, JSON.stringify({ batch: room, ...this.#expires }), { reply: this.#inbox });
    } catch (error) {
      this.#end({ error });
    }
  }

  #hear(message: Msg, reply: string, name: string): void {
    this.#asked = Math.max(0, this.#asked - 1);
    if (this.#numbersAt === 0) this.#numbersAt = reply.indexOf(`.${name}.`) + name.length + 2;
    // `<delivered>.<sequence>.<of the consumer>.<stamp>.<pending>`, and maybe more.
    const sequence = reply.indexOf(".", this.#numbersAt) + 1;
    const ofConsumer = reply.indexOf(".", sequence) + 1;
    const stamp = reply.indexOf(".", ofConsumer) + 1;
    const pending = reply.indexOf(".", stamp) + 1;
    const end = reply.indexOf(".", pending);
    if (Number(reply.slice(ofConsumer, stamp - 1)) !== ++this.#delivered) {
      this.#end(); // Something was lost on the way: not even the next one may be taken.
      return;
    }
    this.#queue.push({
      subject: message.subject,
      data: message.data,
      message,
      seq: Number(reply.slice(sequence, ofConsumer - 1)),
      stamp: reply.slice(stamp, pending - 1),
      pending: Number(end < 0 ? reply.slice(pending) : reply.slice(pending, end)),
    });
    if (this.#isTaking) return;
    this.#isTaking = true;
    // All that came in the same piece goes together: many when behind, one when live.
    queueMicrotask(() => void this.#take());
  }

  /** What the server says of the request itself. */
  #told({ headers }: Msg): void {
    const code = headers?.code ?? 0;
    const left = Number(headers?.get("Nats-Pending-Messages") || Number.NaN);
    if (code === 100) this.#options.onHearing?.(true);
    else if ((code === 408 || code === 404) && !Number.isNaN(left)) {
      // A request that is over says what of it did not come.
      this.#asked = Math.max(0, this.#asked - left);
      this.#more();
    } else this.#end(); // The consumer is no more.
  }

  async #take(): Promise<void> {
    const { most, onBatch } = this.#options;
    let failure: { readonly error: unknown } | undefined;
    try {
      while (this.#queue.length > 0) {
        const all = this.#queue;
        const batch = all.length <= most ? all : all.slice(0, most);
        this.#queue = all.length <= most ? [] : all.slice(most);
        this.#more();
        await onBatch(batch);
      }
    } catch (error) {
      failure = { error };
    }
    this.#isTaking = false;
    if (failure !== undefined) this.#end(failure);
    this.#taken?.();
    this.#more();
  }
}

/**
 * A server that was restarted has forgotten the consumer, and the client finds that out late (up to half a minute when it asks
 * before JetStream answers): a new consumer is quicker. And nothing comes any more when the connection is closed.
 * @returns stops watching
 */
export function endOnReconnect(nats: Nats, end: () => void): () => void {
  const status = nats.nc.status();
  void (async () => {
    for await (const { type } of status) if (type === "reconnect" || type === "close") end();
  })().catch(() => {});
  return () => (status as unknown as { stop?: () => void }).stop?.();
}
