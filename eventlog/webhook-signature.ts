/** Signatures by Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, with every secret that is good at the moment. */
import { createHmac, createSecretKey, type KeyObject, randomBytes } from "node:crypto";

const PREFIX = "whsec_";
const SECRET_BYTES = 32;

export const newSecret = (): string => PREFIX + randomBytes(SECRET_BYTES).toString("base64");

/** Kept as a key: signing by bytes takes seven times as long, since they are made one each time. */
export const keyOf = (secret: string): KeyObject =>
  createSecretKey(Buffer.from(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret, "base64"));

/** @param seconds since 1970, of this try @returns the value of `webhook-signature` */
export const sign = (keys: ReadonlyArray<KeyObject>, id: string, seconds: number, body: string): string =>
  keys.map((key) => `v1,${createHmac("sha256", key).update(`${id}.${seconds}.${body}`).digest("base64")}`).join(" ");
