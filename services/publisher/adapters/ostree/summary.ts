/**
 * What clients see of a repository: `summary`, and flatpak's `summary.idx`, which names one summary for each architecture (and subset)
 * by its checksum, kept packed in `summaries/`.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { type Boxed, decode, NotAVariant, type Value } from "./gvariant.ts";
import { hexOf } from "./names.ts";
import type { Metadata } from "./objects.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";

export interface SummaryRef {
  readonly ref: string;
  readonly commit: string;
  /** Bytes of the commit object. */
  readonly size: number;
  readonly metadata: Metadata;
}

export interface Summary {
  readonly refs: ReadonlyArray<SummaryRef>;
  readonly metadata: Metadata;
}

export interface SummaryIndex {
  /** By `x86_64`, or `<subset>-x86_64`; older ones, newest first, are kept for those who update from them. */
  readonly summaries: ReadonlyArray<{
    readonly name: string;
    readonly checksum: string;
    readonly history: ReadonlyArray<string>;
  }>;
  readonly metadata: Metadata;
}

/** Four thousand references are 1.2 MB (measured). */
export const SUMMARY_MOST = 64 * 1024 * 1024;
const MOST = SUMMARY_MOST;

function reading<T>(subject: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof NotAVariant || error instanceof RangeError)) throw error;
    throw new Refusal("malformed", subject, `is not as flatpak writes it: ${error.message}`);
  }
}

const metadataOf = (entries: ReadonlyArray<[string, Boxed]>): Metadata => Object.fromEntries(entries);

/** @throws Refusal */
export function parseSummary(bytes: Buffer, subject = "summary"): Summary {
  type Raw = [[string, [bigint, Buffer, [string, Boxed][]]][], [string, Boxed][]];
  const [refs, metadata] = reading(subject, () => decode<Raw & Value>("(a(s(taya{sv}))a{sv})", bytes));
  return {
    refs: refs.map(([ref, [size, commit, more]]) => ({
      ref,
      commit: hexOf(commit),
      size: Number(size),
      metadata: metadataOf(more),
    })),
    metadata: metadataOf(metadata),
  };
}

/** @throws Refusal */
export function parseSummaryIndex(bytes: Buffer, subject = "summary.idx"): SummaryIndex {
  type Raw = [[string, [Buffer, Buffer[], [string, Boxed][]]][], [string, Boxed][]];
  const [entries, metadata] = reading(subject, () => decode<Raw & Value>("(a{s(ayaaya{sv})}a{sv})", bytes));
  return {
    summaries: entries.map(([name, [checksum, history]]) => ({
      name,
      checksum: hexOf(checksum),
      history: history.map(hexOf),
    })),
    metadata: metadataOf(metadata),
  };
}

/** Subsets that an index offers beside everything. */
export function subsetsIn({ summaries }: SummaryIndex): ReadonlyArray<string> {
  const names = summaries.map(({ name }) => name.slice(0, Math.max(0, name.lastIndexOf("-"))));
  return [...new Set(names)].filter((name) => name !== "").sort();
}

const unpack = promisify(gunzip) as (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

/** A summary as an index names it. @throws Refusal where it is another */
export async function unpackSummary(packed: Buffer, checksum: string, path: string): Promise<Summary> {
  const text = await unpack(packed, { maxOutputLength: MOST }).catch((error: Error) => {
    throw new Refusal("malformed", path, `it cannot be unpacked: ${error.message}`);
  });
  if (createHash("sha256").update(text).digest("hex") !== checksum) {
    throw new Refusal("hash-mismatch", path, "it is not what the index says");
  }
  return parseSummary(text, path);
}

/** What the index of a repository offers: all references of all architectures. Undefined: it has none yet. @throws Refusal */
export async function published(repository: Repository): Promise<Map<string, string> | undefined> {
  const bytes = await readFile(join(repository.root, "summary.idx")).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (bytes === undefined) return undefined;
  const found = new Map<string, string>();
  for (const { checksum } of parseSummaryIndex(bytes).summaries) {
    const path = `summaries/${checksum}.gz`;
    const packed = await readFile(join(repository.root, path)).catch(() => undefined);
    if (packed === undefined)
      throw new Refusal("missing-objects", path, "the index names it, and it is not there", [path]);
    for (const { ref, commit } of (await unpackSummary(packed, checksum, path)).refs) found.set(ref, commit);
  }
  return found;
}
