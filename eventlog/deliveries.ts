/**
 * The log of deliveries: what was sent to each destination and what it answered. No event and no promise: the last some hundred of
 * each, in the stream `DELIVERIES`, several lines to a message; what could not be written is lost.
 */
import type { Delivery } from "@millrace/contracts/integrations/entities.ts";
import type { StreamConfig } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { Nats } from "./connection.ts";
import { readBatch } from "./direct.ts";
import { LogUnavailable } from "./failures.ts";
import { addStream, standing } from "./streams.ts";

export const DELIVERIES = "DELIVERIES";

/** Messages kept of each destination, and lines of one: between 100 and 2,000 tries. */
const MESSAGES_MOST = 100;
const LINES_MOST = 20;
const FLUSH_MS = 250;
/** Destinations whose lines wait at the same moment: what is more is written at once. */
const WAITING_MOST = 5_000;

const subjectOf = (organisation: string, destination: string): string => `deliveries.${organisation}.${destination}`;

/** @throws LogUnavailable */
export async function ensureDeliveries(nats: Nats): Promise<void> {
  const config: Partial<StreamConfig> & { name: string } = {
    name: DELIVERIES,
    subjects: ["deliveries.*.*"],
    storage: "file",
    retention: "limits",
    discard: "old",
    num_replicas: nats.replicas,
    max_msgs_per_subject: MESSAGES_MOST,
    max_bytes: 128 * 1024 ** 2,
    max_age: nanos(30 * 86_400_000),
    allow_direct: true,
    // A log: a power cut may cost the last moment of it.
    ...(nats.replicas === 1 ? { persist_mode: "async" as never } : {}),
  };
  try {
    if ((await standing(nats, DELIVERIES)) === undefined) await addStream(nats, config);
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

/** Gathers lines for a moment, and writes them without waiting for an answer. */
export class DeliveryLog {
  readonly #nats: Nats;
  readonly #waiting = new Map<string, Delivery[]>();
  readonly #timer: NodeJS.Timeout;

  constructor(nats: Nats) {
    this.#nats = nats;
    this.#timer = setInterval(() => this.flush(), FLUSH_MS);
    this.#timer.unref();
  }

  add(organisation: string, destination: string, line: Delivery): void {
    const subject = subjectOf(organisation, destination);
    const lines = this.#waiting.get(subject);
    if (lines === undefined) this.#waiting.set(subject, [line]);
    else if (lines.push(line) >= LINES_MOST) this.#write(subject);
    if (this.#waiting.size > WAITING_MOST) this.flush();
  }

  flush(): void {
    for (const subject of [...this.#waiting.keys()]) this.#write(subject);
  }

  close(): void {
    clearInterval(this.#timer);
    this.flush();
  }

  #write(subject: string): void {
    const lines = this.#waiting.get(subject);
    this.#waiting.delete(subject);
    try {
      if (lines !== undefined) this.#nats.nc.publish(subject, JSON.stringify(lines));
    } catch {
      // The connection is closed: they are lost.
    }
  }
}

/**
 * The newest tries first.
 * @param message tries of this one alone
 * @throws LogUnavailable
 */
export async function readDeliveries(
  nats: Nats,
  {
    organisation,
    destination,
    limit,
    message,
  }: {
    readonly organisation: string;
    readonly destination: string;
    readonly limit: number;
    readonly message?: string | undefined;
  },
): Promise<ReadonlyArray<Delivery>> {
  const found: Delivery[] = [];
  const subject = subjectOf(organisation, destination);
  for (let seq = 1; ; ) {
    const page = await readBatch(nats, DELIVERIES, { seq, next_by_subj: subject, batch: MESSAGES_MOST });
    for (const { data } of page.messages) {
      for (const line of JSON.parse(Buffer.from(data).toString("utf8")) as Delivery[]) {
        if (message === undefined || line.message === message) found.push(line);
      }
    }
    const last = page.messages[page.messages.length - 1];
    if (!page.more || last === undefined) break;
    seq = last.seq + 1;
  }
  return found.reverse().slice(0, limit);
}
