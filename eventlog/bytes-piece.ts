/** One piece of an upload, from a stream to a file: as fast as the disk takes it, with a bounded amount in memory. */
import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { Readable } from "node:stream";
import { faultPoint } from "./faultpoint.ts";

/** Above this much that waits to be written the stream is held, below the other it goes on. */
const HIGH_BYTES = 4 * 1024 * 1024;
const LOW_BYTES = 1024 * 1024;
/** A stream that brings nothing for so long is over. */
const IDLE_MS = 60_000;

export interface PieceOptions {
  /** Where in the file it goes. */
  readonly offset: number;
  /** More is an error, and not written. */
  readonly maxBytes: number;
  /** Fed with every byte as it comes. */
  readonly hashes: ReadonlyArray<Hash>;
  readonly signal: AbortSignal;
}

export interface Written {
  /** Bytes that stand in the file now. */
  readonly bytes: number;
  /** `ended`: all of the stream; `cut`: the sender, the signal or the time ended it before; `more`: it would not fit. */
  readonly how: "ended" | "cut" | "more";
}

/** @throws what the file system says; everything before that is in the file, and `hashes` are of no use any more */
export function writePiece(file: FileHandle, source: Readable, options: PieceOptions): Promise<Written> {
  const { offset, maxBytes, hashes, signal } = options;
  return new Promise((resolve, reject) => {
    let waiting: Buffer[] = [];
    let waitingBytes = 0;
    let arrived = 0;
    let written = 0;
    let writing = false;
    let how: Written["how"] | undefined;
    let failed: { readonly error: unknown } | undefined;
    let idle: NodeJS.Timeout;

    const settle = () => {
      if (how === undefined || writing) return;
      if (failed !== undefined) return reject(failed.error);
      if (waiting.length > 0) return void write();
      resolve({ bytes: written, how });
    };
    const end = (as: Written["how"]) => {
      if (how !== undefined) return;
      how = as;
      clearTimeout(idle);
      source.off("data", take).off("end", onEnd).off("close", onCut).off("error", onCut);
      source.on("error", () => {});
      signal.removeEventListener("abort", onCut);
      settle();
    };
    const write = async () => {
      writing = true;
      const [buffers, bytes] = [waiting, waitingBytes];
      waiting = [];
      waitingBytes = 0;
      try {
        for (let done = 0; done < bytes; ) {
          const { bytesWritten } = await file.writev(done === 0 ? buffers : rest(buffers, done), offset + written);
          done += bytesWritten;
          written += bytesWritten;
        }
        faultPoint("bytes.piece.during");
      } catch (error) {
        failed = { error };
        waiting = [];
        end("cut");
      }
      writing = false;
      if (how !== undefined) return settle();
      if (waitingBytes < LOW_BYTES && source.isPaused()) source.resume();
      if (waiting.length > 0) void write();
    };
    const take = (chunk: Buffer) => {
      idle.refresh();
      if (arrived + chunk.length > maxBytes) return end("more");
      arrived += chunk.length;
      for (const hash of hashes) hash.update(chunk);
      waiting.push(chunk);
      waitingBytes += chunk.length;
      if (waitingBytes > HIGH_BYTES) source.pause();
      if (!writing) void write();
    };
    const onEnd = () => end("ended");
    const onCut = () => end("cut");
    idle = setTimeout(onCut, IDLE_MS);
    signal.addEventListener("abort", onCut);
    source.on("data", take).on("end", onEnd).on("close", onCut).on("error", onCut);
    if (signal.aborted || source.destroyed) end("cut");
  });
}

/** What is left of buffers when their first bytes are written. */
function rest(buffers: ReadonlyArray<Buffer>, done: number): Buffer[] {
  const left: Buffer[] = [];
  for (const buffer of buffers) {
    if (done < buffer.length) left.push(done > 0 ? buffer.subarray(done) : buffer);
    done = Math.max(0, done - buffer.length);
  }
  return left;
}

/** SHA-256 of a file, read in pieces. */
export async function hashOfFile(file: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  const stream = file.createReadStream({ start: 0, autoClose: false, highWaterMark: LOW_BYTES });
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
