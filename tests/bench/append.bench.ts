/** Appending one commit to an aggregate of its own: ours, the bare client, and Emmett on PostgreSQL. */
import { aggregateSubject } from "@millrace/eventlog/subjects.ts";
import { inTurn, type Measured, rateOf, rates, ratioOf, report } from "./measure.ts";
import { barePublish } from "./peers/bare-publish.ts";
import { emmett } from "./peers/emmett.ts";
import { bench } from "./servers.ts";

const data = new TextEncoder().encode(
  JSON.stringify({ events: [{ type: "Added", v: 1, data: { note: "x".repeat(250) } }] }),
);
const ROUNDS = 5;

await bench(async ({ nats, log: openLog, postgres, defer }) => {
  for (const sync of ["always", "default"] as const) {
    const server = await nats({ sync });
    const log = await openLog(server, ["bench"]);
    const peer = barePublish(log.nats.nc);
    let n = 0;
    for (const width of [1, 32, 256]) {
      const count = width === 1 ? 1_500 : 6_000;
      const measured = await inTurn<Measured>(
        ROUNDS,
        () =>
          rateOf(width, count, () =>
            log.append("bench", [
              { subject: aggregateSubject("bench", "x", `o${++n}`), data, id: `o${n}`, expected: 0 },
            ]),
          ),
        () => rateOf(width, count, () => peer(aggregateSubject("bench", "x", `p${++n}`), data, `p${n}`, 0)),
      );
      report({
        what: `append, ${width} at once`,
        against: "bare publish, same headers",
        ratio: ratioOf(measured, (m) => m.rate),
        reach: sync === "default" ? "≥ 0.8" : { 1: "≥ 0.9", 32: "≥ 2", 256: "≥ 5" }[width]!,
        ours: rates(measured.ours),
        theirs: rates(measured.theirs),
        durability: sync === "always" ? "sync always" : "server's default sync (2 min)",
      });
    }
    if (sync === "always") {
      const store = emmett(await postgres());
      defer(() => store.close());
      const measured = await inTurn<Measured>(
        ROUNDS,
        () =>
          rateOf(32, 4_000, () =>
            log.append("bench", [
              { subject: aggregateSubject("bench", "x", `e${++n}`), data, id: `e${n}`, expected: 0 },
            ]),
          ),
        () => rateOf(32, 2_000, () => store.append(`bench-${++n}`, "STREAM_DOES_NOT_EXIST", { note: "x".repeat(250) })),
      );
      report({
        what: "append, 32 at once",
        against: "emmett-postgresql 0.42.0",
        ratio: ratioOf(measured, (m) => m.rate),
        reach: "≥ 2.5",
        ours: rates(measured.ours),
        theirs: rates(measured.theirs),
        durability: "sync always; PostgreSQL 18 fsync on, synchronous_commit on",
      });
    }
  }
});
