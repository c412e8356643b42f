/**
 * Bytes: what is too large for a command, a message or a memory. An upload follows tus 1.0.0 (https://tus.io/protocols/resumable-upload),
 * with creation, expiration, checksum and termination: it is made with its length, filled by any number of `PATCH`, each at the
 * offset that `HEAD` tells, through any gateway, and goes on after whatever interrupts it. Bodies are streams: nothing holds them whole.
 */
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as Schema from "effect/Schema";

const { optionalKey } = Schema;

export const TUS_VERSION = "1.0.0";
export const TUS_EXTENSIONS = ["creation", "expiration", "checksum", "termination"] as const;
export const TUS_CHECKSUMS = ["sha256", "sha1"] as const;
/** Of the body of each `PATCH`. */
export const OFFSET_STREAM = "application/offset+octet-stream";
/** Answered where a piece is not what its checksum says: tus has a status of its own for it. */
export const CHECKSUM_MISMATCH = 460;

/** Bytes of one upload, and characters of its name, at the most; the quota of an organisation is the other limit. */
export const UPLOAD_LIMITS = { bytes: 2 ** 40, name: 255 } as const;

/** A number as headers carry it. */
const Digits = (description: string) =>
  Schema.String.check(Schema.isPattern(/^(0|[1-9][0-9]{0,15})$/u)).annotate({ description, examples: ["1048576"] });

const TusResumable = Schema.String.annotate({
  description: `Version of the protocol that is spoken: ${TUS_VERSION}`,
  examples: [TUS_VERSION],
});

export const tusHeaders = { "tus-resumable": optionalKey(TusResumable) };

/** Of the request that makes an upload. */
export const tusCreationHeaders = {
  ...tusHeaders,
  "upload-length": optionalKey(Digits("Bytes of the whole")),
  "upload-metadata": optionalKey(
    Schema.String.check(Schema.isPattern(/^[\x21-\x7e][\x20-\x7e]{0,2047}$/u)).annotate({
      description:
        "Keys, each with its value in base 64, separated by commas: `filename` (what it is called), `node` (where it is to lie)",
      examples: ["filename c2l0ZS50YXIuZ3o="],
    }),
  ),
};

/** Of the request that brings a piece. */
export const tusPieceHeaders = {
  ...tusHeaders,
  "upload-offset": optionalKey(Digits("Where the piece begins: what `HEAD` answered")),
  "upload-checksum": optionalKey(
    Schema.String.check(Schema.isPattern(/^[a-z0-9-]{1,20} [A-Za-z0-9+/=]{1,100}$/u)).annotate({
      description: `Of this piece: ${TUS_CHECKSUMS.join(" or ")}, a space, and the digest in base 64. A piece that is another is not kept: ${CHECKSUM_MISMATCH}`,
    }),
  ),
};

/** A piece of an upload. */
export const Piece = HttpApiSchema.StreamUint8Array({ contentType: OFFSET_STREAM });

/** Headers of a request for bytes that may want a part of them, or only what has changed. */
export const contentHeaders = {
  range: optionalKey(Schema.String.annotate({ description: "One range of bytes: `bytes=0-1023`" })),
  "if-range": optionalKey(
    Schema.String.annotate({ description: "The range only of what has this ETag, else the whole" }),
  ),
  "if-none-match": optionalKey(Schema.String.annotate({ description: "304 when the ETag is among these" })),
};

/** What the metadata of an upload say; undefined when it is malformed. */
export function readMetadata(header: string): Readonly<Record<string, string>> | undefined {
  const found: Record<string, string> = {};
  for (const pair of header.split(",")) {
    const [key, value, ...rest] = pair.trim().split(" ");
    if (key === undefined || key === "" || rest.length > 0 || Object.hasOwn(found, key)) return undefined;
    if (value !== undefined && !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
    try {
      const bytes = Uint8Array.from(atob(value ?? ""), (char) => char.charCodeAt(0));
      found[key] = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      return undefined;
    }
  }
  return found;
}
