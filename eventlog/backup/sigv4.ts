/**
 * Signature version 4 of AWS, for requests with all their content known: the part of it that S3 and what speaks like it ask for.
 * Tried against the examples that AWS has published (sigv4.unit.test.ts).
 */
import { createHash, createHmac } from "node:crypto";

export interface Signing {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** `s3` */
  readonly service: string;
}

export interface SignedRequest {
  readonly method: string;
  /** With the path encoded as it is sent. */
  readonly url: URL;
  /** Lower-case names; `host` is added. All are signed. */
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the content, hexadecimal. */
  readonly contentSha256: string;
  readonly at: Date;
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: string | Uint8Array, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** As RFC 3986 has it: only letters, digits, `-`, `.`, `_` and `~` stay. */
export const uriEncode = (text: string): string =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** `20130524T000000Z` */
export const amzDate = (at: Date): string => at.toISOString().replaceAll(/[-:]|\.\d{3}/g, "");

/** @returns all headers of the request, `authorization` with them */
export function sign(request: SignedRequest, signing: Signing): Record<string, string> {
  const date = amzDate(request.at);
  const headers: Record<string, string> = {
    ...request.headers,
    host: request.url.host,
    "x-amz-content-sha256": request.contentSha256,
    "x-amz-date": date,
  };
  const names = Object.keys(headers).sort();
  const query = [...request.url.searchParams]
    .map(([name, value]) => `${uriEncode(name)}=${uriEncode(value)}`)
    .sort()
    .join("&");
  const canonical = [
    request.method,
    request.url.pathname,
    query,
    ...names.map((name) => `${name}:${headers[name]!.trim().replaceAll(/ +/g, " ")}`),
    "",
    names.join(";"),
    request.contentSha256,
  ].join("\n");
  const scope = `${date.slice(0, 8)}/${signing.region}/${signing.service}/aws4_request`;
  let key: string | Buffer = `AWS4${signing.secretKey}`;
  for (const part of scope.split("/")) key = hmac(key, part);
  const signature = hmac(key, ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n")).toString("hex");
  const authorization = `AWS4-HMAC-SHA256 Credential=${signing.accessKey}/${scope},SignedHeaders=${names.join(";")},Signature=${signature}`;
  return { ...headers, authorization };
}
