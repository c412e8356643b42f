/** When schedules are due: pure, and bounded whatever it is asked. Times are milliseconds since 1970. */
import type { When } from "@millrace/contracts/automation/entities.ts";
import { DAY } from "../zone.ts";
import { type Cron, cronAfter, cronBefore, parseCron } from "./cron.ts";
import { sunTime } from "./sun.ts";

/** Longer than every polar night, and than every polar day. */
const SUN_DAYS_MOST = 400;

const parsed = new Map<string, Cron>();
const PARSED_MOST = 1_000;

/** @throws TypeError for what `parseCron` refuses: it was checked when it was stored */
function cronOf(expression: string): Cron {
  let cron = parsed.get(expression);
  if (cron === undefined) {
    const read = parseCron(expression);
    if ("fault" in read) throw new TypeError(`cron expression ${read.fault}`);
    cron = read;
    if (parsed.size >= PARSED_MOST) parsed.clear();
    parsed.set(expression, cron);
  }
  return cron;
}

type Sun = Extract<When, { kind: "sun" }>;

/** The event of the day around a moment, moved by the offset. */
const sunOn = ({ event, latitude, longitude, offsetMinutes }: Sun, noon: number): number | undefined => {
  const time = sunTime(event, latitude, longitude, noon);
  return time === undefined ? undefined : time + offsetMinutes * 60_000;
};

function sunNear(when: Sun, from: number, direction: 1 | -1): number | undefined {
  // The offset and the difference between noon and the event may reach over two days.
  for (let day = -2; day <= SUN_DAYS_MOST; day++) {
    const time = sunOn(when, from + direction * day * DAY);
    if (time !== undefined && (direction === 1 ? time > from : time < from)) return time;
  }
  return undefined;
}

/** The first due time after a moment; undefined: there is none any more. */
export function dueAfter(when: When, after: number): number | undefined {
  switch (when.kind) {
    case "cron":
      return cronAfter(cronOf(when.expression), when.timeZone, after);
    case "sun":
      return sunNear(when, after, 1);
    case "once": {
      const at = Date.parse(when.at);
      return at > after ? at : undefined;
    }
    case "interval": {
      const from = Date.parse(when.from);
      if (after < from) return from;
      return from + (Math.floor((after - from) / when.everyMs) + 1) * when.everyMs;
    }
  }
}

/** The last due time before a moment; undefined: there was none. */
export function dueBefore(when: When, before: number): number | undefined {
  switch (when.kind) {
    case "cron":
      return cronBefore(cronOf(when.expression), when.timeZone, before);
    case "sun":
      return sunNear(when, before, -1);
    case "once": {
      const at = Date.parse(when.at);
      return at < before ? at : undefined;
    }
    case "interval": {
      const from = Date.parse(when.from);
      if (before <= from) return undefined;
      return from + (Math.ceil((before - from) / when.everyMs) - 1) * when.everyMs;
    }
  }
}

/** The next due times after a moment. */
export function dueTimes(when: When, after: number, most: number): number[] {
  const times: number[] = [];
  for (let at = dueAfter(when, after); at !== undefined && times.length < most; at = dueAfter(when, at)) times.push(at);
  return times;
}

/** How much later than its due time it is done: evenly spread, and always the same for one due time. @param id of the schedule */
export function jitterOf(id: string, due: number, jitterMs: number): number {
  if (jitterMs === 0) return 0;
  let hash = 0x811c9dc5;
  for (const text of [id, String(due)]) {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % (jitterMs + 1);
}

export interface Timing {
  readonly id: string;
  readonly when: When;
  readonly jitterMs: number;
  readonly missed: { readonly policy: "skip" | "once" | "all"; readonly most: number };
}

/** What is to be done about the due times that have passed. */
export interface Turnout {
  /** To be done now; undefined: nothing, they are only passed over. */
  readonly due: number | undefined;
  /** It comes later than it should have, after an outage. */
  readonly late: boolean;
  /** Passed over, the first and the last, and how many. */
  readonly skipped:
    | { readonly from: number; readonly to: number; readonly count: number; readonly more: boolean }
    | undefined;
}

/** So much later than it should have been is still in time. */
export const GRACE_MS = 60_000;
const COUNTED_MOST = 1_000;

/** When the first due time after a moment is to be done; undefined: never. */
export function firesAt({ id, when, jitterMs }: Timing, after: number): number | undefined {
  const due = dueAfter(when, after);
  return due === undefined ? undefined : due + jitterOf(id, due, jitterMs);
}

/**
 * What to do at a moment about everything that was due since.
 * @param after up to here all is done
 * @returns undefined: nothing was
 */
export function turnoutOf(timing: Timing, after: number, now: number): Turnout | undefined {
  const { id, when, jitterMs, missed } = timing;
  const at = (due: number) => due + jitterOf(id, due, jitterMs);
  const first = dueAfter(when, after);
  if (first === undefined || at(first) > now) return undefined;
  let last = first;
  // Jitter is smaller than the distance of due times, so the one before the newest has passed in any case.
  for (let step = 0, due = dueBefore(when, now + 1); step < 3 && due !== undefined && due > first; step++) {
    if (at(due) <= now) {
      last = due;
      break;
    }
    due = dueBefore(when, due);
  }
  const inTime = (due: number) => now - at(due) <= GRACE_MS;
  let chosen: number | undefined = last;
  if (missed.policy === "skip" && !inTime(last)) chosen = undefined;
  if (missed.policy === "all") {
    for (let left = missed.most - 1; left > 0; left--) {
      const earlier = dueBefore(when, chosen!);
      if (earlier === undefined || earlier < first) break;
      chosen = earlier;
    }
  }
  const skipped = chosen === first ? undefined : countOf(when, first, chosen ?? last + 1);
  return { due: chosen, late: chosen !== undefined && !inTime(chosen), skipped };
}

function countOf(when: When, first: number, end: number) {
  let count = 0;
  for (let due: number | undefined = first; due !== undefined && due < end && count < COUNTED_MOST; count++) {
    due = dueAfter(when, due);
  }
  const to = dueBefore(when, end) ?? first;
  return { from: first, to, count, more: count === COUNTED_MOST };
}

/** The smallest distance between the next due times; undefined: there are less than two. */
export function smallestGap(when: When, after: number): number | undefined {
  const times = dueTimes(when, after, 50);
  const gaps = times.slice(1).map((time, i) => time - times[i]!);
  return gaps.length === 0 ? undefined : Math.min(...gaps);
}
