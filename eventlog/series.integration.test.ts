/** Series: written, put together, rolled up once, read at what is still kept. */
import assert from "node:assert/strict";
import { testNats } from "../tests/harness/servers.ts";
import { deferToEndOfFile, suite } from "../tests/harness/suite.ts";
import { connectNats } from "./connection.ts";
import { chunkHeaders, encodeChunk, ensureTelemetry, SERIES_LIMITS, SeriesWriter, seriesSubject } from "./series.ts";
import { readSeries } from "./series-read.ts";
import { rollUp } from "./series-rollup.ts";

const test = suite("series");
const { url, user, pass } = await testNats();
const nats = await connectNats({ url, user, password: pass, name: "series" });
deferToEndOfFile(() => nats.close());
await ensureTelemetry(nats);
await ensureTelemetry(nats, { maxAgeMs: 86_400_000 * 30 });

const owner = (id: string) => ({ organisation: "org_a", context: "applications", kind: "application", id });
const MINUTE = 60_000;
const now = Date.now();
const start = Math.floor(now / MINUTE) * MINUTE - 10 * MINUTE;

test("samples of a minute add up, whoever wrote them; beyond the limits they are left out", async () => {
  const app = owner("app_one");
  for (const values of [[1, 3], [8]]) {
    const writer = new SeriesWriter(nats);
    writer.add(
      app,
      values.map((value) => ({ metric: "memory_bytes", value, labels: { instance: "0" }, time: start + 5 })),
    );
    writer.add(app, [
      { metric: "memory_bytes", value: 10, labels: { instance: "1" }, time: start + MINUTE },
      { metric: "Not a name", value: 1 },
      { metric: "cpu_cores", value: Number.NaN },
      { metric: "cpu_cores", value: 1, labels: { a: "1", b: "1", c: "1", d: "1", e: "1" } },
    ]);
    assert.equal(await writer.flush(), 0);
  }
  const found = await readSeries(nats, app, { fromMs: start, toMs: now, stepMs: MINUTE });
  assert.deepEqual(found, [
    { metric: "memory_bytes", labels: { instance: "0" }, points: [[start, 1, 8, 12, 3]] },
    { metric: "memory_bytes", labels: { instance: "1" }, points: [[start + MINUTE, 10, 10, 20, 2]] },
  ]);
  assert.deepEqual(await readSeries(nats, app, { metric: "other", fromMs: start, toMs: now, stepMs: MINUTE }), []);
  const many = new SeriesWriter(nats);
  for (let i = 0; i < SERIES_LIMITS.series + 9; i++)
    many.add(owner("app_many"), [{ metric: "m", value: i, labels: { i: `${i}` }, time: start }]);
  await many.flush();
  const bounded = await readSeries(nats, owner("app_many"), { fromMs: start, toMs: now, stepMs: MINUTE });
  assert.equal(bounded.length, SERIES_LIMITS.series);
});

test("hours and days that are over are rolled up, each once, and read where minutes are no more", async () => {
  const app = owner("app_old");
  // Past, as a chunk is stored after what it tells of.
  const hour = Math.floor(now / 3_600_000) * 3_600_000 - 4 * 3_600_000;
  const points = [0, 1, 6, 61].map((minute) => [hour + minute * MINUTE, minute, minute, minute, 1] as const);
  const chunk = { from: hour, to: hour + 62 * MINUTE, series: [{ metric: "m", labels: {}, points }] };
  await nats.js.publish(seriesSubject(app, "1m"), encodeChunk(chunk), { headers: chunkHeaders("1m") });
  const later = hour + 63 * MINUTE;
  const [first, second] = await Promise.all([rollUp(nats, later), rollUp(nats, later)]);
  assert.ok(first + second >= 1);
  assert.equal(await rollUp(nats, later), 0, "nothing twice");
  const query = { metric: "m", fromMs: hour, toMs: hour + 7_200_000, stepMs: MINUTE };
  // Two days later minutes are gone: the fives of the hour, and what was not rolled up as it is.
  const seen = await readSeries(nats, app, query, hour + 2 * 86_400_000);
  assert.deepEqual(seen[0]!.points, [
    [hour, 0, 1, 1, 2],
    [hour + 5 * MINUTE, 6, 6, 6, 1],
    [hour + 61 * MINUTE, 61, 61, 61, 1],
  ]);
  await rollUp(nats, hour + 2 * 86_400_000);
  const coarse = await readSeries(nats, app, query, hour + 40 * 86_400_000);
  assert.deepEqual(coarse[0]!.points, [
    [hour, 0, 6, 7, 3],
    [hour + 3_600_000, 61, 61, 61, 1],
  ]);
});

test.run();
