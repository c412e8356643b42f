/**
 * Workers: what acts on the world when something stands in the log. docs/guides/writing-a-worker.md shows how one is written.
 *
 * An event is only a wake-up for its aggregate. The worker loads the aggregate, asks the pure `next(state)` what is to be done now,
 * takes the lease of the unit of work, loads again, does it, records what came of it through the decider, and begins anew,
 * until `next` answers nothing. First try, redelivery, crash, second worker and healing all go this one way.
 */
import type { Kind } from "@millrace/domain/kind.ts";
import type { Loaded } from "./aggregate.ts";
import type { DeadLetters } from "./deadletters.ts";
import type { EventLog } from "./eventlog.ts";
import type { Change } from "./execute.ts";
import type { Check } from "./health.ts";
import type { Leases } from "./leases.ts";
import type { Logger } from "./logging.ts";
import { logStream } from "./subjects.ts";
import { dueSubjects, ensureTimers, timerStream } from "./timers.ts";
import { WorkerCore } from "./worker-core.ts";
import { runInlet } from "./worker-inlet.ts";
import { Sweeper } from "./worker-sweep.ts";
import { runUnit } from "./worker-unit.ts";

/** What is to be done now, or when to look again; undefined: nothing until the next event. */
export type Next<P> = undefined | { readonly do: P } | { readonly waitUntil: number };

/** What a worker does for one kind of aggregate. */
export interface Reactor<S = any, C = any, P = any> {
  readonly kind: Kind<S, C>;
  /** Key of the lease: what only one worker may act on at a time. Default: the aggregate's id. */
  readonly unit?: (state: S, id: string) => string;
  /** Whether this node acts on it at all; another node's is acknowledged and left alone. Default: all are. */
  readonly mine?: (state: S) => boolean;
  /** Pure. @param nowMs milliseconds since 1970 */
  readonly next: (state: S, nowMs: number) => Next<P>;
  /**
   * A newer state came while the step is under way: is it to be aborted? Not asked when it was so already as the step was chosen.
   * Default: it never is.
   */
  readonly interrupts?: (state: S, step: P) => boolean;
  /** One step. What it throws is logged and tried again later, ever more slowly; after 20 times in a row it is parked. */
  readonly perform: (step: P, work: Work<S, C>) => Promise<Verdict>;
}

/** How it goes on after a step. A failure policy is a value, never an exception. */
export type Verdict =
  /** Load and ask `next` again. */
  | { readonly again: true }
  /** Later, by a timer that survives restarts; a newer commit is looked at before. */
  | { readonly retryAfterMs: number; readonly reason: string }
  /** Set aside as a dead letter until a person asks for a retry, or a newer commit comes. The text is its cause. */
  | { readonly park: string }
  /** Leave it alone until a newer commit comes. */
  | { readonly skip: true };

/** One aggregate under work. */
export interface Work<S, C> {
  readonly id: string;
  readonly organisation: string;
  /** As loaded when the step was chosen. */
  readonly loaded: Loaded<S>;
  /** Name of this worker, `host:pid:…`, as it stands in events and leases. */
  readonly worker: string;
  readonly node: string;
  /** Aborted when the step is to end early; `signal.reason` is a `WorkAborted`. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /**
   * For what takes long and takes nothing of this machine, as waiting until something answers: the place of this unit is
   * another's meanwhile; its lease stays.
   */
  aside<T>(wait: () => Promise<T>): Promise<T>;
  /**
   * Decides and appends, on this aggregate and in the same atomic append on others. The new state of this one is answered.
   * @throws Overtaken (let it pass: the worker drops its work), RecordRefused, LogUnavailable, WorkAborted when the lease is lost
   */
  record(command: C, also?: ReadonlyArray<Change>): Promise<Loaded<S>>;
}

export interface WorkerOptions {
  readonly log: EventLog;
  /** E.g. `orchestrator`. */
  readonly service: string;
  readonly node: string;
  readonly context: string;
  readonly reactors: ReadonlyArray<Reactor<any, any, any>>;
  /** Units at work at the same moment. */
  readonly concurrency: number;
  readonly logger: Logger;
  readonly deadLetters: DeadLetters;
  /** Shared by all workers of the process; its time to live is the clock of takeovers. */
  readonly leases: Leases;
  /** How often what was missed is looked for. Default a minute. */
  readonly sweepEveryMs?: number;
  /** How long `stop` waits for steps under way before it hands over all the same. Default 8 s. */
  readonly graceMs?: number;
}

/** A step under way, for status and screens. */
export interface UnderWay {
  readonly kind: string;
  readonly id: string;
  readonly unit: string;
  readonly step: unknown;
  /** RFC 3339 */
  readonly since: string;
}

/** An aggregate that this worker cannot go on with. */
export interface Stopped {
  readonly kind: string;
  readonly id: string;
  readonly reason: string;
}

export interface WorkerStatus {
  readonly worker: string;
  readonly service: string;
  readonly node: string;
  readonly context: string;
  readonly state: "working" | "away" | "stopping" | "stopped";
  readonly underWay: ReadonlyArray<UnderWay>;
  /** Aggregates that wait for a free place. */
  readonly queued: number;
  /** Messages held and kept alive. */
  readonly held: number;
  /** Aggregates with an event that this release does not know. */
  readonly stopped: ReadonlyArray<Stopped>;
  /** Aggregates that wait after a failure, and until when (RFC 3339; null: something new). */
  readonly waiting: ReadonlyArray<Stopped & { readonly until: string | null }>;
  /** This process holds the node's lease for sweeping. */
  readonly sweeping: boolean;
}

export interface Worker {
  readonly name: string;
  status(): WorkerStatus;
  /** For `/readyz`. */
  checks(): ReadonlyArray<Check>;
  /** Looks at an aggregate now, as if an event had come. */
  wake(kind: string, id: string): void;
  /** Hands over within ten seconds: aborts steps, releases leases, gives back every message at once. */
  stop(): Promise<void>;
}

export { Overtaken, RecordRefused, WorkAborted } from "./worker-failures.ts";

const TOKEN = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Starts it inside this process. One durable consumer per service, node and context is shared by all its workers, wherever they run.
 * @throws LogUnavailable, TypeError when a name cannot stand in a subject
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { log, service, node, context, reactors } = options;
  for (const name of [service, node, context]) {
    if (!TOKEN.test(name))
      throw new TypeError(`not a name for a worker, its node or its context: ${JSON.stringify(name)}`);
  }
  await ensureTimers(log.nats, context);
  const core = new WorkerCore(options, runUnit);
  const open = { events: false, timers: false };
  const common = { nats: log.nats, durable: `${service}-${node}`, ackWaitMs: core.ackWaitMs };
  const { signal } = core.stopping;
  const running = [
    runInlet(
      {
        ...common,
        stream: logStream(context),
        filters: reactors.map(({ kind }) => `evt.${context}.*.${kind.kind}.>`),
        take: (message) => core.takeEvent(message),
        onState: (is) => (open.events = is),
      },
      signal,
    ),
    runInlet(
      {
        ...common,
        stream: timerStream(context),
        filters: [dueSubjects(context, service, node)],
        take: (message) => core.takeDue(message),
        onState: (is) => (open.timers = is),
      },
      signal,
    ),
  ];
  const sweeper = new Sweeper(core, options.sweepEveryMs ?? 60_000);
  running.push(sweeper.run(signal));
  let state: "running" | "stopping" | "stopped" = "running";
  const status = (): WorkerStatus => statusOf(core, state, open, sweeper.sweeping);
  let ending: Promise<void> | undefined;
  const stop = async () => {
    state = "stopping";
    const inTime = await core.end(options.graceMs ?? GRACE_MS);
    if (!inTime) options.logger.warn({ context }, "a step did not end in time; it was handed over all the same");
    await Promise.race([Promise.all(running), new Promise((resolve) => setTimeout(resolve, 1_000).unref())]);
    await log.nats.nc.flush().catch(() => {});
    state = "stopped";
  };
  return {
    name: core.name,
    status,
    checks: () => checksOf(status()),
    wake: (kind, id) => core.wake(kind, id, { source: "hand" }),
    stop: () => (ending ??= stop()),
  };
}

const GRACE_MS = 8_000;

function statusOf(
  core: WorkerCore,
  state: "running" | "stopping" | "stopped",
  open: { readonly events: boolean; readonly timers: boolean },
  sweeping: boolean,
): WorkerStatus {
  const { service, node, context, log } = core.options;
  const entries = [...core.entries.values()];
  const time = (ms: number) => new Date(ms).toISOString();
  const away = log.nats.nc.isClosed() || !open.events || !open.timers;
  return {
    worker: core.name,
    service,
    node,
    context,
    state: state === "running" ? (away ? "away" : "working") : state,
    underWay: entries.flatMap(({ reactor, id, now, unit }) =>
      now === undefined ? [] : [{ kind: reactor.kind.kind, id, unit, step: now.step, since: time(now.since) }],
    ),
    queued: entries.filter(({ place }) => place === "queue").length,
    held: core.held(),
    stopped: [...core.stopped.values()],
    waiting: [...core.rests.failed()].map(([key, { reason, until }]) => ({
      kind: key.split("/")[0]!,
      id: key.split("/")[1]!,
      reason: reason!,
      until: until === undefined ? null : time(until),
    })),
    sweeping,
  };
}

function checksOf({ context, state, stopped }: WorkerStatus): Check[] {
  const first = stopped[0];
  return [
    state === "working"
      ? { name: `worker ${context}`, ok: true }
      : {
          name: `worker ${context}`,
          ok: false,
          detail: state === "away" ? "wake-ups cannot be taken: is NATS there?" : state,
        },
    first === undefined
      ? { name: `worker ${context} aggregates`, ok: true }
      : {
          name: `worker ${context} aggregates`,
          ok: false,
          detail: `${stopped.length} cannot be gone on with, e.g. ${first.kind} ${first.id}: ${first.reason}. Upgrade this service.`,
        },
  ];
}
