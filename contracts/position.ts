/**
 * A position is one opaque token: for each context the place in its log up to which its holder has seen everything,
 * as `<sequence>.<index>` of the last event (index within its commit). It serves both sides: a command answers with it and
 * a query waits for it (`Millrace-Position`), and a subscriber that comes back with it is given what came after.
 */
export type Position = Readonly<Record<string, LogPlace>>;

/** The place of one event: the log's sequence and the index of the event in its commit. */
export interface LogPlace {
  readonly seq: number;
  readonly index: number;
}

/** Index of a place that stands after every event of its commit. */
export const WHOLE_COMMIT = 9999;

export const comparePlaces = (a: LogPlace, b: LogPlace): number => a.seq - b.seq || a.index - b.index;

const CONTEXT = /^[a-z]{1,32}$/;

/** @returns base64url text without padding; contexts in order, so equal positions are equal texts */
export function encodePosition(position: Position): string {
  const text = Object.keys(position)
    .sort()
    .map((context) => {
      const { seq, index } = position[context]!;
      return index === WHOLE_COMMIT ? `${context}:${seq}` : `${context}:${seq}.${index}`;
    })
    .join(",");
  return btoa(`1;${text}`).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @returns undefined when the text is no position */
export function decodePosition(token: string): Position | undefined {
  if (token.length > 1024 || !/^[A-Za-z0-9_-]+$/.test(token)) return undefined;
  let text: string;
  try {
    text = atob(token.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return undefined;
  }
  if (!text.startsWith("1;")) return undefined;
  const position: Record<string, LogPlace> = {};
  for (const part of text.slice(2).split(",")) {
    if (part === "") continue;
    const match = /^([a-z]{1,32}):(\d{1,15})(?:\.(\d{1,4}))?$/.exec(part);
    if (match === null || !CONTEXT.test(match[1]!)) return undefined;
    position[match[1]!] = { seq: Number(match[2]), index: match[3] === undefined ? WHOLE_COMMIT : Number(match[3]) };
  }
  return position;
}

/** The later of two positions, context by context. */
export function mergePositions(a: Position, b: Position): Position {
  const merged: Record<string, LogPlace> = { ...a };
  for (const [context, place] of Object.entries(b)) {
    const mine = merged[context];
    if (mine === undefined || comparePlaces(mine, place) < 0) merged[context] = place;
  }
  return merged;
}
