/**
 * Whose devices are whose: the devices of a site go in sixteen lanes by their shard, and each lane is held by one agent, by a lease that is
 * held for long. Lanes are shared out evenly between the agents of the site; those of one that dies are taken over by the others, and a lane
 * that is lost or given up is let go of before anybody else can have it, so that no device is driven by two.
 */
import { createHash } from "node:crypto";
import type { Lease, Leases } from "@millrace/eventlog/leases.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { shardOf } from "@millrace/eventlog/subjects.ts";

export const LANES = 16;

export const laneOf = (deviceId: string): number => Number(shardOf(deviceId)) % LANES;

const two = (lane: number): string => lane.toString().padStart(2, "0");

export const laneKey = (site: string, lane: number): string => `devices.${site}.lane.${two(lane)}`;

/** As whom the holder of a lane answers asks. */
export const laneHolder = (site: string, lane: number): string =>
  `lane-${createHash("sha256").update(site).digest("hex").slice(0, 16)}-${two(lane)}`;

export interface LanesOptions {
  readonly leases: Leases;
  readonly site: string;
  /** How many agents of this site there are, this one included. */
  readonly agents: () => Promise<number>;
  readonly onOwn: (lane: number) => void;
  /** At once: from now on it may be another's. */
  readonly onLose: (lane: number) => void;
  readonly logger: Logger;
}

const LOOK_MS = 500;

export class Lanes {
  readonly #options: LanesOptions;
  readonly #held = new Map<number, Lease>();

  constructor(options: LanesOptions) {
    this.#options = options;
  }

  has(lane: number): boolean {
    return this.#held.get(lane)?.held() === true;
  }

  held(): ReadonlyArray<number> {
    return [...this.#held.keys()].sort((a, b) => a - b);
  }

  /** Until the signal; then all are given up. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        await this.#share(signal).catch((err: unknown) => {
          this.#options.logger.warn({ err }, "lanes could not be shared out; it is tried again");
        });
        await pause(LOOK_MS, signal);
      }
    } finally {
      await Promise.all([...this.#held.keys()].map((lane) => this.#release(lane)));
    }
  }

  /** One step towards a fair share, so that agents which come and go at once do not fight. */
  async #share(signal: AbortSignal): Promise<void> {
    const { leases, site } = this.#options;
    const agents = Math.max(1, await this.#options.agents());
    const fair = Math.ceil(LANES / agents);
    const free = Array.from({ length: LANES }, (_, lane) => lane).filter(
      (lane) => !this.#held.has(lane) && leases.seen(laneKey(site, lane)) === undefined,
    );
    if (this.#held.size > fair && free.length === 0) return this.#release([...this.#held.keys()].at(-1)!);
    // Who is alone takes all there are; others leave something for each other.
    const wanted = free.sort(() => Math.random() - 0.5).slice(0, Math.max(0, fair - this.#held.size));
    for (const lane of wanted) if (!signal.aborted) await this.#acquire(lane);
  }

  async #acquire(lane: number): Promise<void> {
    const { leases, site, onOwn, onLose, logger } = this.#options;
    const lease = await leases.acquire(laneKey(site, lane), `devices of ${site}, lane ${lane}`);
    if ("heldBy" in lease) return;
    this.#held.set(lane, lease);
    lease.signal.addEventListener(
      "abort",
      () => {
        if (this.#held.get(lane) !== lease) return;
        this.#held.delete(lane);
        logger.warn({ site, lane }, "a lane of devices was lost");
        onLose(lane);
      },
      { once: true },
    );
    if (lease.signal.aborted) return;
    onOwn(lane);
  }

  async #release(lane: number): Promise<void> {
    const lease = this.#held.get(lane);
    if (lease === undefined) return;
    this.#held.delete(lane);
    this.#options.onLose(lane);
    await lease.release();
  }
}
