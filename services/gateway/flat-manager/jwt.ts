/** Tokens as flat-manager signs them: JWT by HMAC-SHA-256, and nothing else. */
import { createHmac, timingSafeEqual } from "node:crypto";
import { type Claims, claimsOf } from "./claims.ts";

const HEADER = Buffer.from('{"typ":"JWT","alg":"HS256"}').toString("base64url");
/** Of characters: lists of prefixes may be long. */
const LONGEST = 16_000;
const PART = /^[A-Za-z0-9_-]+$/;

const signatureOf = (key: Uint8Array, signed: string): Buffer => createHmac("sha256", key).update(signed).digest();

/** @param key the secret's bytes */
export function signJwt(key: Uint8Array, claims: Claims): string {
  const signed = `${HEADER}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}`;
  return `${signed}.${signatureOf(key, signed).toString("base64url")}`;
}

export type JwtFault = "malformed" | "forged" | "expired";

/** Whether it looks like one: three parts, the first an object in JSON. */
export const looksLikeJwt = (text: string): boolean => /^eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*$/.test(text);

/**
 * @param keys by which it may be signed; none is believed before its signature was checked
 * @param nowSeconds since 1970
 * @returns the claims and which key it was
 */
export function readJwt<K extends { readonly bytes: Uint8Array }>(
  keys: ReadonlyArray<K>,
  text: string,
  nowSeconds: number,
): { readonly claims: Claims; readonly key: K } | JwtFault {
  const [head = "", body = "", signature = "", ...rest] = text.split(".");
  if (text.length > LONGEST || rest.length > 0 || ![head, body, signature].every((part) => PART.test(part))) {
    return "malformed";
  }
  // What the header says of itself decides nothing but that it is refused.
  const header = parsed(head);
  if (header?.alg !== "HS256" || "crit" in header) return "malformed";
  const given = Buffer.from(signature, "base64url");
  // A last character with bits that count for nothing is another spelling of the same.
  if (given.toString("base64url") !== signature) return "malformed";
  let found: K | undefined;
  for (const key of keys) {
    const own = signatureOf(key.bytes, `${head}.${body}`);
    if (own.length === given.length && timingSafeEqual(own, given)) found ??= key;
  }
  if (found === undefined) return "forged";
  const claims = claimsOf(parsed(body));
  if (claims === undefined) return "malformed";
  return claims.exp < nowSeconds ? "expired" : { claims, key: found };
}

function parsed(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
