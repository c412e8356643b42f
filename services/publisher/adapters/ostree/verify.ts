/**
 * Whether an object is what its name says, found while it streams: each piece is looked at once and let go. Refused at once where the
 * beginning tells already (a head that is none, more content than it says), else at its end.
 *
 * The checksum of a `.filez` is that of its head without the size, and its content uncompressed; of metadata that of its bytes
 * (documented; agrees with `ostree fsck`, tried). Stricter than that: the head in normal form, nothing behind the content, the size true.
 */
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { createInflateRaw, type InflateRaw, inflateRawSync } from "node:zlib";
import { type ObjectName, typeOfObject } from "./names.ts";
import { checkStructure, type FileHeader, HEADER_MOST, METADATA_MOST, parseFileHeader } from "./objects.ts";
import { Refusal } from "./refusal.ts";

export interface VerifyLimits {
  /** Most bytes of a file uncompressed: deflate can make a thousand of one. */
  readonly contentBytes: number;
}

export const VERIFY_LIMITS: VerifyLimits = { contentBytes: 64 * 1024 ** 3 };

/** Content that is inflated in one go: both less than this. */
const AT_ONCE_BYTES = 64 * 1024;
const AT_ONCE_CONTENT = 4 * 1024 * 1024;

/** Takes an object piece by piece. Either throws Refusal, or promises it. */
export interface ObjectCheck {
  /** The piece may be used again when the promise, if any, is kept. */
  write(piece: Buffer): Promise<void> | undefined;
  /** @returns the head of a file or link; undefined for metadata */
  end(): Promise<FileHeader | undefined> | FileHeader | undefined;
  /** Lets go of what it holds; after a refusal, too. */
  close(): void;
}

/** @throws Refusal for what is no name of an object */
export function checkObject(name: ObjectName, limits: VerifyLimits = VERIFY_LIMITS): ObjectCheck {
  return typeOfObject(name) === "filez" ? new FileCheck(name, limits) : new MetadataCheck(name);
}

const mismatch = (name: ObjectName, found: string): Refusal =>
  new Refusal("hash-mismatch", name, `its content has the checksum ${found}`);

class MetadataCheck implements ObjectCheck {
  readonly #name: ObjectName;
  #pieces: Buffer[] = [];
  #size = 0;

  constructor(name: ObjectName) {
    this.#name = name;
  }

  write(piece: Buffer): undefined {
    this.#size += piece.length;
    if (this.#size > METADATA_MOST) {
      throw new Refusal("too-large", this.#name, `metadata has at most ${METADATA_MOST} bytes`);
    }
    this.#pieces.push(Buffer.from(piece));
  }

  end(): undefined {
    const bytes = Buffer.concat(this.#pieces);
    if (!this.#name.endsWith(".commitmeta")) {
      const found = createHash("sha256").update(bytes).digest("hex");
      if (found !== this.#name.slice(0, 64)) throw mismatch(this.#name, found);
    }
    checkStructure(this.#name, bytes);
  }

  close(): void {
    this.#pieces = [];
  }
}

class FileCheck implements ObjectCheck {
  readonly #name: ObjectName;
  readonly #limits: VerifyLimits;
  readonly #hash = createHash("sha256");
  /** Of the head until it is whole, then of the content while it is short. */
  #held: Buffer = Buffer.alloc(0);
  #header: FileHeader | undefined;
  #inflating: Inflating | undefined;

  constructor(name: ObjectName, limits: VerifyLimits) {
    this.#name = name;
    this.#limits = limits;
  }

  write(piece: Buffer): Promise<void> | undefined {
    if (this.#inflating !== undefined) return this.#inflating.write(piece);
    // A copy: what is held outlives the piece.
    this.#held = Buffer.concat([this.#held, piece]);
    if (this.#header === undefined) this.#readHeader();
    const header = this.#header;
    if (header === undefined) return undefined;
    if (header.isLink && this.#held.length > 0) throw this.#malformed("something stands behind a link");
    if (this.#held.length <= AT_ONCE_BYTES && header.size <= AT_ONCE_CONTENT) return undefined;
    this.#inflating = new Inflating(this.#name, header.size, this.#hash);
    const held = this.#held;
    this.#held = Buffer.alloc(0);
    return this.#inflating.write(held);
  }

  #malformed(why: string): Refusal {
    return new Refusal("malformed", this.#name, why);
  }

  #readHeader(): void {
    if (this.#held.length < 8) return;
    const length = this.#held.readUInt32BE(0);
    if (length > HEADER_MOST) throw new Refusal("too-large", this.#name, `its head says it has ${length} bytes`);
    if (this.#held.readUInt32BE(4) !== 0) throw this.#malformed("its head does not begin as one");
    if (this.#held.length < 8 + length) return;
    // A copy, for it is let go of later than the pieces.
    const header = parseFileHeader(Buffer.from(this.#held.subarray(8, 8 + length)), this.#name);
    if (!header.isLink && header.size > this.#limits.contentBytes) {
      throw new Refusal("too-large", this.#name, `its content would have ${header.size} bytes`);
    }
    this.#hash.update(header.hashed);
    this.#header = header;
    this.#held = this.#held.subarray(8 + length);
  }

  end(): Promise<FileHeader> | FileHeader {
    const header = this.#header;
    if (header === undefined) throw new Refusal("truncated", this.#name, "it ends within its head");
    if (this.#inflating !== undefined) return this.#inflating.end().then(() => this.#compare(header));
    if (!header.isLink) this.#hash.update(inflateWhole(this.#name, this.#held, header.size));
    return this.#compare(header);
  }

  #compare(header: FileHeader): FileHeader {
    const found = this.#hash.digest("hex");
    if (found !== this.#name.slice(0, 64)) throw mismatch(this.#name, found);
    return header;
  }

  close(): void {
    this.#held = Buffer.alloc(0);
    this.#inflating?.close();
  }
}

const wrongSize = (name: ObjectName, size: number, found: string): Refusal =>
  new Refusal("malformed", name, `its head says ${size} bytes of content, there are ${found}`);

function deflateRefusal(name: ObjectName, error: unknown): Refusal {
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (code === "Z_BUF_ERROR") return new Refusal("truncated", name, "its compressed content ends before its end");
  return new Refusal("malformed", name, `its compressed content cannot be read: ${message}`);
}

function inflateWhole(name: ObjectName, compressed: Buffer, size: number): Buffer {
  let result: { buffer: Buffer; engine: { bytesWritten: number } };
  try {
    const options = { info: true, maxOutputLength: Math.max(size, 1) };
    result = inflateRawSync(compressed, options) as unknown as typeof result;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw wrongSize(name, size, "more");
    throw deflateRefusal(name, error);
  }
  if (result.buffer.length !== size) throw wrongSize(name, size, `${result.buffer.length}`);
  if (result.engine.bytesWritten !== compressed.length) {
    throw new Refusal("malformed", name, "something stands behind its content");
  }
  return result.buffer;
}

/** Content too long to be held. */
class Inflating {
  readonly #name: ObjectName;
  readonly #size: number;
  readonly #stream: InflateRaw;
  #written = 0;
  #found = 0;
  #failed: Error | undefined;
  #over = false;
  #tell: () => void = () => {};
  readonly #done: Promise<void>;

  constructor(name: ObjectName, size: number, hash: { update(piece: Buffer): unknown }) {
    this.#name = name;
    this.#size = size;
    this.#stream = createInflateRaw({ chunkSize: 64 * 1024 });
    this.#done = new Promise((resolve) => {
      this.#tell = resolve;
    });
    this.#stream.on("data", (piece: Buffer) => {
      this.#found += piece.length;
      if (this.#found > size) this.#stop(wrongSize(name, size, "more"));
      else hash.update(piece);
    });
    this.#stream.once("end", () => this.#stop(undefined));
    this.#stream.once("error", (error) => this.#stop(deflateRefusal(name, error)));
  }

  #stop(error: Error | undefined): void {
    this.#over = true;
    this.#failed ??= error;
    if (error !== undefined) this.#stream.destroy();
    this.#tell();
  }

  async write(piece: Buffer): Promise<void> {
    if (!this.#over) {
      this.#written += piece.length;
      // Behind the end of the content its call back may never come.
      await Promise.race([new Promise<void>((resolve) => this.#stream.write(piece, () => resolve())), this.#done]);
    } else if (piece.length > 0) this.#failed ??= this.#behind();
    if (this.#failed !== undefined) throw this.#failed;
  }

  async end(): Promise<void> {
    if (!this.#over) {
      this.#stream.end();
      await this.#done;
    }
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#found !== this.#size) throw wrongSize(this.#name, this.#size, `${this.#found}`);
    if (this.#stream.bytesWritten !== this.#written) throw this.#behind();
  }

  #behind(): Refusal {
    return new Refusal("malformed", this.#name, "something stands behind its content");
  }

  close(): void {
    this.#stream.destroy();
    this.#stop(undefined);
  }
}

/** @throws Refusal when the stream is not what the name says */
export async function verifyObject(
  name: ObjectName,
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  limits?: VerifyLimits,
): Promise<FileHeader | undefined> {
  const check = checkObject(name, limits);
  try {
    for await (const piece of source) await check.write(piece);
    return await check.end();
  } finally {
    check.close();
  }
}

const PIECE = 256 * 1024;
let spare: Buffer | undefined;

/**
 * An object that lies on the disk. Short ones are read in one go: a promise for each would cost more than the reading.
 * @returns bytes on the disk
 * @throws Refusal when it is not what its name says; what the file system says
 */
export async function verifyFile(name: ObjectName, path: string, limits?: VerifyLimits): Promise<number> {
  const file = openSync(path, "r");
  const check = checkObject(name, limits);
  let piece = spare ?? Buffer.allocUnsafe(PIECE);
  spare = undefined;
  try {
    const { size } = fstatSync(file);
    for (let at = 0; at < size; ) {
      const read = readSync(file, piece, 0, PIECE, at);
      if (read === 0) break;
      at += read;
      const taken = check.write(piece.subarray(0, read));
      if (taken !== undefined) {
        // The engine may still read it after a refusal.
        const mine = piece;
        piece = Buffer.allocUnsafe(PIECE);
        await taken;
        piece = mine;
      }
    }
    await check.end();
    return size;
  } finally {
    check.close();
    closeSync(file);
    spare = piece;
  }
}
