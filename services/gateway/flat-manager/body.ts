/** Bodies in JSON, of any method, packed by gzip or not: never more of them than allowed, unpacked either. */
import type { IncomingMessage } from "node:http";
import { createGunzip } from "node:zlib";
import * as Schema from "effect/Schema";
import { generic } from "./answers.ts";

/** Bytes of JSON, after unpacking: that of flat-manager. */
export const JSON_MOST = 10 * 1024 * 1024;

const TOO_LARGE = `The body has more than ${JSON_MOST} bytes`;

async function collect(source: AsyncIterable<Buffer>, most: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of source) {
    size += piece.length;
    if (size > most) throw generic(TOO_LARGE, 413);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** @throws FlatRefused for what is not packed so, or becomes too much */
export async function bytesOf(
  source: AsyncIterable<Buffer>,
  encoding: string | undefined,
  most = JSON_MOST,
): Promise<Buffer> {
  const word = (encoding ?? "identity").trim().toLowerCase();
  if (word === "identity" || word === "") return collect(source, most);
  if (word !== "gzip" && word !== "x-gzip") throw generic("Content-Encoding is not known; use gzip");
  // Packed it is smaller, or it is no good packing.
  const packed = await collect(source, most);
  const stream = createGunzip();
  stream.end(packed);
  try {
    return await collect(stream, most);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith("Z_") === true)
      throw generic("The body is not what gzip packs");
    throw error;
  } finally {
    stream.destroy();
  }
}

/** As it came, packed or not. @throws FlatRefused */
export const packedOf = (request: IncomingMessage): Promise<Buffer> => collect(request, JSON_MOST);

/**
 * @param schema unknown fields are passed over
 * @param must a body with its content type has to be there; else none is `{}`
 * @throws FlatRefused
 */
export async function jsonOf<A>(request: IncomingMessage, schema: Schema.Codec<A, any>, must: boolean): Promise<A> {
  const { "content-type": type, "content-encoding": encoding } = request.headers;
  if (must && !/^application\/([a-z0-9.+-]*\+)?json\b/i.test(type ?? "")) {
    request.resume();
    throw generic("Content type error");
  }
  const bytes = await bytesOf(request, encoding);
  let raw: unknown;
  try {
    raw = bytes.length === 0 && !must ? {} : JSON.parse(bytes.toString("utf8"));
  } catch {
    throw generic("Json deserialize error: the body is no JSON");
  }
  const decoded = Schema.decodeUnknownResult(schema, { onExcessProperty: "ignore" })(raw);
  if (decoded._tag === "Success") return decoded.success;
  const where = String(decoded.failure)
    .split("\n")[0]!
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .slice(0, 300);
  throw generic(`Json deserialize error: ${where}`);
}
