/**
 * Bodies of uploads, read as they come: `multipart/mixed` without names and `multipart/form-data`, both told apart only by their parts'
 * file names. Parts may have any size and go on as they arrive; pieces may be cut anywhere, within a boundary too. And JSON, packed or
 * not, never more of it than allowed.
 */
import { createGunzip } from "node:zlib";
import { Refusal } from "./refusal.ts";

/** What takes a part. Promises are waited for before more is read. */
export interface PartSink {
  write(piece: Buffer): Promise<void> | undefined;
  /** All of it has come. */
  end(): Promise<void> | undefined;
}

export interface MultipartLimits {
  readonly parts: number;
  readonly headerBytes: number;
}

export const MULTIPART_LIMITS: MultipartLimits = { parts: 200_000, headerBytes: 16 * 1024 };

/** Of one parameter of a header: `; key=token` or `; key="quoted"`. */
function parameter(header: string, key: string): string | undefined {
  const match = new RegExp(`;[ \\t]*${key}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;"]+))`, "i").exec(header);
  return match?.[1]?.replaceAll(/\\(.)/g, "$1") ?? match?.[2];
}

const bad = (reason: string): Refusal => new Refusal("bad-body", "", reason);

/** @throws Refusal for a content type that is no multipart, or names no boundary */
export function boundaryOf(contentType: string | undefined): string {
  const text = (contentType ?? "").slice(0, 1_000);
  if (!/^multipart\/(mixed|form-data)\b/i.test(text)) throw bad("the content type is no multipart/mixed or form-data");
  const boundary = parameter(text, "boundary");
  if (boundary === undefined || !/^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/.test(boundary)) {
    throw bad("the content type names no boundary");
  }
  return boundary;
}

const LINE = Buffer.from("\r\n");
const BLANK = Buffer.from("\r\n\r\n");

/**
 * Reads a body to its end.
 * @param begin told each part's file name; what it answers takes the part
 * @throws Refusal `bad-body`; what the sinks and the source throw
 */
export async function readMultipart(
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  boundary: string,
  begin: (filename: string) => PartSink,
  limits: MultipartLimits = MULTIPART_LIMITS,
): Promise<void> {
  const parser = new Parser(boundary, begin, limits);
  for await (const piece of source) {
    const taken = parser.push(piece);
    if (taken !== undefined) await taken;
  }
  parser.finish();
}

class Parser {
  readonly #delimiter: Buffer;
  readonly #begin: (filename: string) => PartSink;
  readonly #limits: MultipartLimits;
  /** What cannot be judged yet. In front of the first boundary a line's end is thought, so that it may stand at the very start. */
  #held: Buffer = LINE;
  #state: "preamble" | "boundary" | "head" | "body" | "over" = "preamble";
  #sink: PartSink | undefined;
  #parts = 0;

  constructor(boundary: string, begin: (filename: string) => PartSink, limits: MultipartLimits) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, "latin1");
    this.#begin = begin;
    this.#limits = limits;
  }

  /** Goes as far as it can; a promise where a sink has to be waited for. */
  push(piece: Buffer): Promise<void> | undefined {
    if (this.#state === "over") return undefined;
    this.#held = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]);
    return this.#go();
  }

  #go(): Promise<void> | undefined {
    for (;;) {
      const waits = this.#step();
      if (waits === false) return undefined;
      if (waits !== undefined) return this.#goOn(waits);
    }
  }

  async #goOn(waits: Promise<void>): Promise<void> {
    await waits;
    await this.#go();
  }

  /** @returns false when more has to come first; a promise to wait for; undefined: go on */
  #step(): false | Promise<void> | undefined {
    switch (this.#state) {
      case "preamble":
      case "body":
        return this.#content();
      case "boundary":
        return this.#afterBoundary();
      case "head":
        return this.#head();
      default:
        this.#held = Buffer.alloc(0);
        return false;
    }
  }

  #content(): false | Promise<void> | undefined {
    const held = this.#held;
    const at = held.indexOf(this.#delimiter);
    if (at >= 0) {
      this.#held = held.subarray(at + this.#delimiter.length);
      this.#state = "boundary";
      return this.#endPart(held.subarray(0, at));
    }
    const sure = held.length - this.#partial(held);
    if (sure === 0) return false;
    this.#held = held.subarray(sure);
    const taken = this.#sink?.write(held.subarray(0, sure));
    return taken ?? false;
  }

  /** How many bytes at the end may be the beginning of a delimiter: it holds one carriage return only, its first byte. */
  #partial(held: Buffer): number {
    const from = Math.max(0, held.length - this.#delimiter.length + 1);
    const at = held.lastIndexOf(13);
    if (at < from) return 0;
    const tail = held.subarray(at);
    return tail.equals(this.#delimiter.subarray(0, tail.length)) ? tail.length : 0;
  }

  #endPart(last: Buffer): Promise<void> | undefined {
    const sink = this.#sink;
    this.#sink = undefined;
    if (sink === undefined) return undefined;
    const taken = last.length > 0 ? sink.write(last) : undefined;
    return taken === undefined ? sink.end() : taken.then(() => sink.end());
  }

  #afterBoundary(): false | undefined {
    if (this.#held.length < 2) return false;
    if (this.#held[0] === 45 && this.#held[1] === 45) {
      this.#state = "over";
      return undefined;
    }
    const at = this.#held.indexOf(LINE);
    const padding = this.#held.toString("latin1", 0, at < 0 ? this.#held.length : at);
    if (!/^[ \t]{0,200}\r?$/.test(padding)) throw bad("something stands behind a boundary");
    if (at < 0) return false;
    // The line's end stays: where there are no headers it is the first half of the blank line.
    this.#held = this.#held.subarray(at);
    this.#state = "head";
    return undefined;
  }

  #head(): false | undefined {
    const at = this.#held.indexOf(BLANK);
    if (at > this.#limits.headerBytes || (at < 0 && this.#held.length > this.#limits.headerBytes)) {
      throw bad(`the headers of a part have more than ${this.#limits.headerBytes} bytes`);
    }
    if (at < 0) return false;
    const lines = this.#held.toString("latin1", 0, at).split("\r\n");
    this.#held = this.#held.subarray(at + BLANK.length);
    if (++this.#parts > this.#limits.parts) throw bad(`more than ${this.#limits.parts} parts`);
    this.#sink = this.#begin(this.#filename(lines));
    this.#state = "body";
    return undefined;
  }

  #filename(lines: ReadonlyArray<string>): string {
    const header = (name: string) =>
      lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1);
    const encoding = header("content-transfer-encoding")?.trim().toLowerCase() ?? "binary";
    if (!["binary", "8bit", "7bit"].includes(encoding) || header("content-encoding") !== undefined) {
      throw bad("a part is encoded; send it as it is");
    }
    const filename = parameter(header("content-disposition") ?? "", "filename");
    if (filename === undefined) throw bad(`part ${this.#parts} has no file name`);
    return filename;
  }

  /** @throws Refusal where the last boundary has not come */
  finish(): void {
    if (this.#state !== "over") throw bad("the body ends before its last boundary");
  }
}

/**
 * A JSON body, as it is or packed by gzip.
 * @param encoding the header `Content-Encoding`
 * @param most bytes, unpacked: a small body can become a large one
 * @throws Refusal
 */
export async function readJson(
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  encoding: string | undefined,
  most: number,
): Promise<unknown> {
  const pieces: Buffer[] = [];
  let size = 0;
  const take = (piece: Buffer) => {
    size += piece.length;
    if (size > most) throw new Refusal("too-large", "", `the body has more than ${most} bytes`);
    pieces.push(piece);
  };
  const word = (encoding ?? "identity").trim().toLowerCase();
  if (word === "identity" || word === "") for await (const piece of source) take(piece);
  else if (word === "gzip" || word === "x-gzip") await unpack(source, take);
  else throw bad("the body is packed in a way that is not known; use gzip");
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch {
    throw bad("the body is no JSON");
  }
}

async function unpack(source: AsyncIterable<Buffer> | Iterable<Buffer>, take: (piece: Buffer) => void): Promise<void> {
  const stream = createGunzip();
  let failed: Error | undefined;
  const over = new Promise<void>((resolve) => {
    stream.once("end", resolve);
    stream.once("error", (error) => {
      failed ??= error;
      resolve();
    });
  });
  stream.on("data", (piece: Buffer) => {
    try {
      take(piece);
    } catch (error) {
      failed ??= error as Error;
      stream.destroy(failed);
    }
  });
  try {
    for await (const piece of source) {
      await Promise.race([new Promise<void>((resolve) => stream.write(piece, () => resolve())), over]);
      if (failed !== undefined) break;
    }
    if (failed === undefined) stream.end();
    await over;
  } finally {
    stream.destroy();
  }
  if (failed instanceof Refusal) throw failed;
  if (failed !== undefined) throw bad("the body is not what gzip packs");
}
