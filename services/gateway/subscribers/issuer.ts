/**
 * What NATS servers are answered with: JSON Web Tokens signed by an account key (nkey, Ed25519), as their documentation of auth callout has them.
 * Signed by Node's own Ed25519: somebody who tries passwords makes us sign as often.
 */
import { createPrivateKey, type KeyObject, sign } from "node:crypto";
import { nkeys } from "@nats-io/transport-node";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** What stands before 32 raw bytes in the PKCS #8 form of an Ed25519 key. */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
const HEADER = Buffer.from(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" })).toString("base64url");

/** Bytes of a seed: two of prefix, the key, two of checksum. */
function rawSeed(seed: string): Buffer {
  let bits = 0n;
  for (const digit of seed) bits = (bits << 5n) | BigInt(ALPHABET.indexOf(digit));
  return Buffer.from((bits >> 2n).toString(16).padStart(72, "0"), "hex").subarray(2, 34);
}

export class Issuer {
  /** `A…` */
  readonly publicKey: string;
  readonly #key: KeyObject;

  /** @param seed `SA…`, 58 characters @throws Error when it is no seed of an account */
  constructor(seed: string) {
    if (!/^SA[A-Z2-7]{56}$/.test(seed)) throw new Error("the seed is not of an account (SA…)");
    const pair = nkeys.fromSeed(new TextEncoder().encode(seed));
    this.publicKey = pair.getPublicKey();
    this.#key = createPrivateKey({ key: Buffer.concat([PKCS8, rawSeed(seed)]), format: "der", type: "pkcs8" });
  }

  /** @param id of this token, unique */
  sign(id: string, claims: Readonly<Record<string, unknown>>): string {
    const body = { jti: id, iat: Math.floor(Date.now() / 1_000), iss: this.publicKey, ...claims };
    const head = `${HEADER}.${Buffer.from(JSON.stringify(body)).toString("base64url")}`;
    return `${head}.${sign(null, Buffer.from(head), this.#key).toString("base64url")}`;
  }
}

/** @returns why a text is no seed of an account, or undefined */
export function seedFault(seed: string): string | undefined {
  try {
    new Issuer(seed);
    return undefined;
  } catch {
    return "is no seed of an account key (SA…)";
  }
}
