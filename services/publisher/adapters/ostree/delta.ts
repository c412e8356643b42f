/**
 * Static deltas, as far as a publisher has to know them: which commits, which parts with which checksums, what is fetched beside.
 * What a part does to objects is left to the client, which verifies the result.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Boxed, decode, NotAVariant, type Value } from "./gvariant.ts";
import { type DeltaName, deltaFolder, hexOf } from "./names.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";

/** A superblock holds its commit and a few bytes for each object. */
export const SUPERBLOCK_MOST = 64 * 1024 * 1024;

export interface Superblock {
  /** Seconds since 1970. */
  readonly timestamp: number;
  readonly from: string | undefined;
  readonly to: string;
  /** In their order: part 0, 1 … `size` is that of the file, `contentSize` what it makes. */
  readonly parts: ReadonlyArray<{ readonly checksum: string; readonly size: number; readonly contentSize: number }>;
  /** Objects that are fetched as they are: bytes packed and unpacked. */
  readonly fallbacks: ReadonlyArray<{ readonly checksum: string; readonly size: number; readonly contentSize: number }>;
}

const COMMIT = "(a{sv}aya(say)sstayay)";
const SUPERBLOCK = `(a{sv}tayay${COMMIT}aya(uayttay)a(yaytt))`;

/** @throws Refusal for bytes that are none */
export function parseSuperblock(bytes: Buffer, subject: string): Superblock {
  type Raw = [
    [string, Boxed][],
    bigint,
    Buffer,
    Buffer,
    Value[],
    Buffer,
    [number, Buffer, bigint, bigint, Buffer][],
    [number, Buffer, bigint, bigint][],
  ];
  let raw: Raw;
  try {
    raw = decode<Raw & Value>(SUPERBLOCK, bytes);
  } catch (error) {
    if (!(error instanceof NotAVariant || error instanceof RangeError)) throw error;
    throw new Refusal("malformed", subject, `is not as OSTree writes it: ${error.message}`);
  }
  const [metadata, timestamp, from, to, , , parts, fallbacks] = raw;
  const checksum = (value: Buffer): string => {
    if (value.length !== 32) throw new Refusal("malformed", subject, "a checksum in it has not 32 bytes");
    return hexOf(value);
  };
  // Written in the order of the machine that made it; it says which (`l` or `B`).
  const order = metadata.find(([key]) => key === "ostree.endianness")?.[1]?.value;
  const size = (value: bigint): number => Number(order === 0x42 ? value : swapped(value));
  return {
    timestamp: Number(timestamp),
    from: from.length === 0 ? undefined : checksum(from),
    to: checksum(to),
    parts: parts.map(([, sum, packed, unpacked]) => ({
      checksum: checksum(sum),
      size: size(packed),
      contentSize: size(unpacked),
    })),
    fallbacks: fallbacks.map(([, sum, packed, unpacked]) => ({
      checksum: checksum(sum),
      size: size(packed),
      contentSize: size(unpacked),
    })),
  };
}

function swapped(value: bigint): bigint {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes.readBigUInt64LE();
}

/** Whether a superblock belongs under its name. @throws Refusal */
export function checkSuperblock(delta: DeltaName, bytes: Buffer): Superblock {
  const subject = deltaFolder(delta);
  const found = parseSuperblock(bytes, subject);
  if (found.from !== delta.from || found.to !== delta.to) {
    throw new Refusal("hash-mismatch", subject, "it is a delta between other commits");
  }
  return found;
}

/** A delta of a repository; undefined where there is none. */
export async function readDelta(repository: Repository, delta: DeltaName): Promise<Superblock | undefined> {
  const path = join(repository.root, deltaFolder(delta), "superblock");
  if (!existsSync(path)) return undefined;
  if (statSync(path).size > SUPERBLOCK_MOST) throw new Refusal("too-large", deltaFolder(delta), "its superblock");
  return checkSuperblock(delta, await readFile(path));
}

/**
 * Whether every part of a delta is there and is what the superblock says.
 * @throws Refusal, with the parts that are missing
 */
export async function verifyDelta(repository: Repository, delta: DeltaName): Promise<Superblock> {
  const folder = deltaFolder(delta);
  const superblock = await readDelta(repository, delta);
  if (superblock === undefined) throw new Refusal("not-found", folder, "there is no such delta");
  const missing: string[] = [];
  for (const [index, part] of superblock.parts.entries()) {
    const path = join(repository.root, folder, String(index));
    if (!existsSync(path)) {
      missing.push(`${folder}/${index}`);
      continue;
    }
    const hash = createHash("sha256");
    for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
    const found = hash.digest("hex");
    if (found !== part.checksum) throw new Refusal("hash-mismatch", `${folder}/${index}`, `it has ${found}`);
  }
  if (missing.length > 0) throw new Refusal("missing-objects", folder, "parts of it are missing", missing);
  return superblock;
}

/** What a client loads for it, bytes: superblock, parts, and what is fetched beside them. */
export function costOf(repository: Repository, delta: DeltaName, superblock: Superblock): number {
  const path = join(repository.root, deltaFolder(delta), "superblock");
  const sum = (all: ReadonlyArray<{ readonly size: number }>) => all.reduce((total, { size }) => total + size, 0);
  return (existsSync(path) ? statSync(path).size : 0) + sum(superblock.parts) + sum(superblock.fallbacks);
}
