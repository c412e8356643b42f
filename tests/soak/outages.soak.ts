/**
 * PostgreSQL away, NATS restarted, one of two gateways and projectors killed: under load, and compared with the log afterwards. Short kills
 * of each stand in tests/kills.e2e.test.ts. SOAK_AWAY_MS: how long PostgreSQL is away (60 000), SOAK_ROUNDS: restarts of NATS (20).
 */
import { natsAway, oneOfTwo, postgresAway } from "../faults/outages.ts";
import { suite } from "../harness/suite.ts";

const AWAY_MS = Number(process.env.SOAK_AWAY_MS ?? 60_000);
const ROUNDS = Number(process.env.SOAK_ROUNDS ?? 20);
const test = suite("outages, for long");

test(`PostgreSQL away for ${AWAY_MS} ms`, { timeoutMs: AWAY_MS + 300_000 }, async () => {
  console.log(`  ${JSON.stringify(await postgresAway(AWAY_MS))}`);
});

test(`NATS restarted ${ROUNDS} times`, { timeoutMs: ROUNDS * 60_000 + 300_000 }, async () => {
  console.log(`  ${JSON.stringify(await natsAway(ROUNDS, 3_000))}`);
});

test("one of two gateways and one of two projectors killed: the others go on", { timeoutMs: 600_000 }, async ({
  skip,
}) => {
  if (process.platform !== "linux") skip("the environment of a process is read from /proc");
  console.log(`  ${JSON.stringify(await oneOfTwo())}`);
});

test.run();
