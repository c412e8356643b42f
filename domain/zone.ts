/** Local time in a time zone of the IANA database that comes with the runtime. Times are milliseconds since 1970. */

const MINUTE = 60_000;
export const DAY = 86_400_000;
const ZONES_MOST = 500;

const formats = new Map<string, Intl.DateTimeFormat>();

/** @throws RangeError when there is no such zone */
function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-GB-u-ca-iso8601", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    if (formats.size >= ZONES_MOST) formats.clear();
    formats.set(zone, format);
  }
  return format;
}

/** Whether it is the name of a zone: a place, an abbreviation or `UTC`, not an offset. */
export function isZone(zone: string): boolean {
  if (!/^[A-Za-z][A-Za-z0-9_+\-/]{0,63}$/.test(zone)) return false;
  try {
    formatOf(zone);
    return true;
  } catch {
    return false;
  }
}

/** What the clock on the wall shows, as if it were UTC. */
export function wallAt(zone: string, instant: number): number {
  if (zone === "UTC") return instant;
  const parts: Record<string, number> = {};
  for (const { type, value } of formatOf(zone).formatToParts(instant)) parts[type] = Number(value);
  const { year, month, day, hour, minute, second } = parts as Record<string, number>;
  return Date.UTC(year!, month! - 1, day!, hour!, minute!, second!) + (((instant % 1_000) + 1_000) % 1_000);
}

const offsetAt = (zone: string, instant: number): number => wallAt(zone, instant) - instant;

/** A change of offset: the first moment of the new one. */
export interface Turn {
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

/** One local day: its offsets. Two changes in one day there never were. */
export interface LocalDay {
  /** Midnight by the wall, as if it were UTC. */
  readonly wall: number;
  /** Offset at its beginning; on most days the one of all of it. */
  readonly offset: number;
  readonly turn: Turn | undefined;
}

const days = new Map<string, LocalDay>();
const DAYS_MOST = 5_000;

/** @param wall midnight by the wall, as if it were UTC */
export function localDay(zone: string, wall: number): LocalDay {
  if (zone === "UTC") return { wall, offset: 0, turn: undefined };
  const key = `${zone} ${wall}`;
  let day = days.get(key);
  if (day === undefined) {
    day = lookAtDay(zone, wall);
    if (days.size >= DAYS_MOST) days.clear();
    days.set(key, day);
  }
  return day;
}

function lookAtDay(zone: string, wall: number): LocalDay {
  // Wide enough for every offset there is, and for a change right at midnight.
  let from = wall - 15 * 60 * MINUTE;
  let to = wall + DAY + 15 * 60 * MINUTE;
  const before = offsetAt(zone, from);
  const after = offsetAt(zone, to);
  if (before === after) return { wall, offset: before, turn: undefined };
  while (to - from > 1_000) {
    const middle = from + Math.floor((to - from) / 2_000) * 1_000;
    if (offsetAt(zone, middle) === before) from = middle;
    else to = middle;
  }
  return { wall, offset: before, turn: { at: to, before, after } };
}

/** The moment of a wall time: the first of two, and of one that does not exist the first moment after the gap. */
export function instantOf({ offset, turn }: LocalDay, wall: number): number {
  if (turn === undefined) return wall - offset;
  const early = wall - turn.before;
  if (early < turn.at) return early;
  return Math.max(wall - turn.after, turn.at);
}

/** Every moment at which the wall shows this: none, one or two, in order. */
export function instantsOf({ offset, turn }: LocalDay, wall: number): number[] {
  if (turn === undefined) return [wall - offset];
  const early = wall - turn.before;
  const late = wall - turn.after;
  return [...(early < turn.at ? [early] : []), ...(late >= turn.at ? [late] : [])];
}
