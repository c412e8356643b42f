/**
 * Sources from Git: a reference is resolved once, its commit fetched into a mirror that all applications of the node
 * share, and written out as a plain folder. Nothing here knows of deployments; each act may be repeated after any crash.
 */
import { randomBytes } from "node:crypto";
import { readFile, rename, rm, stat, statfs, utimes } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, writeWhole } from "../durable-files.ts";
import { checkSource, type Remote, runGit, type Source } from "../git/git-remote.ts";
import { diskFailure, type Failed, fail, type Outcome } from "../outcome.ts";
import { runCommand } from "../run-command.ts";
import { begin, type Call, fetchInto, forRemote, type GitWork, left, quiet } from "./git-fetch.ts";
import { checkLinks, listSubmodules, listTree, type TreeEntry } from "./git-tree.ts";
import { type SourceDisk, sourceFolder } from "./places.ts";

export type { Credentials, Source } from "../git/git-remote.ts";
export type { GitLimits, GitWork } from "./git-fetch.ts";

export interface Resolved {
  /** 40 or 64 hexadecimal digits. */
  readonly commit: string;
  /** `refs/heads/main`, `refs/tags/v1`, `HEAD`, or the commit itself. */
  readonly ref: string;
}

export interface Pulled {
  readonly commit: string;
  readonly tree: string;
  /** Absolute: `src/<commit>`. */
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  /** Files that are only pointers into Git LFS: their content was not fetched. */
  readonly lfsPointers: number;
  readonly submodules: number;
  /** It was there already. */
  readonly adopted: boolean;
}

const submodulesAtMost = 50;
const submodulesDeep = 4;

/**
 * Asks the repository what a branch, tag or commit is now; called once per deployment, its answer is recorded. A branch
 * wins over a tag of the same name; `refs/tags/…` says otherwise.
 */
export async function resolveRef(source: Source, ref: string, work: GitWork): Promise<Outcome<Resolved>> {
  const call = begin(work);
  const remote = await checkSource(source, work.localSources);
  if ("failed" in remote) return remote;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: such names are what it keeps out
  if (!/^[^-][^\u0000-\u0020\u007f~^:?*[\\]{0,254}$/.test(ref) || ref.includes("..") || ref.includes("@{")) {
    return fail(
      "permanent",
      "REF_NOT_FOUND",
      "This is no name of a branch, tag or commit.",
      "Name a branch, a tag or a commit.",
    );
  }
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(ref)) return { commit: ref, ref };
  const names = ref === "HEAD" || ref.startsWith("refs/") ? [ref] : [`refs/heads/${ref}`, `refs/tags/${ref}`];
  const listed = await listRefs(remote, call, [...names, ...names.map((name) => `${name}^{}`)]);
  if ("failed" in listed) return listed;
  for (const name of names) {
    const commit = listed.refs.get(`${name}^{}`) ?? listed.refs.get(name);
    if (commit !== undefined) return { commit, ref: name };
  }
  if (/^[0-9a-f]{7,39}$/.test(ref)) return resolveShort(remote, ref, call);
  const all = await listRefs(remote, call, []);
  const branches =
    "failed" in all ? [] : [...all.refs.keys()].flatMap((name) => /^refs\/heads\/(.+)$/.exec(name)?.[1] ?? []);
  if (!("failed" in all) && all.refs.size === 0) {
    return fail(
      "permanent",
      "REPOSITORY_EMPTY",
      "There are no commits at this address yet.",
      "Push a first commit, or correct the URL.",
    );
  }
  const fix =
    branches.length > 0
      ? `Name one that is there, such as ${branches.slice(0, 10).join(", ")}.`
      : "Name a branch that is there.";
  return fail("permanent", "REF_NOT_FOUND", `The repository has no branch, tag or commit ${ref}.`, fix);
}

async function listRefs(
  remote: Remote,
  call: Call,
  patterns: readonly string[],
): Promise<{ refs: Map<string, string> } | Failed> {
  const args = ["ls-remote", "--quiet", "--", remote.url, ...patterns];
  const timeoutMs = Math.min(left(call), call.limits.stallMs);
  const ended = await runGit(remote, quiet(call, remote), { args, timeoutMs, outputBytes: 16 * 1024 * 1024 });
  if ("failed" in ended) return ended;
  const lines = ended.stdout.toString("utf8").split("\n");
  return {
    refs: new Map(
      lines.flatMap((line) => (/^[0-9a-f]+\t/.test(line) ? [line.split("\t").reverse() as [string, string]] : [])),
    ),
  };
}

async function resolveShort(remote: Remote, ref: string, call: Call): Promise<Outcome<Resolved>> {
  const fetched = await fetchInto(remote, "", call);
  if ("failed" in fetched) return fetched;
  const args = [`--git-dir=${fetched.mirror}`, "rev-parse", "--verify", "--quiet", `${ref}^{commit}`];
  const parsed = await runGit(undefined, quiet(call), { args, timeoutMs: left(call) });
  if (!("failed" in parsed)) {
    const commit = parsed.stdout.toString("latin1").trim();
    return { commit, ref: commit };
  }
  const fix = "Name the whole commit, a branch or a tag.";
  return fail("permanent", "REF_NOT_FOUND", `The repository has no branch, tag or (only one) commit ${ref}.`, fix);
}

/** Makes sure that the commit's files stand in `src/<commit>`. */
export async function pullSource(
  app: SourceDisk,
  source: Source,
  resolved: Resolved,
  work: GitWork,
): Promise<Outcome<Pulled>> {
  const { commit } = resolved;
  const there = await findSource(app, commit);
  if (there) {
    // Used again: what collects old ones sees that.
    await utimes(there.folder, new Date(), new Date()).catch(() => {});
    return there;
  }
  const call = begin(work);
  const fresh = join(app.sources, `.new-${randomBytes(8).toString("hex")}`);
  try {
    await makeFolder(app.sources);
    const writing: Writing = {
      call,
      root: fresh,
      parent: undefined,
      files: 0,
      bytes: 0,
      submodules: 0,
      links: new Map(),
      small: [],
    };
    const tree = await writeCommit(writing, source, commit, "", 0);
    if ("failed" in tree) return tree;
    const outside = checkLinks(writing.links);
    if (outside) return outside;
    const lfsPointers = await countPointers(fresh, writing.small);
    if (lfsPointers > 0)
      call.onLine?.(`note: ${lfsPointers} files are pointers into Git LFS; their content is not fetched`);
    const { files, bytes, submodules } = writing;
    await runCommand({
      program: "sync",
      args: ["-f", fresh],
      env: { PATH: process.env.PATH ?? "" },
      timeoutMs: 120_000,
    });
    const facts = { tree: tree.tree, files, bytes, lfsPointers, submodules };
    return { ...(await settleSource(app, commit, fresh, facts)), adopted: false };
  } catch (error) {
    return diskFailure(error, "writing the source");
  } finally {
    await rm(fresh, { recursive: true, force: true }).catch(() => {});
  }
}

type Facts = Omit<Pulled, "commit" | "folder" | "adopted">;

/** Gives a folder that is whole, and on the disk, its place: `src/<commit>`. */
export async function settleSource(
  app: SourceDisk,
  commit: string,
  fresh: string,
  facts: Facts,
): Promise<Omit<Pulled, "adopted">> {
  await writeWhole(factsOf(app, commit), JSON.stringify(facts));
  await moveInto(fresh, sourceFolder(app, commit));
  return { ...facts, commit, folder: sourceFolder(app, commit) };
}

/** What stands in `src/<commit>`, whole; undefined when it does not. */
export async function findSource(app: SourceDisk, commit: string): Promise<Pulled | undefined> {
  const folder = sourceFolder(app, commit);
  try {
    // The facts are written first and the folder comes whole by a rename, so both or nothing counts.
    if (!(await stat(folder)).isDirectory()) return undefined;
    const facts = JSON.parse(await readFile(factsOf(app, commit), "utf8")) as Facts;
    return { ...facts, commit, folder, adopted: true };
  } catch {
    return undefined;
  }
}

/** Beside the folder, not in it: the folder is what is built. */
const factsOf = (app: SourceDisk, commit: string): string => `${sourceFolder(app, commit)}.complete`;

async function moveInto(fresh: string, folder: string): Promise<void> {
  try {
    await rename(fresh, folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error; // otherwise somebody was faster
  }
}

interface Writing {
  readonly call: Call;
  /** Absolute. */
  readonly root: string;
  /** The origin of the deployment's own repository. */
  parent: string | undefined;
  files: number;
  bytes: number;
  submodules: number;
  readonly links: Map<string, string>;
  /** Files of a size that a pointer has. */
  readonly small: string[];
}

/** Fetches a commit and writes its files below `prefix`, its submodules into their folders. */
async function writeCommit(
  writing: Writing,
  source: Source,
  commit: string,
  prefix: string,
  depth: number,
): Promise<{ tree: string } | Failed> {
  const { call } = writing;
  const remote = await checkSource(source, call.work.localSources);
  if ("failed" in remote) return depth === 0 ? remote : inSubmodule(prefix, remote);
  if (depth === 0) writing.parent = remote.origin;
  // A submodule's host must not be given what was meant for another.
  const credentials = remote.origin === writing.parent ? call.credentials : undefined;
  const fetched = await fetchInto(remote, commit, { ...call, credentials });
  if ("failed" in fetched) return depth === 0 ? fetched : inSubmodule(prefix, fetched);
  const tree = await listTree(fetched.mirror, commit, quiet(call));
  if ("failed" in tree) return tree;
  for (const entry of tree.entries) countEntry(writing, entry, prefix);
  for (const [path, target] of tree.links) writing.links.set(prefix + path, target);
  const { files, bytes } = call.limits;
  if (writing.files > files || writing.bytes > bytes) {
    const fix = "Deploy from a smaller repository: take large files out of it.";
    return fail("permanent", "REPOSITORY_TOO_LARGE", `The source has more than ${files} files or ${bytes} bytes.`, fix);
  }
  const outside = checkLinks(writing.links);
  if (outside) return outside;
  // Git does not say why a file cannot be written.
  const { bavail, bsize } = await statfs(call.disk.root);
  const needed = tree.entries.reduce((sum, entry) => sum + entry.size, 0);
  if (needed > bavail * bsize) return diskFailure({ code: "ENOSPC" }, `writing the ${needed} bytes of the source`);
  const failed = await checkOut(fetched.mirror, commit, join(writing.root, prefix), call);
  if (failed) return failed;
  const listed = await listSubmodules(fetched.mirror, commit, tree, source, forRemote(call));
  if ("failed" in listed) return listed;
  for (const submodule of listed.submodules) {
    if (++writing.submodules > submodulesAtMost || depth >= submodulesDeep) {
      const fix = "Take submodules out of the repository, or build the source elsewhere.";
      return fail(
        "permanent",
        "SUBMODULES",
        `There are more than ${submodulesAtMost} submodules, or they are nested deeper than ${submodulesDeep}.`,
        fix,
      );
    }
    call.onLine?.(`submodule ${submodule.path}`);
    const within = await writeCommit(
      writing,
      submodule.source,
      submodule.commit,
      `${prefix}${submodule.path}/`,
      depth + 1,
    );
    if ("failed" in within) return within;
  }
  return { tree: tree.tree };
}

function countEntry(writing: Writing, { path, mode, size }: TreeEntry, prefix: string): void {
  writing.files++;
  writing.bytes += size;
  if (mode.startsWith("100") && size >= 100 && size <= 300) writing.small.push(prefix + path);
}

function inSubmodule(prefix: string, { failed }: Failed): Failed {
  return { failed: { ...failed, message: `Submodule ${prefix.slice(0, -1)}: ${failed.message}` } };
}

async function countPointers(root: string, paths: readonly string[]): Promise<number> {
  let pointers = 0;
  for (const path of paths) {
    const content = await readFile(
      Buffer.from(`${Buffer.from(root).toString("latin1")}/${path}`, "latin1"),
      "latin1",
    ).catch(() => "");
    if (content.startsWith("version https://git-lfs.github.com/spec/")) pointers++;
  }
  return pointers;
}

/** Writes the files of a commit into a folder; git itself refuses paths that lead out of it. */
async function checkOut(mirror: string, commit: string, folder: string, call: Call): Promise<Failed | undefined> {
  await makeFolder(folder);
  const index = join(call.disk.tmp, `index-${randomBytes(8).toString("hex")}`);
  const git = (...args: string[]) =>
    runGit(undefined, quiet(call), {
      args: [`--git-dir=${mirror}`, `--work-tree=${folder}`, ...args],
      cwd: folder,
      env: { GIT_INDEX_FILE: index },
      timeoutMs: left(call),
    });
  try {
    const read = await git("read-tree", commit);
    if ("failed" in read) return read;
    const written = await git("checkout-index", "--all", "--force", "--quiet");
    return "failed" in written ? written : undefined;
  } finally {
    await rm(index, { force: true });
  }
}
