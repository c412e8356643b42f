/** Writes docs/reference/telemetry.md from the tables: `node eventlog/telemetry-reference.ts`. */
import { writeFileSync } from "node:fs";
import { collectDefaultMetrics } from "prom-client";
import { ATTRIBUTE_HELP, ATTRIBUTES, METRICS, SPAN_TABLE } from "./telemetry.ts";

/** Where it stands. */
export const REFERENCE = new URL("../docs/reference/telemetry.md", import.meta.url);

const row = (...cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`;

/** The page as it should be. */
export function telemetryReference(): string {
  const metrics = Object.values(METRICS).map(({ name, type, labels, help }) =>
    row(`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", ") || "–", help),
  );
  const spans = SPAN_TABLE.map(({ name, kind, help }) => row(`\`${name}\``, kind, help));
  const attributes = Object.entries(ATTRIBUTES).map(([key, name]) =>
    row(`\`${name}\``, ATTRIBUTE_HELP[key as keyof typeof ATTRIBUTES]),
  );
  return `# Telemetry

Made from the tables in \`eventlog/telemetry.ts\` by \`node eventlog/telemetry-reference.ts\`; a test keeps the two alike.

Every service answers \`/metrics\` in the Prometheus text format: the gateway on its own port, the others on \`MILLRACE_HEALTH_PORT\`.
Labels never hold ids, subjects or organisations. Durations are in seconds.

## Metrics

${row("name", "type", "labels", "meaning")}
${row("---", "---", "---", "---")}
${metrics.join("\n")}

Beside them the usual ones of a Node.js process: ${collectDefaultMetrics.metricsList.map((name) => `\`${name}\``).join(", ")},
each with several series; \`nodejs_eventloop_lag_seconds\` and its percentiles say whether the process keeps up.

## Traces

Off unless \`OTEL_EXPORTER_OTLP_ENDPOINT\` (or \`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT\`) is set, e.g. to \`http://127.0.0.1:4318\`; then every service
sends its spans there by OTLP over HTTP, as JSON. \`OTEL_EXPORTER_OTLP_HEADERS\`, \`OTEL_SERVICE_NAME\`, \`OTEL_TRACES_SAMPLER\` and \`OTEL_SDK_DISABLED\`
mean what OpenTelemetry says. \`service.name\` is \`millrace-<service>\`.

A W3C \`traceparent\` of the client is continued, exporter or not, and stands in every commit and in the public event, so a command can be followed by
its trace id through log lines, the log itself and the feed.

${row("span", "kind", "what")}
${row("---", "---", "---")}
${spans.join("\n")}

${row("attribute", "meaning")}
${row("---", "---")}
${attributes.join("\n")}

## Logs

One JSON object a line on standard output: \`time\` (RFC 3339), \`level\`, \`service\`, \`msg\`; \`requestId\` and \`traceId\` where there are any; \`err\` with type, message,
stack and causes. \`MILLRACE_LOG_LEVEL\` is one of trace, debug, info, warn, error, fatal, silent. Fields named like a secret and text
that looks like one (our tokens, \`Authorization\` values, passwords in addresses) are written as \`[redacted]\`.

## Health

${row("path", "answers")}
${row("---", "---")}
${row("`/livez`", "200 as long as the process can answer: nothing else is asked")}
${row("`/startupz`", "200 once it has come up, 503 before")}
${row("`/readyz`", "200 when the next request would find all it needs, else 503; `?verbose` names the checks, `?exclude=<name>` leaves one out. 503 from the first moment of an orderly end")}
${row("`/metrics`", "the above")}

Without authentication, never kept by caches, neither logged nor traced.
`;
}

if (import.meta.main) writeFileSync(REFERENCE, telemetryReference());
