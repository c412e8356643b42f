/** Series of an entity, as every context's route answers them. */
import { METRICS } from "@millrace/contracts/metrics.ts";
import type { SeriesOwner } from "@millrace/eventlog/series.ts";
import { readSeries } from "@millrace/eventlog/series-read.ts";
import type { Asked } from "./asked.ts";
import { type Handle, handle, invalidInput, json, type Request } from "./command.ts";
import { fail } from "./failures.ts";
import type { Gateway } from "./gateway.ts";

interface Query {
  readonly metric?: string;
  readonly from?: string;
  readonly to?: string;
  /** Seconds. */
  readonly step?: number;
}

const USUAL_MS = 3_600_000;

/** @param owner whose series; fails where it is not there or not to be seen */
export const metricsHandler = <R extends Request>(
  gateway: Gateway,
  owner: (asked: Asked, id: string) => Promise<SeriesOwner>,
): Handle<R> =>
  handle(gateway, async ({ params, query }, asked) => {
    const { metric, from, to, step } = (query ?? {}) as Query;
    const nowMs = Date.now();
    const toMs = to === undefined ? nowMs : Date.parse(to);
    const fromMs = from === undefined ? toMs - USUAL_MS : Date.parse(from);
    if (fromMs >= toMs) return fail(invalidInput("/query/from", "is not before `to`"));
    const least = Math.ceil((toMs - fromMs) / METRICS.points / METRICS.stepMs) * METRICS.stepMs;
    const stepMs = step === undefined ? Math.max(METRICS.stepMs, least) : step * 1_000;
    if (stepMs % METRICS.stepMs !== 0) return fail(invalidInput("/query/step", "is no whole number of minutes"));
    if (stepMs < least) {
      return fail(
        invalidInput(
          "/query/step",
          `would be more than ${METRICS.points} points`,
          "Ask for a longer step, or less time.",
        ),
      );
    }
    const of = await owner(asked, (params as { id: string }).id);
    const wanted = { fromMs, toMs, stepMs, ...(metric === undefined ? {} : { metric }) };
    const series = await readSeries(gateway.log.nats, of, wanted, nowMs);
    return json({
      from: new Date(fromMs).toISOString(),
      to: new Date(toMs).toISOString(),
      step: stepMs / 1_000,
      series: series.map((one) => ({
        metric: one.metric,
        labels: one.labels,
        points: one.points.map(([at, min, max, sum, count]) => ({
          at: new Date(at).toISOString(),
          min,
          max,
          mean: sum / count,
          count,
        })),
      })),
    });
  });
