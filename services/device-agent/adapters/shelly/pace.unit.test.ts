/** What keeps devices from being overrun: turns, the gate, the breaker, the wheel; and JSON that is merged. */
import fc from "fast-check";
import * as assert from "uvu/assert";
import { eventually } from "../../../../tests/harness/eventually.ts";
import { suite } from "../../../../tests/harness/suite.ts";
import { Breaker, backoffMs } from "./backoff.ts";
import { DeviceFailure, failure } from "./failures.ts";
import { Gate, Turns } from "./gate.ts";
import { isObject, type JsonObject, merge, parseJson } from "./json.ts";
import { samplesOf, samplesOfGen1 } from "./samples.ts";
import { Wheel } from "./wheel.ts";

const test = suite("pace");

const kindOf = (error: unknown) => (error instanceof DeviceFailure ? error.kind : String(error));

test("one call at a time, in order, a pause between; one that fails holds nobody up; too many are refused", async () => {
  const turns = new Turns(20);
  const log: string[] = [];
  const ends: number[] = [];
  const work = (name: string) => async () => {
    // Timers may come a little early.
    if (ends.length > 0) assert.ok(performance.now() - ends.at(-1)! >= 15);
    log.push(`${name} begins`);
    await Promise.resolve();
    log.push(`${name} ends`);
    ends.push(performance.now());
    if (name === "b") throw new Error("b");
  };
  const all = await Promise.allSettled(["a", "b", "c"].map((name) => turns.take(work(name))));
  assert.equal(log, ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  assert.equal(
    all.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
  const full = new Turns();
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiting = Array.from({ length: 256 }, () => full.take(() => promise));
  assert.is(await full.take(async () => {}).catch(kindOf), "not-sent");
  resolve();
  await Promise.all(waiting);
});

test("so many connects at once and no more", async () => {
  const gate = new Gate(8);
  let [now, most] = [0, 0];
  await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      gate
        .pass(async () => {
          now += 1;
          most = Math.max(most, now);
          await new Promise((resolve) => setImmediate(resolve));
          now -= 1;
          if (i % 3 === 0) throw new Error("refused");
        })
        .catch(() => {}),
    ),
  );
  assert.equal([now, most, gate.waiting], [0, 8, 0]);
});

test("waits grow to five minutes and are spread over all of it", () => {
  assert.equal(
    [1, 2, 5, 9, 10, 1_000].map((n) => backoffMs(n, 1)),
    [1_000, 2_000, 16_000, 256_000, 300_000, 300_000],
  );
  assert.is(backoffMs(7, 0), 0);
});

test("after five calls without an answer others are told so at once, until it is heard of", async () => {
  const breaker = new Breaker();
  let tried = 0;
  const dead = () =>
    breaker.guard(async () => {
      tried += 1;
      throw failure("unreachable", "nobody");
    });
  for (let i = 0; i < 8; i++) assert.is(await dead().catch(kindOf), "unreachable");
  assert.is(tried, 5);
  breaker.reset();
  assert.is(await breaker.guard(async () => 7), 7);
  // An answer is an answer, though it says no.
  for (let i = 0; i < 8; i++)
    await breaker.guard(async () => Promise.reject(failure("not-found", "no"))).catch(() => {});
  assert.is(await breaker.guard(async () => 8), 8);
});

test("thousands of waits by one timer; what is taken back does not come, what throws stops nothing", async ({
  defer,
}) => {
  const errors: unknown[] = [];
  const wheel = new Wheel((error) => errors.push(error));
  defer(() => wheel.close());
  let came = 0;
  const comes = () => {
    came += 1;
  };
  for (let i = 0; i < 5_000; i++) wheel.after(i % 300, comes);
  for (let i = 0; i < 100; i++) wheel.after(100, () => assert.unreachable("taken back")).cancel();
  wheel.after(0, () => {
    throw new Error("one of them");
  });
  await eventually(async () => (came === 5_000 ? true : undefined), "all waits");
  assert.is(errors.length, 1);
  assert.is(wheel.waiting, 0);
});

test("merging: null and arrays replace, what is the same stays the same, nothing gets another nature", () => {
  const base: JsonObject = { a: { b: 1, c: [1, 2] }, d: null };
  assert.is(merge(base, { a: { b: 1, c: [1, 2] }, d: null }), base);
  const merged = merge(base, { a: { b: 2 }, d: { e: null } });
  assert.equal(merged, { a: { b: 2, c: [1, 2] }, d: { e: null } });
  assert.is((merged.a as JsonObject).c, (base.a as JsonObject).c);
  assert.equal(merge(base, { a: null }), { a: null, d: null });
  const evil = merge({}, parseJson('{"__proto__":{"polluted":true},"constructor":{"x":1}}') as JsonObject);
  assert.is((evil as { polluted?: boolean }).polluted, undefined);
  assert.is(Object.getPrototypeOf(evil), Object.prototype);
  let grown: JsonObject = {};
  assert.throws(() => {
    for (let i = 0; i < 1_000; i++) grown = merge(grown, { [`switch:${i}`]: { id: i } });
  });
});

test("merging a change twice is merging it once, and the whole over anything is the whole", () => {
  const json = fc.dictionary(
    fc.constantFrom("a", "b", "c:0"),
    fc.letrec((tie) => ({
      node: fc.oneof(
        { depthSize: "small" },
        fc.integer(),
        fc.constant(null),
        fc.dictionary(fc.constantFrom("x", "y"), tie("node")),
      ),
    })).node as fc.Arbitrary<never>,
  ) as fc.Arbitrary<JsonObject>;
  fc.assert(
    fc.property(json, json, (base, change) => {
      const once = merge(base, change);
      assert.is(merge(once, change), once);
      for (const [key, value] of Object.entries(change)) if (!isObject(value)) assert.equal(once[key], value);
    }),
    { numRuns: 200 },
  );
});

test("what of a status is measured, of both kinds of devices", () => {
  const gen2 = samplesOf({
    "switch:0": {
      id: 0,
      output: true,
      apower: 12.5,
      aenergy: { total: 100, by_minute: [1] },
      temperature: { tC: 40, tF: 104 },
    },
    "em:0": { a_act_power: 1, b_voltage: 230, total_act_power: 3, n_current: null },
    sys: { uptime: 9, ram_free: 1_000, mac: "x" },
    "__proto:x": { apower: 1 },
  });
  assert.equal(
    gen2.map(({ metric, value, labels }) => [metric, value, ...Object.values(labels ?? {})]),
    [
      ["power_watts", 12.5, "switch:0"],
      ["energy_watt_hours", 100, "switch:0"],
      ["temperature_celsius", 40, "switch:0"],
      ["power_watts", 1, "em:0", "a"],
      ["voltage_volts", 230, "em:0", "b"],
      ["power_watts", 3, "em:0"],
      ["uptime_seconds", 9, "sys"],
      ["ram_free_bytes", 1_000, "sys"],
    ],
  );
  const gen1 = samplesOfGen1({
    relays: [{}],
    meters: [
      { power: 5, total: 600, is_valid: true },
      { power: 1, is_valid: false },
    ],
    bat: { value: 80 },
    ext_temperature: { 0: { tC: 21 } },
  });
  assert.equal(
    gen1.map(({ metric, value, labels }) => [metric, value, labels?.component]),
    [
      ["power_watts", 5, "switch:0"],
      ["energy_watt_hours", 10, "switch:0"],
      ["battery_percent", 80, "devicepower:0"],
      ["temperature_celsius", 21, "temperature:100"],
    ],
  );
});

test.run();
