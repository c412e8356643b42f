/** What a request's body may be, looked at before anything decodes it: encoding, type, size, depth, text. */
import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { LIMITS } from "@millrace/contracts/http.ts";
import { InvalidInput, type Problem, TooLarge, UnsupportedType } from "@millrace/contracts/problems.ts";
import * as Effect from "effect/Effect";
import type { HttpServerRequest } from "effect/http/HttpServerRequest";
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";

const invalid = (detail: string, fix?: string): InvalidInput =>
  new InvalidInput({ detail, errors: [{ pointer: "/body", detail }], ...(fix === undefined ? {} : { fix }) });

const tooLarge = new TooLarge({
  limitBytes: LIMITS.bodyBytes,
  detail: `A body may have ${LIMITS.bodyBytes} bytes.`,
  fix: "Send less at once.",
});

const hasBody = ({ headers }: HttpServerRequest): boolean =>
  (headers["content-length"] ?? "0") !== "0" || headers["transfer-encoding"] !== undefined;

/** What can be said of the body before it is read. */
export function checkAnnounced(request: HttpServerRequest, endpoint: HttpApiEndpoint.Top): Problem | undefined {
  // Of an empty one only the type would be looked at by who decodes it.
  if (!hasBody(request)) {
    return endpoint.payload.size > 0 && request.headers["content-type"] !== undefined
      ? checkHead(request.headers)
      : undefined;
  }
  return Number(request.headers["content-length"] ?? 0) > LIMITS.bodyBytes ? tooLarge : checkHead(request.headers);
}

/** What can be said of a stream before it flows: it is of one of the types that are taken. */
export function checkStream({ headers }: HttpServerRequest, endpoint: HttpApiEndpoint.Top): Problem | undefined {
  const types = [...endpoint.payload.keys()];
  const [type = ""] = (headers["content-type"] ?? "").toLowerCase().split(/\s*;/, 1);
  if (types.includes(type)) return undefined;
  return new UnsupportedType({ detail: `This takes ${types.join(", ")}.`, fix: `Send \`Content-Type: ${types[0]}\`.` });
}

/**
 * Reads and checks the body, so that decoding it cannot fail in other ways than by its form. Read by hand, because streams and
 * caches for one small piece cost more than all the rest of a request.
 * @returns undefined when there is none to be read; else the problem, or the text
 */
export function receive(
  request: HttpServerRequest,
  endpoint: HttpApiEndpoint.Top,
): Effect.Effect<Problem | string> | undefined {
  if (!hasBody(request)) return undefined;
  const message = request.source as IncomingMessage;
  return Effect.callback((resume) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const end = (result: Problem | string) => {
      message.off("data", onData).off("end", onEnd).off("close", onClose);
      resume(Effect.succeed(result));
    };
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      chunks.push(chunk);
      if (size <= LIMITS.bodyBytes) return;
      message.pause();
      end(tooLarge);
    };
    const onEnd = () =>
      end(checkBytes(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks), endpoint.payload.size > 0));
    const onClose = () => end(invalid("The body could not be read to its end."));
    message.on("data", onData).on("end", onEnd).on("close", onClose);
  });
}

/** The same request, its body received. */
export const withText = (request: HttpServerRequest, text: string): HttpServerRequest =>
  Object.create(request, { text: { value: Effect.succeed(text) } });

function checkHead(headers: Readonly<Record<string, string | undefined>>): Problem | undefined {
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding.trim().toLowerCase() !== "identity") {
    return new UnsupportedType({
      detail: "Compressed bodies are not taken.",
      fix: "Send the body as it is, without Content-Encoding.",
    });
  }
  const type = headers["content-type"];
  if (type === undefined || !/^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?;?\s*$/i.test(type)) {
    return new UnsupportedType({ detail: "Bodies are JSON in UTF-8.", fix: "Send `Content-Type: application/json`." });
  }
  return undefined;
}

function checkBytes(bytes: Buffer, wanted: boolean): Problem | string {
  if (!isUtf8(bytes)) return invalid("The body is not UTF-8.");
  const text = bytes.toString("utf8");
  // A body where none is asked for: nothing is what it may say.
  if (!wanted) return /^\s*(\{\s*\})?\s*$/.test(text) ? text : invalid("No body is taken here.");
  if (nesting(text) > LIMITS.jsonDepth) {
    return invalid(`The body is nested deeper than ${LIMITS.jsonDepth} levels.`, "Send it flatter.");
  }
  // Only an escape can bring in what no text may hold: U+0000, which no database stores, and half a surrogate pair.
  return text.includes("\\u") && !holdsOnlyText(text)
    ? invalid("A text holds U+0000 or half of a surrogate pair.", "Leave such characters out.")
    : text;
}

/** How deep the JSON is nested at its deepest, without parsing it. */
export function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (inString) {
      if (char === 92) i++;
      else if (char === 34) inString = false;
    } else if (char === 34) inString = true;
    else if (char === 91 || char === 123) {
      if (++depth > deepest) deepest = depth;
    } else if (char === 93 || char === 125) depth--;
  }
  return deepest;
}

function holdsOnlyText(text: string): boolean {
  try {
    return onlyText(JSON.parse(text));
  } catch {
    return true; // Malformed: told by whoever decodes it.
  }
}

function onlyText(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed() && !value.includes("\0");
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([name, inner]) => onlyText(name) && onlyText(inner));
}
