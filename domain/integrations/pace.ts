/** When a channel speaks: quiet hours, digests and flood caps, and how what was held is told as one message. Nothing here knows a clock. */
import type { Pace } from "@millrace/contracts/integrations/channels.ts";
import { DAY, instantOf, instantsOf, isZone, localDay, wallAt } from "../zone.ts";
import type { Service } from "./channel-url.ts";
import { cut, MOST } from "./notification.ts";

const MINUTE = 60_000;

const minutesOf = (clock: string): number => Number(clock.slice(0, 2)) * 60 + Number(clock.slice(3));

/** @returns what is wrong with quiet hours, or undefined */
export function quietFault({ from, to, zone }: NonNullable<Pace["quiet"]>): string | undefined {
  if (from === to) return "two different times: to be told nothing at all, pause the channel";
  return isZone(zone) ? undefined : "the name of a time zone, as Europe/Berlin";
}

/** @returns when the quiet hours that are on at a moment end, in milliseconds since 1970; undefined: they are not on */
export function quietEnd({ from, to, zone }: NonNullable<Pace["quiet"]>, at: number): number | undefined {
  const wall = wallAt(zone, at);
  const midnight = Math.floor(wall / DAY) * DAY;
  const now = Math.floor((wall - midnight) / MINUTE);
  const [begin, end] = [minutesOf(from), minutesOf(to)];
  const isOvernight = begin > end;
  if (isOvernight ? now < begin && now >= end : now < begin || now >= end) return undefined;
  const day = isOvernight && now >= begin ? midnight + DAY : midnight;
  const local = localDay(zone, day);
  // The hour that is there twice: the end is the next one, not the one that has been.
  return instantsOf(local, day + end * MINUTE).find((one) => one > at) ?? instantOf(local, day + end * MINUTE);
}

/** Messages that were told in a window of the flood cap. */
export interface Spent {
  /** When the window began; milliseconds since 1970. */
  readonly since: number;
  readonly count: number;
}

/** @returns when the flood cap lets the next message through; `now` or earlier: at once */
export function floodEnd(flood: Pace["flood"], { since, count }: Spent, now: number): number {
  if (flood === undefined || count < flood.messages) return now;
  // A clock that was set back does not hold anything longer than a window.
  return Math.min(since, now) + flood.minutes * MINUTE;
}

/** One more message was told. */
export const spend = (flood: Pace["flood"], spent: Spent, now: number): Spent =>
  flood === undefined || now >= spent.since + flood.minutes * MINUTE || now < spent.since
    ? { since: now, count: 1 }
    : { ...spent, count: spent.count + 1 };

/** @returns when a message may be told: a moment that is not before `now` */
export function mayTellAt(pace: Pace, spent: Spent, now: number, gatheredSince?: number): number {
  const digest =
    gatheredSince === undefined || pace.digestMinutes === undefined
      ? now
      : Math.min(gatheredSince, now) + pace.digestMinutes * MINUTE;
  const at = Math.max(now, digest, floodEnd(pace.flood, spent, now));
  return (pace.quiet && quietEnd(pace.quiet, at)) ?? at;
}

/** Whether an event that comes now is told with others, later. */
export const isHeld = (pace: Pace, spent: Spent, now: number): boolean =>
  pace.digestMinutes !== undefined || mayTellAt(pace, spent, now) > now;

/** What is told of several events: as many lines as fit, and how many there are of the rest. Bounded, however many they are. */
export interface Gathered {
  /** When it began; milliseconds since 1970. */
  readonly since: number;
  /** Messages that the first and the last of its events would have been. */
  readonly first: string;
  readonly last: string;
  readonly count: number;
  readonly lines: ReadonlyArray<string>;
  /** Of those that have no line, by type; some of the rarest are left out when there are too many types. */
  readonly types: Readonly<Record<string, number>>;
}

type Share = Pick<Gathered, "count" | "since">;

/** What people are shown of what a channel holds: what is gathered, and what is on its way. */
export function heldShare({ gathered, outgoing }: { readonly gathered?: Share; readonly outgoing?: Share }) {
  const oldest = outgoing ?? gathered;
  if (oldest === undefined) return {};
  const events = (gathered?.count ?? 0) + (outgoing?.count ?? 0);
  return { gathered: { events, since: new Date(oldest.since).toISOString() } };
}

export const GATHERED = { lineCharacters: 300, lines: 100, characters: 8_000, types: 40, typesTold: 5 } as const;
/** Kept free for the rest's line: five types of 64 characters, and numbers. */
const REST_CHARACTERS = 450;

export interface Gatherable {
  readonly message: string;
  readonly type: string;
  /** What would have been said of it; undefined: it is only counted. */
  readonly line: string | undefined;
}

const roomOf = (service: Service): number => Math.min(GATHERED.characters, MOST[service] - REST_CHARACTERS);

/** @param before undefined: it is the first */
export function gather(
  service: Service,
  before: Gathered | undefined,
  { message, type, line }: Gatherable,
  now: number,
): Gathered {
  const gathered = before ?? { since: now, first: message, last: message, count: 0, lines: [], types: {} };
  const { lines, types, count } = gathered;
  const next = { ...gathered, last: message, count: count + 1 };
  // In order: after one that has no line nothing has one.
  if (line !== undefined && lines.length === count && lines.length < GATHERED.lines) {
    const text = oneLine(line);
    const taken = lines.reduce((sum, one) => sum + one.length + 1, 0);
    if (taken + text.length + 1 <= roomOf(service)) return { ...next, lines: [...lines, text] };
  }
  if (types[type] === undefined && Object.keys(types).length >= GATHERED.types) return next;
  return { ...next, types: { ...types, [type]: (types[type] ?? 0) + 1 } };
}

function oneLine(text: string): string {
  const points = [...text.replaceAll(/\s+/gu, " ").trim()];
  return points.length <= GATHERED.lineCharacters
    ? points.join("")
    : `${points.slice(0, GATHERED.lineCharacters - 1).join("")}…`;
}

/** `… and 37 more, of which 12 DeploymentFailed, 9 ItemOpened`; "" when there is no rest. */
export function restText({ count, lines, types }: Gathered): string {
  const rest = count - lines.length;
  if (rest === 0) return "";
  const known = Object.entries(types).sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const told = known.slice(0, GATHERED.typesTold).map(([type, n]) => `${n} ${type}`);
  return `… and ${rest} more, of which ${told.join(", ")}`;
}

/** The same for every try. */
export const gatheredMessage = ({ first, last }: Gathered): string => `${first}_to_${last.replace(/^msg_/u, "")}`;

/** What is said of what was gathered, within what the service takes. */
export const gatheredText = (service: Service, gathered: Gathered): string =>
  cut(service, [...gathered.lines, restText(gathered)].filter((line) => line !== "").join("\n"));
