/** Times of schedules: six fields, second to day of the week, in UTC. `@sunrise` and `@sunset` are taken and never come. */

const NAMES: Readonly<Record<string, number>> = Object.fromEntries([
  ...["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"].map((name, i) => [
    name,
    i + 1,
  ]),
  ...["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"].map((name, i) => [name, i]),
]);
const BOUNDS: ReadonlyArray<readonly [number, number]> = [
  [0, 59],
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 6],
];

function fieldOf(text: string, [least, most]: readonly [number, number]): ReadonlySet<number> | undefined {
  const found = new Set<number>();
  for (const piece of text.split(",")) {
    const parts = /^(\*|[A-Z]{3}|\d+)(?:-([A-Z]{3}|\d+))?(?:\/(\d+))?$/.exec(piece.toUpperCase());
    if (parts === null) return undefined;
    const [, from = "", to, step] = parts;
    // A device refuses 05.
    if ([from, to, step].some((one) => one !== undefined && /^0\d/.test(one))) return undefined;
    const numberOf = (one: string) => NAMES[one] ?? Number(one);
    const first = from === "*" ? least : numberOf(from);
    const last = to !== undefined ? numberOf(to) : from === "*" || step !== undefined ? most : first;
    if (!(first >= least && last <= most && first <= last)) return undefined;
    for (let one = first; one <= last; one += Math.max(1, Number(step ?? 1))) found.add(one);
  }
  return found;
}

/** Whether a second is meant. */
export type Timespec = (ms: number) => boolean;

export function parseTimespec(text: string): Timespec | undefined {
  if (/^@(sunrise|sunset)([+-]\d+h?(\d+m)?)?(\s+\S+){0,5}$/.test(text)) return () => false;
  const fields = text.trim().split(/\s+/);
  if (fields.length !== 6) return undefined;
  const sets = fields.map((field, i) => fieldOf(field, BOUNDS[i]!));
  if (sets.some((set) => set === undefined)) return undefined;
  return (ms) => {
    const at = new Date(ms);
    const now = [
      at.getUTCSeconds(),
      at.getUTCMinutes(),
      at.getUTCHours(),
      at.getUTCDate(),
      at.getUTCMonth() + 1,
      at.getUTCDay(),
    ];
    return sets.every((set, i) => set!.has(now[i]!));
  };
}
