/** A lease in this process's hands: renewed at a third of its time and together with its others, lost by this process's own clock before anybody else can have it. */
import type { LeaseBucket } from "./lease-bucket.ts";
import type { LeaseHolder, LeaseRecord } from "./lease-record.ts";

export interface Lease {
  readonly key: string;
  readonly epoch: number;
  /** Aborted when the lease is lost (never by `release`). */
  readonly signal: AbortSignal;
  /** Whether it is surely still held, by this process's own clock: false after a long sleep before any message says so. */
  held(): boolean;
  /** Gives it up at once; another may take it in the same moment. Safe to call when it is lost. */
  release(): Promise<void>;
}

/** Two clocks: one stands still while the machine sleeps, the other may be set back. The later one counts. */
export interface Moment {
  readonly wall: number;
  readonly steady: number;
}

const since = (moment: Moment): number => Math.max(Date.now() - moment.wall, performance.now() - moment.steady);

/**
 * All leases of a process are renewed at the same moments: one message out and in for all of them costs a process that has nothing to do,
 * and those who watch it, less than one for each (measured: a fifth of what all services take while nothing happens).
 */
const untilTurn = (everyMs: number): number => Math.ceil(everyMs - (performance.now() % everyMs));

export class HeldLease implements Lease {
  readonly key: string;
  readonly epoch: number;
  readonly #bucket: LeaseBucket;
  readonly #record: LeaseRecord;
  readonly #onEnd: (change: "lost" | "released") => void;
  readonly #lost = new AbortController();
  #revision: number;
  /** When the last renewal that succeeded was *sent*: the server's clock for it began later. */
  #renewed: Moment;
  #over = false;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> = Promise.resolve();

  constructor(
    bucket: LeaseBucket,
    key: string,
    record: LeaseRecord,
    revision: number,
    sentAt: Moment,
    onEnd: (change: "lost" | "released") => void,
  ) {
    this.#bucket = bucket;
    this.key = key;
    this.epoch = revision;
    this.#record = record;
    this.#revision = revision;
    this.#renewed = sentAt;
    this.#onEnd = onEnd;
    this.#again(untilTurn(record.ttlMs / 3));
  }

  static now(): Moment {
    return { wall: Date.now(), steady: performance.now() };
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  held(): boolean {
    if (!this.#over && since(this.#renewed) >= this.#record.ttlMs) this.#lose();
    return !this.#over;
  }

  holder(): LeaseHolder {
    const expiresAt = new Date(this.#renewed.wall + this.#record.ttlMs).toISOString();
    return { ...this.#record, key: this.key, revision: this.#revision, expiresAt };
  }

  async release(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    await this.#renewing;
    await this.#bucket.remove(this.key, this.#revision, "released");
    this.#onEnd("released");
  }

  #again(inMs: number): void {
    // Never later than its end: who sleeps through it should notice at once when it wakes.
    const left = Math.max(0, this.#record.ttlMs - since(this.#renewed));
    this.#timer = setTimeout(
      () => {
        if (!this.held()) return;
        this.#renewing = this.#renew();
      },
      Math.min(inMs, left),
    );
  }

  async #renew(): Promise<void> {
    const sentAt = HeldLease.now();
    const written = await this.#bucket.put(this.key, JSON.stringify(this.#record), this.#record.ttlMs, this.#revision);
    if ("revision" in written) {
      this.#revision = written.revision;
      this.#renewed = sentAt;
      if (this.held()) this.#again(untilTurn(this.#record.ttlMs / 3));
      return;
    }
    if (written.not === "expected" && !(await this.#stillOurs())) return this.#lose();
    // No answer, or one that says nothing: again, until our own clock says that it may be another's.
    if (this.held()) this.#again(Math.min(250, this.#record.ttlMs / 10));
  }

  /** A renewal that was never answered may have been written: then it stands there under our name. True also when nobody answers. */
  async #stillOurs(): Promise<boolean> {
    const standing = await this.#bucket.read(this.key).catch(() => "not known" as const);
    if (standing === "not known") return true;
    if (standing?.data === undefined) return false;
    const { owner, since } = JSON.parse(new TextDecoder().decode(standing.data)) as LeaseRecord;
    if (owner.name !== this.#record.owner.name || since !== this.#record.since) return false;
    this.#revision = standing.revision;
    return true;
  }

  #lose(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#onEnd("lost");
    this.#lost.abort();
  }
}
