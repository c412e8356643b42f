/**
 * The backup key and what is made from it. It is not the master key: whoever has a backup and its key reads the log, but no sealed
 * value. Chunks are named by a keyed hash of their content, so the same content is stored once, and a name tells nothing.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import * as Data from "effect/Data";

/** What is stored is not what was written, or by another key. */
export class BackupDamaged extends Data.TaggedError("BackupDamaged")<{
  /** Name of the object at the target. */
  readonly name: string;
  readonly reason: string;
}> {
  override get message(): string {
    return `${this.name}: ${this.reason}`;
  }
}

export interface BackupKey {
  /** Known by its hash: 16 hexadecimal digits. */
  readonly id: string;
  readonly cipher: Uint8Array;
  readonly names: Uint8Array;
}

/** The first writes; every one reads. */
export type BackupKeys = readonly [BackupKey, ...BackupKey[]];

const KEY_BYTES = 32;

/**
 * Reads backup keys: 32 bytes in base64 a line, the current one first, older ones below; blank lines and `#` are skipped.
 * @throws TypeError that names the line, never its content
 */
export function parseBackupKeys(text: string): BackupKeys {
  const keys: BackupKey[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const bytes = Buffer.from(trimmed, "base64");
    if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(trimmed) || bytes.length !== KEY_BYTES)
      throw new TypeError(`line ${index + 1} of the backup keys is not 32 bytes in base64 (mill backup key)`);
    const key = keyOf(bytes);
    if (!keys.some(({ id }) => id === key.id)) keys.push(key);
  }
  const [current, ...older] = keys;
  if (current === undefined) throw new TypeError("there is no backup key (mill backup key)");
  return [current, ...older];
}

function keyOf(bytes: Uint8Array): BackupKey {
  const derive = (what: string) => new Uint8Array(hkdfSync("sha256", bytes, "millrace backup", what, KEY_BYTES));
  const id = createHash("sha256").update("millrace backup key\n").update(bytes).digest("hex").slice(0, 16);
  return { id, cipher: derive("objects"), names: derive("names") };
}

/** The name of a chunk by its content: 64 hexadecimal digits. */
export const chunkName = ({ names }: BackupKey, content: Uint8Array): string =>
  createHmac("sha256", names).update(content).digest("hex");

/** `MRB1`, id of the key (8 bytes), initialisation vector (12); then the ciphertext, and its tag (16). */
const MAGIC = Buffer.from("MRB1");
const HEAD_BYTES = MAGIC.length + 8 + 12;
const TAG_BYTES = 16;
/** More than this is no object of ours. */
const CONTENT_MOST = 256 * 1024 * 1024;
const CIPHER = "aes-256-gcm";

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** Compresses and encrypts. @param name bound to the result: opening it under another fails */
export async function wrap(key: BackupKey, name: string, content: Uint8Array): Promise<Buffer> {
  const packed = await compress(content);
  const iv = randomBytes(12);
  const cipher = createCipheriv(CIPHER, key.cipher, iv, { authTagLength: TAG_BYTES }).setAAD(Buffer.from(name));
  return Buffer.concat([
    MAGIC,
    Buffer.from(key.id, "hex"),
    iv,
    cipher.update(packed),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
}

/** @throws BackupDamaged */
export async function unwrap(
  keys: BackupKeys,
  name: string,
  stored: Uint8Array,
): Promise<{ key: BackupKey; content: Buffer }> {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  if (bytes.length < HEAD_BYTES + TAG_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC))
    throw new BackupDamaged({ name, reason: "it is no part of a backup, or was cut off" });
  const id = bytes.toString("hex", MAGIC.length, MAGIC.length + 8);
  const key = keys.find((one) => one.id === id);
  if (key === undefined)
    throw new BackupDamaged({ name, reason: `it was written with the backup key ${id}, which is not given` });
  const iv = bytes.subarray(MAGIC.length + 8, HEAD_BYTES);
  const decipher = createDecipheriv(CIPHER, key.cipher, iv, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(name)).setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  try {
    const packed = Buffer.concat([
      decipher.update(bytes.subarray(HEAD_BYTES, bytes.length - TAG_BYTES)),
      decipher.final(),
    ]);
    return { key, content: await decompress(packed, { maxOutputLength: CONTENT_MOST }) };
  } catch {
    throw new BackupDamaged({ name, reason: "its content was changed" });
  }
}
