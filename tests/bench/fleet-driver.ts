/**
 * What a client of a fleet is told to do in `fleet.bench.ts`, as lines of text on its standard input, each answered with a line of JSON:
 * `open`, `status`, `poll`, `notices <n>`, `close`. The same for ours and for the peer.
 */
import { createInterface } from "node:readline";

export interface BenchDevice {
  readonly mac: string;
  readonly id: string;
  readonly model: string;
  readonly generation: 1 | 2 | 3 | 4;
  /** `http://127.20.0.1:8080` */
  readonly url: string;
}

export interface Driver {
  /** A WebSocket to each device, and its full status in memory. */
  open(): Promise<void>;
  /** The full status of each, over the open sockets. */
  status(): Promise<void>;
  /** The full status of each, by one HTTP request. No sockets are open. */
  poll(): Promise<void>;
  /** Notifications that were merged since the start. */
  readonly notices: () => number;
  close(): Promise<void>;
}

/** One answer: how long it took by the clock and by the processor, and the memory afterwards. */
export interface Took {
  readonly ms: number;
  readonly cpuMs: number;
  readonly rss: number;
}

/** Of ours: the wheel spreads looks over seconds; the peer does as many at once. */
export const AT_ONCE = 256;

/** Calls `work` for all, so many at once. */
export async function each<A>(all: readonly A[], work: (one: A) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (next < all.length) await work(all[next++]!);
    }),
  );
}

export async function serve(driver: Driver): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const [verb, count = "0"] = line.split(" ");
    const [cpu, from] = [process.cpuUsage(), performance.now()];
    if (verb === "open" || verb === "status" || verb === "poll") await driver[verb]();
    else if (verb === "notices") {
      const until = driver.notices() + Number(count);
      console.log("ready");
      const deadline = performance.now() + 120_000;
      while (driver.notices() < until) {
        if (performance.now() > deadline) throw new Error(`${until - driver.notices()} notifications did not come`);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    } else break;
    const { user, system } = process.cpuUsage(cpu);
    globalThis.gc?.();
    const took: Took = { ms: performance.now() - from, cpuMs: (user + system) / 1000, rss: process.memoryUsage.rss() };
    console.log(JSON.stringify(took));
  }
  await driver.close();
  process.exit(0);
}
