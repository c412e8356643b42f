/** Named singletons: one at a time in the whole installation, with the holder visible as the lease's. */
import type { LeaseHolder, Leases } from "./leases.ts";
import { pause } from "./pause.ts";

export interface SingletonOptions {
  readonly leases: Leases;
  /** Key of the lease, e.g. `sweep.orchestrator.home`. */
  readonly name: string;
  /** Ends it, and releases the lease. */
  readonly signal: AbortSignal;
  /** Waited for before each try to get the lease. */
  readonly wanted?: (signal: AbortSignal) => Promise<void>;
  /** Runs while the lease is held; its signal is aborted when it is lost or all ends. When it returns or throws, it is begun again a second later. */
  readonly work: (signal: AbortSignal, epoch: number) => Promise<void>;
  readonly onError?: (error: unknown) => void;
}

const PAUSE_MS = 1_000;

/** Resolves when the signal is aborted, the work has returned and the lease is given up. */
export async function runSingleton(options: SingletonOptions): Promise<void> {
  const { leases, name, signal, work } = options;
  while (!signal.aborted) {
    try {
      await options.wanted?.(signal);
      if (signal.aborted) return;
      const lease = await leases.acquire(name, `singleton/${name}`);
      if ("heldBy" in lease) {
        await ended(options);
        continue;
      }
      try {
        if (!signal.aborted) await work(AbortSignal.any([signal, lease.signal]), lease.epoch);
      } finally {
        await lease.release();
      }
    } catch (error) {
      if (!signal.aborted) options.onError?.(error);
    }
    if (!signal.aborted) await pause(PAUSE_MS, signal);
  }
}

/** Until the holder has given it up or lost it; looked at anew now and then, in case nobody told. */
async function ended({ leases, name, signal }: SingletonOptions): Promise<void> {
  const told = new AbortController();
  const stop = leases.onEnd(({ key }: LeaseHolder) => {
    if (key === name) told.abort();
  });
  await pause(leases.ttlMs, AbortSignal.any([signal, told.signal]));
  stop();
}
