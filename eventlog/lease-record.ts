/** What is known of a lease. */
import type { Standing } from "./lease-bucket.ts";
import type { Owner } from "./owner.ts";

/** What stands under a lease's key. */
export interface LeaseRecord {
  readonly owner: Owner;
  readonly node: string;
  /** RFC 3339: since when this owner holds it. */
  readonly since: string;
  /** What it is held for, for people and for whoever takes it over, e.g. `deployment/dep_…`. */
  readonly about: string;
  readonly ttlMs: number;
  /** Revision at which this owner took it; 0 in the record that takes it. */
  readonly epoch: number;
}

export interface LeaseHolder extends Omit<LeaseRecord, "epoch"> {
  readonly key: string;
  /** Greater with each new holder, as long as the server lives (leases are in its memory). */
  readonly epoch: number;
  readonly revision: number;
  /** RFC 3339: when it ends unless it is renewed. */
  readonly expiresAt: string;
}

/** `released` by its holder · `expired` · `dead`: its holder's process has ended, on the machine that says so. */
export type LeaseEnd = "released" | "expired" | "dead";

const decoder = new TextDecoder();

export function decodeHolder(key: string, { data, revision, time }: Standing): LeaseHolder {
  const record = JSON.parse(decoder.decode(data)) as LeaseRecord;
  const expiresAt = new Date(time + record.ttlMs).toISOString();
  return { ...record, key, epoch: record.epoch === 0 ? revision : record.epoch, revision, expiresAt };
}
