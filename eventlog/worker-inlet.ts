/**
 * Where wake-ups come in: a durable pull consumer on the context's log and one on its due timers, shared by the node's workers.
 * Taken by callback, because what waits in an iterator's buffer cannot be kept alive.
 */
import { AckPolicy, type ConsumerConfig, DeliverPolicy, type JsMsg } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import { isNotFound, type Nats } from "./connection.ts";
import { endOnReconnect } from "./ordered.ts";

export interface InletOptions {
  readonly nats: Nats;
  readonly stream: string;
  /** Name of the durable consumer. */
  readonly durable: string;
  readonly filters: ReadonlyArray<string>;
  readonly ackWaitMs: number;
  readonly take: (message: JsMsg) => void;
  readonly onState: (open: boolean) => void;
}

/** Delayed and queued messages both count, so it stands far above what is ever at work. */
const MAX_ACK_PENDING = 5_000;
const PULL = 200;

/** Makes the consumer or brings it up to date: a new kind of aggregate is a new filter. */
async function ensureConsumer({ nats, stream, durable, filters, ackWaitMs }: InletOptions): Promise<void> {
  const config: Partial<ConsumerConfig> = {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    // Of what stood in the log before there was this consumer, the last commit of each aggregate wakes as well as all of them.
    deliver_policy: DeliverPolicy.LastPerSubject,
    filter_subjects: [...filters],
    ack_wait: nanos(ackWaitMs),
    max_ack_pending: MAX_ACK_PENDING,
    max_deliver: -1,
  };
  try {
    const { config: there } = await nats.jsm.consumers.info(stream, durable);
    const same =
      there.ack_wait === config.ack_wait &&
      [...(there.filter_subjects ?? [there.filter_subject])].sort().join() === [...filters].sort().join();
    if (!same) await nats.jsm.consumers.update(stream, durable, config);
  } catch (error) {
    if (!isNotFound(error) && (error as { code?: number }).code !== CONSUMER_NOT_FOUND) throw error;
    await nats.jsm.consumers.add(stream, config as ConsumerConfig);
  }
}

const CONSUMER_NOT_FOUND = 10014;

/** Takes wake-ups until the signal is aborted; a server that is away is waited for. */
export async function runInlet(options: InletOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await consumeOnce(options, signal).catch(() => {});
    options.onState(false);
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 200));
  }
}

async function consumeOnce(options: InletOptions, signal: AbortSignal): Promise<void> {
  const { nats, stream, durable, take, onState } = options;
  await ensureConsumer(options);
  const consumer = await nats.js.consumers.get(stream, durable);
  const messages = await consumer.consume({
    max_messages: PULL,
    idle_heartbeat: 5_000,
    callback: (message) => take(message),
  });
  const end = () => messages.stop();
  signal.addEventListener("abort", end);
  const watching = endOnReconnect(nats, end);
  if (signal.aborted) end();
  const lost = new Set(["consumer_not_found", "consumer_deleted", "stream_not_found"]);
  void (async () => {
    for await (const { type } of messages.status()) if (lost.has(type)) end();
  })().catch(() => {});
  onState(true);
  try {
    await messages.closed();
  } finally {
    signal.removeEventListener("abort", end);
    watching();
  }
}
