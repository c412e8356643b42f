/** Where a reader stands in a container's log: the time of the last line of each stream, and the how many-th of that time. */
import type { LogCursor } from "./docker.ts";

export interface Place {
  /** RFC 3339 with nine digits of a second, as the engine writes it. Compared as text. */
  readonly at: string;
  readonly count: number;
}

export interface Places {
  readonly stdout?: Place;
  readonly stderr?: Place;
}

/** `<time>#<count>` of each stream, joined by a comma; an empty part for a stream without lines. */
export function cursorOf({ stdout, stderr }: Places): LogCursor | undefined {
  if (!stdout && !stderr) return undefined;
  return [stdout, stderr].map((place) => (place ? `${place.at}#${place.count}` : "")).join(",");
}

/** @throws TypeError at what is no cursor. */
export function parseCursor(cursor: LogCursor | undefined): Places {
  if (cursor === undefined) return {};
  const parts = cursor.split(",");
  if (parts.length !== 2) throw new TypeError("no cursor of a log");
  const [stdout, stderr] = parts.map((part) => {
    if (part === "") return undefined;
    const [, at, count] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)#(\d+)$/.exec(part) ?? [];
    if (!at) throw new TypeError("no cursor of a log");
    return { at, count: Number(count) };
  });
  return { ...(stdout ? { stdout } : {}), ...(stderr ? { stderr } : {}) };
}

/** The engine's parameter, a second before the younger place: `<seconds>.<nanoseconds>`. */
export function sinceOf({ stdout, stderr }: Places): { since?: string } {
  const youngest = [stdout?.at, stderr?.at]
    .filter((at) => at !== undefined)
    .sort()
    .at(-1);
  if (youngest === undefined) return {};
  const [, whole, fraction = ""] = /^(.{19})(?:\.(\d+))?Z$/.exec(youngest)!;
  const seconds = Date.parse(`${whole}Z`) / 1000 - 1;
  return { since: `${Math.max(0, seconds)}.${fraction.padEnd(9, "0").slice(0, 9)}` };
}
