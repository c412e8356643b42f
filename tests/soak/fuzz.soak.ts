/**
 * The API under fire for long: see tests/fuzz. FUZZ_REQUESTS says how many (1,000,000), FUZZ_SEED which; they go in rounds, after
 * each of which the gateway's memory is looked at and the log compared with what was answered.
 */
import assert from "node:assert/strict";
import { heads, openTarget, run, type Target, unansweredCommits } from "../fuzz/campaign.ts";
import { suite } from "../harness/suite.ts";

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000);
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 1_000_000);
const ROUND = Math.min(REQUESTS, 50_000);
/** What is kept for good (tokens and organisations in memory) takes a little; requests take nothing. */
const HEAP_GROWTH = 192 * 1024 * 1024;

const test = suite("fuzz for long", { timeoutMs: 170 * 60_000 });
let target: Target;
test.before(async () => {
  target = await openTarget();
});

test(`${REQUESTS} requests from seed ${SEED}`, async () => {
  let firstHeap: number | undefined;
  for (let sent = 0, round = 0; sent < REQUESTS; sent += ROUND, round++) {
    const from = await heads(target);
    const outcome = await run(target, SEED + round * 1_000, Math.min(ROUND, REQUESTS - sent));
    assert.deepEqual(outcome.failures, []);
    assert.ok(target.isAlive());
    assert.deepEqual((await unansweredCommits(target, from, outcome.succeeded)).unanswered, []);
    const heap = await target.heap();
    firstHeap ??= heap;
    console.log(`${sent + outcome.requests} requests, heap ${Math.round(heap / 1024 ** 2)} MiB`);
    assert.ok(heap - firstHeap < HEAP_GROWTH, `the heap grew from ${firstHeap} to ${heap} bytes`);
  }
});

test.run();
