/** Alerts: one process of the installation looks at the stored samples of each, and tells the alert what they say. */
import { type AlertState, alert, type Minute, verdict } from "@millrace/domain/automation/alert.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { type IndexEntry, startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { ensureTelemetry, INSTALLATION, type SeriesOwner } from "@millrace/eventlog/series.ts";
import { readSeries } from "@millrace/eventlog/series-read.ts";

export interface AlertingOptions {
  readonly log: EventLog;
  readonly logger: Logger;
  readonly service: string;
  readonly everyMs: number;
}

const MINUTE_MS = 60_000;
/** Read beyond an alert's own time: what is late, and the minute before. */
const MARGIN_MS = 5 * MINUTE_MS;

/** Until the signal. Nothing is remembered between two looks: state is in the alert, time in the samples. */
export async function watchAlerts(
  { log, logger, service, everyMs }: AlertingOptions,
  signal: AbortSignal,
): Promise<void> {
  await ensureTelemetry(log.nats);
  const index = await startLiveIndex({
    log,
    context: alert.context,
    kinds: [alert],
    keep: (_, state) => (state as AlertState).exists,
    onError: (err) => logger.warn({ err }, "the index of alerts starts again"),
  });
  try {
    await Promise.race([index.caughtUp(), pause(60_000, signal)]);
    while (!signal.aborted) {
      for (const entry of [...index.all(alert)]) {
        if (signal.aborted) break;
        await look(log, service, entry).catch((error: unknown) => {
          if (!(error instanceof LogUnavailable))
            logger.error({ err: error, alert: entry.id }, "an alert could not be looked at");
        });
      }
      await pause(everyMs, signal);
    }
  } finally {
    await index.stop();
  }
}

async function look(
  log: EventLog,
  service: string,
  { id, organisation, state }: IndexEntry<AlertState>,
): Promise<void> {
  const { spec } = state;
  if (spec === null) return;
  const nowMs = Date.now();
  const fromMs = Math.floor((nowMs - spec.forMs - MARGIN_MS) / MINUTE_MS) * MINUTE_MS;
  const query = { metric: spec.metric, fromMs, toMs: nowMs, stepMs: MINUTE_MS };
  const command = verdict(
    state,
    worstOf(spec, await readSeries(log.nats, ownerOf(organisation, spec.on), query)),
    nowMs,
  );
  if (command === undefined) return;
  faultPoint("alert.report.before");
  await execute(log, { kind: alert, id, command }, ownContext(service, organisation));
  faultPoint("alert.report.after");
}

const ownerOf = (organisation: string, { kind, id }: NonNullable<AlertState["spec"]>["on"]): SeriesOwner =>
  kind === "node"
    ? { organisation: INSTALLATION, context: "system", kind, id }
    : { organisation, context: "applications", kind, id };

/** Of several series (instances) the one that is nearest to alarm, minute by minute. */
function worstOf(
  { labels = {}, condition: { is } }: NonNullable<AlertState["spec"]>,
  all: Awaited<ReturnType<typeof readSeries>>,
): Minute[] {
  const worst = new Map<number, number>();
  for (const { labels: own, points } of all) {
    if (Object.entries(labels).some(([name, value]) => own[name] !== value)) continue;
    for (const [at, , , sum, count] of points) {
      const mean = sum / count;
      const known = worst.get(at);
      worst.set(at, known === undefined ? mean : is === "above" ? Math.max(known, mean) : Math.min(known, mean));
    }
  }
  return [...worst].sort(([a], [b]) => a - b);
}
