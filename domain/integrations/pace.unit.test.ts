/** When a channel speaks, as tables; and that what is held stays small and counts everything. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import {
  GATHERED,
  type Gathered,
  gather,
  gatheredMessage,
  gatheredText,
  isHeld,
  mayTellAt,
  quietEnd,
  quietFault,
  restText,
  spend,
} from "./pace.ts";

const test = suite("pace of channels");

const at = (time: string): number => Date.parse(time);
const berlin = (from: string, to: string) => ({ from, to, zone: "Europe/Berlin" });
const NONE = { since: 0, count: 0 };

test("quiet hours end by the clock on the wall", () => {
  const table: ReadonlyArray<[ReturnType<typeof berlin>, string, string | undefined]> = [
    // Over midnight: before, in, after midnight, at the end, by day.
    [berlin("22:00", "07:00"), "2026-11-21T20:59:59.999Z", undefined],
    [berlin("22:00", "07:00"), "2026-11-21T21:00:00Z", "2026-11-22T06:00:00.000Z"],
    [berlin("22:00", "07:00"), "2026-11-22T01:30:00Z", "2026-11-22T06:00:00.000Z"],
    [berlin("22:00", "07:00"), "2026-11-22T05:59:59.999Z", "2026-11-22T06:00:00.000Z"],
    [berlin("22:00", "07:00"), "2026-11-22T06:00:00Z", undefined],
    // Within a day.
    [berlin("12:00", "13:30"), "2026-07-01T10:15:00Z", "2026-07-01T11:30:00.000Z"],
    [berlin("12:00", "13:30"), "2026-07-01T11:30:00Z", undefined],
    [berlin("00:00", "07:00"), "2026-11-21T23:00:00Z", "2026-11-22T06:00:00.000Z"],
    // The night in which an hour is missing, and an end that is in that hour.
    [berlin("22:00", "07:00"), "2026-03-28T22:00:00Z", "2026-03-29T05:00:00.000Z"],
    [berlin("22:00", "02:30"), "2026-03-28T22:00:00Z", "2026-03-29T01:00:00.000Z"],
    // The night in which an hour is there twice, and an end that is in that hour: both times.
    [berlin("22:00", "07:00"), "2026-10-24T21:00:00Z", "2026-10-25T06:00:00.000Z"],
    [berlin("22:00", "02:30"), "2026-10-25T00:10:00Z", "2026-10-25T00:30:00.000Z"],
    [berlin("22:00", "02:30"), "2026-10-25T01:10:00Z", "2026-10-25T01:30:00.000Z"],
    // Half an hour beside the others.
    [{ from: "22:00", to: "06:00", zone: "Asia/Kolkata" }, "2026-11-21T17:00:00Z", "2026-11-22T00:30:00.000Z"],
    [{ from: "22:00", to: "06:00", zone: "UTC" }, "2026-11-21T22:00:00Z", "2026-11-22T06:00:00.000Z"],
  ];
  for (const [quiet, now, end] of table) {
    const found = quietEnd(quiet, at(now));
    assert.equal(
      found === undefined ? undefined : new Date(found).toISOString(),
      end,
      `${JSON.stringify(quiet)} ${now}`,
    );
  }
  assert.equal(quietFault(berlin("22:00", "07:00")), undefined);
  assert.match(quietFault(berlin("22:00", "22:00"))!, /pause/);
  assert.match(quietFault({ from: "22:00", to: "07:00", zone: "Europe/Atlantis" })!, /zone/);
});

test("a message waits for the last of what holds it", () => {
  const now = at("2026-11-21T20:50:00Z");
  const minutes = (n: number) => now + n * 60_000;
  const flood = { messages: 2, minutes: 10 };
  const full = { since: minutes(-4), count: 2 };
  const quiet = berlin("22:00", "07:00");
  const morning = at("2026-11-22T06:00:00Z");
  const table: ReadonlyArray<[string, number, number]> = [
    ["nothing holds it", mayTellAt({}, full, now), now],
    ["the cap has room", mayTellAt({ flood }, { ...full, count: 1 }, now), now],
    ["the cap is reached", mayTellAt({ flood }, full, now), minutes(6)],
    ["the window is over", mayTellAt({ flood }, { since: minutes(-10), count: 2 }, now), now],
    ["the clock was set back", mayTellAt({ flood }, { since: minutes(500), count: 2 }, now), minutes(10)],
    ["a digest is young", mayTellAt({ digestMinutes: 5 }, NONE, now, minutes(-1)), minutes(4)],
    ["a digest is ripe", mayTellAt({ digestMinutes: 5 }, NONE, now, minutes(-5)), now],
    ["a digest, and the cap", mayTellAt({ digestMinutes: 5, flood }, full, now, minutes(-1)), minutes(6)],
    ["the window opens in quiet hours", mayTellAt({ flood: { ...flood, minutes: 20 }, quiet }, full, now), morning],
    ["before the night", mayTellAt({ quiet }, NONE, now), now],
    ["a digest that ends in the night", mayTellAt({ digestMinutes: 30, quiet }, NONE, now, now), morning],
  ];
  for (const [what, found, expected] of table) {
    assert.equal(new Date(found).toISOString(), new Date(expected).toISOString(), what);
  }
  assert.deepEqual(
    [isHeld({}, full, now), isHeld({ flood }, full, now), isHeld({ digestMinutes: 1 }, NONE, now)],
    [false, true, true],
  );
});

test("a window of the flood cap begins with its first message", () => {
  const flood = { messages: 2, minutes: 1 };
  const first = spend(flood, NONE, 1_000_000);
  assert.deepEqual(first, { since: 1_000_000, count: 1 });
  assert.deepEqual(spend(flood, first, 1_059_999), { since: 1_000_000, count: 2 });
  assert.deepEqual(spend(flood, first, 1_060_000), { since: 1_060_000, count: 1 });
});

const all = (
  count: number,
  line: (n: number) => string | undefined,
  type = (n: number) => `Type${n % 3}`,
): Gathered => {
  let gathered: Gathered | undefined;
  for (let n = 0; n < count; n++) {
    gathered = gather("ntfy", gathered, { message: `msg_work_${n}_0`, type: type(n), line: line(n) }, 1_000 + n);
  }
  return gathered!;
};

test("a flood is counted by type, the most first", () => {
  const flood = all(
    37,
    () => undefined,
    (n) => (n % 3 === 0 ? "DeploymentFailed" : "ItemOpened"),
  );
  assert.equal(gatheredText("ntfy", flood), "… and 37 more, of which 24 ItemOpened, 13 DeploymentFailed");
  assert.equal(gatheredMessage(flood), "msg_work_0_0_to_work_36_0");
  assert.equal(flood.since, 1_000);
});

test("lines are told in order as long as there is room, and the rest is counted", () => {
  const few = all(3, (n) => `line\n  ${n}`);
  assert.equal(gatheredText("ntfy", few), "line 0\nline 1\nline 2");
  const many = all(10_000, (n) => `${"x".repeat(200)} ${n}`);
  const text = gatheredText("ntfy", many);
  assert.ok(text.length <= 1_300);
  assert.match(text, /… and \d+ more, of which \d+ Type\d, \d+ Type\d, \d+ Type\d$/u);
  const rest = Object.values(many.types).reduce((sum, n) => sum + n, 0);
  assert.equal(many.lines.length + rest, 10_000);
  // After one that has no line nothing has one: what is told is the beginning.
  const mixed = all(4, (n) => (n === 1 ? undefined : `${n}`));
  assert.deepEqual([mixed.lines, restText(mixed)], [["0"], "… and 3 more, of which 1 Type0, 1 Type1, 1 Type2"]);
});

test("what is held is bounded for every service, whatever comes", () => {
  for (const service of ["mail", "slack", "discord", "ntfy", "gotify", "telegram", "matrix", "json"] as const) {
    let gathered: Gathered | undefined;
    for (let n = 0; n < 3_000; n++) {
      const type = `T${"y".repeat(60)}${n % 200}`;
      gathered = gather(service, gathered, { message: `msg_${n}`, type, line: "😀".repeat(n % 700) }, n);
    }
    assert.ok(JSON.stringify(gathered).length < 20_000, service);
    assert.ok(Object.keys(gathered!.types).length <= GATHERED.types);
    assert.equal(gathered!.count, 3_000);
    assert.match(gatheredText(service, gathered!), /… and \d+ more, of which [^…]+$/u, service);
  }
});

test.run();
