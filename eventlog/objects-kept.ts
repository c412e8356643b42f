/**
 * What lies in the object store, as its own stream tells it: counted for each organisation, and swept of what nobody names any more.
 * An object goes only as it was looked at: whoever brings the same content in that moment has written its place anew, and keeps it.
 */
import type { JsMsg } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { isNotFound, leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { faultPoint } from "./faultpoint.ts";
import { endOnReconnect } from "./ordered.ts";

export const STORE = "ATTACHMENTS";
export const STREAM = `OBJ_${STORE}`;
/** Beginning of the name of what is not whole yet. */
export const COMING = "coming/";

const PLACES = `$O.${STORE}.M.`;
const CHUNKS = `$O.${STORE}.C.`;

/** What the store keeps of an object, in the form of the library; of ours are only these. */
export interface ObjectRecord {
  readonly name: string;
  /** Its chunks are called by it. */
  readonly nuid: string;
  readonly size: number;
  readonly chunks: number;
  readonly digest: string;
  readonly deleted?: boolean;
}

export interface Kept {
  readonly record: ObjectRecord;
  readonly seq: number;
  /** When its place was last written, milliseconds since 1970 by the server. */
  readonly timeMs: number;
}

export const nameOf = (organisation: string, sha256: string): string => `${organisation}/${sha256}`;
export const chunksOf = (nuid: string): string => `${CHUNKS}${nuid}`;
/** Where the store tells what is known of an object. */
export const placeOf = (name: string): string =>
  `${PLACES}${Buffer.from(name).toString("base64").replaceAll("+", "-").replaceAll("/", "_")}`;

const recordOf = (data: Uint8Array): ObjectRecord => JSON.parse(Buffer.from(data).toString("utf8")) as ObjectRecord;

/** @throws LogUnavailable */
export async function readKept(nats: Nats, name: string): Promise<Kept | undefined> {
  const message = await leaderMessage(nats, STREAM, { last_by_subj: placeOf(name) });
  if (message === null) return undefined;
  return { record: recordOf(message.data), seq: message.seq, timeMs: message.time.getTime() };
}

const WRONG_LAST_SEQUENCE = new Set([10071, 10164]);

/**
 * Writes what is known of an object, where its place stands as it was seen (0: there was none).
 * @returns false when it does not
 */
export async function writeKept(nats: Nats, record: ObjectRecord, seen: number): Promise<boolean> {
  const only = headers();
  only.set("Nats-Rollup", "sub");
  try {
    const options = { headers: only, expect: { lastSubjectSequence: seen } };
    await nats.js.publish(placeOf(record.name), JSON.stringify(record), options);
    return true;
  } catch (error) {
    if (WRONG_LAST_SEQUENCE.has((error as { code?: number }).code ?? 0)) return false;
    throw error;
  }
}

/** Everything that there is now, and, unless it is told to end there, what comes after. */
async function* places(nats: Nats, signal: AbortSignal, endThere: boolean): AsyncGenerator<Kept & { pending: number }> {
  const options = { filter_subjects: `${PLACES}>`, deliver_policy: "last_per_subject" };
  const consumer = await nats.js.consumers.get(STREAM, options as never);
  const messages = await consumer.consume({ max_messages: 500, idle_heartbeat: 5_000 });
  const end = () => messages.stop();
  signal.addEventListener("abort", end);
  const watching = endOnReconnect(nats, end);
  try {
    if (signal.aborted || (endThere && (await consumer.info()).num_pending + messages.getReceived() === 0)) return;
    for await (const message of messages as AsyncIterable<JsMsg>) {
      const { pending } = message.info;
      const timeMs = Number(message.timestampNanos / 1_000_000n);
      yield { record: recordOf(message.data), seq: message.seq, timeMs, pending };
      if (endThere && pending === 0) return;
    }
    if (endThere) throw new LogUnavailable({ what: "object store", cause: new Error("it could not be listed") });
  } finally {
    signal.removeEventListener("abort", end);
    watching();
    messages.stop();
    await consumer.delete().catch(() => {});
  }
}

/** Gives back what was set aside: when it is kept, under this hash, as soon as it is counted among what is there; or will not be. */
export type Reserved = (sha256: string | undefined) => void;

/** How much each organisation has, live. */
export class Tally {
  readonly #sizes = new Map<string, number>();
  readonly #sums = new Map<string, number>();
  /** Set aside, for each organisation. */
  readonly #coming = new Map<string, number>();
  /** By name, of what is kept and was not seen yet: gives back what was set aside for it. */
  readonly #awaited = new Map<string, ReadonlyArray<() => void>>();
  readonly #ended = new AbortController();
  readonly #first: Promise<void>;

  constructor(nats: Nats) {
    let seen = () => {};
    this.#first = new Promise((resolve) => {
      seen = resolve;
    });
    void nats.nc.closed().then(() => this.#ended.abort());
    void this.#run(nats, seen);
  }

  /**
   * Sets room aside for what is about to come, once all that there is has been seen; nothing comes between the look and the taking.
   * @param quotaBytes what the organisation may have
   * @returns a number: so many bytes are free, which are too few
   * @throws LogUnavailable
   */
  async reserve(
    organisation: string,
    bytes: number,
    quotaBytes: number,
    timeoutMs: number,
  ): Promise<Reserved | number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new LogUnavailable({ what: "object store", cause: "not listed" })), timeoutMs);
    });
    await Promise.race([this.#first, late]).finally(() => clearTimeout(timer));
    const coming = this.#coming.get(organisation) ?? 0;
    const free = Math.max(0, quotaBytes - (this.#sums.get(organisation) ?? 0) - coming);
    if (bytes > free) return free;
    this.#coming.set(organisation, coming + bytes);
    const giveBack = () => void this.#coming.set(organisation, this.#coming.get(organisation)! - bytes);
    return (sha256) => {
      const name = sha256 === undefined ? undefined : nameOf(organisation, sha256);
      if (name === undefined || this.#sizes.has(name)) return giveBack();
      // Counted twice for a moment rather than not at all.
      this.#awaited.set(name, [...(this.#awaited.get(name) ?? []), giveBack]);
    };
  }

  async #run(nats: Nats, seen: () => void): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        const { state } = await nats.jsm.streams.info(STREAM, { subjects_filter: `${PLACES}>` } as never);
        if (Object.keys(state.subjects ?? {}).length === 0) seen();
        for await (const { record, pending } of places(nats, signal, false)) {
          this.#take(record);
          if (pending === 0) seen();
        }
      } catch {
        // The server is away, or the stream not made yet: looked at again.
      }
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  #take({ name, size, deleted }: ObjectRecord): void {
    if (name.startsWith(COMING)) return;
    const organisation = name.slice(0, name.indexOf("/"));
    const now = deleted ? 0 : size;
    const sum = (this.#sums.get(organisation) ?? 0) + now - (this.#sizes.get(name) ?? 0);
    this.#sums.set(organisation, sum);
    if (now === 0) this.#sizes.delete(name);
    else this.#sizes.set(name, now);
    for (const giveBack of this.#awaited.get(name) ?? []) giveBack();
    this.#awaited.delete(name);
  }
}

export interface SweepOptions {
  /** By `nameOf`: what somebody names. Asked for when all that could go has been listed. */
  readonly used: () => Promise<ReadonlySet<string>>;
  /** What nobody names goes when it was last brought so long ago. */
  readonly graceMs: number;
  /** What was not brought to its end goes after so long. */
  readonly unfinishedMs: number;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

export interface Swept {
  readonly objects: number;
  readonly bytes: number;
  /** Chunks, or places, of what never became whole. */
  readonly unfinished: number;
}

/** @throws LogUnavailable */
export async function sweepObjects(nats: Nats, options: SweepOptions): Promise<Swept> {
  const { graceMs, unfinishedMs, nowMs, signal } = options;
  const swept = { objects: 0, bytes: 0, unfinished: 0 };
  try {
    // Chunks first: what becomes whole meanwhile is among the places then.
    const chunks = await chunkNames(nats);
    if (chunks === undefined) return swept;
    const all: Kept[] = [];
    for await (const kept of places(nats, signal, true)) all.push(kept);
    const used = await options.used();
    for (const kept of all) {
      if (signal.aborted) return swept;
      const { record, timeMs } = kept;
      const age = nowMs - timeMs;
      if (record.deleted) {
        // Its mark has been seen by everybody who counts.
        if (age > unfinishedMs) await nats.jsm.streams.deleteMessage(STREAM, kept.seq).catch(() => false);
      } else if (record.name.startsWith(COMING) ? age > unfinishedMs : age > graceMs && !used.has(record.name)) {
        if (!(await letGo(nats, kept))) continue;
        if (record.name.startsWith(COMING)) swept.unfinished++;
        else {
          swept.objects++;
          swept.bytes += record.size;
        }
      }
    }
    // Chunks whose place is only a mark are those of a sweep that died.
    const known = new Set(all.flatMap(({ record }) => (record.deleted ? [] : [record.nuid])));
    for (const nuid of chunks) {
      if (signal.aborted) return swept;
      if (!known.has(nuid) && (await purgeOld(nats, nuid, nowMs - unfinishedMs))) swept.unfinished++;
    }
    return swept;
  } catch (cause) {
    if (cause instanceof LogUnavailable) throw cause;
    throw new LogUnavailable({ what: "object store", cause });
  }
}

/** @returns undefined where nothing was ever kept */
async function chunkNames(nats: Nats): Promise<ReadonlyArray<string> | undefined> {
  try {
    const { state } = await nats.jsm.streams.info(STREAM, { subjects_filter: `${CHUNKS}>` } as never);
    return Object.keys(state.subjects ?? {}).map((subject) => subject.slice(CHUNKS.length));
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** First its place, as it was seen, and then its chunks: nobody finds a place without them. @returns false when it was written anew */
export async function letGo(nats: Nats, { record, seq }: Kept): Promise<boolean> {
  faultPoint("attachments.sweep.before");
  if (!(await writeKept(nats, { ...record, deleted: true, size: 0, chunks: 0, digest: "" }, seq))) return false;
  faultPoint("attachments.sweep.marked");
  await nats.jsm.streams.purge(STREAM, { filter: chunksOf(record.nuid) });
  return true;
}

async function purgeOld(nats: Nats, nuid: string, before: number): Promise<boolean> {
  const last = await leaderMessage(nats, STREAM, { last_by_subj: chunksOf(nuid) });
  if (last === null || last.time.getTime() >= before) return false;
  await nats.jsm.streams.purge(STREAM, { filter: chunksOf(nuid) });
  return true;
}
