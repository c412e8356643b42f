/**
 * Leases: who may act on a unit of work, or be the only one of its kind, for a while. A key in the KV bucket `LEASES` with a time to
 * live; renewed while held, gone by itself when the holder is. A lease keeps two from working on the same thing most of the time;
 * what makes it *safe* is the expectation of the append and the name of the effect, never the lease.
 */
import type { Nats } from "./connection.ts";
import type { Owner } from "./owner.ts";

/** What stands under a lease's key. */
export interface LeaseRecord {
  readonly owner: Owner;
  readonly node: string;
  /** RFC 3339: since when this owner holds it. */
  readonly since: string;
  /** What it is held for, for people and for whoever takes it over, e.g. `deployment/dep_…`. */
  readonly about: string;
}

export interface LeaseHolder extends LeaseRecord {
  readonly key: string;
  /** Greater with each new holder, as long as the server lives (leases are in its memory). */
  readonly epoch: number;
  /** RFC 3339: when it ends unless it is renewed. */
  readonly expiresAt: string;
}

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

export interface LeaseSettings {
  /** Time to live in milliseconds, whole seconds, from 1000. Default 10,000. */
  readonly ttlMs?: number;
  readonly node: string;
  /** Default: this process. */
  readonly owner?: Owner;
}

export interface SingletonOptions {
  readonly leases: Leases;
  /** E.g. `sweep.orchestrator.home`. */
  readonly name: string;
  /** Ends it, and releases the lease. */
  readonly signal: AbortSignal;
  /** Runs while the lease is held; its signal is aborted when it is lost or all ends. When it returns or throws, it is begun again a second later. */
  readonly work: (signal: AbortSignal, epoch: number) => Promise<void>;
  readonly onError?: (error: unknown) => void;
}

export declare class Leases {
  readonly ttlMs: number;
  readonly owner: Owner;
  readonly node: string;
  static open(nats: Nats, settings: LeaseSettings): Promise<Leases>;
  /** @returns the lease, or who holds it. @throws LogUnavailable */
  acquire(key: string, about: string): Promise<Lease | { readonly heldBy: LeaseHolder }>;
  /** @throws LogUnavailable */
  holder(key: string): Promise<LeaseHolder | undefined>;
  /** All that are held now, as last seen by this process. */
  list(): ReadonlyArray<LeaseHolder>;
  /** Called for each lease that has ended, however. @returns stops it */
  onEnd(listener: (ended: LeaseHolder) => void): () => void;
  close(): Promise<void>;
}
/** One at a time in the whole installation. Resolves when the signal is aborted and the lease is given up. */
export declare function runSingleton(options: SingletonOptions): Promise<void>;
