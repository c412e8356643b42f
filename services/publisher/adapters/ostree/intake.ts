/**
 * What is uploaded, to its place: each object verified while it comes, written beside, moved when it is whole and right. A part that is
 * refused leaves nothing; those before it stay.
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { checkSuperblock, SUPERBLOCK_MOST } from "./delta.ts";
import { boundaryOf, type PartSink, readMultipart } from "./multipart.ts";
import { type UploadTarget, uploadTarget } from "./names.ts";
import { Refusal } from "./refusal.ts";
import type { Repository } from "./repository.ts";
import { checkObject, type ObjectCheck, type VerifyLimits } from "./verify.ts";

export interface IntakeOptions {
  /** Whether what is answered as stored survives a power cut. Default true. */
  readonly durable?: boolean;
  readonly limits?: VerifyLimits;
  readonly signal?: AbortSignal | undefined;
}

/** Less than this is written in one go: a promise for each step would cost ten times the writing (measured). */
const SMALL = 64 * 1024;
/** What waits to be moved to its place is moved when it is so many files, or bytes. */
const WAITING_FILES = 2_000;
const WAITING_BYTES = 64 * 1024 * 1024;

/**
 * One request's body.
 * @returns bytes of each part as they were sent, in the order of the parts
 * @throws Refusal; what the file system and the source say
 */
export async function receiveUpload(
  repository: Repository,
  source: AsyncIterable<Buffer>,
  contentType: string | undefined,
  options: IntakeOptions = {},
): Promise<number[]> {
  const boundary = boundaryOf(contentType);
  const { durable = true, limits, signal } = options;
  const intake = new Intake(repository, durable, limits);
  try {
    await readMultipart(aborting(source, signal), boundary, (filename) => intake.begin(filename));
    return await intake.finish();
  } catch (error) {
    await intake.abandon();
    throw error;
  }
}

async function* aborting(source: AsyncIterable<Buffer>, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    signal?.throwIfAborted();
    yield piece;
  }
}

/** One object from a stream, such as from another repository. @returns bytes as they are stored */
export async function receiveObject(
  repository: Repository,
  name: string,
  source: AsyncIterable<Buffer> | Iterable<Buffer>,
  options: IntakeOptions = {},
): Promise<number> {
  const intake = new Intake(repository, options.durable ?? true, options.limits);
  const sink = intake.begin(name);
  try {
    for await (const piece of source) {
      options.signal?.throwIfAborted();
      await sink.write(piece);
    }
    await sink.end();
    return (await intake.finish())[0]!;
  } catch (error) {
    await intake.abandon();
    throw error;
  }
}

/** Where an object comes from, as often as it is asked for. */
export type Source = (name: string) => Promise<AsyncIterable<Buffer>>;

/**
 * Objects one after another, brought to the disk many at once. Several may run beside each other over one iterator.
 * @param again whether what went wrong with one may go well with the next try
 * @returns bytes as they are stored
 */
export async function receiveObjects(
  repository: Repository,
  names: Iterator<string>,
  source: Source,
  options: IntakeOptions & { readonly again: (error: unknown, tried: number) => Promise<boolean> },
): Promise<number> {
  const intake = new Intake(repository, options.durable ?? true, options.limits);
  try {
    for (let next = names.next(); next.done !== true; next = names.next()) {
      for (let tried = 1; !(await intake.take(next.value, source, options.signal)); tried++) {
        if (!(await options.again(intake.wrong, tried))) throw intake.wrong;
      }
    }
    return (await intake.finish()).reduce((sum, size) => sum + size, 0);
  } catch (error) {
    await intake.abandon();
    throw error;
  }
}

class Intake {
  /** Why the last one was not taken. */
  wrong: unknown;
  readonly repository: Repository;
  readonly limits: VerifyLimits | undefined;
  readonly sizes: number[] = [];
  readonly #durable: boolean;
  /** Whole and right, and not in their places. */
  #waiting: { readonly from: string; readonly path: string }[] = [];
  #waitingBytes = 0;
  #current: Incoming | undefined;

  constructor(repository: Repository, durable: boolean, limits: VerifyLimits | undefined) {
    this.repository = repository;
    this.#durable = durable;
    this.limits = limits;
  }

  begin(filename: string): PartSink {
    const target = uploadTarget(filename);
    this.#current = new Incoming(this, target, this.sizes.length);
    this.sizes.push(0);
    return this.#current;
  }

  /** A part is whole, in a file beside its place. */
  stored(from: string, path: string, bytes: number): Promise<void> | undefined {
    this.#waiting.push({ from, path });
    this.#waitingBytes += bytes;
    const isMuch = this.#waiting.length >= WAITING_FILES || this.#waitingBytes >= WAITING_BYTES;
    return isMuch ? this.#settle() : undefined;
  }

  /** Content first, then names, then folders: a name never leads to less than its content. As `ostree` does it, for many files at once. */
  async #settle(): Promise<void> {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    const { root } = this.repository;
    if (this.#durable) await syncAll(root, () => waiting.map(({ from }) => from));
    faultPoint("ostree.intake.before");
    for (const { from, path } of waiting) {
      move(from, join(root, path));
      faultPoint("ostree.intake.placed");
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.#durable) await syncAll(root, () => [...new Set(waiting.map(({ path }) => dirname(join(root, path))))]);
  }

  /** @returns whether it is here; what was wrong stands in `wrong` */
  async take(name: string, source: Source, signal: AbortSignal | undefined): Promise<boolean> {
    const sink = this.begin(name);
    try {
      for await (const piece of await source(name)) {
        signal?.throwIfAborted();
        await sink.write(piece);
      }
      await sink.end();
      return true;
    } catch (error) {
      await this.#current?.abandon();
      this.wrong = error;
      return false;
    }
  }

  async finish(): Promise<number[]> {
    await this.#settle();
    faultPoint("ostree.intake.settled");
    return this.sizes;
  }

  /** What came before the part that was refused is right, and stays. */
  async abandon(): Promise<void> {
    await this.#current?.abandon();
    await this.#settle().catch(() => {
      for (const { from } of this.#waiting) rmSync(from, { force: true });
    });
  }
}

/** A file in a folder that is there mostly. */
function create(path: string, content: Buffer): void {
  try {
    writeFileSync(path, content, { flag: "wx", mode: 0o644 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content, { flag: "wx", mode: 0o644 });
  }
}

/** To its place, whose folder is there mostly. */
function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    mkdirSync(dirname(to), { recursive: true });
    renameSync(from, to);
  }
}

let hasSync = process.platform === "linux";

/** Brings to the disk what was written: all of the file system at once, where that can be had; else file by file. */
async function syncAll(root: string, paths: () => ReadonlyArray<string>): Promise<void> {
  const env = { PATH: process.env.PATH ?? "" };
  if (hasSync) {
    const ended = await runCommand({ program: "sync", args: ["--file-system", root], env, timeoutMs: 600_000 });
    if (ended.code === 0) return;
    if (ended.why !== undefined) throw new Error(`the disk takes too long: ${ended.why}`);
    hasSync = false;
  }
  for (const path of paths()) await syncFolder(path);
}

/** One part on its way to the disk. */
class Incoming implements PartSink {
  readonly #intake: Intake;
  readonly #target: UploadTarget;
  readonly #index: number;
  readonly #check: ObjectCheck | undefined;
  #held: Buffer[] = [];
  #size = 0;
  #file: FileHandle | undefined;
  readonly #path: string;
  #over = false;

  constructor(intake: Intake, target: UploadTarget, index: number) {
    this.#intake = intake;
    this.#target = target;
    this.#index = index;
    this.#check = target.kind === "object" ? checkObject(target.name, intake.limits) : undefined;
    this.#path = intake.repository.temporaryPath();
  }

  write(piece: Buffer): Promise<void> | undefined {
    this.#size += piece.length;
    const checking = this.#check?.write(piece);
    if (this.#isSuperblock && this.#size > SUPERBLOCK_MOST) {
      throw new Refusal("too-large", this.#target.path, `a superblock has at most ${SUPERBLOCK_MOST} bytes`);
    }
    if (this.#file === undefined && (this.#size <= SMALL || this.#isSuperblock)) {
      this.#held.push(piece);
      return checking;
    }
    return this.#append(piece, checking);
  }

  get #isSuperblock(): boolean {
    return this.#target.kind === "delta" && this.#target.part === "superblock";
  }

  async #append(piece: Buffer, checking: Promise<void> | undefined): Promise<void> {
    // Both are begun before either is waited for, so that neither fails unseen.
    const writing = this.#writePiece(piece);
    const [checked, written] = await Promise.allSettled([checking, writing]);
    if (checked.status === "rejected") throw checked.reason;
    if (written.status === "rejected") throw written.reason;
  }

  async #writePiece(piece: Buffer): Promise<void> {
    if (this.#file === undefined) {
      mkdirSync(dirname(this.#path), { recursive: true });
      this.#file = await open(this.#path, "wx", 0o644);
    }
    const pieces = [...this.#held, piece];
    this.#held = [];
    let bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
    while (bytes.length > 0) {
      const { bytesWritten } = await this.#file.write(bytes);
      bytes = bytes.subarray(bytesWritten);
    }
    faultPoint("ostree.intake.during");
  }

  end(): Promise<void> | undefined {
    const verified = this.#check?.end();
    if (verified instanceof Promise) return verified.then(() => this.#store());
    return this.#store();
  }

  #store(): Promise<void> | undefined {
    this.#check?.close();
    const held = this.#held.length === 1 ? this.#held[0]! : Buffer.concat(this.#held);
    if (this.#target.kind === "delta" && this.#isSuperblock) checkSuperblock(this.#target.delta, held);
    if (this.#file !== undefined) return this.#file.close().then(() => this.#stored());
    create(this.#path, held);
    faultPoint("ostree.intake.during");
    return this.#stored();
  }

  #stored(): Promise<void> | undefined {
    this.#over = true;
    this.#held = [];
    this.#intake.sizes[this.#index] = this.#size;
    return this.#intake.stored(this.#path, this.#target.path, this.#size);
  }

  async #remove(): Promise<void> {
    await this.#file?.close().catch(() => {});
    await rm(this.#path, { force: true });
  }

  /** What was refused, or cut off. */
  async abandon(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#check?.close();
    await this.#remove();
  }
}
