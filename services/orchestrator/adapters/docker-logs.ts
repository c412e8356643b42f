/**
 * Following a container's log over cuts. The engine gives each line its time; `since` takes a time and includes it. The
 * two streams are copied by two writers, so a line of one may be written after a younger line of the other: the cursor
 * holds a place per stream, and reading begins a second before the younger of them. At one time there may be several
 * lines: the place counts them.
 */
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { DockerEngine, LogCursor, LogLine } from "./docker.ts";
import type { Connection } from "./docker-engine.ts";
import { refusedBy, saidBy, statusOf } from "./docker-failures.ts";
import { isOurs } from "./docker-labels.ts";
import { frames } from "./log-frames.ts";
import { cursorOf, type Places, parseCursor, sinceOf } from "./log-places.ts";

/** Text kept of a line. */
const mostText = 16 << 10;

type Following = Parameters<DockerEngine["followLogs"]>[1];

export async function followLogs(
  connection: Connection,
  id: string,
  options: Following,
): Promise<{ cursor: LogCursor | undefined; ended: boolean }> {
  let places = parseCursor(options.after);
  let waitMs = 50;
  while (!options.signal.aborted) {
    const before = cursorOf(places);
    const outcome = await readOnce(connection, id, places, options);
    places = outcome.places;
    if (outcome.failure) throw outcome.failure;
    if (outcome.gone || options.signal.aborted) return { cursor: cursorOf(places), ended: outcome.gone };
    if (outcome.whole && (await isEnded(connection, id))) {
      // It may have restarted and ended between the two looks: at the end, nothing new comes any more.
      const last = await readOnce(connection, id, places, options);
      if (last.failure) throw last.failure;
      if (last.whole && cursorOf(last.places) === cursorOf(places)) return { cursor: cursorOf(places), ended: true };
      places = last.places;
    }
    waitMs = cursorOf(places) === before ? Math.min(2_000, waitMs * 2) : 50;
    await pause(waitMs * (0.75 + Math.random() / 2), undefined, { signal: options.signal }).catch(() => {});
  }
  return { cursor: cursorOf(places), ended: false };
}

interface Outcome {
  readonly places: Places;
  /** The engine ended the stream (else it was cut). */
  readonly whole: boolean;
  readonly gone: boolean;
  /** What the reader threw, or the engine for good. */
  readonly failure?: unknown;
}

async function readOnce(connection: Connection, id: string, from: Places, options: Following): Promise<Outcome> {
  const reader = new LineReader(from);
  let stream: Readable;
  try {
    stream = (await connection.streams.getContainer(id).logs({
      follow: true,
      stdout: true,
      stderr: true,
      timestamps: true,
      ...sinceOf(from),
      abortSignal: options.signal,
    } as unknown as { follow: true })) as unknown as Readable;
  } catch (error) {
    const status = statusOf(error);
    const gone = status === 404 || (status === 409 && /dead|removal/i.test(saidBy(error)));
    const failure =
      status === undefined || status >= 500 || gone ? {} : { failure: refusedBy(error, `read log of ${id}`) };
    return { places: from, whole: false, gone, ...failure };
  }
  const parts = frames(stream)[Symbol.asyncIterator]();
  try {
    while (true) {
      const part = await parts.next().catch(() => undefined);
      if (!part) return { places: reader.places, whole: false, gone: false };
      if (part.done) return { places: reader.places, whole: true, gone: false };
      const line = reader.take(part.value.stream, part.value.payload);
      if (!line) continue;
      try {
        await options.onLine(line);
      } catch (error) {
        return { places: from, whole: false, gone: false, failure: error };
      }
      if (options.signal.aborted) return { places: reader.places, whole: false, gone: false };
    }
  } finally {
    stream.destroy();
  }
}

async function isEnded(connection: Connection, id: string): Promise<boolean> {
  try {
    const { State, Config } = await connection.calls.getContainer(id).inspect();
    if (!isOurs(connection, Config.Labels)) return true;
    return !State.Running && !State.Restarting && State.Status !== "created";
  } catch (error) {
    return statusOf(error) === 404;
  }
}

/** Puts lines together from the engine's parts (it cuts at 16 KiB) and leaves out what was delivered before. */
class LineReader {
  places: Places;
  /** Times of all parts read on this connection, delivered or not. */
  private readonly seen: Record<"stdout" | "stderr", { at: string; count: number }>;
  private readonly open: Record<"stdout" | "stderr", Buffer[]> = { stdout: [], stderr: [] };
  private readonly start: Places;

  constructor(from: Places) {
    this.places = from;
    this.start = from;
    this.seen = { stdout: { at: "", count: 0 }, stderr: { at: "", count: 0 } };
  }

  /** A whole line that is new, or undefined. */
  take(stream: "stdout" | "stderr", payload: Buffer): LogLine | undefined {
    const space = payload.indexOf(32);
    const at = payload.subarray(0, Math.max(0, space)).toString("latin1");
    if (!/^\d{4}-\d\d-\d\dT/.test(at)) return undefined; // no line of the engine's
    const text = payload.subarray(space + 1);
    const seen = this.seen[stream];
    seen.count = seen.at === at ? seen.count + 1 : 1;
    seen.at = at;
    const known = this.start[stream];
    if (known && (at < known.at || (at === known.at && seen.count <= known.count))) return undefined;
    const open = this.open[stream];
    open.push(text);
    if (text.at(-1) !== 10) {
      // Parts beyond what is kept need not be.
      if (open.reduce((sum, part) => sum + part.length, 0) > 2 * mostText) open.pop();
      return undefined;
    }
    this.open[stream] = [];
    this.places = { ...this.places, [stream]: { at, count: seen.count } };
    const whole = Buffer.concat(open);
    const cut = whole.length - 1 > mostText;
    const end = cut ? mostText : whole.length - 1;
    return {
      at,
      stream,
      text: whole.subarray(0, end).toString("utf8").replace(/\r$/, ""),
      cut,
      cursor: cursorOf(this.places)!,
    };
  }
}
