/** Gateway, projector, NATS and PostgreSQL killed under load: nothing is lost, nothing is done twice. The long one: tests/soak/kills.soak.ts. */
import * as assert from "uvu/assert";
import { killsUnderLoad, printKills } from "./faults/kills.ts";
import { suite } from "./harness/suite.ts";

const test = suite("kills");

test("SIGKILL of one process after the other under load: no change lost, none twice, no hole, no double", {
  timeoutMs: 400_000,
}, async () => {
  const report = await killsUnderLoad({
    kills: 4,
    burst: 4,
    writers: 2,
    subscribers: 4,
    betweenMs: [500, 2_000],
    readyMs: 90_000,
  });
  printKills(report);
  assert.ok(report.acknowledged > 20, `${report.acknowledged} changes were acknowledged meanwhile`);
});

test.run();
