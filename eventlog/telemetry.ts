/**
 * All names of metrics, spans and attributes: the one place where they are chosen. docs/reference/telemetry.md is
 * made from these tables (`node eventlog/telemetry-reference.ts`), and a test keeps the two alike.
 *
 * Rules: prefix `millrace_`, base units (seconds, bytes), `_total` for counters. A label has few values, known
 * beforehand: never an id, a subject, an organisation or anything that a client can choose.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

interface Declaration<T extends string, L extends string> {
  readonly type: T;
  readonly name: string;
  readonly help: string;
  readonly labels: ReadonlyArray<L>;
  readonly buckets?: ReadonlyArray<number>;
}

const counter = <const L extends string = never>(name: string, help: string, labels: ReadonlyArray<L> = []) =>
  ({ type: "counter", name, help, labels }) as const;
const gauge = <const L extends string = never>(name: string, help: string, labels: ReadonlyArray<L> = []) =>
  ({ type: "gauge", name, help, labels }) as const;
const histogram = <const L extends string = never>(
  name: string,
  help: string,
  buckets: ReadonlyArray<number>,
  labels: ReadonlyArray<L> = [],
) => ({ type: "histogram", name, help, labels, buckets }) as const;

/** Seconds; finer than usual at the lower end, where an append on one disk lives. */
const SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 2_000];

export const METRICS = {
  appendDuration: histogram(
    "millrace_append_duration_seconds",
    "From asking for an append to its known outcome: written, found (an earlier try of ours had succeeded), conflict, unavailable, refused.",
    SECONDS,
    ["context", "outcome"],
  ),
  commits: counter("millrace_commits_total", "Commits written to the log by this process.", ["context"]),
  eventsAppended: counter("millrace_events_appended_total", "Events in those commits.", ["context"]),
  appendGroupSize: histogram(
    "millrace_append_group_size",
    "Messages (commits and claims) written by one atomic batch or single publish.",
    SIZES,
    ["context"],
  ),
  appendConflicts: counter("millrace_append_conflicts_total", "Appends that another writer overtook.", ["context"]),
  logWaiting: gauge("millrace_log_waiting", "Appends waiting or under way at this moment."),
  aggregateLoads: counter(
    "millrace_aggregate_loads_total",
    "Aggregates loaded, by where the state came from: cache (memory), snapshot, log (folded from its beginning).",
    ["source"],
  ),
  commands: counter(
    "millrace_commands_total",
    "Commands by outcome: done, unchanged (it was so already), repeated (answered as the first time), refused, conflict, unavailable, failed.",
    ["context", "kind", "outcome"],
  ),
  commandDuration: histogram(
    "millrace_command_duration_seconds",
    "Load, decide and append of one command, all attempts together.",
    SECONDS,
    ["context", "kind"],
  ),
  httpRequests: counter(
    "millrace_http_requests_total",
    "HTTP requests answered; route is the template, `unmatched` when there is none; status is the code.",
    ["method", "route", "status"],
  ),
  httpDuration: histogram(
    "millrace_http_request_duration_seconds",
    "From the request's head to the end of its answer.",
    SECONDS,
    ["method", "route"],
  ),
  projectionLagEvents: gauge(
    "millrace_projection_lag_events",
    "Messages of the log that a projection has not folded yet.",
    ["projection", "context"],
  ),
  projectionLagSeconds: gauge(
    "millrace_projection_lag_seconds",
    "Age of the oldest message that a projection has not folded yet; 0 when it has caught up.",
    ["projection", "context"],
  ),
  projectionGap: counter(
    "millrace_projection_gap_total",
    "Holes met in the log's sequence. Anything but 0 is an alarm.",
    ["projection", "context"],
  ),
  projectionBatch: histogram("millrace_projection_batch_events", "Messages folded in one transaction.", SIZES, [
    "projection",
  ]),
  projectionDuration: histogram(
    "millrace_projection_batch_duration_seconds",
    "Fold and transaction of one batch.",
    SECONDS,
    ["projection"],
  ),
  projectionStopped: gauge(
    "millrace_projection_stopped",
    "1 when a projection stands still before an event that this release does not know or cannot fold.",
    ["projection", "context"],
  ),
  projectionRebuild: gauge(
    "millrace_projection_rebuild_ratio",
    "How far a build that readers do not see yet has come: 0 to 1.",
    ["projection", "context"],
  ),
  outboxDeliveries: counter(
    "millrace_outbox_deliveries_total",
    "Tries to deliver something to a webhook or channel: delivered, failed.",
    ["kind", "outcome"],
  ),
  outboxDestinations: gauge("millrace_outbox_destinations", "Webhooks and channels that this process serves."),
  leasesHeld: gauge("millrace_leases_held", "Leases that this process holds."),
  leaseChanges: counter(
    "millrace_lease_changes_total",
    "Leases: acquired, released, lost, taken-away (from a process of this machine that has ended).",
    ["change"],
  ),
  workerSteps: counter(
    "millrace_worker_steps_total",
    "Steps by how they ended: again, retry, park, skip, overtaken, aborted, failed, unavailable.",
    ["context", "kind", "outcome"],
  ),
  workerStepDuration: histogram(
    "millrace_worker_step_duration_seconds",
    "One step: the act and the recording of what came of it.",
    [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800],
    ["context", "kind"],
  ),
  workerWakes: counter(
    "millrace_worker_wakes_total",
    "Aggregates looked at, by what woke the worker: event, timer, peer (another worker had the event), lease (its holder is gone), sweep, hand.",
    ["context", "source"],
  ),
  workerUnderWay: gauge("millrace_worker_under_way", "Units at work at this moment.", ["context"]),
  workerHeld: gauge("millrace_worker_held_messages", "Messages held and kept alive.", ["context"]),
  workerStopped: gauge(
    "millrace_worker_stopped_aggregates",
    "Aggregates that a worker cannot go on with: an event that this release does not know.",
    ["context"],
  ),
  workerSwept: counter(
    "millrace_worker_swept_total",
    "Aggregates with something to do that no wake-up had come for. More than now and then is worth a look.",
    ["context"],
  ),
  timersArmed: counter("millrace_timers_armed_total", "Timers written.", ["context"]),
  indexEntries: gauge("millrace_index_entries", "Aggregates in a live index.", ["context"]),
  indexLag: gauge("millrace_index_lag_events", "Messages of the log that a live index has not folded yet.", [
    "context",
  ]),
  asks: counter(
    "millrace_asks_total",
    "Questions to a worker, by outcome: answered, refused, no-holder, late, too-large, broken.",
    ["context", "outcome"],
  ),
  askDuration: histogram("millrace_ask_duration_seconds", "From the question to its answer.", SECONDS, ["context"]),
  deadLetters: gauge("millrace_dead_letters", "Dead letters that wait for somebody.", ["consumer"]),
  relayEvents: counter("millrace_relay_events_total", "Events written to the public feed.", ["context"]),
  relayLag: gauge("millrace_relay_lag_events", "Messages of the log that have not been relayed yet.", ["context"]),
  hubSubscribers: gauge(
    "millrace_hub_subscribers",
    "Open subscriptions, by transport: websocket, sse, nats (a request to read that waits).",
    ["transport"],
  ),
  hubEventsSent: counter("millrace_hub_events_sent_total", "Events handed to subscribers.", ["transport"]),
  subscriberCallouts: counter(
    "millrace_subscriber_callouts_total",
    "Connections to NATS that were judged: accepted, unknown, expired, powerless, too-many, unavailable, in-clear, malformed.",
    ["outcome"],
  ),
  subscribersConnected: gauge("millrace_subscribers_connected", "Connections of subscribers to NATS.", []),
  subscribersEnded: counter(
    "millrace_subscribers_ended_total",
    "Connections to NATS that were ended because they might no longer be.",
  ),
  hubDemotions: counter(
    "millrace_hub_demotions_total",
    "Subscribers sent back from the live tail to catching up because they were slow.",
  ),
  hubCuts: counter("millrace_hub_cuts_total", "Subscribers cut off, by reason.", ["reason"]),
  tokenUses: counter("millrace_token_uses_total", "Requests with a token: accepted, expired, revoked, unknown.", [
    "outcome",
  ]),
  unseals: counter("millrace_unseals_total", "Sealed values opened: ok, erased, failed.", ["outcome"]),
  ready: gauge("millrace_ready", "1 when the service is ready, as it last answered /readyz.", ["service"]),
  buildInfo: gauge("millrace_build_info", "Always 1; its labels say what runs.", ["service", "version", "node"]),
  backups: counter("millrace_backups_total", "Backups by outcome: made, failed.", ["outcome"]),
  backupTime: gauge("millrace_backup_timestamp_seconds", "Moment of which the newest backup is; alarm on its age."),
  backupBytes: counter("millrace_backup_stored_bytes_total", "Bytes that backups have written to their target."),
  backupDuration: histogram(
    "millrace_backup_duration_seconds",
    "From the beginning of a backup to its manifest.",
    [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600],
  ),
} as const;

/** A metric with labels beyond its declared ones does not compile. */
type Made<D> = D extends { readonly type: infer T; readonly labels: ReadonlyArray<infer L> }
  ? T extends "counter"
    ? Counter<L & string>
    : T extends "gauge"
      ? Gauge<L & string>
      : Histogram<L & string>
  : never;

/** What `/metrics` of this process shows. One per process, however many services run in it. */
export const registry = new Registry();

const make = ({ type, name, help, labels, buckets }: Declaration<string, string>) => {
  const config = { name, help, labelNames: labels as string[], registers: [registry] };
  if (type === "counter") return new Counter(config);
  if (type === "gauge") return new Gauge(config);
  return new Histogram({ ...config, buckets: [...buckets!] });
};

/** The metrics themselves: `metrics.commits.inc({ context: "work" })`. In hot paths keep `.labels(…)` at hand. */
export const metrics = Object.fromEntries(
  Object.entries(METRICS).map(([key, declaration]) => [key, make(declaration)]),
) as { readonly [K in keyof typeof METRICS]: Made<(typeof METRICS)[K]> };

const readers = new Map<Gauge<never>, Set<() => number>>();

/**
 * A gauge without labels that is asked when it is looked at, so that the hot path pays nothing. Several readers are summed.
 * @returns ends this reader
 */
export function gaugeFrom(target: Gauge<never>, read: () => number): () => void {
  let known = readers.get(target);
  if (known === undefined) {
    const all = new Set<() => number>();
    known = all;
    readers.set(target, all);
    // prom-client calls it before every collection.
    (target as unknown as { collect: () => void }).collect = () => {
      let sum = 0;
      for (const one of all) sum += one();
      target.set(sum);
    };
  }
  known.add(read);
  return () => void known.delete(read);
}

let defaults = false;

/** Starts the `process_` and `nodejs_` metrics (event-loop lag, heap, collections, CPU, file descriptors); once a process. */
export function startProcessMetrics(service: string, version: string): void {
  metrics.buildInfo.set({ service, version, node: process.version }, 1);
  if (defaults) return;
  defaults = true;
  collectDefaultMetrics({ register: registry });
}

/** Names of spans. Low in number of values: ids are attributes. */
export const SPANS = {
  /** `POST /v1/organisations/{org}/work-items` */
  http: (method: string, route: string) => `${method} ${route}`,
  command: (context: string, kind: string) => `execute ${context}.${kind}`,
  decide: (context: string, kind: string) => `decide ${context}.${kind}`,
  append: (context: string) => `append evt.${context}`,
  project: (projection: string) => `project ${projection}`,
  relay: (context: string) => `relay feed.${context}`,
  step: (context: string, kind: string) => `work ${context}.${kind}`,
  ask: (context: string) => `ask ${context}`,
} as const;

/** What each span is, for the reference. */
export const SPAN_TABLE = [
  {
    name: SPANS.http("{method}", "{route}"),
    kind: "server",
    help: "One HTTP request; continues the client's `traceparent`.",
  },
  {
    name: SPANS.command("{context}", "{kind}"),
    kind: "internal",
    help: "One command: load, decide, append, all attempts.",
  },
  { name: SPANS.decide("{context}", "{kind}"), kind: "internal", help: "Load and the pure rules, one attempt." },
  {
    name: SPANS.append("{context}"),
    kind: "producer",
    help: "Waiting for the group and its acknowledgement by the log.",
  },
  {
    name: SPANS.project("{projection}"),
    kind: "consumer",
    help: "Fold and transaction of one batch. A trace of its own, linked to the commits' traces: a rebuild never reopens them.",
  },
  { name: SPANS.relay("{context}"), kind: "consumer", help: "One batch to the public feed, linked in the same way." },
  {
    name: SPANS.step("{context}", "{kind}"),
    kind: "consumer",
    help: "One step of a worker: the act and its recording. Linked to the commit that woke it.",
  },
  { name: SPANS.ask("{context}"), kind: "client", help: "One question to a worker and its answer." },
] as const;

/** Names of span attributes and of log fields that mean the same. */
export const ATTRIBUTES = {
  httpMethod: "http.request.method",
  httpRoute: "http.route",
  httpStatus: "http.response.status_code",
  errorType: "error.type",
  messagingSystem: "messaging.system",
  messagingOperation: "messaging.operation.name",
  messagingDestination: "messaging.destination.template",
  messagingCount: "messaging.batch.message_count",
  messagingGroup: "messaging.consumer.group.name",
  context: "millrace.context",
  kind: "millrace.kind",
  aggregate: "millrace.aggregate",
  organisation: "millrace.organisation",
  command: "millrace.command",
  outcome: "millrace.outcome",
  attempt: "millrace.attempt",
  projection: "millrace.projection",
  request: "millrace.request",
  sequence: "millrace.sequence",
} as const;

export const ATTRIBUTE_HELP: Readonly<Record<keyof typeof ATTRIBUTES, string>> = {
  httpMethod: "Method of the request.",
  httpRoute: "Template of the path.",
  httpStatus: "Code of the answer.",
  errorType: "Tag of the failure, e.g. `AppendConflict`, or the code of an HTTP answer from 500 on.",
  messagingSystem: "Always `nats`.",
  messagingOperation: "`append`, `project`, `relay`.",
  messagingDestination: "Subject with its variable parts as placeholders, e.g. `evt.work.{shard}.{kind}.{id}`.",
  messagingCount: "Messages in the batch.",
  messagingGroup: "Durable consumer or projection.",
  context: "`identity`, `work`, …",
  kind: "Kind of aggregate.",
  aggregate: "Id of the aggregate.",
  organisation: "Id of the organisation.",
  command: "Id of the command; the same for a repeat with the same idempotency key.",
  outcome: "As in `millrace_commands_total`.",
  attempt: "From 0; more than 0 when another writer was faster.",
  projection: "Name of the projection.",
  request: "`requestId` of log lines and problems.",
  sequence: "Sequence in the context's stream after which everything the span did can be read.",
};
