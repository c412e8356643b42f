/** The stream of log lines and its subjects. */
import type { StreamConfig } from "@nats-io/jetstream";
import { nanos } from "@nats-io/transport-node";
import type { Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import type { LogFilter, LogSource } from "./logs.ts";
import { addStream, isTooLarge, standing } from "./streams.ts";

export const LOGS = "LOGS";

export interface LogLimits {
  /** Lines are kept so long at the most; default 30 days. */
  readonly maxAgeMs?: number;
  /** All lines together, compressed; default 10 GiB, less on a small disk. */
  readonly maxBytes?: number;
  /** Of one source; default a sixteenth of all, and 16 MiB at the least. */
  readonly shareBytes?: number;
}

const DAY_MS = 86_400_000;

const configOf = (nats: Nats, limits: LogLimits): Partial<StreamConfig> & { name: string } => ({
  name: LOGS,
  subjects: ["logs.>"],
  storage: "file",
  retention: "limits",
  discard: "old",
  num_replicas: nats.replicas,
  allow_direct: true,
  deny_delete: true,
  max_age: nanos(limits.maxAgeMs ?? 30 * DAY_MS),
  max_bytes: limits.maxBytes ?? 10 * 1024 ** 3,
  duplicate_window: nanos(1_000),
  // A chunk costs no sync of the disk: lines of the last moment may go with a power cut, which the log itself must not.
  ...(nats.replicas === 1 ? { persist_mode: "async" as never } : {}),
});

/**
 * Makes the stream, or gives it other limits; the server sets all of `max_bytes` aside, so a small disk gets less.
 * @returns bytes that all lines together may take
 * @throws LogUnavailable
 */
export async function ensureLogs(nats: Nats, limits: LogLimits): Promise<number> {
  try {
    const there = await standing(nats, LOGS);
    if (there !== undefined) return await limitLogs(nats, there, limits);
    return await addStream(nats, configOf(nats, limits));
  } catch (error) {
    throw new LogUnavailable({ what: "NATS", cause: error });
  }
}

/** Changes limits that were set to something else than they are. A disk too small for it leaves the bytes as they are. */
async function limitLogs(nats: Nats, now: StreamConfig, { maxAgeMs, maxBytes }: LogLimits): Promise<number> {
  const max_age = maxAgeMs === undefined ? now.max_age : nanos(maxAgeMs);
  const max_bytes = maxBytes ?? now.max_bytes;
  if (max_age === now.max_age && max_bytes === now.max_bytes) return max_bytes;
  try {
    await nats.jsm.streams.update(LOGS, { max_age, max_bytes });
    return max_bytes;
  } catch (error) {
    if (!isTooLarge(error)) throw error;
    if (max_age !== now.max_age) await nats.jsm.streams.update(LOGS, { max_age });
    return now.max_bytes;
  }
}

const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;

function token(text: string): string {
  if (!TOKEN.test(text)) throw new TypeError(`not a subject token: ${JSON.stringify(text.slice(0, 64))}`);
  return text;
}

/** @throws TypeError for a part that is no subject token */
export const sourceSubject = (of: LogSource): string =>
  `logs.${[of.organisation, of.context, of.kind, of.id, of.source, of.group ?? "-", of.instance ?? "-"].map(token).join(".")}`;

/** @throws TypeError for a part that is no subject token */
export const filterSubject = (of: LogFilter): string => {
  const entity = [of.organisation, of.context, of.kind, of.id].map(token);
  const rest = [of.source, of.group, of.instance].map((part) => (part === undefined ? "*" : token(part)));
  return `logs.${[...entity, ...rest].join(".")}`;
};

export function parseSource(subject: string): LogSource {
  const [, organisation, context, kind, id, source, group, instance] = subject.split(".") as [string, ...string[]];
  return {
    organisation: organisation!,
    context: context!,
    kind: kind!,
    id: id!,
    source: source!,
    ...(group === "-" ? {} : { group: group! }),
    ...(instance === "-" ? {} : { instance: instance! }),
  };
}

/** A place in the stream: `<sequence>.<index of a line>`; without an index all of that chunk is behind it. */
export interface LogPlace {
  readonly seq: number;
  readonly index: number;
}

const WHOLE = 0xffff_ffff;
const PLACE = /^(\d{1,15})(?:\.(\d{1,7}))?$/;

export const placeOf = (seq: number, index?: number): string => (index === undefined ? `${seq}` : `${seq}.${index}`);

export function readPlace(text: string): LogPlace | undefined {
  const found = PLACE.exec(text);
  return found === null
    ? undefined
    : { seq: Number(found[1]), index: found[2] === undefined ? WHOLE : Number(found[2]) };
}
