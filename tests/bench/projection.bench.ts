/** Building a projection of 100,000 events of 10,000 aggregates: ours, and Emmett's rebuild on the same PostgreSQL. */

import type { View } from "@millrace/domain/view.ts";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { startProjections } from "@millrace/eventlog/projection-engine.ts";
import { viewProjection } from "@millrace/eventlog/projection-state.ts";
import { createDatabase } from "@millrace/local/postgres.ts";
import { type Counter, counter } from "../harness/counter.ts";
import { median, report } from "./measure.ts";
import { rebuildEmmett, seedEmmett } from "./peers/emmett-rebuild.ts";
import { seed } from "./seed.ts";
import { bench } from "./servers.ts";

const AGGREGATES = 10_000;
const EVENTS = 10;
const view: View<Counter> = {
  name: "counters",
  version: 1,
  kind: counter,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, index: true },
    total: { type: "bigint", value: (state) => state.total, sort: true, index: true },
  },
};

await bench(async ({ nats: startNats, log: openLog, postgres: startPostgres }) => {
  const server = await startNats();
  const log = await openLog(server, ["toy"]);
  await seed(log, AGGREGATES, EVENTS);
  const events = AGGREGATES * EVENTS;
  const url = await startPostgres();

  const ours: number[] = [];
  for (let round = 0; round < 4; round++) {
    const database = await createDatabase(url, `ours_${round}`);
    const nats = await connectNats({ url: server.url, user: server.user, password: server.password, name: "bench" });
    const postgres = new Postgres({ url: database, name: "bench" });
    const started = performance.now();
    const projections = startProjections({
      nats,
      postgres,
      deadLetters: new DeadLetters(nats, 1),
      projections: [viewProjection(view)],
      log: makeLogger({ service: "bench", level: "error" }),
      lookMs: 50,
    });
    for (;;) {
      const [row] = projections.status();
      if (row !== undefined && row.shown && row.seq >= events) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const took = performance.now() - started;
    await projections.stop();
    await postgres.close();
    await nats.close();
    if (round > 0) ours.push((events / took) * 1000);
  }

  const theirs: number[] = [];
  for (const batchSize of [1_000, 2_000]) {
    const database = await createDatabase(url, `emmett_${batchSize}`);
    await seedEmmett(database, AGGREGATES, EVENTS);
    theirs.push((events / (await rebuildEmmett(database, batchSize))) * 1000);
  }
  const best = Math.max(...theirs);
  report({
    what: `projection rebuild, ${events.toLocaleString("en")} events of ${AGGREGATES.toLocaleString("en")} aggregates, two indexes, until shown to readers`,
    against: "emmett-postgresql 0.42.0, better of batch size 1000 and 2000",
    ratio: median(ours) / best,
    reach: "≥ 20",
    ours: `${Math.round(median(ours)).toLocaleString("en")} events/s`,
    theirs: `${Math.round(best).toLocaleString("en")} events/s`,
    durability: "PostgreSQL 18 fsync on, synchronous_commit on, the same server",
  });
});
