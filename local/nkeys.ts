/**
 * Account keys of NATS (nkeys: Ed25519, written in base 32 with a prefix and a CRC-16), so that this package needs no client library: a seed to
 * sign with, and the public key that the server's configuration trusts.
 */
import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** First bytes: `SA`, the seed of an account, and `A`, its public key. */
const SEED = [0x90, 0x00];
const PUBLIC = [0x00];
/** What stands before 32 raw bytes in the PKCS #8 form of an Ed25519 key. */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

/** `SA…`, 58 characters. */
export const makeAccountSeed = (): string => encode(Buffer.concat([Buffer.from(SEED), randomBytes(32)]));

/** `A…`, 56 characters. @throws Error when the text is no seed of an account */
export function accountKeyOf(seed: string): string {
  const bytes = decode(seed);
  if (bytes[0] !== SEED[0] || bytes[1] !== SEED[1]) throw new Error("this is no seed of an account key (SA…)");
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, bytes.subarray(2)]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return encode(Buffer.concat([Buffer.from(PUBLIC), spki.subarray(-32)]));
}

function encode(bytes: Buffer): string {
  const checked = Buffer.concat([bytes, Buffer.alloc(2)]);
  checked.writeUInt16LE(crc16(bytes), bytes.length);
  let text = "";
  let held = 0;
  let bits = 0;
  for (const byte of checked) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(held >> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + ALPHABET[(held << (5 - bits)) & 31];
}

/** @returns the bytes without their checksum @throws Error when that is wrong */
function decode(text: string): Buffer {
  const bytes: number[] = [];
  let held = 0;
  let bits = 0;
  for (const digit of text) {
    held = (held << 5) | ALPHABET.indexOf(digit);
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push((held >> bits) & 255);
    held &= (1 << bits) - 1;
  }
  const body = Buffer.from(bytes.slice(0, -2));
  const sum = (bytes.at(-2) ?? 0) | ((bytes.at(-1) ?? 0) << 8);
  if (body.length !== 34 || sum !== crc16(body))
    throw new Error("this is no seed of a key: it was mistyped or cut off");
  return body;
}

/** CRC-16/XMODEM. */
function crc16(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}
