/**
 * The real tools: `ostree`, `flatpak`, `gpg`. Each run has a home of its own, a limit of time and output, and is ended with all it
 * started. No secret stands in an argument.
 */
import { mkdtempSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Ended, runCommand } from "@millrace/eventlog/run-command.ts";

export type ToolName = "ostree" | "flatpak" | "gpg" | "gpgconf";

/** A tool that was run and did not do it. */
export class ToolFailed extends Error {
  override readonly name = "ToolFailed";
  readonly tool: ToolName;
  /** `missing`: it is not installed; `cancelled`: asked for; `failed`: it said no. */
  readonly how: "failed" | "timeout" | "output" | "cancelled" | "missing";
  /** Null: it was ended. */
  readonly code: number | null;
  /** What it wrote last on its standard error; no secret is in it. */
  readonly said: string;

  constructor(tool: ToolName, verb: string, ended: Ended) {
    const how = ended.notStarted === undefined ? (ended.why ?? "failed") : "missing";
    const said = (ended.notStarted ?? ended.stderr).trim().slice(-2_000);
    super(`${tool} ${verb}: ${how === "failed" ? said || `exit code ${ended.code}` : how}`);
    this.tool = tool;
    this.how = how;
    this.code = ended.code;
    this.said = said;
  }
}

export interface ToolsOptions {
  /** PATH, and where parts of the tools are; nothing else of the environment is handed on. */
  readonly env: Readonly<Record<string, string>>;
  /** A folder for homes; made when absent. */
  readonly home: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly input?: string | Uint8Array;
  /** Each line that the tool writes on its standard error. */
  readonly onLine?: (line: string) => void;
  /** GPG's home, for what signs. */
  readonly gpgHome?: string | undefined;
  /** Exit codes that are no failure. Default: 0. */
  readonly allowed?: ReadonlyArray<number>;
}

const MINUTE = 60_000;

export class Tools {
  readonly #env: Readonly<Record<string, string>>;
  readonly #home: string;

  constructor(options: ToolsOptions) {
    this.#env = options.env;
    this.#home = options.home;
  }

  static async open(options: ToolsOptions): Promise<Tools> {
    for (const name of ["", "data", "config", "cache", "run"]) {
      await mkdir(join(options.home, name), { recursive: true, mode: 0o700 });
    }
    return new Tools(options);
  }

  /** @returns standard output @throws ToolFailed */
  async run(tool: ToolName, args: ReadonlyArray<string>, options: RunOptions = {}): Promise<Buffer> {
    const at = (name: string) => join(this.#home, name);
    const ended = await runCommand({
      program: tool,
      args,
      env: {
        LC_ALL: "C.UTF-8",
        TZ: "UTC",
        ...this.#env,
        HOME: this.#home,
        XDG_DATA_HOME: at("data"),
        XDG_CONFIG_HOME: at("config"),
        XDG_CACHE_HOME: at("cache"),
        XDG_RUNTIME_DIR: at("run"),
        // Not the system's installation, nor a bus that may be there.
        FLATPAK_SYSTEM_DIR: at("system"),
        FLATPAK_CONFIG_DIR: at("config"),
        DBUS_SESSION_BUS_ADDRESS: "disabled:",
        GSETTINGS_BACKEND: "memory",
        GIO_USE_VFS: "local",
        GNUPGHOME: options.gpgHome ?? at("gpg"),
      },
      timeoutMs: options.timeoutMs ?? 10 * MINUTE,
      outputBytes: 64 * 1024 * 1024,
      bound: true,
      ...(options.input === undefined ? {} : { input: options.input }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.onLine === undefined ? {} : { onLine: options.onLine }),
    });
    if (ended.notStarted === undefined && ended.why === undefined && ended.code !== null) {
      if ((options.allowed ?? [0]).includes(ended.code)) return ended.stdout;
    }
    throw new ToolFailed(tool, args[0] ?? "", ended);
  }

  /** Removed, whatever happens, when `use` is over. Short: a socket's path may have 107 characters. */
  async withFolder<T>(name: string, use: (folder: string) => Promise<T>): Promise<T> {
    const folder = mkdtempSync(join(tmpdir(), `mr-${name}-${process.pid}-`));
    try {
      return await use(folder);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Who signs: GPG's home with the key in it, and which. */
export interface Signer {
  readonly home: string;
  readonly fingerprints: ReadonlyArray<string>;
}

const signing = (signer: Signer | undefined): string[] =>
  signer === undefined
    ? []
    : [`--gpg-homedir=${signer.home}`, ...signer.fingerprints.map((each) => `--gpg-sign=${each}`)];

type Common = Pick<RunOptions, "signal" | "onLine" | "timeoutMs">;

export interface BuildCommit {
  readonly from: string;
  readonly to: string;
  /** A commit or a reference of `from` for one reference of `to`; without it all references of `from`. */
  readonly sourceRef?: string | undefined;
  readonly refs: ReadonlyArray<string>;
  /** Of the commit: the same, from the same, is the same commit. Default: that of the source. */
  readonly timestamp?: Date | undefined;
  readonly signer?: Signer | undefined;
  readonly endOfLife?: string | undefined;
  /** `old=new` */
  readonly endOfLifeRebase?: string | undefined;
  readonly tokenType?: number | undefined;
  readonly extraCollectionIds?: ReadonlyArray<string> | undefined;
  readonly subsets?: ReadonlyArray<string> | undefined;
  /** Also where nothing is new. Never for a second try: it makes a second commit. */
  readonly force?: boolean;
  /** Objects are checked as they are taken. */
  readonly untrusted?: boolean;
  readonly fsync?: boolean;
}

/** Commits what another repository has, signed, with parents of this one's. */
export async function buildCommitFrom(tools: Tools, what: BuildCommit, options: Common = {}): Promise<void> {
  const args = [
    "build-commit-from",
    "--no-update-summary",
    ...(what.timestamp === undefined ? [] : [`--timestamp=${what.timestamp.toISOString()}`]),
    ...(what.untrusted === false ? [] : ["--untrusted"]),
    ...(what.force === true ? ["--force"] : []),
    ...(what.fsync === false ? ["--disable-fsync"] : []),
    ...signing(what.signer),
    ...(what.endOfLife === undefined ? [] : [`--end-of-life=${what.endOfLife}`]),
    ...(what.endOfLifeRebase === undefined ? [] : [`--end-of-life-rebase=${what.endOfLifeRebase}`]),
    ...(what.tokenType === undefined ? [] : [`--token-type=${what.tokenType}`]),
    ...(what.extraCollectionIds ?? []).map((id) => `--extra-collection-id=${id}`),
    ...(what.subsets ?? []).map((subset) => `--subset=${subset}`),
    `--src-repo=${what.from}`,
    ...(what.sourceRef === undefined ? [] : [`--src-ref=${what.sourceRef}`]),
    what.to,
    ...what.refs,
  ];
  await tools.run("flatpak", args, { ...options, gpgHome: what.signer?.home });
}

export interface UpdateRepo {
  readonly signer?: Signer | undefined;
  readonly title?: string | undefined;
  readonly defaultBranch?: string | undefined;
  /** Default: both. */
  readonly summary?: boolean;
  readonly appstream?: boolean;
}

/** Writes the summary (and its index, signatures, appstream branches) of a repository. */
export async function buildUpdateRepo(
  tools: Tools,
  repo: string,
  what: UpdateRepo,
  options: Common = {},
): Promise<void> {
  const args = [
    "build-update-repo",
    ...(what.summary === false ? ["--no-update-summary"] : []),
    ...(what.appstream === false ? ["--no-update-appstream"] : []),
    ...signing(what.signer),
    ...(what.title === undefined ? [] : [`--title=${what.title}`]),
    ...(what.defaultBranch === undefined ? [] : [`--default-branch=${what.defaultBranch}`]),
    repo,
  ];
  await tools.run("flatpak", args, { ...options, gpgHome: what.signer?.home });
}

/** Adds signatures to commits; one that has it already keeps it. */
export async function signCommits(
  tools: Tools,
  repo: string,
  commits: ReadonlyArray<string>,
  signer: Signer,
  options: Common = {},
): Promise<void> {
  for (const commit of commits) {
    const args = [`--repo=${repo}`, "gpg-sign", `--gpg-homedir=${signer.home}`, commit, ...signer.fingerprints];
    await tools.run("ostree", args, { ...options, gpgHome: signer.home });
  }
}

/** Makes one static delta; it is offered to clients from the next summary on. */
export async function generateDelta(
  tools: Tools,
  repo: string,
  delta: { readonly from: string | undefined; readonly to: string },
  options: Common = {},
): Promise<void> {
  const args = [
    "build-update-repo",
    `--generate-static-delta-to=${delta.to}`,
    ...(delta.from === undefined ? [] : [`--generate-static-delta-from=${delta.from}`]),
    repo,
  ];
  await tools.run("flatpak", args, { timeoutMs: 60 * MINUTE, ...options });
}

/** Takes references as they are, hard-linked: the same commits, their signatures with them. */
export async function pullLocal(
  tools: Tools,
  from: string,
  to: string,
  refs: ReadonlyArray<string>,
  options: Common = {},
): Promise<void> {
  await tools.run("ostree", [`--repo=${to}`, "pull-local", "--untrusted", from, ...refs], options);
}
