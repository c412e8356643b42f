/**
 * How git is run: with an environment of our own (no configuration, hooks or helpers of the user or the machine), only
 * over protocols that are allowed, bounded in time, and with credentials that appear in no command line, URL or file but
 * a key's own, which lives as long as the command.
 */
import { randomBytes } from "node:crypto";
import { readdir, realpath, rm, stat, writeFile } from "node:fs/promises";
import { isAbsolute, join, relative, sep } from "node:path";
import { makeFolder, writeWhole } from "../durable-files.ts";
import { diskFailure, type Failed, fail } from "../outcome.ts";
import { type Command, type Ended, runCommand } from "../run-command.ts";
import { gitFailure } from "./git-failures.ts";

export type Source =
  | { readonly kind: "git"; readonly url: string }
  /** A repository (or bare repository) on this machine, below one of the local roots. */
  | { readonly kind: "path"; readonly path: string };

/** Opened by the caller. */
export type Credentials =
  | { readonly kind: "token"; readonly token: string; readonly user?: string }
  | { readonly kind: "ssh-key"; readonly key: string; readonly user?: string };

/** A source that was checked: what git is given, and under which name its mirror is kept. */
export interface Remote {
  readonly url: string;
  /** `https://host:port` or `ssh://host:port`; undefined on this machine. Credentials are for one origin only. */
  readonly origin?: string;
}

/** Where git keeps what it needs; absolute. */
export interface GitDisk {
  readonly root: string;
  readonly tmp: string;
  /** What servers showed first. */
  readonly knownHosts: string;
  /** Keys that were given beforehand: no server with another one is talked to. */
  readonly givenHosts?: string | undefined;
}

export interface GitRun {
  readonly disk: GitDisk;
  readonly credentials?: Credentials | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onLine?: ((line: string) => void) | undefined;
}

/** Whether git may be asked for this source at all, and as what. */
export async function checkSource(source: Source, localSources: readonly string[]): Promise<Remote | Failed> {
  return source.kind === "path" ? checkPath(source.path, localSources) : checkUrl(source.url);
}

async function checkPath(path: string, localSources: readonly string[]): Promise<Remote | Failed> {
  const refuse = (why: string) => {
    const roots = localSources.length > 0 ? `one of ${localSources.join(", ")}` : "a folder of MILLRACE_LOCAL_SOURCES";
    return fail(
      "permanent",
      "PATH_REFUSED",
      `The path ${path.slice(0, 300)} ${why}.`,
      `Put the repository below ${roots}.`,
    );
  };
  if (!isAbsolute(path) || path.includes("\0")) return refuse("is not absolute");
  const roots = await Promise.all(localSources.map((root) => realpath(root).catch(() => undefined)));
  const real = await realpath(path).catch(() => undefined);
  const inside = (root: string | undefined, way: string) => {
    const from = root === undefined ? ".." : relative(root, way);
    return from !== ".." && !from.startsWith(`..${sep}`) && !isAbsolute(from);
  };
  // What lies outside is not even told to be missing.
  if (!roots.some((root) => inside(root, real ?? path))) return refuse("is not below a folder for local sources");
  if (real === undefined || !(await stat(real)).isDirectory()) {
    const fix = "Create the repository there, or correct the path.";
    return fail("permanent", "NOT_A_REPOSITORY", `There is no folder ${path.slice(0, 300)}.`, fix);
  }
  return { url: `file://${real.split(sep).map(encodeURIComponent).join("/")}` };
}

function checkUrl(url: string): Remote | Failed {
  const refuse = (why: string, fix: string, code = "URL_REFUSED") => fail("permanent", code, why, fix);
  const forms = "Use https://host/path, http://…, ssh://user@host/path, user@host:path, or git://….";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: such URLs are what it keeps out
  if (url.length > 2048 || /[\u0000-\u0020\u007f]/.test(url) || url.startsWith("-")) {
    return refuse("The URL of the repository is too long, or holds blanks.", forms);
  }
  const scp = /^(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!\/\/)([^-:].*)$/.exec(url);
  if (scp && !url.includes("://") && !url.includes("::")) return { url, origin: `ssh://${scp[1]!.toLowerCase()}:22` };
  if (!/^(https?|ssh|git):\/\//i.test(url) || !URL.canParse(url)) {
    return refuse("The URL of the repository has no form that is allowed.", forms);
  }
  const { protocol, hostname, port, password, username } = new URL(url);
  if (!/^(\[[0-9a-f:.]+\]|[a-z0-9][a-z0-9._-]*)$/i.test(hostname)) return refuse("The URL names no host.", forms);
  if (password !== "" || (username !== "" && /^https?:$/.test(protocol))) {
    const fix = "Take user and password out of the URL, and name a secret as the source's credentials.";
    return refuse("The URL holds credentials, and URLs are shown to everybody.", fix, "CREDENTIALS_IN_URL");
  }
  const usual = { "https:": "443", "http:": "80", "ssh:": "22", "git:": "9418" }[protocol];
  return { url, origin: `${protocol}//${hostname.toLowerCase()}:${port || usual}` };
}

/** What git reads in place of the user's configuration. */
const configuration = `[safe]
	directory = *
[core]
	hooksPath = /dev/null
	fsmonitor = false
	autocrlf = false
	symlinks = true
	protectHFS = true
	protectNTFS = true
[credential]
	helper =
	interactive = false
[fetch]
	fsckObjects = true
	unpackLimit = 1
	recurseSubmodules = false
[fetch "fsck"]
	zeroPaddedFilemode = ignore
	missingSpaceBeforeDate = ignore
	badTimezone = ignore
	badDate = ignore
	missingEmail = ignore
	missingNameBeforeEmail = ignore
	missingSpaceBeforeEmail = ignore
	missingTaggerEntry = ignore
	nullSha1 = ignore
[gc]
	auto = 0
[maintenance]
	auto = false
[http]
	lowSpeedLimit = 1000
	lowSpeedTime = 30
	followRedirects = initial
[protocol]
	version = 2
[uploadpack]
	allowAnySHA1InWant = true
[advice]
	detachedHead = false
`;

// A redirect may lead to another host, and git then asks for credentials for that one: it gets none.
const askpass = `#!/bin/sh
case "$1" in
  "Username for '$MILLRACE_GIT_PROTOCOL://$MILLRACE_GIT_HOST'"*) printf '%s\\n' "$MILLRACE_GIT_USER" ;;
  "Password for '$MILLRACE_GIT_PROTOCOL://"*"@$MILLRACE_GIT_HOST'"*) printf '%s\\n' "$MILLRACE_GIT_TOKEN" ;;
  *) exit 1 ;;
esac
`;

const passedOn = [
  "http_proxy",
  "https_proxy",
  "all_proxy",
  "no_proxy",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "NO_PROXY",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "GIT_SSL_CAINFO",
];

/** The environment for one command, and how to take back what was made for it. */
async function environment(remote: Remote | undefined, run: GitRun) {
  const { disk, credentials } = run;
  const config = join(disk.root, "gitconfig");
  await makeFolder(disk.tmp);
  await writeOnce(config, configuration, 0o600);
  const env: Record<string, string> = {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: disk.tmp,
    LC_ALL: "C",
    GIT_TERMINAL_PROMPT: "0",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: config,
    GIT_ALLOW_PROTOCOL: remote === undefined ? "" : remote.origin === undefined ? "file" : "https:http:ssh:git",
    GIT_SSH_VARIANT: "ssh",
  };
  for (const name of passedOn) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  let keyFile: string | undefined;
  if (remote?.origin?.startsWith("http") && credentials?.kind === "token") {
    const program = join(disk.root, "askpass");
    await writeOnce(program, askpass, 0o700);
    const { protocol, host } = new URL(remote.url);
    Object.assign(env, {
      GIT_ASKPASS: program,
      MILLRACE_GIT_PROTOCOL: protocol.slice(0, -1),
      MILLRACE_GIT_HOST: host,
      MILLRACE_GIT_USER: credentials.user ?? "x-access-token",
      MILLRACE_GIT_TOKEN: credentials.token,
    });
  }
  if (remote?.origin?.startsWith("ssh")) {
    if (credentials?.kind === "ssh-key") keyFile = await writeKey(disk, credentials.key);
    env.GIT_SSH_COMMAND = sshCommand(disk, keyFile, credentials?.user);
  }
  return { env, done: () => (keyFile === undefined ? Promise.resolve() : rm(keyFile, { force: true })) };
}

/** For ssh; the words are quoted for the shell that git runs it with. */
export function sshCommand(disk: GitDisk, keyFile: string | undefined, user?: string): string {
  const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
  const { knownHosts, givenHosts } = disk;
  const options = [
    `UserKnownHostsFile="${(givenHosts ?? knownHosts).replaceAll("%", "%%")}"`,
    "GlobalKnownHostsFile=/dev/null",
    `StrictHostKeyChecking=${givenHosts === undefined ? "accept-new" : "yes"}`,
    "UpdateHostKeys=no",
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "ClearAllForwardings=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
  ];
  const identity = keyFile === undefined ? ["-o", "IdentityFile=none"] : ["-i", keyFile];
  const words = ["ssh", "-F", "/dev/null", ...identity, ...options.flatMap((option) => ["-o", option])];
  return [...words, ...(user === undefined ? [] : ["-l", user])].map(quoted).join(" ");
}

async function writeKey(disk: GitDisk, key: string): Promise<string> {
  // One that a killed process left is of no use to anybody but a thief.
  for (const name of await readdir(disk.tmp)) {
    const pid = /^key-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) await rm(join(disk.tmp, name), { force: true });
  }
  const file = join(disk.tmp, `key-${process.pid}-${randomBytes(8).toString("hex")}`);
  await writeFile(file, `${key.replaceAll("\r\n", "\n").trimEnd()}\n`, { mode: 0o600, flag: "wx" });
  return file;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function writeOnce(path: string, content: string, mode: number): Promise<void> {
  const there = await stat(path).catch(() => undefined);
  if (there?.size !== Buffer.byteLength(content)) await writeWhole(path, content, mode);
}

/**
 * Runs git (or a program that ends in running git). Answers how it ended, or the failure that this is.
 * @param command.program default git
 */
export async function runGit(
  remote: Remote | undefined,
  run: GitRun,
  command: Pick<Command, "args" | "timeoutMs"> & Partial<Command>,
): Promise<Ended | Failed> {
  let made: Awaited<ReturnType<typeof environment>>;
  try {
    made = await environment(remote, run);
  } catch (error) {
    return diskFailure(error, "preparing git");
  }
  const hide = hider(run.credentials);
  const onLine = (line: string) => {
    command.onLine?.(line);
    if (!/\d% \(.*\)(?!.*done)/.test(line)) run.onLine?.(hide(line));
  };
  try {
    const { signal } = run;
    const ended = await runCommand({
      program: "git",
      bound: true,
      signal,
      ...command,
      onLine,
      env: { ...made.env, ...command.env },
    });
    if (ended.code === 0 && !ended.why) return ended;
    return gitFailure({ ...ended, stderr: hide(ended.stderr) });
  } finally {
    await made.done();
  }
}

function hider(credentials: Credentials | undefined): (text: string) => string {
  const secret = credentials?.kind === "token" ? credentials.token : undefined;
  return (text) => (secret ? text.replaceAll(secret, "•••").replaceAll(encodeURIComponent(secret), "•••") : text);
}
