/** Every lease there is, as seen by following the bucket: who holds what, and that one has ended. */
import type { JsMsg } from "@nats-io/jetstream";
import type { Nats } from "./connection.ts";
import type { LeaseBucket } from "./lease-bucket.ts";
import { decodeHolder, type LeaseEnd, type LeaseHolder } from "./lease-record.ts";
import { endOnReconnect } from "./ordered.ts";

type Listener = (ended: LeaseHolder, how: LeaseEnd) => void;

export class LeaseWatch {
  readonly #nats: Nats;
  readonly #bucket: LeaseBucket;
  readonly #holders = new Map<string, LeaseHolder>();
  /** Tombstones: a key that was released a moment ago still has a revision. */
  readonly #gone = new Map<string, number>();
  readonly #listeners = new Set<Listener>();
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #seen = false;
  #wakeReady: (() => void)[] = [];

  constructor(nats: Nats, bucket: LeaseBucket) {
    this.#nats = nats;
    this.#bucket = bucket;
    this.#running = this.#run();
  }

  holder(key: string): LeaseHolder | undefined {
    return this.#holders.get(key);
  }

  holders(): LeaseHolder[] {
    return [...this.#holders.values()];
  }

  /** The revision to expect of a key that nobody holds; a guess that the server corrects. */
  revision(key: string): number {
    return this.#gone.get(key) ?? 0;
  }

  onEnd(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves when what is there has been seen once, or the time is over. */
  ready(timeoutMs: number): Promise<void> {
    if (this.#seen) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#wakeReady.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#once(signal).catch(() => {});
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async #once(signal: AbortSignal): Promise<void> {
    await this.#bucket.make();
    const consumer = await this.#nats.js.consumers
      .get(this.#bucket.stream, { deliver_policy: "last_per_subject" } as never)
      .catch(async (error: unknown) => {
        await this.#bucket.make(true);
        throw error;
      });
    const { num_pending: there } = await consumer.info();
    const messages = await consumer.consume({ max_messages: 500, idle_heartbeat: 5_000 });
    const end = () => messages.stop();
    signal.addEventListener("abort", end);
    const watching = endOnReconnect(this.#nats, end);
    if (signal.aborted) end();
    // Whoever is not among those that are there now has ended while nobody looked.
    const unseen = new Set(this.#holders.keys());
    const begin = () => {
      for (const key of unseen) this.#ended(key, "expired");
      unseen.clear();
      this.#seen = true;
      for (const wake of this.#wakeReady.splice(0)) wake();
    };
    try {
      if (there === 0) begin();
      for await (const message of messages) {
        const key = message.subject.slice(this.#bucket.subject("").length);
        unseen.delete(key);
        this.#take(key, message);
        if (!this.#seen && message.info.pending === 0) begin();
        else if (unseen.size > 0 && message.info.pending === 0) begin();
      }
    } finally {
      signal.removeEventListener("abort", end);
      watching();
      messages.stop();
      await consumer.delete().catch(() => {});
    }
  }

  #take(key: string, message: JsMsg): void {
    if (message.data.length > 0) {
      const time = Number(message.timestampNanos / 1_000_000n);
      const before = this.#holders.get(key);
      const holder = decodeHolder(key, { data: message.data, revision: message.seq, time });
      if (before !== undefined && before.owner.name !== holder.owner.name) this.#tell(before, "dead");
      this.#holders.set(key, holder);
      this.#gone.delete(key);
      return;
    }
    const why = message.headers?.get("Millrace-Why");
    this.#ended(key, why === "released" || why === "dead" ? why : "expired");
    this.#gone.set(key, message.seq);
    setTimeout(() => {
      if (this.#gone.get(key) === message.seq) this.#gone.delete(key);
    }, 3_000).unref();
  }

  #ended(key: string, how: LeaseEnd): void {
    const holder = this.#holders.get(key);
    if (holder === undefined) return;
    this.#holders.delete(key);
    this.#tell(holder, how);
  }

  #tell(holder: LeaseHolder, how: LeaseEnd): void {
    for (const listener of this.#listeners) listener(holder, how);
  }
}
