/**
 * How far each destination of the outbox has come: one small record each, in the stream `OUTBOX`. A write expects the record it
 * follows, so that of two that believe they are in charge one is refused; many at once go as one batch.
 */
import type { LogPlace } from "@millrace/contracts/position.ts";
import type { StreamConfig } from "@nats-io/jetstream";
import { nanos, nuid } from "@nats-io/transport-node";
import { Appender } from "./append.ts";
import { parsePlace, placeText } from "./cloudevents.ts";
import { isNotFound, leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";

/** An entity whose events wait: the next one after `after` is on its way, or has failed. */
export interface HeldRecord {
  readonly context: string;
  readonly kind: string;
  readonly id: string;
  readonly after: LogPlace;
  /** Tries of its next event that have failed. */
  readonly attempts: number;
  /** Milliseconds since 1970; null: parked until somebody resumes. */
  readonly nextAt: number | null;
  /** When its next event failed first; 0 when it has not. */
  readonly since: number;
}

export interface OutboxRecord {
  /** What of the destination's state it knows: see `DestinationState`. */
  readonly replays: number;
  readonly resumes: number;
  readonly tests: number;
  /** By context: everything up to here was delivered or is held. */
  readonly places: Readonly<Record<string, LogPlace>>;
  readonly held: ReadonlyArray<HeldRecord>;
  /** Milliseconds since 1970; 0: it is not. */
  readonly throttledUntil: number;
  /** When a delivery last succeeded; milliseconds since 1970. */
  readonly deliveredAt: number;
  /** What a channel with quiet hours, a digest or a flood cap remembers beside; undefined: it has none. */
  readonly pace?: unknown;
  /** When it was written; milliseconds since 1970. */
  readonly writtenAt: number;
}

export interface StoredRecord {
  readonly record: OutboxRecord | undefined;
  /** Of the last message; 0: there was none. */
  readonly seq: number;
}

export const OUTBOX = "OUTBOX";
/** One record at the most: some hundred held entities are about 60 kB. */
const RECORD_BYTES = 256 * 1024;

/** Who may write it next is told by the sequence. @param destination id of the webhook or channel */
const subjectOf = (destination: string): string => `outbox.${destination}`;

export class OutboxRecords {
  readonly #nats: Nats;
  readonly #appender: Appender;

  private constructor(nats: Nats) {
    this.#nats = nats;
    this.#appender = new Appender(nats, OUTBOX);
  }

  /** Makes the stream where it is missing. @throws LogUnavailable */
  static async open(nats: Nats): Promise<OutboxRecords> {
    const config: Partial<StreamConfig> & { name: string } = {
      name: OUTBOX,
      subjects: ["outbox.*"],
      storage: "file",
      retention: "limits",
      discard: "old",
      num_replicas: nats.replicas,
      max_msgs_per_subject: 1,
      allow_direct: true,
      allow_atomic: true,
      duplicate_window: nanos(120_000),
      max_msg_size: RECORD_BYTES,
    };
    try {
      await nats.jsm.streams.info(OUTBOX).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
        return nats.jsm.streams.add(config as StreamConfig);
      });
    } catch (error) {
      throw new LogUnavailable({ what: "NATS", cause: error });
    }
    return new OutboxRecords(nats);
  }

  read(destination: string): Promise<StoredRecord> {
    return readRecord(this.#nats, destination);
  }

  /**
   * @param expected sequence of the record it follows
   * @returns its own
   * @throws AppendConflict: another has written; LogUnavailable
   */
  async write(destination: string, record: OutboxRecord | undefined, expected: number): Promise<number> {
    const data = Buffer.from(record === undefined ? "" : JSON.stringify(toText(record)));
    const { seqs } = await this.#appender.append([
      { subject: subjectOf(destination), data, id: nuid.next(), expected },
    ]);
    return seqs[0]!;
  }
}

/** The record as the stream's leader has it. @throws LogUnavailable */
export async function readRecord(nats: Nats, destination: string): Promise<StoredRecord> {
  const message = await leaderMessage(nats, OUTBOX, { last_by_subj: subjectOf(destination) });
  if (message === null) return { record: undefined, seq: 0 };
  if (message.data.length === 0) return { record: undefined, seq: message.seq };
  return { record: fromText(message.json()), seq: message.seq };
}

type Held = readonly [string, string, string, string, number, number | null, number];
interface Text extends Omit<OutboxRecord, "places" | "held"> {
  readonly v: 1;
  readonly places: Readonly<Record<string, string>>;
  readonly held: ReadonlyArray<Held>;
}

const toText = ({ places, held, ...rest }: OutboxRecord): Text => ({
  v: 1,
  ...rest,
  places: Object.fromEntries(Object.entries(places).map(([context, place]) => [context, placeText(place)])),
  held: held.map((one) => [one.context, one.kind, one.id, placeText(one.after), one.attempts, one.nextAt, one.since]),
});

const NOWHERE: LogPlace = { seq: 0, index: 0 };

const fromText = ({ v: _, places, held, ...rest }: Text): OutboxRecord => ({
  ...rest,
  places: Object.fromEntries(Object.entries(places).map(([context, text]) => [context, parsePlace(text) ?? NOWHERE])),
  held: held.map(([context, kind, id, after, attempts, nextAt, since]) => ({
    context,
    kind,
    id,
    after: parsePlace(after) ?? NOWHERE,
    attempts,
    nextAt,
    since,
  })),
});
