/**
 * Roll-ups: of every hour that is over its minutes become windows of five, of every day its fives become hours. One process of the
 * installation does it. How far it has come is what it wrote last, on the subject itself, and is expected there: whoever dies or is
 * overtaken leaves nothing twice.
 */
import type { Nats } from "./connection.ts";
import { leaderMessage } from "./connection.ts";
import { faultPoint } from "./faultpoint.ts";
import { pause } from "./pause.ts";
import {
  chunkHeaders,
  decodeChunk,
  encodeChunk,
  Gathered,
  ownerOf,
  type Resolution,
  STEP_MS,
  seriesSubject,
  TELEMETRY,
} from "./series.ts";
import { readChunks } from "./series-read.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Samples come late by no more than this. */
const GRACE_MS = 120_000;
const LEVELS = [
  { from: "1m", to: "5m", spanMs: HOUR_MS },
  { from: "5m", to: "1h", spanMs: DAY_MS },
] as const satisfies ReadonlyArray<{ from: Resolution; to: Resolution; spanMs: number }>;
const EVERY_MS = 300_000;
const WRONG_SEQUENCE = new Set([10071, 10164]);

/** Until the signal; what goes wrong is tried again at the next round. */
export async function keepRollingUp(nats: Nats, signal: AbortSignal, onError: (error: unknown) => void): Promise<void> {
  while (!signal.aborted) {
    await rollUp(nats, Date.now(), signal).catch(onError);
    await pause(EVERY_MS, signal);
  }
}

/** One round over everything. @returns chunks that were written @throws LogUnavailable */
export async function rollUp(nats: Nats, nowMs: number, signal?: AbortSignal): Promise<number> {
  let written = 0;
  for (const level of LEVELS) {
    const { state } = await nats.jsm.streams.info(TELEMETRY, { subjects_filter: `tel.*.*.*.*.${level.from}` });
    for (const subject of Object.keys(state.subjects ?? {})) {
      if (signal?.aborted) return written;
      written += await rollUpOne(nats, subject, level, nowMs);
    }
  }
  return written;
}

async function rollUpOne(nats: Nats, source: string, level: (typeof LEVELS)[number], nowMs: number): Promise<number> {
  const owner = ownerOf(source);
  const target = seriesSubject(owner, level.to);
  const end = Math.floor((nowMs - GRACE_MS) / level.spanMs) * level.spanMs;
  const last = await leaderMessage(nats, TELEMETRY, { last_by_subj: target });
  const begin = last === null ? 0 : decodeChunk(last.data).to;
  if (begin >= end) return 0;
  const spans = new Map<number, Gathered>();
  for await (const { series } of readChunks(nats, owner, level.from, begin)) {
    for (const { metric, labels, points } of series) {
      for (const point of points) {
        if (point[0] < begin || point[0] >= end) continue;
        const span = Math.floor(point[0] / level.spanMs) * level.spanMs;
        const gathered = spans.get(span) ?? new Gathered(STEP_MS[level.to]);
        gathered.add(metric, labels, point);
        spans.set(span, gathered);
      }
    }
  }
  let expected = last?.seq ?? 0;
  let written = 0;
  for (const [from, gathered] of [...spans].sort(([a], [b]) => a - b)) {
    const headers = chunkHeaders(level.to);
    headers.set("Nats-Expected-Last-Subject-Sequence", String(expected));
    const body = encodeChunk({ from, to: from + level.spanMs, series: gathered.series() });
    try {
      faultPoint("series.rollup.before");
      expected = (await nats.js.publish(target, body, { headers, timeout: 5_000 })).seq;
      faultPoint("series.rollup.after");
      written++;
    } catch (error) {
      // Another has done it, or does.
      if (WRONG_SEQUENCE.has((error as { code?: number }).code ?? 0)) return written;
      throw error;
    }
  }
  return written;
}
