/**
 * How long work stands still when its worker is killed or frozen, against the length of its lease, which is what must pass where nobody
 * can see whether the other process lives. From the blow to the next attempt in the log.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { takeover } from "../faults/marches.ts";
import { median, report } from "./measure.ts";
import { bench } from "./servers.ts";

const LEASE_MS = 10_000;
const ROUNDS = 3;

await bench(async (b) => {
  const server = await b.nats();
  const nats = { url: server.url, user: server.user, password: server.password, name: "marching" };
  const world = join(b.folder, "world");
  mkdirSync(world);
  for (const [what, blow, alone] of [
    ["takeover after kill -9, on the same machine", "SIGKILL", false],
    ["takeover after kill -9, by another machine", "SIGKILL", true],
    ["takeover after SIGSTOP", "SIGSTOP", false],
  ] as const) {
    const took: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const id = `mar_${blow.toLowerCase()}_${alone}_${round}`;
      const node = `${blow}-${alone}-${round}`;
      took.push(await takeover({ nats, world, node, alone, ttlMs: LEASE_MS, effectMs: 120_000 }, blow, id));
    }
    const seconds = took.map((ms) => `${(ms / 1_000).toFixed(1)} s`).join(", ");
    report({
      what,
      against: "the lease's own length",
      // The worst, not the median: it is a promise.
      ratio: Math.max(...took) / LEASE_MS,
      reach: "≤ 1.2 (lease + 2 s)",
      ours: `${seconds} (median ${(median(took) / 1_000).toFixed(1)} s)`,
      theirs: `${LEASE_MS / 1_000} s`,
      durability: "sync always, one server",
    });
  }
});
