/**
 * Which log a place was taken from. A sequence alone does not say: a log that was restored from a backup and has grown on since has other
 * commits at the same sequences. The server's time stamp of the message does, to the nanosecond, and a restore keeps it.
 */
import { leaderMessage, type Nats } from "./connection.ts";
import { LogUnavailable } from "./failures.ts";
import { logStream } from "./subjects.ts";

/** Nanoseconds since 1970 of an RFC 3339 time. */
export function nanosOf(time: string): bigint {
  const [, seconds, fraction = "", zone] = /^([^.]*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? [];
  if (seconds === undefined) throw new TypeError(`no time: ${time}`);
  return BigInt(Date.parse(`${seconds}${zone}`)) * 1_000_000n + BigInt(fraction.padEnd(9, "0").slice(0, 9));
}

/** @param stamp nanoseconds since 1970 */
export const logMark = (seq: number, stamp: bigint): string => `${seq}@${stamp}`;

/**
 * Whether the context's log has this very message. The log must reach that far.
 * @throws LogUnavailable
 */
export async function isOfLog(nats: Nats, context: string, mark: string): Promise<boolean> {
  const [seq, stamp] = mark.split("@") as [string, string];
  const message = await leaderMessage(nats, logStream(context), { seq: Number(seq) });
  // Nothing of a log is ever deleted: whoever answers is behind.
  if (message === null) throw new LogUnavailable({ what: "NATS", cause: `no message ${seq} in the log of ${context}` });
  return nanosOf(message.timestamp) === BigInt(stamp);
}
