/**
 * Leases: who may act on a unit of work, or be the only one of its kind, for a while. A key in the KV bucket `LEASES` with a time to
 * live; renewed while held, gone by itself when the holder is. A lease keeps two from working on the same thing most of the time;
 * what makes it *safe* is the expectation of the append and the name of the effect, never the lease.
 *
 * A holder on this same machine whose process has surely ended (owner.ts) is not waited for: its lease is taken, or taken away, at once.
 */

import { type Nats, OPEN_MS, persist } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { LeaseBucket } from "./lease-bucket.ts";
import { HeldLease, type Lease, type Moment } from "./lease-held.ts";
import { decodeHolder, type LeaseEnd, type LeaseHolder, type LeaseRecord } from "./lease-record.ts";
import { LeaseWatch } from "./lease-watch.ts";
import { type Owner, processOf, surelyDead, thisOwner } from "./owner.ts";
import { gaugeFrom, metrics } from "./telemetry.ts";

export type { Lease } from "./lease-held.ts";
export type { LeaseEnd, LeaseHolder, LeaseRecord } from "./lease-record.ts";

export interface LeaseSettings {
  readonly node: string;
  /** Time to live in milliseconds, whole seconds, from 1000. Default 10,000. */
  readonly ttlMs?: number;
  /** Default: this process. */
  readonly owner?: Owner;
  /** Default `LEASES`. */
  readonly bucket?: string;
}

const KEY = /^[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*$/;
const LOOK_MS = 500;
const TRIES = 4;

export class Leases {
  readonly ttlMs: number;
  readonly owner: Owner;
  readonly node: string;
  readonly #bucket: LeaseBucket;
  readonly #watch: LeaseWatch;
  readonly #held = new Map<string, HeldLease>();
  readonly #acquiring = new Map<string, Promise<unknown>>();
  readonly #looking: NodeJS.Timeout;
  readonly #forgetGauge: () => void;

  private constructor(nats: Nats, settings: LeaseSettings) {
    this.ttlMs = settings.ttlMs ?? 10_000;
    if (this.ttlMs < 1_000 || this.ttlMs % 1_000 !== 0) throw new TypeError("a lease lasts whole seconds");
    this.owner = settings.owner ?? thisOwner();
    this.node = settings.node;
    this.#bucket = new LeaseBucket(nats, settings.bucket ?? "LEASES");
    this.#watch = new LeaseWatch(nats, this.#bucket);
    this.#looking = setInterval(() => void this.#takeAwayFromDead(), LOOK_MS).unref();
    this.#forgetGauge = gaugeFrom(metrics.leasesHeld, () => this.#held.size);
  }

  /** A cluster that is just coming up is given time. @throws LogUnavailable */
  static async open(nats: Nats, settings: LeaseSettings): Promise<Leases> {
    const leases = new Leases(nats, settings);
    try {
      await persist(nats, OPEN_MS, [], () => leases.#bucket.make());
      await leases.#watch.ready(5_000);
      return leases;
    } catch (error) {
      await leases.close();
      throw error;
    }
  }

  /**
   * @param about what it is held for: shown to people, and told to those who see it end
   * @returns the lease, or who holds it
   * @throws LogUnavailable
   */
  async acquire(key: string, about: string): Promise<Lease | { readonly heldBy: LeaseHolder }> {
    if (!KEY.test(key)) throw new TypeError(`not a lease's key: ${JSON.stringify(key.slice(0, 64))}`);
    // One at a time in this process: what stands there under our name is then an earlier try, never a neighbour's.
    for (let other = this.#acquiring.get(key); other !== undefined; other = this.#acquiring.get(key)) await other;
    const mine = this.#held.get(key);
    if (mine?.held()) return { heldBy: mine.holder() };
    const asking = this.#acquire(key, about);
    const asked = asking.then(
      () => this.#acquiring.delete(key),
      () => this.#acquiring.delete(key),
    );
    this.#acquiring.set(key, asked);
    return asking;
  }

  async #acquire(key: string, about: string): Promise<Lease | { readonly heldBy: LeaseHolder }> {
    let expected = this.#watch.revision(key);
    let cause: unknown = "no answer";
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const record = { ...this.#record(about), epoch: 0 };
      const sentAt = HeldLease.now();
      const written = await this.#bucket.put(key, JSON.stringify(record), this.ttlMs, expected);
      if ("revision" in written) {
        metrics.leaseChanges.inc({ change: "acquired" });
        return this.#hold(key, record, written.revision, sentAt);
      }
      cause = written.cause;
      const standing = await this.#bucket.read(key);
      if (standing?.data === undefined) {
        expected = standing?.revision ?? 0;
      } else {
        const holder = decodeHolder(key, standing);
        // Written by an earlier try of ours that was never answered, or by a process that is no more.
        if (holder.owner.name !== this.owner.name && !surelyDead(holder.owner)) return { heldBy: holder };
        expected = standing.revision;
      }
      if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, Math.random() * 20 * 2 ** attempt));
    }
    throw new LogUnavailable({ what: "NATS", cause });
  }

  /** Who holds it now, as the server says. @throws LogUnavailable */
  async holder(key: string): Promise<LeaseHolder | undefined> {
    const standing = await this.#bucket.read(key);
    return standing?.data === undefined ? undefined : decodeHolder(key, standing);
  }

  /** Who holds it, as last seen by this process. */
  seen(key: string): LeaseHolder | undefined {
    return this.#watch.holder(key);
  }

  /** All that are held now, as last seen by this process. */
  list(): ReadonlyArray<LeaseHolder> {
    return this.#watch.holders();
  }

  /** Called for each lease that has ended. @returns stops it */
  onEnd(listener: (ended: LeaseHolder, how: LeaseEnd) => void): () => void {
    return this.#watch.onEnd(listener);
  }

  /** Releases everything. */
  async close(): Promise<void> {
    clearInterval(this.#looking);
    this.#forgetGauge();
    await Promise.all([...this.#held.values()].map((lease) => lease.release()));
    await this.#watch.stop();
  }

  #record(about: string): Omit<LeaseRecord, "epoch"> {
    return { owner: this.owner, node: this.node, since: new Date().toISOString(), about, ttlMs: this.ttlMs };
  }

  #hold(key: string, record: LeaseRecord, revision: number, sentAt: Moment): Lease {
    const lease = new HeldLease(this.#bucket, key, { ...record, epoch: revision }, revision, sentAt, (change) => {
      if (this.#held.get(key) === lease) this.#held.delete(key);
      metrics.leaseChanges.inc({ change });
    });
    this.#held.set(key, lease);
    return lease;
  }

  /** Every process looks at the holders on its own machine; of several that see one dead, one takes the lease away. */
  async #takeAwayFromDead(): Promise<void> {
    const dead = new Map<string, boolean>();
    for (const holder of this.#watch.holders()) {
      if (holder.owner.pid === process.pid) continue;
      const holding = processOf(holder.owner);
      if (!dead.has(holding)) dead.set(holding, surelyDead(holder.owner));
      if (!dead.get(holding)) continue;
      const written = await this.#bucket.remove(holder.key, holder.revision, "dead");
      if ("revision" in written) metrics.leaseChanges.inc({ change: "taken-away" });
    }
  }
}
