/** The streams of the log: made where they are missing, on disks that are too small for all that they may take as well. */
import type { StreamConfig } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import {
  feedStreamConfig,
  isNotFound,
  logStreamConfig,
  type Nats,
  OPEN_MS,
  type StreamSettings,
} from "./connection.ts";
import { faultPoint } from "./faultpoint.ts";
import { LeaseBucket } from "./lease-bucket.ts";
import { decodeHolder, type LeaseRecord } from "./lease-record.ts";
import { surelyDead, thisOwner } from "./owner.ts";
import { pause } from "./pause.ts";
import { feedStream } from "./subjects.ts";

/** Creates what is missing, and gives the feed the limits that were set; any process may call it at any time. */
export async function ensureStreams(
  nats: Nats,
  contexts: ReadonlyArray<string>,
  settings: StreamSettings,
): Promise<void> {
  for (const context of contexts) {
    for (const config of [logStreamConfig(context, settings), feedStreamConfig(context, settings)]) {
      const there = await standing(nats, config.name);
      if (there === undefined) await addStream(nats, config);
      else if (config.name === feedStream(context)) await limitFeed(nats, there, settings);
    }
  }
}

/** Name in a stream's metadata, while it is being added: what its `max_bytes` are to be. */
const MEANT = "millrace_meant_bytes";

/**
 * A stream as it stands: where a process died while it added it, that is done to its end.
 * @returns undefined where there is none
 */
export async function standing(nats: Nats, name: string): Promise<StreamConfig | undefined> {
  try {
    const { config } = await nats.jsm.streams.info(name);
    const { [MEANT]: meant, ...metadata } = config.metadata ?? {};
    if (meant === undefined) return config;
    const max_bytes = Math.min(Number(meant), config.max_bytes);
    return (await nats.jsm.streams.update(name, { metadata, max_bytes })).config;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Changes limits that were set to something else than they are. A disk too small for it leaves the bytes as they are. */
async function limitFeed(nats: Nats, now: StreamConfig, { feedMaxAgeMs, feedMaxBytes }: StreamSettings): Promise<void> {
  const age = feedMaxAgeMs === undefined ? now.max_age : nanos(feedMaxAgeMs);
  const bytes = feedMaxBytes ?? now.max_bytes;
  if (age === now.max_age && bytes === now.max_bytes) return;
  const change = (max_bytes: number) => nats.jsm.streams.update(now.name, { ...now, max_age: age, max_bytes });
  try {
    await change(bytes);
  } catch (error) {
    if (!isTooLarge(error)) throw error;
    if (age !== now.max_age) await change(now.max_bytes);
  }
}

const INSUFFICIENT_STORAGE = 10047;
const LEAST_BYTES = 16 * 1024 ** 2;

const NAME_IN_USE = 10058;

/** Of several servers, none where it may be; the text says why, and nothing where they do not know each other yet. */
const NO_PEERS = 10005;

type Refusal = { readonly code?: number; readonly message?: string };

export const isTooLarge = (error: unknown): boolean => {
  const { code, message = "" } = error as Refusal;
  return code === INSUFFICIENT_STORAGE || (code === NO_PEERS && message.includes("insufficient storage"));
};

/** Servers that have just come up, and do not know of each other, or not that they are there. */
const isComingUp = (error: unknown): boolean => (error as Refusal).code === NO_PEERS && !isTooLarge(error);

const ADDING = "streams.adding";
const ADDING_MS = 10_000;

/**
 * While nobody else adds streams. The server looks whether there is room and sets it aside in two steps: of two that come between, both are
 * let in, more is set aside than there is, and from then on it refuses everything, to make one smaller as well. Where nothing can be
 * held, or somebody holds it for too long, it is done all the same.
 */
async function alone<T>(nats: Nats, act: () => Promise<T>): Promise<T> {
  const release = await held(nats).catch(() => undefined);
  try {
    return await act();
  } finally {
    await release?.();
  }
}

async function held(nats: Nats): Promise<(() => Promise<unknown>) | undefined> {
  const bucket = new LeaseBucket(nats, "LEASES");
  await bucket.make();
  const since = new Date().toISOString();
  const record: LeaseRecord = {
    ...{ owner: thisOwner(), node: "", since, about: "adding streams", ttlMs: ADDING_MS, epoch: 0 },
  };
  let expected = 0;
  for (const deadline = Date.now() + OPEN_MS; Date.now() < deadline; ) {
    const written = await bucket.put(ADDING, JSON.stringify(record), ADDING_MS, expected);
    if ("revision" in written) return () => bucket.remove(ADDING, written.revision, "released");
    const standing = await bucket.read(ADDING);
    const isFree = standing?.data === undefined || surelyDead(decodeHolder(ADDING, standing).owner);
    expected = isFree ? (standing?.revision ?? 0) : 0;
    if (!isFree) await pause(20 + Math.random() * 30);
  }
  return undefined;
}

/**
 * Adds a stream that is bounded by bytes; one process at a time does. The server sets the whole of `max_bytes` aside, so a small disk refuses a large one: then it
 * gets half, and those that have more and hardly use it give half of theirs. As much as it gets is left to those that come after.
 * @returns bytes that it may have
 */
export function addStream(nats: Nats, config: Partial<StreamConfig> & { name: string }): Promise<number> {
  return alone(nats, () => add(nats, config));
}

async function add(nats: Nats, config: Partial<StreamConfig> & { name: string }): Promise<number> {
  const deadline = Date.now() + OPEN_MS;
  for (let bytes = config.max_bytes ?? -1; ; ) {
    const isLarge = bytes > 4 * LEAST_BYTES;
    try {
      faultPoint("streams.add.before");
      const meant = { max_bytes: 2 * bytes, metadata: { ...config.metadata, [MEANT]: `${bytes}` } };
      await nats.jsm.streams.add({ ...config, ...(isLarge ? meant : { max_bytes: bytes }) });
      faultPoint("streams.add.made");
      if (isLarge) await standing(nats, config.name);
      faultPoint("streams.add.after");
      return bytes;
    } catch (error) {
      // Another process was faster.
      if ((error as { code?: number }).code === NAME_IN_USE) {
        return (await standing(nats, config.name))!.max_bytes;
      }
      if (isComingUp(error) && Date.now() < deadline) {
        await pause(100 + Math.random() * 100);
        continue;
      }
      if (!isTooLarge(error)) throw error;
      if (await makeRoom(nats, bytes)) continue;
      if (bytes / 2 < LEAST_BYTES) throw error;
      bytes = Math.floor(bytes / 2);
    }
  }
}

/**
 * The largest of those that have more than that and hardly use it gives half of it. Services that start at the same moment do so beside
 * each other: one that somebody else has made smaller meanwhile cannot be set to half of what it was.
 * @returns false: there is none, or nobody's turn comes
 */
async function makeRoom(nats: Nats, more: number): Promise<boolean> {
  let largest: StreamConfig | undefined;
  for await (const { config, state } of nats.jsm.streams.list()) {
    const isUnused = config.max_bytes > 2 * LEAST_BYTES && state.bytes < config.max_bytes / 4;
    if (isUnused && config.max_bytes > Math.max(more, largest?.max_bytes ?? 0)) largest = config;
  }
  if (largest === undefined) return false;
  try {
    await nats.jsm.streams.update(largest.name, { max_bytes: Math.floor(largest.max_bytes / 2) });
    return true;
  } catch (error) {
    if (!isTooLarge(error)) throw error;
    const now = (await nats.jsm.streams.info(largest.name)).config.max_bytes;
    return now < largest.max_bytes;
  }
}
