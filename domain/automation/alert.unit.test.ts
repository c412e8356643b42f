/** Alerts: what samples say of a condition, with duration and hysteresis; and what people do with one. */
import assert from "node:assert/strict";
import type { AlertSpec } from "@millrace/contracts/automation/alerts.ts";
import { suite } from "../../tests/harness/suite.ts";
import { given, sentenceOf, type Told } from "../testing.ts";
import { alert, type Minute, verdict } from "./alert.ts";

const test = suite("alerts");

const on = { kind: "application" as const, id: "app_01kajzq4v0e8r9t2m5x7c3d6fg" };
const spec: AlertSpec = {
  name: "memory",
  on,
  metric: "memory_bytes",
  condition: { is: "above", value: 10, back: 5 },
  forMs: 180_000,
};
const created: Told = ["AlertCreated", { spec }];
const since = "2026-11-21T08:00:00.000Z";
const about = { name: "memory", on, metric: "memory_bytes" };
const fired: Told = ["AlertFired", { ...about, value: 11, since, silenced: false }];

const MINUTE = 60_000;
const T = Math.floor(Date.parse(since) / MINUTE) * MINUTE;
const minutes = (...values: ReadonlyArray<number | null>): Minute[] =>
  values.flatMap((value, i) => (value === null ? [] : [[T + i * MINUTE, value] as const]));
const quiet = { spec, firing: null, generation: 1 };
const firing = { ...quiet, firing: { since, value: 11 } };
/** As seen ten seconds before the last of so many minutes is over. */
const seenAfter = (count: number) => T + count * MINUTE - 10_000;

test("it fires when the condition has held for its time without a break, counted by samples", () => {
  assert.equal(verdict(quiet, minutes(1, 11, 12, 13), seenAfter(4)), undefined, "ten seconds are missing");
  assert.deepEqual(verdict(quiet, minutes(1, 11, 12, 13), seenAfter(4) + 10_000), {
    do: "fire",
    generation: 1,
    value: 13,
    since: new Date(T + MINUTE).toISOString(),
  });
  assert.equal(verdict(quiet, minutes(11, 12, 9, 12, 12), seenAfter(5)), undefined, "a break");
  assert.equal(verdict(quiet, minutes(11, null, 12, 12), T + 4 * MINUTE)?.do, "fire", "a missing minute is no break");
  assert.equal(verdict(quiet, minutes(11, null, null, null, 12, 12), T + 6 * MINUTE), undefined, "a hole is");
  assert.equal(verdict(quiet, minutes(11, 12, 13, 14), T + 9 * MINUTE), undefined, "old samples say nothing of now");
  assert.equal(verdict(quiet, [], T), undefined);
});

test("it is over when the series has come back beyond the other threshold; without one, beyond the first", () => {
  assert.equal(verdict(firing, minutes(11, 8), seenAfter(2)), undefined);
  assert.deepEqual(verdict(firing, minutes(11, 5), seenAfter(2)), { do: "resolve", generation: 1, value: 5 });
  const { back: _, ...condition } = spec.condition;
  const plain = { ...firing, spec: { ...spec, condition } };
  assert.equal(verdict(plain, minutes(11), seenAfter(1)), undefined);
  assert.equal(verdict(plain, minutes(10), seenAfter(1))?.do, "resolve");
  const below = { ...quiet, spec: { ...spec, forMs: 0, condition: { is: "below" as const, value: 3, back: 6 } } };
  assert.equal(verdict(below, minutes(2), seenAfter(1))?.do, "fire");
  assert.equal(verdict({ ...below, firing: firing.firing }, minutes(5), seenAfter(1)), undefined);
  assert.equal(verdict({ ...below, firing: firing.firing }, minutes(6), seenAfter(1))?.do, "resolve");
});

test("state changes are told once; of another spec they are overtaken", () => {
  const fire = { do: "fire", generation: 1, since, value: 11 } as const;
  given(alert, [created]).when(fire).happens(fired);
  given(alert, [created, fired]).when(fire).happens();
  given(alert, [created])
    .when({ ...fire, generation: 2 })
    .isRefused({ rule: "overtaken" });
  given(alert, [created, fired])
    .when({ do: "resolve", generation: 1, value: 4 })
    .happens(["AlertResolved", { ...about, value: 4, silenced: false }]);
  given(alert, [created]).when({ do: "resolve", generation: 1, value: 4 }).happens();
});

test("silenced it still changes state, and says so; acknowledged is what fires", () => {
  given(alert, [created, ["AlertSilenced", { until: "2030-01-01T00:00:00.000Z", reason: "Known" }]])
    .when({ do: "fire", generation: 1, since, value: 11 })
    .happens(["AlertFired", { ...about, value: 11, since, silenced: true }]);
  given(alert, [created]).when({ do: "acknowledge" }).isRefused({ rule: "not-firing" });
  given(alert, [created, fired]).when({ do: "acknowledge" }).happens(["AlertAcknowledged", {}]);
  given(alert, [created])
    .when({ do: "silence", until: "2020-01-01T00:00:00Z", reason: "Known" })
    .isRefused({ pointers: ["/body/until"] });
  given(alert, [created, fired])
    .when({ do: "change", forMs: 0 })
    .leads((state) => assert.deepEqual([state.firing, state.generation], [null, 2]));
  given(alert, [])
    .when({ do: "create", spec: { ...spec, condition: { is: "above", value: 10, back: 11 } } })
    .isRefused({ pointers: ["/body/condition/back"] });
});

test("each event as a person reads it", () => {
  const said = Object.entries(alert.events).map(([type, { examples }]) => sentenceOf(alert, type, examples[1]));
  assert.deepEqual(said.slice(2, 5), [
    "fired: memory_bytes is 500000000, since 2026-11-21T08:00:00.000Z",
    "resolved it: memory_bytes is 200000000",
    "looks after it",
  ]);
});

test.run();
