/**
 * PostgreSQL away, one of two gateways and projectors killed: under load, and compared with the log afterwards. NATS is killed in
 * kills.e2e.test.ts, and restarted again and again in tests/soak/outages.soak.ts.
 */
import { oneOfTwo, postgresAway } from "./faults/outages.ts";
import { suite } from "./harness/suite.ts";

const test = suite("outages", { timeoutMs: 240_000 });

test("PostgreSQL away: commands and subscriptions go on, queries say so, and nothing is missing afterwards", async () => {
  console.log(JSON.stringify(await postgresAway(5_000)));
});

test("one of two gateways and one of two projectors killed: the others go on", async ({ skip }) => {
  if (process.platform !== "linux") skip("the environment of a process is read from /proc");
  console.log(JSON.stringify(await oneOfTwo()));
});

test.run();
