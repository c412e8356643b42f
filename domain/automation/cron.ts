/**
 * Cron expressions of five fields, as Vixie cron reads them: minute, hour, day of month, month, day of week. A field that begins with `*` is
 * a star; where neither day field is one, either suffices, else both must hold.
 *
 * Where clocks change: with a star in minute or hour it goes by the clock that runs on, every matching minute; else each time of the day is
 * once a day: one that does not exist is the first moment after the gap, one that happens twice is its first.
 */
import { DAY, instantOf, instantsOf, type LocalDay, localDay, wallAt } from "../zone.ts";

export interface Cron {
  readonly minutes: ReadonlyArray<number>;
  readonly hours: ReadonlyArray<number>;
  readonly days: ReadonlySet<number>;
  readonly months: ReadonlySet<number>;
  /** 0 is Sunday. */
  readonly weekdays: ReadonlySet<number>;
  readonly dayStar: boolean;
  readonly weekdayStar: boolean;
  /** Every matching minute of the clock that runs on. */
  readonly running: boolean;
}

interface Field {
  readonly name: string;
  readonly least: number;
  readonly most: number;
  readonly names?: ReadonlyArray<string>;
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: ReadonlyArray<Field> = [
  { name: "minute", least: 0, most: 59 },
  { name: "hour", least: 0, most: 23 },
  { name: "day of month", least: 1, most: 31 },
  { name: "month", least: 1, most: 12, names: ["", ...MONTHS] },
  { name: "day of week", least: 0, most: 7, names: WEEKDAYS },
];

export const CRON_LENGTH = 200;
const PARTS_MOST = 60;
/** Twice the longest that a 29 February can keep a day of the week waiting. */
const YEARS_MOST = 80;

/** @returns the expression, or what is wrong with it */
export function parseCron(text: string): Cron | { readonly fault: string } {
  if (text.length > CRON_LENGTH) return { fault: `is longer than ${CRON_LENGTH} characters` };
  const words = text.trim().split(/\s+/);
  if (words.length !== FIELDS.length) {
    return { fault: `has ${words.length} fields; it takes five: minute, hour, day of month, month, day of week` };
  }
  const sets: Set<number>[] = [];
  for (const [i, word] of words.entries()) {
    const values = parseField(FIELDS[i]!, word.toLowerCase());
    if (typeof values === "string") return { fault: `${FIELDS[i]!.name} "${word.slice(0, 40)}" ${values}` };
    sets.push(values);
  }
  const [minutes, hours, days, months, weekdays] = sets as [
    Set<number>,
    Set<number>,
    Set<number>,
    Set<number>,
    Set<number>,
  ];
  if (weekdays.delete(7)) weekdays.add(0);
  const star = (i: number) => words[i]!.startsWith("*");
  return {
    minutes: [...minutes].sort((a, b) => a - b),
    hours: [...hours].sort((a, b) => a - b),
    days,
    months,
    weekdays,
    dayStar: star(2),
    weekdayStar: star(4),
    running: star(0) || star(1),
  };
}

function parseField(field: Field, word: string): Set<number> | string {
  const values = new Set<number>();
  const parts = word.split(",");
  if (parts.length > PARTS_MOST) return `has more than ${PARTS_MOST} parts`;
  for (const part of parts) {
    const match = /^(\*|([a-z]{3}|\d{1,2})(-([a-z]{3}|\d{1,2}))?)(\/(\d{1,2}))?$/.exec(part);
    if (match === null) return "is not a number, a name, a range, a list or a star";
    const [, whole, first, , last, , step] = match as unknown as string[];
    const from = whole === "*" ? field.least : numberOf(field, first!);
    const to = whole === "*" ? field.most : last === undefined ? from : numberOf(field, last);
    if (from === undefined || to === undefined) return `is not of ${field.least} to ${field.most}`;
    if (to < from) return "is a range that ends before it begins";
    if (step !== undefined && last === undefined && whole !== "*") return "has a step without a range";
    const by = step === undefined ? 1 : Number(step);
    if (by === 0) return "has a step of 0";
    for (let value = from; value <= to; value += by) values.add(value);
  }
  return values;
}

function numberOf({ least, most, names }: Field, word: string): number | undefined {
  const value = /^\d+$/.test(word) ? Number(word) : (names?.indexOf(word) ?? -1);
  return value >= least && value <= most ? value : undefined;
}

/** @param wall midnight, as if it were UTC */
function hasDay(cron: Cron, wall: number): boolean {
  const date = new Date(wall);
  if (!cron.months.has(date.getUTCMonth() + 1)) return false;
  const day = cron.days.has(date.getUTCDate());
  const weekday = cron.weekdays.has(date.getUTCDay());
  return cron.dayStar || cron.weekdayStar ? day && weekday : day || weekday;
}

/** The moments of a day on which clocks change, in order, each once. */
function momentsOf(cron: Cron, day: LocalDay): number[] {
  const moments: number[] = [];
  for (const hour of cron.hours) {
    for (const minute of cron.minutes) {
      const wall = day.wall + (hour * 60 + minute) * 60_000;
      if (cron.running) moments.push(...instantsOf(day, wall));
      else moments.push(instantOf(day, wall));
    }
  }
  return [...new Set(moments)].sort((a, b) => a - b);
}

/** The first moment of a day after another. */
function firstIn(cron: Cron, day: LocalDay, after: number): number | undefined {
  if (day.turn !== undefined) return momentsOf(cron, day).find((moment) => moment > after);
  const start = day.wall - day.offset;
  if (start + DAY <= after) return undefined;
  for (const hour of cron.hours) {
    // Whole hours are passed over at once.
    if (start + (hour + 1) * 3_600_000 <= after) continue;
    for (const minute of cron.minutes) {
      const moment = start + (hour * 60 + minute) * 60_000;
      if (moment > after) return moment;
    }
  }
  return undefined;
}

/** The last moment of a day before another. */
function lastIn(cron: Cron, day: LocalDay, before: number): number | undefined {
  if (day.turn !== undefined) return momentsOf(cron, day).findLast((moment) => moment < before);
  const start = day.wall - day.offset;
  if (start >= before) return undefined;
  for (const hour of cron.hours.toReversed()) {
    if (start + hour * 3_600_000 >= before) continue;
    const minute = cron.minutes.findLast((one) => start + (hour * 60 + one) * 60_000 < before);
    if (minute !== undefined) return start + (hour * 60 + minute) * 60_000;
  }
  return undefined;
}

const midnight = (wall: number): number => Math.floor(wall / DAY) * DAY;

/** Days of the calendar after another, matching ones only; bounded, so that what never comes is found out. */
function* daysFrom(cron: Cron, wall: number, direction: 1 | -1): Generator<number> {
  const end = wall + direction * YEARS_MOST * 366 * DAY;
  for (let day = wall; direction === 1 ? day < end : day > end; ) {
    if (hasDay(cron, day)) yield day;
    const date = new Date(day);
    // A month that does not match is passed over at once.
    if (cron.months.has(date.getUTCMonth() + 1)) day += direction * DAY;
    else if (direction === 1) day = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
    else day = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 0);
  }
}

/** The first moment after this one; undefined: it never comes. */
export function cronAfter(cron: Cron, zone: string, after: number): number | undefined {
  for (const day of daysFrom(cron, midnight(wallAt(zone, after)) - DAY, 1)) {
    const found = firstIn(cron, localDay(zone, day), after);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The last moment before this one; undefined: there was none. */
export function cronBefore(cron: Cron, zone: string, before: number): number | undefined {
  for (const day of daysFrom(cron, midnight(wallAt(zone, before)) + DAY, -1)) {
    const found = lastIn(cron, localDay(zone, day), before);
    if (found !== undefined) return found;
  }
  return undefined;
}
