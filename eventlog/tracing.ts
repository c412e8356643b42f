/**
 * Traces. W3C `traceparent` is read and written here without any library, so that every commit carries a trace id; the
 * OpenTelemetry SDK is loaded only when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set. Without it a
 * span costs one comparison.
 *
 * What services use:
 * - `serverSpan({method, route, traceparent})` around one HTTP request; its `traceparent` goes into the command's context
 * - `withSpan(name, attributes, fn, {parent | links})` around a piece of work
 * - `linkTo(traceparents)` where work is about commits: a projection links to their traces and is never their child,
 *   else a rebuild would reopen traces that are a year old
 */

import { randomBytes, randomFillSync } from "node:crypto";
import type { Context, Link, Span, SpanKind, Tracer } from "@opentelemetry/api";
import { ATTRIBUTES, SPANS } from "./telemetry.ts";

export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  readonly sampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** @returns undefined when it is not a valid W3C traceparent; a later version's is read as far as this one knows it */
export function parseTraceparent(text: string | undefined): TraceContext | undefined {
  if (text === undefined || text.length > 512) return undefined;
  const match = TRACEPARENT.exec(text);
  if (match === null) return undefined;
  const [, version, traceId, spanId, flags, rest] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
    string?,
  ];
  if (version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export const formatTraceparent = ({ traceId, spanId, sampled }: TraceContext): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;

/** Random bytes are drawn many at a time: a draw costs more than all else here. */
const pool = Buffer.alloc(24 * 512);
let drawn = pool.length;

/** 48 hexadecimal digits. */
function randomHex(): string {
  if (drawn === pool.length) {
    randomFillSync(pool);
    drawn = 0;
  }
  drawn += 24;
  return pool.toString("hex", drawn - 24, drawn);
}

/** A new place in the caller's trace, or in a new one when there is none or it is not valid. */
export function continueTrace(traceparent: string | undefined): TraceContext {
  const random = randomHex();
  const parent = parseTraceparent(traceparent);
  return {
    traceId: parent?.traceId ?? random.slice(0, 32),
    spanId: random.slice(32),
    sampled: parent?.sampled ?? false,
  };
}

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** A span under way, as the work inside sees it. */
export interface OpenSpan {
  /** Its W3C traceparent; undefined when nothing is recorded. */
  readonly traceparent: string | undefined;
  set(name: string, value: string | number | boolean): void;
}

export interface SpanOptions {
  readonly kind?: keyof typeof SpanKind;
  /** W3C traceparent of the parent. Left out: the span at hand in this call chain. */
  readonly parent?: string | undefined;
  /** Traces it is about, see `linkTo`. Without `parent` it then begins a trace of its own. */
  readonly links?: ReadonlyArray<Link>;
}

interface Tracing {
  readonly api: typeof import("@opentelemetry/api");
  readonly tracer: Tracer;
}

let tracing: Tracing | undefined;

const NOT_RECORDED: OpenSpan = { traceparent: undefined, set: () => {} };

export const tracingEnabled = (): boolean => tracing !== undefined;

/** Trace id of the span at hand, for log lines; undefined when nothing is recorded. */
export function activeTraceId(): string | undefined {
  return tracing?.api.trace.getActiveSpan()?.spanContext().traceId;
}

/**
 * Runs the work inside a span; a rejection marks the span as failed and is passed on.
 * Costs one comparison when nothing is recorded.
 */
export function withSpan<T>(
  name: string,
  attributes: Attributes,
  work: (span: OpenSpan) => Promise<T>,
  options: SpanOptions = {},
): Promise<T> {
  return tracing === undefined ? work(NOT_RECORDED) : record(tracing, name, attributes, work, options);
}

async function record<T>(
  { api, tracer }: Tracing,
  name: string,
  attributes: Attributes,
  work: (span: OpenSpan) => Promise<T>,
  options: SpanOptions,
): Promise<T> {
  const parent = parentContext(api, options);
  const span = tracer.startSpan(
    name,
    {
      attributes: attributes as Record<string, string>,
      kind: api.SpanKind[options.kind ?? "INTERNAL"],
      links: (options.links ?? []) as Link[],
    },
    parent,
  );
  try {
    return await api.context.with(api.trace.setSpan(parent, span), work, undefined, openSpan(span));
  } catch (error) {
    markFailed(api, span, error);
    throw error;
  } finally {
    span.end();
  }
}

function parentContext(api: Tracing["api"], { parent, links }: SpanOptions): Context {
  const given = parseTraceparent(parent);
  if (given !== undefined) return remoteContext(api, given);
  return links === undefined ? api.context.active() : api.ROOT_CONTEXT;
}

const spanContext = ({ traceId, spanId, sampled }: TraceContext) => ({
  traceId,
  spanId,
  traceFlags: sampled ? 1 : 0,
  isRemote: true,
});

const remoteContext = (api: Tracing["api"], parent: TraceContext): Context =>
  api.trace.setSpanContext(api.ROOT_CONTEXT, spanContext(parent));

function openSpan(span: Span): OpenSpan {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return {
    traceparent: formatTraceparent({ traceId, spanId, sampled: (traceFlags & 1) === 1 }),
    set: (name, value) => void span.setAttribute(name, value),
  };
}

function markFailed(api: Tracing["api"], span: Span, error: unknown): void {
  const tag = typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : undefined;
  span.setAttribute(ATTRIBUTES.errorType, tag ?? (error instanceof Error ? error.name : typeof error));
  span.setStatus({ code: api.SpanStatusCode.ERROR });
}

/** Links of one span at most: a batch of two thousand commits is about the first of them as well as about all. */
const LINKS_MOST = 64;

/** Links to the traces of commits, each trace's place once; those that are not valid are left out. Empty when nothing is recorded. */
export function linkTo(traceparents: Iterable<string | undefined>): ReadonlyArray<Link> {
  if (tracing === undefined) return [];
  const links: Link[] = [];
  const seen = new Set<string>();
  for (const traceparent of traceparents) {
    if (traceparent === undefined || seen.has(traceparent)) continue;
    seen.add(traceparent);
    const known = parseTraceparent(traceparent);
    if (known === undefined) continue;
    links.push({ context: spanContext(known) });
    if (links.length >= LINKS_MOST) break;
  }
  return links;
}

/** The span of one HTTP request. Its `traceparent` is there whether or not anything is recorded. */
export interface ServerSpan {
  readonly traceparent: string;
  readonly traceId: string;
  /** Once, when the answer has been sent or the client has gone. `route` where it was not known at the beginning. */
  end(answer: { readonly status: number; readonly route?: string }): void;
}

/** Continues the trace of an incoming `traceparent`, or begins one. */
export function serverSpan(request: {
  readonly method: string;
  /** Template of the path; may be given at the end instead. */
  readonly route?: string;
  readonly traceparent?: string | undefined;
  readonly requestId?: string;
}): ServerSpan {
  if (tracing === undefined) {
    const place = continueTrace(request.traceparent);
    return { traceparent: formatTraceparent(place), traceId: place.traceId, end: () => {} };
  }
  const { api, tracer } = tracing;
  const incoming = parseTraceparent(request.traceparent);
  const span = tracer.startSpan(
    SPANS.http(request.method, request.route ?? ""),
    {
      kind: api.SpanKind.SERVER,
      attributes: {
        [ATTRIBUTES.httpMethod]: request.method,
        ...(request.requestId === undefined ? {} : { [ATTRIBUTES.request]: request.requestId }),
      },
    },
    incoming === undefined ? api.ROOT_CONTEXT : remoteContext(api, incoming),
  );
  const { traceId } = span.spanContext();
  return {
    traceparent: openSpan(span).traceparent!,
    traceId,
    end({ status, route = request.route ?? "unmatched" }) {
      span.updateName(SPANS.http(request.method, route));
      span.setAttribute(ATTRIBUTES.httpRoute, route);
      span.setAttribute(ATTRIBUTES.httpStatus, status);
      if (status >= 500) {
        span.setAttribute(ATTRIBUTES.errorType, String(status));
        span.setStatus({ code: api.SpanStatusCode.ERROR });
      }
      span.end();
    },
  };
}

export interface TracingSettings {
  readonly service: string;
  readonly version: string;
  /** Default: the process's. `OTEL_EXPORTER_OTLP_ENDPOINT`, `…_HEADERS`, `OTEL_TRACES_SAMPLER` … are the SDK's own. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Starts exporting when an endpoint is configured; once a process, services that share one share it.
 * @returns sends what is still held (two seconds at most) and stops
 */
export async function startTracing(settings: TracingSettings): Promise<() => Promise<void>> {
  const env = settings.env ?? process.env;
  const wanted = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (wanted === undefined || wanted === "" || env.OTEL_SDK_DISABLED === "true" || tracing !== undefined)
    return async () => {};
  const [api, sdk, { OTLPTraceExporter }, { resourceFromAttributes }] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace-node"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
  ]);
  const url = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? `${wanted.replace(/\/$/, "")}/v1/traces`;
  const provider = new sdk.NodeTracerProvider({
    resource: resourceFromAttributes({
      "service.name": env.OTEL_SERVICE_NAME ?? `millrace-${settings.service}`,
      "service.version": settings.version,
      "service.instance.id": `${process.pid}-${randomBytes(4).toString("hex")}`,
    }),
    spanProcessors: [
      new sdk.BatchSpanProcessor(new OTLPTraceExporter({ url, timeoutMillis: 5_000 }), { scheduledDelayMillis: 1_000 }),
    ],
  });
  provider.register();
  tracing = { api, tracer: provider.getTracer("millrace", settings.version) };
  return async () => {
    tracing = undefined;
    await Promise.race([
      provider.shutdown().catch(() => {}),
      new Promise((resolve) => setTimeout(resolve, 2_000).unref()),
    ]);
    api.trace.disable();
    api.context.disable();
    api.propagation.disable();
  };
}
