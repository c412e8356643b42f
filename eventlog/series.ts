/**
 * Telemetry as a service to all: samples of series (an entity's metric, with a few labels), on the stream `TELEMETRY`, kept by age and size.
 * Not events: only what changes state is one (alerts).
 *
 *     const writer = new SeriesWriter(nats);                       // after ensureTelemetry(nats, limits)
 *     writer.add({ organisation, context: "applications", kind: "application", id }, [{ metric: "memory_bytes", value, labels: { instance: "0" } }]);
 *     await writer.flush();
 *     const series = await readSeries(nats, owner, { metric: "memory_bytes", fromMs, toMs, stepMs: 60_000 });   // series-read.ts
 *
 * Subject: `tel.<organisation>.<context>.<kind>.<id>.<resolution>`, literal for an entity. A message is a chunk: of every series of the
 * entity min, max, sum and count for each minute (or five, or hour). Chunks of the same minute add up, so that a writer that dies
 * loses what it had not stored and makes nothing wrong. Minutes are kept a day, five of them 35 days, hours as long as the stream.
 */
import type { StreamConfig } from "@nats-io/jetstream";
import { headers, nanos } from "@nats-io/transport-node";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import { addStream, standing } from "./streams.ts";

export const TELEMETRY = "TELEMETRY";

export type Resolution = "1m" | "5m" | "1h";
export const STEP_MS: Readonly<Record<Resolution, number>> = { "1m": 60_000, "5m": 300_000, "1h": 3_600_000 };
/** How long a message is kept; hours as long as the stream keeps them. */
export const KEPT: Readonly<Record<Resolution, string | undefined>> = { "1m": "26h", "5m": "840h", "1h": undefined };

/** Whose series. Every part is a subject token. */
export interface SeriesOwner {
  readonly organisation: string;
  readonly context: string;
  readonly kind: string;
  readonly id: string;
}

/** What belongs to the installation and to no organisation: its nodes. */
export const INSTALLATION = "installation";

export interface Sample {
  /** Lower-case with underscores and the unit last: `memory_bytes`. */
  readonly metric: string;
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Milliseconds since 1970; left out: now. */
  readonly time?: number;
}

/** `[start in milliseconds, min, max, sum, count]` */
export type Point = readonly [at: number, min: number, max: number, sum: number, count: number];

export interface ChunkSeries {
  readonly metric: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly points: ReadonlyArray<Point>;
}

/** Body of a message. `from` inclusive, `to` exclusive. */
export interface Chunk {
  readonly from: number;
  readonly to: number;
  readonly series: ReadonlyArray<ChunkSeries>;
}

export interface TelemetryLimits {
  /** Default 400 days. */
  readonly maxAgeMs?: number;
  /** Default 2 GiB, less on a small disk. */
  readonly maxBytes?: number;
}

const DAY_MS = 86_400_000;

/** Makes the stream, or gives it other limits. @throws LogUnavailable */
export async function ensureTelemetry(nats: Nats, limits: TelemetryLimits = {}): Promise<void> {
  const config: Partial<StreamConfig> & { name: string } = {
    name: TELEMETRY,
    subjects: ["tel.>"],
    storage: "file",
    retention: "limits",
    discard: "old",
    num_replicas: nats.replicas,
    allow_direct: true,
    allow_msg_ttl: true,
    max_age: nanos(limits.maxAgeMs ?? 400 * DAY_MS),
    max_bytes: limits.maxBytes ?? 2 * 1024 ** 3,
    // Samples of the last moment may go with a power cut, which the log itself must not.
    ...(nats.replicas === 1 ? { persist_mode: "async" as never } : {}),
  };
  try {
    const there = await standing(nats, TELEMETRY);
    if (there !== undefined) {
      const max_age = limits.maxAgeMs === undefined ? there.max_age : config.max_age!;
      const max_bytes = limits.maxBytes ?? there.max_bytes;
      if (max_age === there.max_age && max_bytes === there.max_bytes) return;
      await nats.jsm.streams.update(TELEMETRY, { max_age, max_bytes });
      return;
    }
    await addStream(nats, config);
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;

/** @throws TypeError for a part that is no subject token */
export function seriesSubject({ organisation, context, kind, id }: SeriesOwner, resolution: Resolution): string {
  const parts = [organisation, context, kind, id];
  const wrong = parts.find((part) => !TOKEN.test(part));
  if (wrong !== undefined) throw new TypeError(`not a subject token: ${JSON.stringify(wrong.slice(0, 64))}`);
  return `tel.${parts.join(".")}.${resolution}`;
}

export function ownerOf(subject: string): SeriesOwner {
  const [, organisation, context, kind, id] = subject.split(".") as [string, string, string, string, string];
  return { organisation, context, kind, id };
}

/** Bounds of what one entity may have. */
export const SERIES_LIMITS = { series: 200, labels: 4, labelLength: 64 } as const;
const NAME = /^[a-z][a-z0-9_]{0,63}$/;

const keyOf = (metric: string, labels: Readonly<Record<string, string>>): string =>
  `${metric} ${JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))}`;

/** Series and points that add up, whichever order they come in. */
export class Gathered {
  readonly #series = new Map<
    string,
    { metric: string; labels: Readonly<Record<string, string>>; points: Map<number, Point> }
  >();
  readonly #stepMs: number;

  constructor(stepMs: number) {
    this.#stepMs = stepMs;
  }

  add(metric: string, labels: Readonly<Record<string, string>>, [at, min, max, sum, count]: Point): void {
    const key = keyOf(metric, labels);
    let known = this.#series.get(key);
    if (known === undefined) {
      if (this.#series.size >= SERIES_LIMITS.series) return;
      known = { metric, labels, points: new Map() };
      this.#series.set(key, known);
    }
    const place = Math.floor(at / this.#stepMs) * this.#stepMs;
    const there = known.points.get(place);
    known.points.set(
      place,
      there === undefined
        ? [place, min, max, sum, count]
        : [place, Math.min(there[1], min), Math.max(there[2], max), there[3] + sum, there[4] + count],
    );
  }

  get empty(): boolean {
    return this.#series.size === 0;
  }

  /** In order of metric and labels, points in order of time. */
  series(): ReadonlyArray<ChunkSeries> {
    return [...this.#series]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { metric, labels, points }]) => ({
        metric,
        labels,
        points: [...points.values()].sort((a, b) => a[0] - b[0]),
      }));
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
export const encodeChunk = (chunk: Chunk): Uint8Array => encoder.encode(JSON.stringify(chunk));
export const decodeChunk = (data: Uint8Array): Chunk => JSON.parse(decoder.decode(data)) as Chunk;

export function chunkHeaders(resolution: Resolution) {
  const h = headers();
  const ttl = KEPT[resolution];
  if (ttl !== undefined) h.set("Nats-TTL", ttl);
  return h;
}

export class SeriesWriter {
  readonly #nats: Nats;
  #waiting = new Map<string, Gathered>();

  constructor(nats: Nats) {
    this.#nats = nats;
  }

  /** Takes samples of an entity; what is no number, has no name, or goes beyond the limits is left out. */
  add(owner: SeriesOwner, samples: ReadonlyArray<Sample>): void {
    const subject = seriesSubject(owner, "1m");
    const gathered = this.#waiting.get(subject) ?? new Gathered(STEP_MS["1m"]);
    for (const { metric, value, labels = {}, time = Date.now() } of samples) {
      const names = Object.entries(labels);
      const sane = names.every(([name, text]) => NAME.test(name) && text.length <= SERIES_LIMITS.labelLength);
      if (!Number.isFinite(value) || !NAME.test(metric) || names.length > SERIES_LIMITS.labels || !sane) continue;
      gathered.add(metric, labels, [time, value, value, value, 1]);
    }
    if (!gathered.empty) this.#waiting.set(subject, gathered);
  }

  /** Stores what was taken, one chunk for each entity. What cannot be stored is given up. @returns chunks given up */
  async flush(): Promise<number> {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    if (waiting.size === 0) return 0;
    faultPoint("series.flush.before");
    const stored = await Promise.allSettled(
      [...waiting].map(([subject, gathered]) => {
        const series = gathered.series();
        const times = series.flatMap(({ points }) => points.map(([at]) => at));
        const chunk = { from: Math.min(...times), to: Math.max(...times) + STEP_MS["1m"], series };
        return this.#nats.js.publish(subject, encodeChunk(chunk), { headers: chunkHeaders("1m"), timeout: 5_000 });
      }),
    );
    faultPoint("series.flush.after");
    return stored.filter(({ status }) => status === "rejected").length;
  }
}
