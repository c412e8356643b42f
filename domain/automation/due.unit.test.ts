/** When schedules are due: cron as Vixie cron has it, clocks that change, the sun against an almanac, what was missed. */
import assert from "node:assert/strict";
import type { When } from "@millrace/contracts/automation/entities.ts";
import fc from "fast-check";
import { suite } from "../../tests/harness/suite.ts";
import { isZone, wallAt } from "../zone.ts";
import { parseCron } from "./cron.ts";
import { dueAfter, dueBefore, dueTimes, GRACE_MS, jitterOf, type Timing, turnoutOf } from "./due.ts";
import { sunTime } from "./sun.ts";

const test = suite("when schedules are due");

const rfc = (ms: number | undefined) =>
  ms === undefined ? "never" : new Date(ms).toISOString().replace(":00.000Z", "Z");
const cron = (expression: string, timeZone = "UTC"): When => ({ kind: "cron", expression, timeZone });
const next = (when: When, after: string, most = 3) => dueTimes(when, Date.parse(after), most).map(rfc).join(" ");

test("cron: numbers, names, ranges, steps, lists, and Sunday twice", () => {
  const table: ReadonlyArray<readonly [expression: string, after: string, expected: string]> = [
    ["30 3 * * *", "2026-01-01T00:00Z", "2026-01-01T03:30Z 2026-01-02T03:30Z 2026-01-03T03:30Z"],
    ["0 9-17/4 * * mon-fri", "2026-01-02T10:00Z", "2026-01-02T13:00Z 2026-01-02T17:00Z 2026-01-05T09:00Z"],
    ["0 0 1 JAN,jul *", "2026-01-01T00:00Z", "2026-07-01T00:00Z 2027-01-01T00:00Z 2027-07-01T00:00Z"],
    ["0 0 * * 7", "2026-01-01T00:00Z", "2026-01-04T00:00Z 2026-01-11T00:00Z 2026-01-18T00:00Z"],
    ["0 12 29 2 *", "2026-01-01T00:00Z", "2028-02-29T12:00Z 2032-02-29T12:00Z 2036-02-29T12:00Z"],
    // Neither day field a star: either suffices.
    ["0 0 13 * 5", "2026-03-01T00:00Z", "2026-03-06T00:00Z 2026-03-13T00:00Z 2026-03-20T00:00Z"],
    // One that begins with a star: both must hold.
    ["0 0 */2 * 1", "2026-02-01T00:00Z", "2026-02-09T00:00Z 2026-02-23T00:00Z 2026-03-09T00:00Z"],
  ];
  for (const [expression, after, expected] of table) assert.equal(next(cron(expression), after), expected, expression);
});

test("cron: what cannot be read, or never comes, is found out at once", () => {
  const faults = ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8"];
  faults.push(
    "5/15 * * * *",
    "*/0 * * * *",
    "10-5 * * * *",
    "x * * * *",
    "@daily",
    `${"1,".repeat(90)}1 * * * *`,
    "1".repeat(300),
  );
  for (const text of faults) assert.ok("fault" in parseCron(text), text);
  const never = ["0 0 30 2 *", "0 0 31 4,6,9,11 *"];
  for (const text of never)
    assert.equal(dueAfter(cron(text, "Europe/Berlin"), Date.parse("2026-01-01T00:00Z")), undefined);
  assert.equal(next(cron("0 0 29 2 */7"), "2026-01-01T00:00Z", 2), "2032-02-29T00:00Z 2060-02-29T00:00Z");
  assert.deepEqual(["UTC", "Europe/Berlin", "Mars/Olympus", "+01:00", "../etc", ""].map(isZone), [
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("cron where clocks change: not there, at the next moment that is; twice, once; by the running clock, always", () => {
  const berlin = (expression: string) => cron(expression, "Europe/Berlin");
  assert.equal(
    next(berlin("30 2 * * *"), "2026-03-28T00:00Z"),
    "2026-03-28T01:30Z 2026-03-29T01:00Z 2026-03-30T00:30Z",
  );
  assert.equal(next(berlin("0,30 2 * * *"), "2026-03-29T00:00Z", 2), "2026-03-29T01:00Z 2026-03-30T00:00Z");
  assert.equal(
    next(berlin("30 2 * * *"), "2026-10-24T10:00Z"),
    "2026-10-25T00:30Z 2026-10-26T01:30Z 2026-10-27T01:30Z",
  );
  assert.equal(
    next(berlin("*/30 * * * *"), "2026-10-25T00:00Z", 4),
    "2026-10-25T00:30Z 2026-10-25T01:00Z 2026-10-25T01:30Z 2026-10-25T02:00Z",
  );
  assert.equal(
    next(berlin("15 * * * *"), "2026-03-29T00:00Z", 3),
    "2026-03-29T00:15Z 2026-03-29T01:15Z 2026-03-29T02:15Z",
  );
  assert.equal(next(cron("30 0 * * *", "America/Havana"), "2026-03-08T00:00Z", 1), "2026-03-08T05:00Z");
  // A day that Samoa never had.
  assert.equal(next(cron("0 12 * * *", "Pacific/Apia"), "2011-12-29T00:00Z", 2), "2011-12-29T22:00Z 2011-12-30T10:00Z");
});

test("cron: every minute of days on which clocks change is looked at, forward and backward alike", () => {
  const days: ReadonlyArray<readonly [string, string]> = [
    ["Europe/Berlin", "2026-10-25"],
    ["Europe/Berlin", "2026-03-29"],
    ["Australia/Lord_Howe", "2026-04-05"],
    ["America/Havana", "2026-11-01"],
    ["Asia/Kolkata", "2026-03-29"],
  ];
  for (const [zone, day] of days) {
    const from = Date.parse(day) - 86_400_000;
    const to = from + 3 * 86_400_000;
    const expected: number[] = [];
    for (let at = from + 60_000; at < to; at += 60_000)
      if (new Date(wallAt(zone, at)).getUTCMinutes() % 7 === 0) expected.push(at);
    const found = dueTimes(cron("*/7 * * * *", zone), from, expected.length);
    assert.deepEqual(found, expected, zone);
    const back: number[] = [];
    for (
      let at = dueBefore(cron("*/7 * * * *", zone), to);
      at !== undefined && at > from;
      at = dueBefore(cron("*/7 * * * *", zone), at)
    )
      back.unshift(at);
    assert.deepEqual(back, expected, zone);
  }
});

test("sunrise and sunset as almanacs print them, and places without", () => {
  // London, Sydney, New York, as timeanddate.com prints them.
  const table: ReadonlyArray<readonly ["sunrise" | "sunset", number, number, string]> = [
    ["sunrise", 51.5085, -0.1257, "2015-01-01T08:06Z"],
    ["sunrise", 51.5085, -0.1257, "2015-12-01T07:43Z"],
    ["sunrise", 51.5085, -0.1257, "2015-12-12T07:57Z"],
    ["sunrise", 51.5085, -0.1257, "2015-12-25T08:05Z"],
    ["sunset", 51.5085, -0.1257, "2015-01-01T16:02Z"],
    ["sunset", 51.5085, -0.1257, "2015-12-03T15:54Z"],
    ["sunset", 51.5085, -0.1257, "2015-12-25T15:56Z"],
    ["sunrise", 40.7128, -74.006, "2024-06-20T09:25Z"],
    ["sunset", 40.7128, -74.006, "2024-06-21T00:31Z"],
    ["sunrise", -33.8688, 151.2093, "2024-12-20T18:41Z"],
    ["sunset", -33.8688, 151.2093, "2024-12-21T09:05Z"],
  ];
  for (const [event, latitude, longitude, expected] of table) {
    const at = dueAfter(
      { kind: "sun", event, latitude, longitude, offsetMinutes: 0 },
      Date.parse(expected) - 3_600_000,
    )!;
    assert.ok(Math.abs(at - Date.parse(expected)) <= 75_000, `${event} ${expected}: ${rfc(at)}`);
  }
  const tromsoe = { kind: "sun", event: "sunrise", latitude: 69.65, longitude: 18.96, offsetMinutes: 0 } as const;
  assert.equal(sunTime("sunrise", 69.65, 18.96, Date.parse("2026-12-21T12:00Z")), undefined);
  assert.match(rfc(dueAfter(tromsoe, Date.parse("2026-12-01T00:00Z"))), /^2027-01-1/); // after the polar night
  assert.equal(dueAfter({ ...tromsoe, latitude: 90 }, Date.parse("2026-12-01T00:00Z")), undefined);
  const early = { ...tromsoe, latitude: 51.5, longitude: -0.13, offsetMinutes: -720 };
  const plain = dueAfter({ ...early, offsetMinutes: 0 }, Date.parse("2015-12-12T00:00Z"))!;
  assert.equal(dueAfter(early, plain - 720 * 60_000 - 1), plain - 720 * 60_000);
});

const minutes = (most: number) => fc.integer({ min: 0, max: most });
const whens: fc.Arbitrary<When> = fc.oneof(
  fc
    .tuple(
      fc.constantFrom("*", "*/5", "0", "7,33"),
      fc.constantFrom("*", "2", "1-3"),
      fc.constantFrom("*", "31"),
      fc.constantFrom("UTC", "Europe/Berlin"),
    )
    .map(([minute, hour, day, zone]) => cron(`${minute} ${hour} ${day} * *`, zone)),
  fc
    .integer({ min: 10_000, max: 90_000_000 })
    .map((everyMs) => ({ kind: "interval", everyMs, from: "2026-03-28T00:00:00Z" }) as const),
  fc
    .integer({ min: -65, max: 65 })
    .map((latitude) => ({ kind: "sun", event: "sunset", latitude, longitude: 13, offsetMinutes: 5 }) as const),
);

test("due times come one after the other, and before is the way back", () => {
  fc.assert(
    fc.property(whens, minutes(600_000), (when, minute) => {
      const from = Date.parse("2026-03-28T00:00Z") + minute * 60_000;
      const [first, second] = dueTimes(when, from, 2) as [number, number];
      assert.ok(first > from && second > first);
      assert.equal(dueBefore(when, second), first);
      assert.equal(dueAfter(when, first - 1), first);
    }),
    { numRuns: 200 },
  );
});

test("jitter is the same for a due time, and spread over all of its width", () => {
  const found = Array.from({ length: 1_000 }, (_, i) => jitterOf("sch_a", i * 60_000, 9_999));
  assert.deepEqual(
    found,
    Array.from({ length: 1_000 }, (_, i) => jitterOf("sch_a", i * 60_000, 9_999)),
  );
  for (let tenth = 0; tenth < 10; tenth++) {
    const within = found.filter((ms) => Math.floor(ms / 1_000) === tenth).length;
    assert.ok(within > 50 && within < 160, `${within} of a thousand in tenth ${tenth}`);
  }
  assert.equal(jitterOf("sch_a", 5, 0), 0);
});

test("what was missed: skipped, made up for once, or all of it up to so much", () => {
  const began = Date.parse("2026-01-01T00:00Z");
  const timing = (policy: Timing["missed"]["policy"], most = 3): Timing => ({
    id: "sch_a",
    when: { kind: "interval", everyMs: 600_000, from: "2026-01-01T00:10:00Z" },
    jitterMs: 0,
    missed: { policy, most },
  });
  const at = (minute: number) => began + minute * 60_000;
  const skipped = (from: number, to: number, count: number) => ({ from: at(from), to: at(to), count, more: false });
  for (const policy of ["skip", "once", "all"] as const) {
    assert.equal(turnoutOf(timing(policy), began, at(10) - 1), undefined, policy);
    const inTime = { due: at(10), late: false, skipped: undefined };
    assert.deepEqual(turnoutOf(timing(policy), began, at(10) + GRACE_MS), inTime, policy);
  }
  const after = at(65);
  assert.deepEqual(turnoutOf(timing("skip"), began, after), {
    due: undefined,
    late: false,
    skipped: skipped(10, 60, 6),
  });
  assert.deepEqual(turnoutOf(timing("once"), began, after), { due: at(60), late: true, skipped: skipped(10, 50, 5) });
  assert.deepEqual(turnoutOf(timing("all"), began, after), { due: at(40), late: true, skipped: skipped(10, 30, 3) });
  assert.deepEqual(turnoutOf(timing("all"), at(40), after), { due: at(50), late: true, skipped: undefined });
  // The newest in time is not a missed one.
  assert.deepEqual(turnoutOf(timing("skip"), began, at(60)), { due: at(60), late: false, skipped: skipped(10, 50, 5) });
  // A year of it is counted no further than a thousand.
  const year = turnoutOf(timing("once"), began, began + 366 * 86_400_000)!;
  assert.deepEqual([year.skipped?.count, year.skipped?.more], [1_000, true]);
});

test.run();
