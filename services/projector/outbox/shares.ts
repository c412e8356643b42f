/** How many shards a process serves: as many as fall to each of those that are there. */
import { randomBytes } from "node:crypto";
import type { Leases } from "@millrace/eventlog/leases.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { runSingleton } from "@millrace/eventlog/singleton.ts";

const MEMBER = "outbox-member.";
const LOOK_MS = 500;

export class Shares {
  readonly #leases: Leases;
  readonly #shards: number;
  readonly #held: ReadonlySet<number>;

  /** @param held those that this process serves now */
  constructor(leases: Leases, shards: number, held: ReadonlySet<number>) {
    this.#leases = leases;
    this.#shards = shards;
    this.#held = held;
  }

  /** Says that this process is there, until the signal: by a lease that nobody else wants. */
  join(signal: AbortSignal): Promise<void> {
    const name = `${MEMBER}${randomBytes(8).toString("hex")}`;
    return runSingleton({ leases: this.#leases, name, signal, work: (mine) => pause(2 ** 31 - 1, mine) });
  }

  get #most(): number {
    const members = this.#leases.list().filter(({ key }) => key.startsWith(MEMBER)).length;
    return Math.ceil(this.#shards / Math.max(1, members));
  }

  /** Until one more falls to this process, or the signal. */
  async room(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.#held.size >= this.#most) await pause(LOOK_MS, signal);
  }

  /** Until this shard is one too many, or the signal. */
  async surplus(shard: number, signal: AbortSignal): Promise<void> {
    const isSurplus = () => [...this.#held].filter((other) => other < shard).length >= this.#most;
    while (!signal.aborted && !isSurplus()) await pause(LOOK_MS, signal);
  }
}
