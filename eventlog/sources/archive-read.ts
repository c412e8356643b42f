/** Reading archives: .tar, .tar.gz and .tar.zst as they come, .zip by its directory. What kind one is, its first bytes say. */
import { createReadStream } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { extract, type Header } from "tar-stream";
import * as yauzl from "yauzl";
import { ArchiveRefused, type ArchiveTree, refuse } from "./archive-tree.ts";

export type ArchiveKind = "tar" | "tar.gz" | "tar.zst" | "zip";

/** @returns undefined for what is none of them */
export async function kindOf(file: FileHandle): Promise<ArchiveKind | undefined> {
  const head = Buffer.alloc(512);
  const { bytesRead } = await file.read(head, 0, 512, 0);
  if (head[0] === 0x1f && head[1] === 0x8b) return "tar.gz";
  if (head.readUInt32LE(0) === 0xfd2fb528) return "tar.zst";
  // An empty zip begins with the end of its directory.
  if (head.readUInt32LE(0) === 0x04034b50 || head.readUInt32LE(0) === 0x06054b50) return "zip";
  return bytesRead === 512 && head.toString("latin1", 257, 262) === "ustar" ? "tar" : undefined;
}

/** @throws ArchiveRefused, and what the file system says */
export async function readTar(path: string, kind: ArchiveKind, tree: ArchiveTree, signal: AbortSignal): Promise<void> {
  const unpack = extract();
  const watched = new Transform({
    transform(chunk: Buffer, _, done) {
      try {
        tree.passed(chunk.length);
        done(null, chunk);
      } catch (error) {
        done(error as Error);
      }
    },
  });
  const steps: (NodeJS.ReadableStream | NodeJS.ReadWriteStream)[] = [
    createReadStream(path, { highWaterMark: 256 * 1024 }),
  ];
  if (kind === "tar.gz") steps.push(createGunzip());
  // A larger window is for archives that nobody makes by accident.
  if (kind === "tar.zst") steps.push(createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 27 } }));
  const feeding = pipeline([...steps, watched, unpack as unknown as NodeJS.WritableStream] as never, { signal });
  const taking = (async () => {
    for await (const entry of unpack as unknown as AsyncIterable<Readable & { readonly header: Header }>) {
      await takeTar(tree, entry.header, entry);
      entry.resume();
    }
  })();
  // The first of the two that fails is why; the other only breaks off.
  const broken = await Promise.allSettled([
    taking.catch((error: unknown) => {
      unpack.destroy();
      throw error;
    }),
    feeding,
  ]);
  const errors = broken.flatMap((one) => (one.status === "rejected" ? [one.reason as Error] : []));
  const refused = errors.find((error) => error instanceof ArchiveRefused);
  if (refused !== undefined) throw refused;
  if (signal.aborted) throw signal.reason;
  if (errors.length > 0) throw damaged(errors[0]!);
}

async function takeTar(tree: ArchiveTree, header: Header, content: Readable): Promise<void> {
  const { name, type, size = 0, mode = 0, linkname } = header;
  if (tree.isLeftOut(name)) return;
  switch (type) {
    case "file":
    case "contiguous-file":
      // An old way to write a folder.
      if (name.endsWith("/")) return tree.folder(name);
      return tree.file(name, size, (mode & 0o111) !== 0, content);
    case "directory":
      return tree.folder(name);
    case "symlink":
      return tree.link(name, linkname ?? "");
    default: {
      const what = type === "link" ? "a hard link" : `no file, folder or symbolic link (${type ?? "unknown"})`;
      return refuse(
        "ARCHIVE_ENTRY",
        `An entry of the archive is ${what}.`,
        "Put only files, folders and symbolic links into it.",
      );
    }
  }
}

const damaged = (error: unknown): ArchiveRefused => {
  const { code, message } = error as NodeJS.ErrnoException;
  const isDisk = code !== undefined && /^E[A-Z]+$/.test(code);
  if (isDisk) throw error;
  const why = String(message).split("\n")[0]!.slice(0, 200);
  return new ArchiveRefused({
    failed: {
      class: "permanent",
      code: "ARCHIVE_BROKEN",
      message: `The archive is damaged: ${why}.`,
      fix: "Pack it again, and upload it again.",
    },
  });
};

const S_IFMT = 0o170000;
const S_IFLNK = 0o120000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const UNIX = 3;
const LINK_BYTES = 4_096;

/** @throws ArchiveRefused, and what the file system says */
export async function readZip(path: string, tree: ArchiveTree, signal: AbortSignal): Promise<void> {
  // Sizes are compared by the tree: yauzl would complain of them where nobody listens any more.
  const zip = await yauzl
    .openPromise(path, { strictFileNames: true, validateEntrySizes: false, decodeStrings: true })
    .catch((error: unknown) => {
      throw named(error);
    });
  try {
    tree.expect(zip.entryCount);
    for await (const entry of zip.eachEntry()) {
      if (signal.aborted) throw signal.reason;
      await takeZip(zip, tree, entry, signal);
    }
  } catch (error) {
    throw error instanceof ArchiveRefused || signal.aborted ? error : named(error);
  } finally {
    zip.close();
  }
}

async function takeZip(zip: yauzl.ZipFile, tree: ArchiveTree, entry: yauzl.Entry, signal: AbortSignal): Promise<void> {
  const name = entry.fileName;
  if (tree.isLeftOut(name)) return;
  if ((entry.generalPurposeBitFlag & 1) !== 0) {
    refuse("ARCHIVE_ENCRYPTED", "The archive is encrypted.", "Pack it without a password.");
  }
  // Names of the file system only where the archive was made on one that has modes.
  const mode = entry.versionMadeBy >>> 8 === UNIX ? entry.externalFileAttributes >>> 16 : 0;
  const kind = mode & S_IFMT;
  if (name.endsWith("/")) return tree.folder(name);
  if (kind === S_IFDIR) return tree.folder(name);
  if (kind !== 0 && kind !== S_IFREG && kind !== S_IFLNK) {
    refuse("ARCHIVE_ENTRY", "An entry of the archive is no file, folder or symbolic link.", "Leave it out.");
  }
  const content = await zip.openReadStreamPromise(entry);
  const end = () => content.destroy(new Error("aborted"));
  signal.addEventListener("abort", end);
  try {
    if (kind !== S_IFLNK) return await tree.file(name, entry.uncompressedSize, (mode & 0o111) !== 0, content);
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of content as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > LINK_BYTES) refuse("ARCHIVE_LINK", "A symbolic link of the archive is too long.", "Leave it out.");
      chunks.push(chunk);
    }
    tree.link(name, Buffer.concat(chunks).toString("utf8"));
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** What yauzl says of names, as we do; the rest is damage. */
function named(error: unknown): ArchiveRefused {
  const { message = "" } = error as Error;
  if (/invalid relative path|absolute path|invalid characters in fileName/.test(message)) {
    const why = message.slice(0, 200);
    return new ArchiveRefused({
      failed: {
        class: "permanent",
        code: "ARCHIVE_NAME",
        message: `The archive has an entry that leads out of it: ${why}.`,
        fix: "Pack it again, with relative names.",
      },
    });
  }
  return damaged(error);
}
