/**
 * The event log's public face: open it, execute commands on it, read from it, follow it.
 *
 * - `execute(log, change, context)`: load, decide, append (execute.ts)
 * - `log.aggregates.load(kind, id)` / `.loadUntil(kind, id, {time | version})`: an aggregate as it is, as it was (aggregate.ts)
 * - `readCommits(nats, kind, id)`: its history (aggregate.ts)
 * - `follow(nats, context, …)`: every commit of a context, in order, live (follow.ts)
 */
import { Aggregates } from "./aggregate.ts";
import { type Appended, Appender, type AppendOptions, type Entry } from "./append.ts";
import { connectNats, leaderMessage, type Nats, type NatsSettings, type StreamSettings } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { type AppendMeter, appendMeter } from "./meters.ts";
import { Snapshots } from "./snapshots.ts";
import { ensureStreams } from "./streams.ts";
import { logStream } from "./subjects.ts";
import { ATTRIBUTES, gaugeFrom, metrics, SPANS } from "./telemetry.ts";
import { tracingEnabled, withSpan } from "./tracing.ts";

export interface LogSettings extends NatsSettings, StreamSettings {
  readonly append?: AppendOptions;
  /** Aggregates kept in memory at the most. */
  readonly cacheMost?: number;
}

export class EventLog {
  readonly nats: Nats;
  readonly aggregates: Aggregates;
  readonly #appenders = new Map<string, { readonly appender: Appender; readonly meter: AppendMeter }>();
  readonly #forgetGauge: () => void;
  readonly #appendOptions: AppendOptions | undefined;

  constructor(nats: Nats, aggregates: Aggregates, appendOptions?: AppendOptions) {
    this.nats = nats;
    this.aggregates = aggregates;
    this.#appendOptions = appendOptions;
    this.#forgetGauge = gaugeFrom(metrics.logWaiting, () => this.depth);
  }

  /** Connects, makes sure of the streams of these contexts, and is ready. */
  static async open(settings: LogSettings, contexts: ReadonlyArray<string>): Promise<EventLog> {
    const nats = await connectNats(settings);
    await ensureStreams(nats, contexts, settings);
    const snapshots = await Snapshots.open(nats);
    const aggregates = new Aggregates(nats, {
      snapshots,
      ...(settings.cacheMost === undefined ? {} : { most: settings.cacheMost }),
    });
    return new EventLog(nats, aggregates, settings.append);
  }

  /** Writes the entries (of one context) or none of them. @throws AppendConflict, LogUnavailable, CommitRefused */
  append(context: string, entries: ReadonlyArray<Entry>): Promise<Appended> {
    if (!tracingEnabled()) return this.#append(context, entries);
    const attributes = {
      [ATTRIBUTES.messagingSystem]: "nats",
      [ATTRIBUTES.messagingOperation]: "append",
      [ATTRIBUTES.messagingDestination]: `evt.${context}.{shard}.{kind}.{id}`,
      [ATTRIBUTES.messagingCount]: entries.length,
    };
    return withSpan(
      SPANS.append(context),
      attributes,
      async (span) => {
        const appended = await this.#append(context, entries);
        span.set(ATTRIBUTES.sequence, appended.seqs[appended.seqs.length - 1]!);
        return appended;
      },
      { kind: "PRODUCER" },
    );
  }

  async #append(context: string, entries: ReadonlyArray<Entry>): Promise<Appended> {
    let writer = this.#appenders.get(context);
    if (writer === undefined) {
      const meter = appendMeter(context);
      const appender = new Appender(this.nats, logStream(context), { onGroup: meter.group, ...this.#appendOptions });
      writer = { appender, meter };
      this.#appenders.set(context, writer);
    }
    const began = performance.now();
    try {
      const appended = await writer.appender.append(entries);
      if (appended.found) writer.meter.found(began);
      else writer.meter.written(began);
      return appended;
    } catch (error) {
      writer.meter.failed(error, began);
      throw error;
    }
  }

  /** Units waiting to be written or under way, all contexts. */
  get depth(): number {
    let depth = 0;
    for (const { appender } of this.#appenders.values()) depth += appender.depth;
    return depth;
  }

  /** The newest message on a literal subject, asked of the stream's leader. @throws LogUnavailable */
  async lastMessage(stream: string, subject: string): Promise<{ data: Uint8Array; seq: number; time: number } | null> {
    const message = await leaderMessage(this.nats, stream, { last_by_subj: subject });
    return message === null ? null : { data: message.data, seq: message.seq, time: message.time.getTime() };
  }

  /** The log's newest sequence in a context; 0 when empty. @throws LogUnavailable */
  async head(context: string): Promise<number> {
    try {
      return (await this.nats.jsm.streams.info(logStream(context))).state.last_seq;
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
  }

  close(): Promise<void> {
    this.#forgetGauge();
    return this.nats.close();
  }
}
