/**
 * Putting a stream back with its own sequences and times: the server mirrors an origin, and we are the origin. A mirror asks for a
 * consumer of it (over a prefix that only we answer), takes what that delivers as it is, holes in the sequence too, and asks
 * again from where it stands when the delivery breaks off. When all is there, the mirror becomes a stream of its own.
 * Everything that is used is a feature of the server; nothing is known of its files (docs/decisions/0043-backups-by-message.md).
 */
import type { StreamConfig } from "@nats-io/jetstream";
import type { Nats } from "../connection.ts";
import { LogUnavailable } from "../failures.ts";
import { faultPoint } from "../faultpoint.ts";
import { Leaf, type LeafAddress, type LeafMessage } from "./leaf.ts";
import { lastingHeaders, type StreamRecord } from "./records.ts";

export interface FeedOptions {
  readonly nats: Nats;
  readonly leaf: LeafAddress;
  readonly stream: string;
  /** What it is to be in the end. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Every message from a sequence on, in order. */
  readonly records: (fromSeq: number) => AsyncIterable<StreamRecord>;
  /** Sequence of the last of them; 0: there is none. */
  readonly lastSeq: number;
  readonly signal: AbortSignal;
}

/** Bytes after which the server is asked whether it has them, and how many may be unanswered. */
const WINDOW_BYTES = 2 * 1024 * 1024;
const WINDOWS = 4;
const HEARTBEAT_MS = 1_000;
const LOOK_MS = 50;
/** The stream does not get on. */
const STALLED_MS = 60_000;
const SEND_BYTES = 256 * 1024;

/** @throws LogUnavailable; what `records` throws */
export async function feedStream(options: FeedOptions): Promise<void> {
  const { nats, stream, config, lastSeq, signal } = options;
  const place = `millrace.restore.${Math.random().toString(36).slice(2)}`;
  const feeder = await Feeder.open(options, place);
  const { storage, retention, num_replicas, persist_mode } = config as unknown as StreamConfig & {
    persist_mode?: string;
  };
  const mirror = { name: "ORIGIN", external: { api: `${place}.api`, deliver: `${place}.to` } };
  try {
    await call(nats, `STREAM.CREATE.${stream}`, {
      name: stream,
      storage,
      retention,
      num_replicas,
      ...(persist_mode === undefined ? {} : { persist_mode }),
      ...(lastSeq === 0 ? {} : { mirror }),
    });
    let seen = 0;
    for (let since = Date.now(); seen < lastSeq; ) {
      await Promise.race([pause(LOOK_MS), feeder.failed]);
      signal.throwIfAborted();
      const { state } = await nats.jsm.streams.info(stream).catch((cause: unknown) => {
        throw new LogUnavailable({ what: "NATS", cause });
      });
      if (state.last_seq > seen) since = Date.now();
      else if (Date.now() - since > STALLED_MS)
        throw new LogUnavailable({ what: "NATS", cause: `${stream} stands at ${seen} of ${lastSeq}` });
      seen = state.last_seq;
    }
    faultPoint("restore.fed");
    // Without its origin it is a stream as every other.
    await call(nats, `STREAM.UPDATE.${stream}`, config);
    faultPoint("restore.promoted");
  } finally {
    feeder.close();
  }
}

/** The client's own update adds what it finds to what it is given: an origin could not be taken away. @throws LogUnavailable */
async function call(nats: Nats, what: string, body: unknown): Promise<void> {
  let answer: { readonly error?: { readonly description: string } };
  try {
    answer = (await nats.nc.request(`$JS.API.${what}`, JSON.stringify(body), { timeout: 20_000 })).json();
  } catch (cause) {
    throw new LogUnavailable({ what: "NATS", cause });
  }
  if (answer.error !== undefined)
    throw new LogUnavailable({ what: "NATS", cause: `${what}: ${answer.error.description}` });
}

class Feeder {
  readonly #options: FeedOptions;
  readonly #place: string;
  #leaf!: Leaf;
  #round = 0;
  #answered = 0;
  #windowsOf = 0;
  #wake: () => void = () => {};
  #fail: (error: unknown) => void = () => {};
  /** Rejects when it cannot go on. */
  readonly failed: Promise<never>;

  private constructor(options: FeedOptions, place: string) {
    this.#options = options;
    this.#place = place;
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {});
  }

  static async open(options: FeedOptions, place: string): Promise<Feeder> {
    const feeder = new Feeder(options, place);
    const subjects = [`${place}.api.>`, `${place}.flow.>`];
    feeder.#leaf = await Leaf.open(options.leaf, subjects, (message) => feeder.#on(message));
    feeder.#leaf.ended.catch((error: unknown) => feeder.#fail(error));
    return feeder;
  }

  close(): void {
    this.#round++;
    this.#wake();
    this.#leaf.close();
  }

  #on({ subject, reply, body }: LeafMessage): void {
    if (subject.startsWith(`${this.#place}.flow.`)) {
      if (subject === `${this.#place}.flow.${this.#round}`) this.#answered++;
      this.#wake();
      return;
    }
    if (!subject.startsWith(`${this.#place}.api.CONSUMER.CREATE.`) || reply === undefined) return;
    const { config } = JSON.parse(body.toString()) as { config: Record<string, unknown> };
    const {
      name,
      deliver_subject: to,
      opt_start_seq: fromSeq = 1,
    } = config as {
      name: string;
      deliver_subject: string;
      opt_start_seq?: number;
    };
    const nothing = { consumer_seq: 0, stream_seq: 0 };
    const made = {
      type: "io.nats.jetstream.api.v1.consumer_create_response",
      stream_name: "ORIGIN",
      name,
      created: new Date().toISOString(),
      config,
      delivered: nothing,
      ack_floor: nothing,
      num_ack_pending: 0,
      num_redelivered: 0,
      num_waiting: 0,
      num_pending: Math.max(0, this.#options.lastSeq - fromSeq + 1),
    };
    const round = ++this.#round;
    this.#answered = 0;
    this.#windowsOf = 0;
    void this.#leaf
      .send([message(reply, undefined, NONE, Buffer.from(JSON.stringify(made)))])
      .then(() => this.#deliver(round, name, to, fromSeq))
      .catch((error: unknown) => {
        if (round === this.#round) this.#fail(error);
      });
  }

  /** Sends everything from a sequence on, and then signs of life, until the mirror asks anew. */
  async #deliver(round: number, consumer: string, to: string, fromSeq: number): Promise<void> {
    const { records, lastSeq, signal } = this.#options;
    const mine = () => round === this.#round && !signal.aborted;
    let delivered = 0;
    let last = fromSeq - 1;
    const beat = () => {
      const text = `NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: ${delivered}\r\nNats-Last-Stream: ${last}\r\n\r\n`;
      return this.#leaf.send([message(to, undefined, Buffer.from(text), NONE)]);
    };
    let parts: Buffer[] = [];
    let size = 0;
    let window = 0;
    let beaten = Date.now();
    for await (const { seq, time, subject, headers, data } of records(fromSeq)) {
      if (!mine()) return;
      delivered++;
      const reply = `$JS.ACK.ORIGIN.${consumer}.1.${seq}.${delivered}.${time}.${lastSeq - seq}@${subject}`;
      const part = message(to, reply, lastingHeaders(headers), data);
      parts.push(part);
      size += part.length;
      window += part.length;
      last = seq;
      faultPoint("restore.record");
      if (size < SEND_BYTES) continue;
      await this.#leaf.send(parts);
      parts = [];
      size = 0;
      if (window >= WINDOW_BYTES) {
        window = 0;
        if (!(await this.#flow(round, to))) return;
      }
      if (Date.now() - beaten > HEARTBEAT_MS) {
        beaten = Date.now();
        await beat();
      }
    }
    if (parts.length > 0) await this.#leaf.send(parts);
    while (mine()) {
      await Promise.race([pause(HEARTBEAT_MS), new Promise<void>((resolve) => (this.#wake = resolve))]);
      if (mine()) await beat();
    }
  }

  /** Asks the mirror to answer when it has come here, and waits when too many such questions are open. @returns false when it asked anew */
  async #flow(round: number, to: string): Promise<boolean> {
    this.#windowsOf++;
    const ask = Buffer.from("NATS/1.0 100 FlowControl Request\r\n\r\n");
    await this.#leaf.send([message(to, `${this.#place}.flow.${round}`, ask, NONE)]);
    while (round === this.#round && this.#windowsOf - this.#answered > WINDOWS)
      await Promise.race([
        new Promise<void>((resolve) => (this.#wake = resolve)),
        this.#leaf.ended,
        // An answer that was lost must not end all: the mirror asks anew then.
        pause(STALLED_MS),
      ]);
    return round === this.#round;
  }
}

const NONE = new Uint8Array(0);

function message(subject: string, reply: string | undefined, headers: Uint8Array, data: Uint8Array): Buffer {
  const to = reply === undefined ? subject : `${subject} ${reply}`;
  const head =
    headers.length === 0
      ? `LMSG ${to} ${data.length}\r\n`
      : `HMSG ${to} ${headers.length} ${headers.length + data.length}\r\n`;
  const out = Buffer.allocUnsafe(Buffer.byteLength(head) + headers.length + data.length + 2);
  const at = out.write(head);
  out.set(headers, at);
  out.set(data, at + headers.length);
  out.write("\r\n", out.length - 2);
  return out;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
