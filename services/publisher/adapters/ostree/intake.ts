/**
 * What is uploaded, to its place: each object verified while it comes, written beside, moved when it is whole and right. A part that is
 * refused leaves nothing; those before it stay.
 */
import type { FileHandle } from "node:fs/promises";
import { open, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { syncFolder } from "@millrace/eventlog/durable-files.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
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

/** Less than this is written in one go. */
const SMALL = 64 * 1024;
/** Files that are being written at once. */
const AT_ONCE = 16;

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

class Intake {
  readonly repository: Repository;
  readonly durable: boolean;
  readonly limits: VerifyLimits | undefined;
  readonly sizes: number[] = [];
  readonly folders = new Set<string>();
  readonly #writing = new Set<Promise<void>>();
  #current: Incoming | undefined;
  #failed: unknown;

  constructor(repository: Repository, durable: boolean, limits: VerifyLimits | undefined) {
    this.repository = repository;
    this.durable = durable;
    this.limits = limits;
  }

  begin(filename: string): PartSink {
    if (this.#failed !== undefined) throw this.#failed;
    const target = uploadTarget(filename);
    this.#current = new Incoming(this, target, this.sizes.length);
    this.sizes.push(0);
    return this.#current;
  }

  /** Writing goes on beside what is read next, a few at once. */
  follow(writing: Promise<void>): Promise<void> | undefined {
    const kept = writing.then(
      () => void this.#writing.delete(kept),
      (error: unknown) => {
        this.#writing.delete(kept);
        this.#failed ??= error;
      },
    );
    this.#writing.add(kept);
    return this.#writing.size < AT_ONCE ? undefined : Promise.race(this.#writing);
  }

  async finish(): Promise<number[]> {
    await Promise.all(this.#writing);
    if (this.#failed !== undefined) throw this.#failed;
    if (this.durable) await Promise.all([...this.folders].map(syncFolder));
    faultPoint("ostree.intake.settled");
    return this.sizes;
  }

  async abandon(): Promise<void> {
    await this.#current?.abandon();
    await Promise.all(this.#writing);
  }
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
    this.#file ??= await open(this.#path, "wx", 0o644);
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
    this.#held = [];
    if (this.#target.kind === "delta" && this.#isSuperblock) checkSuperblock(this.#target.delta, held);
    this.#over = true;
    this.#intake.sizes[this.#index] = this.#size;
    return this.#intake.follow(this.#move(held));
  }

  async #move(held: Buffer): Promise<void> {
    const { repository, durable, folders } = this.#intake;
    const { path } = this.#target;
    try {
      if (this.#file === undefined && !durable) await writeFile(this.#path, held, { flag: "wx", mode: 0o644 });
      else {
        if (this.#file === undefined) await this.#writePiece(held);
        if (durable) await this.#file!.datasync();
        await this.#file!.close();
      }
      faultPoint("ostree.intake.before");
      await repository.place(this.#path, path);
      faultPoint("ostree.intake.placed");
      folders.add(dirname(join(repository.root, path)));
    } catch (error) {
      await this.#remove();
      throw error;
    }
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
