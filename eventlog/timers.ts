/**
 * Timers: wake-ups that survive every restart. A message in the stream `TIMERS_<CONTEXT>` that the server publishes at its time
 * (a quarter of a second late or so, never early) to the worker's own subject, where it is a wake-up like any other. Subject and time name
 * a timer, so arming twice is arming once; what is not wanted any more fires and finds nothing to do.
 *
 * `allow_msg_schedules` unlocks a stream for purging without a word, so timers never stand in a context's log.
 */
import type { JetStreamApiError, StreamConfig } from "@nats-io/jetstream";
import { isNotFound, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { metrics } from "./telemetry.ts";

/** Who is to be woken. */
export interface TimerTarget {
  readonly service: string;
  readonly node: string;
  readonly kind: string;
  readonly id: string;
}

export const timerStream = (context: string): string => `TIMERS_${context.toUpperCase()}`;

/** Subjects on which the due timers of a service's workers on a node arrive. */
export const dueSubjects = (context: string, service: string, node: string): string =>
  `due.${context}.${service}.${node}.>`;

/** Kind and id of what is due. */
export function parseDueSubject(subject: string): { kind: string; id: string } | undefined {
  const parts = subject.split(".");
  return parts[0] === "due" && parts.length === 6 ? { kind: parts[4]!, id: parts[5]! } : undefined;
}

/** How long a due message waits for a worker. After that the sweep finds what it was for. */
const DUE_KEPT = "24h";
const WRONG_LAST_SEQUENCE = 10071;
const REMEMBERED = 50_000;

/** Creates the stream where it is missing. @throws LogUnavailable */
export async function ensureTimers(nats: Nats, context: string): Promise<void> {
  const name = timerStream(context);
  const config: Partial<StreamConfig> & { name: string } = {
    name,
    subjects: [`timer.${context}.>`, `due.${context}.>`],
    storage: "file",
    retention: "limits",
    discard: "old",
    num_replicas: nats.replicas,
    // Of what is due the newest says all.
    max_msgs_per_subject: 1,
    allow_direct: true,
    allow_msg_ttl: true,
    allow_msg_schedules: true,
  };
  try {
    await nats.jsm.streams.info(name).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
      return nats.jsm.streams.add(config as StreamConfig);
    });
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

export class Timers {
  readonly #nats: Nats;
  readonly #context: string;
  readonly #armed = new Set<string>();

  /** `ensureTimers` must have been called. */
  constructor(nats: Nats, context: string) {
    this.#nats = nats;
    this.#context = context;
  }

  /**
   * Wakes the target at the time, or as soon as it can when that is past.
   * @param atMs milliseconds since 1970
   * @throws LogUnavailable
   */
  async arm(target: TimerTarget, atMs: number): Promise<void> {
    const place = `${this.#context}.${target.service}.${target.node}.${target.kind}.${target.id}`;
    const subject = `timer.${place}.${Math.ceil(atMs)}`;
    if (this.#armed.has(subject)) return;
    try {
      await this.#nats.js.publish(subject, "", {
        schedule: { specification: new Date(Math.ceil(atMs)), target: `due.${place}`, ttl: DUE_KEPT },
        expect: { lastSubjectSequence: 0 },
        timeout: 3_000,
      });
    } catch (error) {
      // It is armed already.
      if ((error as JetStreamApiError).code !== WRONG_LAST_SEQUENCE)
        throw new LogUnavailable({ what: "NATS", cause: error });
    }
    metrics.timersArmed.inc({ context: this.#context });
    if (this.#armed.size >= REMEMBERED) this.#armed.delete(this.#armed.values().next().value!);
    this.#armed.add(subject);
  }
}
