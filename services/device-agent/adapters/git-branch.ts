/**
 * A folder of a branch, read and written without a working tree: what stands in a repository is never put on the disk under its own name, so
 * no link, path or attribute of it can do anything. Every act may be repeated after any crash: who comes again fetches first, and finds
 * what was pushed.
 */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { SYNC_LIMITS } from "@millrace/contracts/devices/syncs.ts";
import { TOML_MOST } from "@millrace/domain/devices/model/exports/toml.ts";
import { makeFolder } from "@millrace/eventlog/durable-files.ts";
import { type GitRun, type Remote, runGit } from "@millrace/eventlog/git/git-remote.ts";
import { diskFailure, type Failed, fail, type Outcome } from "@millrace/eventlog/outcome.ts";
import type { Command, Ended } from "@millrace/eventlog/run-command.ts";

const GIT_MS = 120_000;
/** As `core.hooksPath` and the like, git's own limit of what a process may write holds for each file of it. */
const BLOCKS = Math.ceil(SYNC_LIMITS.fetchBytes / 512);

export interface BranchPlace {
  readonly remote: Remote;
  readonly branch: string;
  /** `.` or a path without `.` and `..`. */
  readonly folder: string;
}

export interface TomlFile {
  /** Name within the folder. */
  readonly name: string;
  readonly object: string;
  readonly bytes: number;
}

export interface CommitAsked {
  /** The branch as it was fetched; null: it is not there yet. */
  readonly parent: string | null;
  /** Texts by name within the folder; null: it goes. */
  readonly changes: ReadonlyMap<string, string | null>;
  readonly message: string;
  /** RFC 3339 */
  readonly at: string;
}

/** A repository of our own for the time of one run. */
export class Branch {
  readonly #place: BranchPlace;
  readonly #run: GitRun;
  readonly #folder: string;

  private constructor(place: BranchPlace, run: GitRun, folder: string) {
    this.#place = place;
    this.#run = run;
    this.#folder = folder;
  }

  static async open(place: BranchPlace, run: GitRun): Promise<Outcome<{ readonly branch: Branch }>> {
    const folder = join(run.disk.tmp, `sync-${process.pid}-${randomBytes(8).toString("hex")}`);
    try {
      await makeFolder(run.disk.tmp);
    } catch (error) {
      return diskFailure(error, "making a folder for the repository");
    }
    const made = await runGit(undefined, run, { args: ["init", "-q", "--bare", folder], timeoutMs: GIT_MS });
    return "failed" in made ? made : { branch: new Branch(place, run, folder) };
  }

  close(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true });
  }

  #git(args: readonly string[], more: Partial<Command> = {}, remote?: Remote): Promise<Ended | Failed> {
    return runGit(remote, this.#run, { args: [`--git-dir=${this.#folder}`, ...args], timeoutMs: GIT_MS, ...more });
  }

  /** The branch's commit as it is now, brought here; null: the branch is not there. */
  async fetch(): Promise<Outcome<{ readonly head: string | null }>> {
    const { remote, branch } = this.#place;
    const ref = `refs/heads/${branch}`;
    const listed = await this.#git(["ls-remote", "--quiet", "--", remote.url, ref], { outputBytes: 65_536 }, remote);
    if ("failed" in listed) return listed;
    const head = /^([0-9a-f]{40,64})\t/.exec(listed.stdout.toString("latin1"))?.[1];
    if (head === undefined) return { head: null };
    const brought = await this.bring(head);
    return brought === undefined ? { head } : brought;
  }

  /** @returns why not */
  async bring(commit: string): Promise<Failed | undefined> {
    const { remote } = this.#place;
    const args = [`--git-dir=${this.#folder}`, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"];
    const ended = await runGit(remote, this.#run, {
      program: "sh",
      args: ["-c", `ulimit -f ${BLOCKS}; exec git "$@"`, "git", ...args, "--", remote.url, commit],
      timeoutMs: GIT_MS,
    });
    return "failed" in ended ? ended : undefined;
  }

  /** The TOML files that stand in the folder itself, by name. Links, submodules and others are left alone. */
  async files(commit: string): Promise<Outcome<{ readonly files: ReadonlyMap<string, TomlFile> }>> {
    const { folder } = this.#place;
    const tree = folder === "." ? `${commit}^{tree}` : `${commit}:${folder}`;
    const there = await this.#git(["rev-parse", "--verify", "--quiet", tree]);
    if ("failed" in there) return { files: new Map() };
    const listed = await this.#git(["ls-tree", "-l", "-z", there.stdout.toString("latin1").trim()]);
    if ("failed" in listed) {
      const fix = "Name a folder of the repository, or take the file of that name out of it.";
      return fail("permanent", "NO_FOLDER", `${folder} of the repository is no folder.`, fix);
    }
    const files = new Map<string, TomlFile>();
    let bytes = 0;
    for (const line of listed.stdout.toString("utf8").split("\0")) {
      const [, mode, object, size, name] = /^(\d{6}) \w+ ([0-9a-f]+) +(-|\d+)\t(.+)$/s.exec(line) ?? [];
      if (name === undefined || !name.endsWith(".toml")) continue;
      if (mode === "120000") {
        const fix = "Put the file itself there.";
        return fail(
          "permanent",
          "LINK_REFUSED",
          `${name.slice(0, 200)} is a symbolic link, and none is followed.`,
          fix,
        );
      }
      if (!mode!.startsWith("100")) continue;
      files.set(name, { name, object: object!, bytes: Number(size) });
      bytes += Number(size);
    }
    const large = [...files.values()].find((file) => file.bytes > TOML_MOST);
    if (large !== undefined) {
      const message = `${large.name.slice(0, 200)} has ${large.bytes} bytes.`;
      return fail("permanent", "FILE_TOO_LARGE", message, `A device's file has at most ${TOML_MOST}.`);
    }
    if (files.size <= SYNC_LIMITS.files && bytes <= SYNC_LIMITS.bytes) return { files };
    const message = `The folder has ${files.size} TOML files of ${bytes} bytes.`;
    const fix = `Keep at most ${SYNC_LIMITS.files} files and ${SYNC_LIMITS.bytes} bytes in one folder.`;
    return fail("permanent", "REPOSITORY_TOO_LARGE", message, fix);
  }

  /** Texts by name. */
  async texts(files: ReadonlyArray<TomlFile>): Promise<Outcome<{ readonly texts: ReadonlyMap<string, string> }>> {
    const texts = new Map<string, string>();
    if (files.length === 0) return { texts };
    const read = await this.#git(["cat-file", "--batch"], { input: files.map(({ object }) => `${object}\n`).join("") });
    if ("failed" in read) return read;
    let at = 0;
    for (const { name, bytes } of files) {
      at = read.stdout.indexOf(10, at) + 1; // after "<object> blob <size>\n"
      texts.set(name, read.stdout.toString("utf8", at, at + bytes));
      at += bytes + 1;
    }
    return { texts };
  }

  /** Makes the commit here: the same ask makes the same commit. */
  async commit({ parent, changes, message, at }: CommitAsked): Promise<Outcome<{ readonly commit: string }>> {
    const { folder } = this.#place;
    const who = `Millrace <millrace@localhost> ${Math.floor(Date.parse(at) / 1_000)} +0000`;
    const data = (text: string) => `data ${Buffer.byteLength(text)}\n${text}\n`;
    const path = (name: string) => JSON.stringify(folder === "." ? name : `${folder}/${name}`);
    const lines = [...changes].map(([name, text]) =>
      text === null ? `D ${path(name)}\n` : `M 100644 inline ${path(name)}\n${data(text)}`,
    );
    const input = [
      `commit refs/heads/made\ncommitter ${who}\n${data(message)}`,
      ...(parent === null ? [] : [`from ${parent}\n`]),
      ...lines,
      "\ndone\n",
    ].join("");
    const made = await this.#git(["fast-import", "--quiet", "--done", "--force"], { input });
    if ("failed" in made) return made;
    const parsed = await this.#git(["rev-parse", "--verify", "refs/heads/made"]);
    return "failed" in parsed ? parsed : { commit: parsed.stdout.toString("latin1").trim() };
  }

  /** @returns `overtaken`: somebody pushed meanwhile, and nothing of ours is there */
  async push(commit: string): Promise<Outcome<{ readonly done: "pushed" | "overtaken" }>> {
    const { remote, branch } = this.#place;
    const pushed = await this.#git(
      ["push", "--porcelain", "--no-verify", "--", remote.url, `${commit}:refs/heads/${branch}`],
      {},
      remote,
    );
    if (!("failed" in pushed)) return { done: "pushed" };
    const now = await this.fetch();
    if ("failed" in now) return now;
    if (now.head === commit) return { done: "pushed" };
    if (
      /rejected|fetch first|non-fast-forward|failed to push|failed to update ref|cannot lock ref/i.test(
        pushed.failed.message,
      )
    ) {
      return { done: "overtaken" };
    }
    return pushed;
  }
}
