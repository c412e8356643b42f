/** Fills a log quickly: commits of counters, in large atomic batches. */
import { encodeBody } from "@millrace/eventlog/commit.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { aggregateSubject } from "@millrace/eventlog/subjects.ts";
import { headers, nuid } from "@nats-io/transport-node";

export const counterId = (n: number): string => `cnt_${n.toString(36).padStart(26, "0")}`;

/** The n-th commit (from 1) of a counter: its start, then additions, one event each. */
export const commitOf = (id: string, n: number) =>
  encodeBody({
    id: `${id}-${n}`,
    organisation: "org_bench",
    version: n,
    actor: { kind: "token", id: "tok_bench", name: "bench" },
    command: `${id}-${n}`,
    digest: "0123456789abcdef",
    correlation: `${id}-${n}`,
    causation: `${id}-${n}`,
    at: "2026-01-01T00:00:00.000Z",
    events: [
      n === 1 ? { type: "CounterStarted", v: 1, data: { name: id } } : { type: "CounterAdded", v: 2, data: { by: n } },
    ],
  });

/**
 * `counters` counters of `commits` commits each, the k-th commit of all before the next of any: the worst case for locality.
 * @returns how many commits were written
 */
export async function seed(log: EventLog, counters: number, commits: number, from = 0): Promise<number> {
  const BATCH = 1_000;
  let waiting: { subject: string; data: Uint8Array }[] = [];
  const flush = async () => {
    const batch = nuid.next();
    const last = waiting.length - 1;
    for (const [i, { subject, data }] of waiting.entries()) {
      const h = headers();
      h.set("Nats-Batch-Id", batch);
      h.set("Nats-Batch-Sequence", String(i + 1));
      if (i === last) h.set("Nats-Batch-Commit", "1");
      if (i < last) log.nats.nc.publish(subject, data, { headers: h });
      else {
        const answer = JSON.parse((await log.nats.nc.request(subject, data, { headers: h, timeout: 30_000 })).string());
        if (answer.error) throw new Error(answer.error.description);
      }
    }
    waiting = [];
  };
  for (let n = 1; n <= commits; n++) {
    for (let i = from; i < from + counters; i++) {
      const id = counterId(i);
      waiting.push({ subject: aggregateSubject("toy", "counter", id), data: commitOf(id, n) });
      if (waiting.length === BATCH) await flush();
    }
  }
  if (waiting.length > 0) await flush();
  return counters * commits;
}
