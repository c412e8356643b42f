/**
 * The secrets of one machine, each a file of its own that only its owner may read (0600), made at the first start and
 * never shown: the master key, the owner's first token.
 */
import { randomBytes, randomInt } from "node:crypto";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { accountKeyOf, makeAccountSeed } from "./nkeys.ts";

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/**
 * A new opaque token: `<prefix>_`, 40 random base 62 characters (238 bits), and 6 that are the CRC-32 of those 40, so
 * that a mistyped or cut-off token is told from a wrong one, and scanners find leaked ones.
 */
export function makeToken(prefix: string): string {
  const random = Array.from({ length: 40 }, () => base62[randomInt(62)]).join("");
  return `${prefix}_${random}${checksum(random)}`;
}

/** Whether the text has the form of a token with this prefix, its checksum included. Says nothing on its validity. */
export function isToken(text: string, prefix: string): boolean {
  const parts = new RegExp(`^${prefix}_([0-9A-Za-z]{40})([0-9A-Za-z]{6})$`).exec(text);
  return parts !== null && checksum(parts[1]!) === parts[2];
}

function checksum(random: string): string {
  let rest = crc32(random);
  let digits = "";
  for (let index = 0; index < 6; index++) {
    digits = base62[rest % 62]! + digits;
    rest = Math.floor(rest / 62);
  }
  return digits;
}

/** The key that encrypts backups: 32 random bytes in base 64, made when the file is absent. Older ones may stand below it. */
export function ensureBackupKey(file: string): void {
  ensureSecret(file, () => randomBytes(32).toString("base64"));
}

/** The master key that wraps all data keys: 32 random bytes in base 64, made when the file is absent. */
export function ensureMasterKey(file: string): void {
  ensureSecret(file, () => randomBytes(32).toString("base64"));
  const bytes = Buffer.from(readFileSync(file, "utf8").trim(), "base64").length;
  if (bytes !== 32) throw new Error(`${file} holds no master key (32 bytes in base 64, found ${bytes})`);
}

/**
 * What gateways let subscribers into NATS with: a password of their own users there, and the seed of the account key they sign with.
 * @returns what the server's configuration needs of them
 */
export function ensureNatsDoor(
  passwordFile: string,
  seedFile: string,
): { readonly issuer: string; readonly password: string } {
  ensureSecret(passwordFile, () => randomBytes(24).toString("base64url"));
  ensureSecret(seedFile, makeAccountSeed);
  const read = (file: string) => readFileSync(file, "utf8").trim();
  return { issuer: accountKeyOf(read(seedFile)), password: read(passwordFile) };
}

/** The owner's first token (`mrp_…`), made when the file is absent. The gateway registers its hash. */
export function ensureOwnerToken(file: string): void {
  ensureSecret(file, () => makeToken("mrp"));
}

/** A new name in a folder survives a power cut only when the folder itself is synced. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * Makes the file with the secret if it is absent: whole or not at all, and never over one that is there.
 * @throws Error when others than the owner may read it.
 */
export function ensureSecret(file: string, make: () => string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const making = `${file}.${process.pid}`;
  try {
    statSync(file);
  } catch {
    writeFileSync(making, `${make()}\n`, { mode: 0o600, flush: true });
    chmodSync(making, 0o600);
    try {
      linkSync(making, file);
      syncFolder(dirname(file));
      syncFolder(dirname(dirname(file)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    } finally {
      rmSync(making, { force: true });
    }
  }
  const mode = statSync(file).mode & 0o777;
  if (process.platform !== "win32" && (mode & 0o077) !== 0) {
    throw new Error(`${file} may be read by others (${mode.toString(8)}): chmod 600 ${file}, and change the secret`);
  }
}
