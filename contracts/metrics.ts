/** Series as every context shows them: a metric's values over time, put together at a step. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as Schema from "effect/Schema";
import { entityParams } from "./http.ts";
import { Moment } from "./moments.ts";

export const METRICS = {
  /** Points of one series in one answer. */
  points: 2_000,
  stepMs: 60_000,
} as const;

export const MetricName = Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_]{0,63}$/u)).annotate({
  description: "Lower-case, with underscores and the unit last",
  examples: ["memory_bytes"],
});

export const metricsQuery = {
  metric: Schema.optionalKey(MetricName),
  from: Schema.optionalKey(Moment),
  to: Schema.optionalKey(Moment),
  step: Schema.optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 60, maximum: 86_400 })).annotate({
      description: `Seconds from point to point, whole minutes; left out: as few as ${METRICS.points} points allow`,
      examples: [60],
    }),
  ),
};

export const MetricPoint = Schema.Struct({
  at: Schema.String.annotate({ description: "Begin of the step, RFC 3339" }),
  min: Schema.Finite,
  max: Schema.Finite,
  mean: Schema.Finite,
  count: Schema.Int.annotate({ description: "Samples" }),
});
export const Metrics = Schema.Struct({
  from: Schema.String,
  to: Schema.String,
  step: Schema.Int.annotate({ description: "Seconds" }),
  series: Schema.Array(
    Schema.Struct({
      metric: Schema.String,
      labels: Schema.Record(Schema.String, Schema.String),
      points: Schema.Array(MetricPoint),
    }),
  ),
}).annotate({
  identifier: "Metrics",
  description:
    "By the minute for a day, by five minutes for 35 days, by the hour after; where nothing was sampled there is no point",
});

/** Series of an entity. @param one path of the entity */
export const metricsOf = <const Name extends string, const One extends `/${string}`>(name: Name, one: One) =>
  HttpApiEndpoint.get(name, `${one}/metrics` as const, { params: entityParams, query: metricsQuery, success: Metrics });
