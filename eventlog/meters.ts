/**
 * The log's own metrics with their series looked up beforehand. `labels().inc()` of the library looks it up each time, which
 * is half a microsecond: seven of them for a command were a twentieth of its cost.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import type { Counter, Histogram } from "prom-client";
import { AppendConflict, CommitRefused, LogUnavailable } from "./failures.ts";
import { metrics } from "./telemetry.ts";

/** What the library keeps of a metric, by a hash of the labels. It has no type for it, so what is found is checked. */
interface Kept<R> {
  readonly hashMap: Record<string, R & { readonly labels: Readonly<Record<string, string | number>> }>;
}

function find(metric: unknown, labels: Readonly<Record<string, string>>): object | undefined {
  const names = Object.keys(labels);
  return Object.values((metric as Kept<object>).hashMap ?? {}).find((one) =>
    names.every((name) => one.labels[name] === labels[name]),
  );
}

function kept<R>(metric: unknown, labels: Readonly<Record<string, string>>, fields: ReadonlyArray<string>): R {
  const found = find(metric, labels);
  if (found === undefined || !fields.every((field) => field in found)) {
    throw new TypeError(
      "this version of prom-client keeps its metrics in another way: eventlog/meters.ts has to follow",
    );
  }
  return found as R;
}

export interface CounterCell {
  inc(by?: number): void;
}

/** One series of a counter. @param labels all of its labels */
export function counterCell<L extends string>(metric: Counter<L>, labels: Readonly<Record<L, string>>): CounterCell {
  metric.inc(labels, 0);
  const series = kept<{ value: number }>(metric, labels, ["value"]);
  return {
    inc(by = 1) {
      series.value += by;
    },
  };
}

export interface HistogramCell {
  observe(value: number): void;
}

/** One series of a histogram. @param labels all of its labels */
export function histogramCell<L extends string>(
  metric: Histogram<L>,
  labels: Readonly<Record<L, string>>,
): HistogramCell {
  // Makes the series where there is none, and would begin it anew where there is one.
  if (find(metric, labels) === undefined) metric.zero(labels);
  const series = kept<{ sum: number; count: number; readonly bucketValues: Record<string, number> }>(metric, labels, [
    "sum",
    "count",
    "bucketValues",
  ]);
  const buckets = series.bucketValues;
  const bounds = Object.keys(buckets)
    .map(Number)
    .sort((a, b) => a - b);
  return {
    observe(value) {
      series.sum += value;
      series.count++;
      for (const bound of bounds) {
        if (value <= bound) {
          buckets[bound]!++;
          return;
        }
      }
    },
  };
}

/** Milliseconds of `performance.now()` to seconds since then. */
const since = (began: number) => (performance.now() - began) / 1_000;

export interface AppendMeter {
  written(began: number): void;
  /** An earlier try of ours had succeeded. */
  found(began: number): void;
  failed(error: unknown, began: number): void;
  group(messages: number): void;
  committed(commits: number, events: number): void;
}

const appendMeters = new Map<string, AppendMeter>();

/** @param context a context that exists: its name becomes a label */
export function appendMeter(context: string): AppendMeter {
  let meter = appendMeters.get(context);
  if (meter === undefined) {
    meter = makeAppendMeter(context);
    appendMeters.set(context, meter);
  }
  return meter;
}

function makeAppendMeter(context: string): AppendMeter {
  const duration = (outcome: string) => histogramCell(metrics.appendDuration, { context, outcome });
  const written = duration("written");
  const found = duration("found");
  const conflict = duration("conflict");
  const unavailable = duration("unavailable");
  const refused = duration("refused");
  const conflicts = counterCell(metrics.appendConflicts, { context });
  const size = histogramCell(metrics.appendGroupSize, { context });
  const commitsWritten = counterCell(metrics.commits, { context });
  const eventsWritten = counterCell(metrics.eventsAppended, { context });
  return {
    written: (began) => written.observe(since(began)),
    found: (began) => found.observe(since(began)),
    failed(error, began) {
      if (error instanceof AppendConflict) conflicts.inc();
      const outcome =
        error instanceof AppendConflict ? conflict : error instanceof CommitRefused ? refused : unavailable;
      outcome.observe(since(began));
    },
    group: (messages) => size.observe(messages),
    committed(commits, events) {
      commitsWritten.inc(commits);
      eventsWritten.inc(events);
    },
  };
}

export type CommandOutcome = "done" | "unchanged" | "repeated" | "refused";

export interface CommandMeter {
  ended(outcome: CommandOutcome, began: number): void;
  failed(error: unknown, began: number): void;
}

const commandMeters = new WeakMap<Kind, CommandMeter>();

export function commandMeter(kind: Kind): CommandMeter {
  let meter = commandMeters.get(kind);
  if (meter === undefined) {
    meter = makeCommandMeter(kind);
    commandMeters.set(kind, meter);
  }
  return meter;
}

function makeCommandMeter({ context, kind }: Kind): CommandMeter {
  const count = (outcome: string) => counterCell(metrics.commands, { context, kind, outcome });
  const outcomes = {
    done: count("done"),
    unchanged: count("unchanged"),
    repeated: count("repeated"),
    refused: count("refused"),
  };
  const conflict = count("conflict");
  const unavailable = count("unavailable");
  const failed = count("failed");
  const duration = histogramCell(metrics.commandDuration, { context, kind });
  return {
    ended(outcome, began) {
      outcomes[outcome].inc();
      duration.observe(since(began));
    },
    failed(error, began) {
      (error instanceof AppendConflict ? conflict : error instanceof LogUnavailable ? unavailable : failed).inc();
      duration.observe(since(began));
    },
  };
}

/** Aggregates loaded, by where the state came from. */
export const loads = {
  cache: counterCell(metrics.aggregateLoads, { source: "cache" }),
  snapshot: counterCell(metrics.aggregateLoads, { source: "snapshot" }),
  log: counterCell(metrics.aggregateLoads, { source: "log" }),
};
