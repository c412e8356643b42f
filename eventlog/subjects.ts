/** Names on the log: streams and subjects. One literal subject per aggregate; the shard is part of it, frozen for ever. */
import { createHash } from "node:crypto";

export const SHARDS = 64;

/** 32-bit FNV-1a of the id, modulo 64, two digits. Never change it: subjects are found by computing it again. */
export function shardOf(id: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) {
    hash ^= id.charCodeAt(i) & 0xff;
    hash = Math.imul(hash, 0x01000193);
  }
  return ((hash >>> 0) % SHARDS).toString().padStart(2, "0");
}

const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;

/** A subject token from outside is refused rather than encoded: dots, stars and spaces never reach a subject. */
function token(text: string): string {
  if (!TOKEN.test(text)) throw new TypeError(`not a subject token: ${JSON.stringify(text.slice(0, 64))}`);
  return text;
}

export const logStream = (context: string): string => `EVT_${context.toUpperCase()}`;
export const feedStream = (context: string): string => `FEED_${context.toUpperCase()}`;

/** `evt.<context>.<shard>.<kind>.<id>` */
export const aggregateSubject = (context: string, kind: string, id: string): string =>
  `evt.${token(context)}.${shardOf(id)}.${token(kind)}.${token(id)}`;

/** `uniq.<context>.<what>.<hash of the value>` */
export const claimSubject = (context: string, what: string, value: string): string =>
  `uniq.${token(context)}.${token(what)}.${createHash("sha256").update(value).digest("hex").slice(0, 40)}`;

/** @returns undefined for a subject that is no aggregate's (a claim's, say) */
export function parseAggregateSubject(subject: string): { context: string; kind: string; id: string } | undefined {
  // By hand: a replay does it for every commit there is.
  if (!subject.startsWith("evt.")) return undefined;
  const shard = subject.indexOf(".", 4) + 1;
  const kind = subject.indexOf(".", shard) + 1;
  const id = subject.indexOf(".", kind) + 1;
  if (shard === 0 || kind === 0 || id === 0 || subject.includes(".", id)) return undefined;
  return { context: subject.slice(4, shard - 1), kind: subject.slice(kind, id - 1), id: subject.slice(id) };
}
