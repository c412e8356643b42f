/** Where sources lie on a node's disk. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { GitDisk } from "../git/git-remote.ts";

/** Of a node: one mirror for each repository, whoever asks for it. */
export interface MirrorDisk extends GitDisk {
  readonly mirrors: string;
}

/** Of one that has sources: `<sources>/<commit>`, whole, and `<commit>.complete` beside it with its facts. */
export interface SourceDisk {
  readonly sources: string;
}

/** The folder of a source. @throws RangeError for what is no commit. */
export function sourceFolder({ sources }: SourceDisk, commit: string): string {
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(commit)) throw new RangeError(`"${commit.slice(0, 100)}" is no commit`);
  return join(sources, commit);
}

/** The name of the mirror of a URL, or of the path of a repository on this machine. */
export const mirrorName = (url: string): string => `${createHash("sha256").update(url).digest("hex").slice(0, 40)}.git`;
