/**
 * Sources from an upload: the archive is compared with its hash, and unpacked to a plain folder beside those that come from Git.
 * What a commit is to a repository, the hash of its bytes is to an archive.
 */
import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { hashOfFile } from "../bytes-piece.ts";
import { makeFolder } from "../durable-files.ts";
import { cancelled, diskFailure, fail, type Outcome } from "../outcome.ts";
import { runCommand } from "../run-command.ts";
import { kindOf, readTar, readZip } from "./archive-read.ts";
import { ARCHIVE_LIMITS, type ArchiveLimits, ArchiveRefused, ArchiveTree } from "./archive-tree.ts";
import { findSource, type Pulled, settleSource } from "./git.ts";
import type { SourceDisk } from "./places.ts";

export interface ArchiveWork {
  /** Absolute path of the archive. */
  readonly path: string;
  readonly sha256: string;
  readonly limits?: Partial<ArchiveLimits>;
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

const DAMAGED = (what: string) => fail("permanent", "UPLOAD_LOST", what, "Upload it again, and deploy that.");

/** Makes sure that the archive's files stand in `src/<sha256>`. */
export async function unpackSource(app: SourceDisk, work: ArchiveWork): Promise<Outcome<Pulled>> {
  const { path, sha256, signal, onLine } = work;
  const there = await findSource(app, sha256);
  if (there) return there;
  const fresh = join(app.sources, `.new-${randomBytes(8).toString("hex")}`);
  try {
    const archive = await open(path, "r").catch(() => undefined);
    if (archive === undefined) return DAMAGED("The uploaded archive is no longer on the node's disk.");
    let size: number;
    let kind: Awaited<ReturnType<typeof kindOf>>;
    try {
      ({ size } = await archive.stat());
      if ((await hashOfFile(archive)) !== sha256)
        return DAMAGED("The uploaded archive is not what was uploaded any more.");
      kind = await kindOf(archive);
    } finally {
      await archive.close();
    }
    if (kind === undefined) {
      const fix =
        "Pack the folder as .tar, .tar.gz, .tar.zst or .zip; `mill apps deploy --upload <folder>` does it for you.";
      return fail("permanent", "ARCHIVE_KIND", "What was uploaded is no archive that is understood.", fix);
    }
    await makeFolder(fresh);
    onLine(`unpacking ${size} bytes of ${kind}`);
    const tree = new ArchiveTree(fresh, size, { ...ARCHIVE_LIMITS, ...work.limits });
    await (kind === "zip" ? readZip(path, tree, signal) : readTar(path, kind, tree, signal));
    const hash = await tree.finish();
    await runCommand({
      program: "sync",
      args: ["-f", fresh],
      env: { PATH: process.env.PATH ?? "" },
      timeoutMs: 120_000,
    });
    const facts = { tree: hash, files: tree.files, bytes: tree.bytes, lfsPointers: 0, submodules: 0 };
    return { ...(await settleSource(app, sha256, fresh, facts)), adopted: false };
  } catch (error) {
    if (error instanceof ArchiveRefused) return error.failure;
    if (signal.aborted) return cancelled("Unpacking the archive");
    return diskFailure(error, "unpacking the archive");
  } finally {
    await rm(fresh, { recursive: true, force: true }).catch(() => {});
  }
}
