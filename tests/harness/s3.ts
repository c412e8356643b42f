/**
 * A small server that speaks S3 over a real socket: buckets in memory, path style, PUT, GET, HEAD, DELETE and paged listings. It checks
 * every signature by its own reading of signature version 4 from the raw request, so it agrees with a signer only when both are right.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { deferToEndOfFile } from "./suite.ts";

export interface S3Server {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** Objects by name, per bucket; tests look into it and damage it. */
  readonly buckets: Map<string, Map<string, { content: Buffer; modified: Date }>>;
  /** Requests as `GET /bucket/name`. */
  readonly requests: string[];
  /** The next so many requests are answered with 503, or cut off in the middle. */
  busy: number;
  cut: number;
}

const REGION = "test-region-1";
const PAGE = 50;
const sha256 = (content: string | Buffer) => createHash("sha256").update(content).digest("hex");

/** @param buckets that are there */
export async function startS3(...buckets: string[]): Promise<S3Server> {
  const server = createServer((request, response) => {
    void answer(s3, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  deferToEndOfFile(() => {
    server.closeAllConnections();
    server.close();
  });
  const s3: S3Server = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    accessKey: "TESTKEY",
    secretKey: "test/secret+key",
    buckets: new Map(buckets.map((name) => [name, new Map()])),
    requests: [],
    busy: 0,
    cut: 0,
  };
  return s3;
}

async function answer(s3: S3Server, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const content = Buffer.concat(parts);
  const [path = "", query = ""] = request.url!.split("?");
  s3.requests.push(`${request.method} ${path}`);
  const refuse = (status: number, code: string) => {
    response.writeHead(status, { "content-type": "application/xml" });
    response.end(request.method === "HEAD" ? "" : `<Error><Code>${code}</Code><Message>no</Message></Error>`);
  };
  if (s3.busy > 0) {
    s3.busy--;
    return refuse(503, "SlowDown");
  }
  const fault = signatureFault(s3, request, path, query, content);
  if (fault !== undefined) return refuse(403, fault);
  const [, bucketName = "", ...rest] = path.split("/");
  const bucket = s3.buckets.get(bucketName);
  if (bucket === undefined) return refuse(404, "NoSuchBucket");
  const name = rest.map(decodeURIComponent).join("/");
  if (request.method === "GET" && name === "") return list(bucket, new URLSearchParams(query), response);
  if (request.method === "PUT") bucket.set(name, { content, modified: new Date() });
  else if (request.method === "DELETE") bucket.delete(name);
  else {
    const found = bucket.get(name);
    if (found === undefined) return refuse(404, "NoSuchKey");
    response.writeHead(200, { "content-length": found.content.length });
    if (request.method === "HEAD") return void response.end();
    if (s3.cut > 0) {
      s3.cut--;
      response.write(found.content.subarray(0, found.content.length >> 1), () => response.destroy());
      return;
    }
    return void response.end(found.content);
  }
  response.writeHead(request.method === "DELETE" ? 204 : 200).end();
}

function list(
  bucket: ReadonlyMap<string, { readonly content: Buffer; readonly modified: Date }>,
  query: URLSearchParams,
  response: ServerResponse,
): void {
  const quoted = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const after = query.get("continuation-token") ?? "";
  const names = [...bucket.keys()].filter((name) => name.startsWith(query.get("prefix") ?? "") && name > after).sort();
  const page = names.slice(0, PAGE);
  const more = names.length > PAGE;
  const contents = page.map((name) => {
    const { content, modified } = bucket.get(name)!;
    return `<Contents><Key>${quoted(name)}</Key><LastModified>${modified.toISOString()}</LastModified><Size>${content.length}</Size></Contents>`;
  });
  const next = more ? `<NextContinuationToken>${quoted(page.at(-1)!)}</NextContinuationToken>` : "";
  response.writeHead(200, { "content-type": "application/xml" });
  response.end(
    `<?xml version="1.0"?><ListBucketResult><IsTruncated>${more}</IsTruncated>${next}${contents.join("")}</ListBucketResult>`,
  );
}

/** @returns the code of what is wrong with it */
function signatureFault(
  s3: S3Server,
  request: IncomingMessage,
  path: string,
  query: string,
  content: Buffer,
): string | undefined {
  const given =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? "",
    );
  if (given === null) return "AccessDenied";
  const [, key, day, region, signed, signature] = given as unknown as [string, string, string, string, string, string];
  const date = String(request.headers["x-amz-date"]);
  if (key !== s3.accessKey) return "InvalidAccessKeyId";
  if (region !== REGION) return "AuthorizationHeaderMalformed";
  if (!date.startsWith(day) || Math.abs(Date.now() - dateOf(date)) > 900_000) return "RequestTimeTooSkewed";
  if (request.headers["x-amz-content-sha256"] !== sha256(content)) return "XAmzContentSHA256Mismatch";
  const names = signed.split(";");
  if (!names.includes("host") || !names.includes("x-amz-date")) return "AccessDenied";
  const pairs = query === "" ? [] : query.split("&").map((pair) => (pair.includes("=") ? pair : `${pair}=`));
  const canonical = `${request.method}\n${path}\n${pairs.sort().join("&")}\n${names
    .map((name) => `${name}:${String(request.headers[name]).trim()}\n`)
    .join("")}\n${signed}\n${sha256(content)}`;
  let secret = Buffer.from(`AWS4${s3.secretKey}`);
  for (const word of [day, region, "s3", "aws4_request"]) secret = createHmac("sha256", secret).update(word).digest();
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${day}/${region}/s3/aws4_request\n${sha256(canonical)}`;
  const right = createHmac("sha256", secret).update(toSign).digest();
  return timingSafeEqual(right, Buffer.from(signature, "hex")) ? undefined : "SignatureDoesNotMatch";
}

const dateOf = (text: string): number =>
  Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
