/**
 * Processes of a whole platform killed again and again under load (tests/faults/kills.ts says what must hold). SOAK_KILLS: how many
 * in all (300), SOAK_WRITERS: how many writers (12).
 */
import * as assert from "uvu/assert";
import { killsUnderLoad, printKills } from "../faults/kills.ts";
import { suite } from "../harness/suite.ts";

const KILLS = Number(process.env.SOAK_KILLS ?? 300);
const WRITERS = Number(process.env.SOAK_WRITERS ?? 12);
const test = suite("kills, for long");

test(`${KILLS} kills: no change lost, none twice, no hole, no double`, {
  timeoutMs: KILLS * 20_000 + 600_000,
}, async () => {
  const report = await killsUnderLoad({
    kills: KILLS,
    burst: 5,
    writers: WRITERS,
    subscribers: 8,
    betweenMs: [500, 2_000],
    readyMs: 120_000,
  });
  printKills(report);
  assert.ok(report.acknowledged > KILLS, `${report.acknowledged} changes were acknowledged meanwhile`);
});

test.run();
