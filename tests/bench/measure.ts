/**
 * Measuring by ratio: ours and the peer in turn, several rounds, in the same run on the same machine; what is quoted is the median
 * ratio. Absolute figures are printed beside it and are worth what the machine is worth.
 */
import { appendFileSync } from "node:fs";

export interface Measured {
  /** Operations per second. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** One row of the table. */
export interface Row {
  readonly what: string;
  readonly against: string;
  /** Ours divided by the peer's, median of the rounds. */
  readonly ratio: number;
  /** What is to be reached, e.g. `≥ 0.9`. */
  readonly reach: string;
  readonly ours: string;
  readonly theirs: string;
  /** Which durability was on, and whatever else must be known to read the figures. */
  readonly durability: string;
}

/** Runs `operation(i)` `count` times, `width` at once. */
export async function rateOf(
  width: number,
  count: number,
  operation: (i: number) => Promise<unknown>,
): Promise<Measured> {
  const latencies = new Float64Array(count);
  let next = 0;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) {
        const i = next++;
        const from = performance.now();
        await operation(i);
        latencies[i] = performance.now() - from;
      }
    }),
  );
  const rate = (count / (performance.now() - started)) * 1000;
  return { rate, ...percentiles(latencies) };
}

export function percentiles(latencies: Float64Array | number[]): { readonly p50: number; readonly p99: number } {
  const sorted = Float64Array.from(latencies).sort();
  return { p50: sorted[sorted.length >> 1] ?? 0, p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0 };
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
};

/** Ours and theirs in turn: A B A B …; the first round warms up and does not count. */
export async function inTurn<T>(
  rounds: number,
  ours: (round: number) => Promise<T>,
  theirs: (round: number) => Promise<T>,
): Promise<{ readonly ours: T[]; readonly theirs: T[] }> {
  const measured = { ours: [] as T[], theirs: [] as T[] };
  for (let round = 0; round <= rounds; round++) {
    const a = await ours(round);
    const b = await theirs(round);
    if (round === 0) continue;
    measured.ours.push(a);
    measured.theirs.push(b);
  }
  return measured;
}

/** Median over the rounds of ours divided by theirs. */
export const ratioOf = <T>(measured: { ours: T[]; theirs: T[] }, figure: (m: T) => number): number =>
  median(measured.ours.map((m, i) => figure(m) / figure(measured.theirs[i]!)));

export const rates = (measured: ReadonlyArray<Measured>): string =>
  `${Math.round(median(measured.map((m) => m.rate))).toLocaleString("en")}/s, p50 ${median(measured.map((m) => m.p50)).toFixed(2)} p99 ${median(measured.map((m) => m.p99)).toFixed(2)} ms`;

/** Prints a row and hands it to whoever collects the table (`npm run bench`). */
export function report(row: Row): void {
  console.log(
    `${row.ratio.toFixed(2).padStart(8)}  (${row.reach})  ${row.what}  [${row.durability}]\n          ours ${row.ours}; ${row.against}: ${row.theirs}`,
  );
  const file = process.env.BENCH_ROWS;
  if (file) appendFileSync(file, `${JSON.stringify(row)}\n`);
}

/** Whether a ratio reaches what was asked: `≥ 0.9` or `≤ 3`. */
export function reaches(row: Row): boolean {
  const match = /^([≥≤]) ([\d.]+)/.exec(row.reach);
  if (match === null) return true;
  return match[1] === "≥" ? row.ratio >= Number(match[2]) : row.ratio <= Number(match[2]);
}
