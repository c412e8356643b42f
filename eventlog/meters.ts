/** The log's own metrics with their labels resolved beforehand: what a hot path calls makes no label objects. */
import type { Kind } from "@millrace/domain/kind.ts";
import { AppendConflict, CommitRefused, LogUnavailable } from "./failures.ts";
import { metrics } from "./telemetry.ts";

export interface AppendMeter {
  written(sinceMs: number): void;
  /** An earlier try of ours had succeeded. */
  found(sinceMs: number): void;
  failed(error: unknown, sinceMs: number): void;
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
  const duration = (outcome: string) => metrics.appendDuration.labels({ context, outcome });
  const written = duration("written");
  const found = duration("found");
  const conflict = duration("conflict");
  const unavailable = duration("unavailable");
  const refused = duration("refused");
  const conflicts = metrics.appendConflicts.labels({ context });
  const size = metrics.appendGroupSize.labels({ context });
  const commitsWritten = metrics.commits.labels({ context });
  const eventsWritten = metrics.eventsAppended.labels({ context });
  return {
    written: (since) => written.observe((performance.now() - since) / 1_000),
    found: (since) => found.observe((performance.now() - since) / 1_000),
    failed(error, since) {
      if (error instanceof AppendConflict) conflicts.inc();
      const outcome =
        error instanceof AppendConflict ? conflict : error instanceof CommitRefused ? refused : unavailable;
      outcome.observe((performance.now() - since) / 1_000);
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
  ended(outcome: CommandOutcome, sinceMs: number): void;
  failed(error: unknown, sinceMs: number): void;
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
  const count = (outcome: string) => metrics.commands.labels({ context, kind, outcome });
  const outcomes = {
    done: count("done"),
    unchanged: count("unchanged"),
    repeated: count("repeated"),
    refused: count("refused"),
  };
  const conflict = count("conflict");
  const unavailable = count("unavailable");
  const failed = count("failed");
  const duration = metrics.commandDuration.labels({ context, kind });
  return {
    ended(outcome, since) {
      outcomes[outcome].inc();
      duration.observe((performance.now() - since) / 1_000);
    },
    failed(error, since) {
      (error instanceof AppendConflict ? conflict : error instanceof LogUnavailable ? unavailable : failed).inc();
      duration.observe((performance.now() - since) / 1_000);
    },
  };
}

/** Aggregates loaded, by where the state came from. */
export const loads = {
  cache: metrics.aggregateLoads.labels({ source: "cache" }),
  snapshot: metrics.aggregateLoads.labels({ source: "snapshot" }),
  log: metrics.aggregateLoads.labels({ source: "log" }),
};
