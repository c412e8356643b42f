/** The tree of a commit, known before any of it is written: its size, its links, its submodules. */
import { posix } from "node:path";
import { type GitRun, runGit, type Source } from "../git/git-remote.ts";
import { type Failed, fail } from "../outcome.ts";

export interface TreeEntry {
  /** From the root of the deployment's source; bytes as Latin-1, so that every name survives. */
  readonly path: string;
  readonly mode: string;
  readonly object: string;
  /** Bytes; 0 for a submodule. */
  readonly size: number;
}

export interface Tree {
  readonly tree: string;
  readonly entries: readonly TreeEntry[];
  /** Where each symbolic link leads, by path. */
  readonly links: ReadonlyMap<string, string>;
}

const localMs = 120_000;

/** Lists a commit that the mirror has. */
export async function listTree(mirror: string, commit: string, run: GitRun): Promise<Tree | Failed> {
  const git = (args: string[], input?: string) =>
    runGit(
      undefined,
      { ...run, onLine: undefined },
      { args: [`--git-dir=${mirror}`, ...args], timeoutMs: localMs, ...(input === undefined ? {} : { input }) },
    );
  const root = await git(["rev-parse", "--verify", `${commit}^{tree}`]);
  if ("failed" in root) return root;
  const listed = await git(["ls-tree", "-r", "-l", "-z", "--full-tree", commit]);
  if ("failed" in listed) return listed;
  const entries: TreeEntry[] = [];
  for (const line of listed.stdout.toString("latin1").split("\0")) {
    const found = /^(\d{6}) \w+ ([0-9a-f]+) +(-|\d+)\t(.+)$/s.exec(line);
    if (found) entries.push({ mode: found[1]!, object: found[2]!, size: Number(found[3]) || 0, path: found[4]! });
  }
  const linked = entries.filter(({ mode }) => mode === "120000");
  const long = linked.find(({ size }) => size > 4096);
  if (long) return linkOutside(long.path);
  const links = new Map<string, string>();
  if (linked.length > 0) {
    const read = await git(["cat-file", "--batch"], linked.map(({ object }) => `${object}\n`).join(""));
    if ("failed" in read) return read;
    let at = 0;
    for (const { path, size } of linked) {
      at = read.stdout.indexOf(10, at) + 1; // after "<object> blob <size>\n"
      links.set(path, read.stdout.toString("latin1", at, at + size));
      at += size + 1;
    }
  }
  return { tree: root.stdout.toString("latin1").trim(), entries, links };
}

/**
 * Whether a symbolic link of the source leads out of it, alone or through others: each is walked as the kernel would.
 * @param links where each leads, by path from the root of the source
 */
export function checkLinks(links: ReadonlyMap<string, string>): Failed | undefined {
  for (const [path, target] of links) {
    const todo = [...posix.dirname(path).split("/"), ...target.split("/")];
    if (target.startsWith("/") || leadsOut(todo, links)) return linkOutside(path);
  }
  return undefined;
}

function leadsOut(todo: string[], links: ReadonlyMap<string, string>): boolean {
  const at: string[] = [];
  for (let hops = 0; todo.length > 0; ) {
    const part = todo.shift()!;
    if (part === "" || part === ".") continue;
    if (part === "..") {
      if (at.pop() === undefined) return true;
      continue;
    }
    const target = links.get([...at, part].join("/"));
    if (target === undefined) {
      at.push(part);
    } else {
      if (target.startsWith("/")) return true;
      if (hops++ > 40) return false; // a loop leads nowhere, as the kernel says too
      todo.unshift(...target.split("/"));
    }
  }
  return false;
}

function linkOutside(path: string): Failed {
  const name = Buffer.from(path, "latin1").toString("utf8").slice(0, 300);
  const fix = "Make it a relative link to a file of the repository, or put the file itself there.";
  return fail("permanent", "LINK_OUTSIDE", `${name} is a symbolic link that leads out of the repository.`, fix);
}

export interface Submodule {
  readonly path: string;
  readonly commit: string;
  readonly source: Source;
}

/** The submodules of a commit that have an address; the others are left out with a line, as a clone leaves them. */
export async function listSubmodules(
  mirror: string,
  commit: string,
  tree: Tree,
  parent: Source,
  run: GitRun,
): Promise<{ readonly submodules: readonly Submodule[] } | Failed> {
  const gitlinks = tree.entries.filter(({ mode }) => mode === "160000");
  if (gitlinks.length === 0) return { submodules: [] };
  const hasFile = tree.entries.some(({ path, mode }) => path === ".gitmodules" && mode.startsWith("100"));
  const args = [`--git-dir=${mirror}`, "config", "--blob", `${commit}:.gitmodules`, "-z", "--list"];
  const read = hasFile
    ? await runGit(undefined, { ...run, onLine: undefined }, { args, timeoutMs: localMs })
    : undefined;
  if (read && "failed" in read) {
    const fix = "Correct .gitmodules: git config --file .gitmodules --list must read it.";
    return fail("permanent", "SUBMODULES", "The file .gitmodules cannot be read.", fix);
  }
  const settings = new Map<string, Map<string, string>>();
  for (const item of read?.stdout.toString("latin1").split("\0") ?? []) {
    const found = /^submodule\.(.+)\.(path|url|update)\n(.*)$/s.exec(item);
    if (found) settings.set(found[1]!, (settings.get(found[1]!) ?? new Map()).set(found[2]!, found[3]!));
  }
  const submodules: Submodule[] = [];
  for (const { path, object } of gitlinks) {
    const setting = [...settings.values()].find((one) => one.get("path") === path);
    const url = setting?.get("url");
    if (url === undefined || setting?.get("update") === "none") {
      run.onLine?.(`left out: the submodule ${path} ${url === undefined ? "has no URL" : "is not to be updated"}`);
      continue;
    }
    submodules.push({ path, commit: object, source: submoduleSource(parent, url) });
  }
  return { submodules };
}

/** A relative URL is meant from the repository's own. */
export function submoduleSource(parent: Source, url: string): Source {
  if (/^\.\.?\//.test(url)) {
    if (parent.kind === "path") return { kind: "path", path: posix.resolve(parent.path, url) };
    const base = /^([a-z]+:\/\/[^/]+\/|[^/:]+:)(.*)$/i.exec(parent.url);
    const way = posix.normalize(`/${base?.[2] ?? ""}/${url}`).slice(1);
    return { kind: "git", url: `${base?.[1] ?? ""}${way}` };
  }
  if (url.startsWith("file://")) return { kind: "path", path: decodeURIComponent(url.slice("file://".length)) };
  return url.startsWith("/") ? { kind: "path", path: url } : { kind: "git", url };
}
