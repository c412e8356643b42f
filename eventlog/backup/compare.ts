/** Comparing a restored server with its backup: message by message, all that a message is. */
import type { Nats } from "../connection.ts";
import { readStream } from "./reader.ts";
import { lastingHeaders, type StreamRecord } from "./records.ts";
import { type RestorePlan, type RestoreSource, recordsOf } from "./restore.ts";

export interface Compared {
  readonly streams: number;
  readonly messages: number;
  readonly bytes: number;
  /** In words, a hundred at the most. */
  readonly differences: ReadonlyArray<string>;
}

const MOST = 100;

/** @throws LogUnavailable, BackupDamaged, TargetUnavailable */
export async function compareRestored(
  source: RestoreSource,
  { streams }: RestorePlan,
  nats: Nats,
  signal: AbortSignal,
  progress?: (stream: string) => void,
): Promise<Compared> {
  const differences: string[] = [];
  const differ = (text: string) => differences.length < MOST && differences.push(text);
  let messages = 0;
  let bytes = 0;
  for (const { part, lastSeq } of streams) {
    progress?.(`comparing ${part.stream}`);
    const there = readStream(nats, { stream: part.stream, fromSeq: 1, toSeq: lastSeq, signal });
    for await (const wanted of recordsOf(source, part.chunks, 1, lastSeq)) {
      messages++;
      bytes += wanted.data.length;
      const { value: found } = await there.next();
      if (found === undefined || found.seq !== wanted.seq) {
        differ(`${part.stream}: ${wanted.seq} is not there`);
        break;
      }
      const what = differenceOf(wanted, found);
      if (what !== undefined) differ(`${part.stream}: ${wanted.seq} has another ${what}`);
    }
    const { value: more } = await there.next();
    if (more !== undefined) differ(`${part.stream}: ${more.seq} should not be there`);
    await there.return(undefined);
  }
  return { streams: streams.length, messages, bytes, differences };
}

function differenceOf(a: StreamRecord, b: StreamRecord): string | undefined {
  if (a.subject !== b.subject) return "subject";
  if (a.time !== b.time) return "time";
  if (Buffer.compare(a.data, b.data) !== 0) return "body";
  return Buffer.compare(lastingHeaders(a.headers), lastingHeaders(b.headers)) === 0 ? undefined : "header";
}
