/** Reading series: the finest that is still kept, put together at the step that was asked for. */
import type { Nats } from "./connection.ts";
import { type DirectMessage, readBatch } from "./direct.ts";
import {
  type Chunk,
  type ChunkSeries,
  decodeChunk,
  Gathered,
  type Resolution,
  type SeriesOwner,
  STEP_MS,
  seriesSubject,
  TELEMETRY,
} from "./series.ts";

export interface SeriesQuery {
  /** Left out: all of the entity's. */
  readonly metric?: string;
  /** Milliseconds since 1970, inclusive. */
  readonly fromMs: number;
  /** Exclusive. */
  readonly toMs: number;
  /** At least a minute; what is older is kept at five, then at sixty. */
  readonly stepMs: number;
}

const PAGE = 500;
const DAY_MS = 86_400_000;

/** Chunks that may hold something from a time on, oldest first. @throws LogUnavailable */
export async function* readChunks(
  nats: Nats,
  owner: SeriesOwner,
  resolution: Resolution,
  fromMs: number,
): AsyncGenerator<Chunk & Pick<DirectMessage, "seq">> {
  const subject = seriesSubject(owner, resolution);
  // A chunk is stored after what it tells of.
  let from: { readonly start_time: string } | { readonly seq: number } = {
    start_time: new Date(Math.max(0, fromMs)).toISOString(),
  };
  for (;;) {
    const { messages, more } = await readBatch(nats, TELEMETRY, { ...from, next_by_subj: subject, batch: PAGE });
    for (const { seq, data } of messages) yield { ...decodeChunk(data), seq };
    if (!more || messages.length === 0) return;
    from = { seq: messages[messages.length - 1]!.seq + 1 };
  }
}

/** @throws LogUnavailable */
export async function readSeries(
  nats: Nats,
  owner: SeriesOwner,
  { metric, fromMs, toMs, stepMs }: SeriesQuery,
  nowMs = Date.now(),
): Promise<ReadonlyArray<ChunkSeries>> {
  const gathered = new Gathered(Math.max(STEP_MS["1m"], stepMs));
  const age = nowMs - fromMs;
  const coarse: Resolution[] = age <= DAY_MS ? [] : age <= 35 * DAY_MS ? ["5m"] : ["1h", "5m"];
  let reached = fromMs;
  for (const resolution of [...coarse, "1m"] as Resolution[]) {
    const begin = reached;
    for await (const { from, to, series } of readChunks(nats, owner, resolution, begin)) {
      if (from >= toMs && resolution !== "1m") break;
      // Chunks of minutes add up; those of more stand for all of their time, so what is finer goes on behind them.
      if (resolution !== "1m") reached = Math.max(reached, to);
      for (const { metric: name, labels, points } of series) {
        if (metric !== undefined && name !== metric) continue;
        for (const point of points) if (point[0] >= begin && point[0] < toMs) gathered.add(name, labels, point);
      }
    }
  }
  return gathered.series();
}
