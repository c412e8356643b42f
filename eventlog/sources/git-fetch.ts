/**
 * Mirrors: one bare repository for each URL, shared by all applications of the node and locked between processes. What is
 * fetched into one is bounded in size and time, and shallow when the server can: only trees are wanted.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../durable-files.ts";
import { type Credentials, type GitRun, type Remote, runGit } from "../git/git-remote.ts";
import { diskFailure, type Failed, fail } from "../outcome.ts";
import { type MirrorDisk, mirrorName } from "./places.ts";

export interface GitLimits {
  /** For a whole call. Default 600 000. */
  readonly deadlineMs: number;
  /** Without any progress. Default 60 000. */
  readonly stallMs: number;
  /** What one mirror may grow by. Default 2 GiB. */
  readonly fetchBytes: number;
  /** Of the tree, submodules included. Default 100 000. */
  readonly files: number;
  /** Of the tree, submodules included. Default 2 GiB. */
  readonly bytes: number;
}

export interface GitWork {
  readonly disk: MirrorDisk;
  /** Absolute; sources of kind "path" (and submodules on this machine) must lie below one. Empty: none are allowed. */
  readonly localSources: readonly string[];
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
  /** Lines for the deployment's log. Hold no secret. */
  readonly onLine?: (line: string) => void;
  readonly limits?: Partial<GitLimits>;
}

const defaults: GitLimits = {
  deadlineMs: 600_000,
  stallMs: 60_000,
  fetchBytes: 2 * 1024 ** 3,
  files: 100_000,
  bytes: 2 * 1024 ** 3,
};

/** One call: what bounds it, and where it stands. */
export interface Call extends GitRun {
  readonly disk: MirrorDisk;
  readonly work: GitWork;
  readonly limits: GitLimits;
  /** Epoch milliseconds. */
  readonly deadlineAt: number;
}

export function begin(work: GitWork): Call {
  const limits = { ...defaults, ...work.limits };
  const { disk, credentials, signal, onLine } = work;
  return { work, limits, deadlineAt: Date.now() + limits.deadlineMs, disk, credentials, signal, onLine };
}

export const left = (call: Call): number => Math.max(1, call.deadlineAt - Date.now());

/** The same without lines for people, and without credentials that are another host's. */
export const quiet = (call: Call, remote?: Remote): GitRun => ({ ...forRemote(call, remote), onLine: undefined });

export const forRemote = (call: Call, remote?: Remote): GitRun => {
  const { disk, signal, onLine, credentials } = call;
  return { disk, signal, onLine, credentials: remote === undefined ? undefined : credentials };
};

// $1 mirror, $2 URL, $3 commit (empty: all branches and tags). Under the mirror's lock; what a killed one left is swept
// first, and what another has brought while this one waited is taken.
const script = `
set -u
[ -f "$1/HEAD" ] || { rm -rf "$1.new" && git init -q --bare "$1.new" && mv -T "$1.new" "$1"; } || exit 1
rm -f "$1"/objects/pack/tmp_* "$1"/*.lock
export GIT_DIR="$1"
fetch() { git fetch --progress --no-tags --no-write-fetch-head --no-recurse-submodules "$@"; }
if [ -n "$3" ]; then
  git rev-parse -q --verify "refs/millrace/$3" >/dev/null && git cat-file -e "$3^{tree}" 2>/dev/null && exit 0
  fetch --depth=1 -- "$2" "+$3:refs/millrace/$3"
else
  whole=; [ ! -f "$1/shallow" ] || whole=--unshallow
  fetch $whole -- "$2" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
fi
`;

/** Brings a commit (empty: all branches and tags) into the mirror of its repository. */
export async function fetchInto(remote: Remote, commit: string, call: Call): Promise<{ mirror: string } | Failed> {
  const mirror = join(call.disk.mirrors, mirrorName(remote.url));
  try {
    await makeFolder(call.disk.mirrors);
  } catch (error) {
    return diskFailure(error, "making the mirror");
  }
  const failed = await fetchOnce(remote, mirror, commit, call);
  if (failed === undefined) return { mirror };
  // Only the tree is wanted. A server that gives no single commit, or only all of it, is asked for all of it.
  if (commit === "" || !["COMMIT_NOT_FOUND", "SHALLOW_REFUSED"].includes(failed.failed.code)) return failed;
  const all = await fetchOnce(remote, mirror, "", call);
  if (all !== undefined) return all;
  const args = [`--git-dir=${mirror}`, "update-ref", `refs/millrace/${commit}`, commit];
  const kept = await runGit(undefined, quiet(call), { args, timeoutMs: left(call) });
  if (!("failed" in kept)) return { mirror };
  const fix = "Deploy a branch, a tag, or another commit.";
  return fail("permanent", "COMMIT_NOT_FOUND", `The commit ${commit} is not in the repository.`, fix);
}

async function fetchOnce(remote: Remote, mirror: string, commit: string, call: Call): Promise<Failed | undefined> {
  const watch = watchGrowth(mirror, call.limits);
  const signal = call.signal ? AbortSignal.any([call.signal, watch.signal]) : watch.signal;
  try {
    // flock becomes the shell: whoever holds the lock dies with this process, and the lock with it.
    const args = ["--no-fork", `${mirror}.lock`, "sh", "-c", script, "sh", mirror, remote.url, commit];
    const how = { program: "flock", args, timeoutMs: left(call), onLine: watch.progress };
    const ended = await runGit(remote, { ...forRemote(call, remote), signal }, how);
    if (!("failed" in ended)) return undefined;
    return call.signal?.aborted ? ended : (watch.failed() ?? ended);
  } finally {
    watch.stop();
  }
}

/** Ends a fetch that brings too much, or nothing for too long. */
function watchGrowth(mirror: string, limits: GitLimits) {
  const abort = new AbortController();
  let failed: Failed | undefined;
  let before: number | undefined;
  let last = 0;
  let movedAt = Date.now();
  const end = (failure: Failed) => {
    failed = failure;
    abort.abort();
  };
  const timer = setInterval(async () => {
    const size = await packBytes(mirror);
    before ??= size;
    if (size !== last) movedAt = Date.now();
    last = size;
    if (size - before > limits.fetchBytes) {
      const fix = "Deploy from a smaller repository, or raise the limits of the node.";
      end(
        fail("permanent", "REPOSITORY_TOO_LARGE", `The repository brings more than ${limits.fetchBytes} bytes.`, fix),
      );
    } else if (Date.now() - movedAt > limits.stallMs) {
      const fix = "It is tried again; look at the repository's host, or at the network between.";
      end(fail("timeout", "REMOTE_TIMEOUT", `The repository's host sent nothing for ${limits.stallMs} ms.`, fix));
    }
  }, 250);
  return {
    signal: abort.signal,
    progress: () => {
      movedAt = Date.now();
    },
    failed: () => failed,
    stop: () => clearInterval(timer),
  };
}

async function packBytes(mirror: string): Promise<number> {
  const folder = join(mirror, "objects", "pack");
  const sizes = (await readdir(folder).catch(() => [])).map((name) =>
    stat(join(folder, name)).then(
      (file) => file.size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
