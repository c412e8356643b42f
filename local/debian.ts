/**
 * Brings packages from a suite of Debian's without touching the system: an own list of sources made from the
 * machine's mirror, own folders for apt's state, the signature checked by apt against Debian's keyring, the packages
 * unpacked (not installed) into a folder. Needs no root.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { waitForLock } from "./lock.ts";

const newest = "forky";
const keyrings = ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

interface Wanted {
  readonly names: readonly string[];
  readonly suite: string;
}

/** What this machine would install, with all it lacks for it, from its own sources. */
interface Completed {
  readonly names: readonly string[];
  readonly withDependencies: true;
}

/**
 * Unpacks packages into `folder` (their files under `usr/…`); the folder appears whole or not at all. What they depend
 * on comes along only where that is asked for, and then what is installed is not brought again.
 * @param packages one, of the newest suite; several of a named one; or several with what they depend on.
 * @param check answers what is wrong with what was unpacked, or undefined.
 * @param keyring whose keys apt trusts; default: the keyring of the system.
 * @returns what went wrong, in one sentence without a full stop, or undefined when they are there.
 */
export async function bringFromDebian(
  packages: string | Wanted | Completed,
  folder: string,
  log: (line: string) => void,
  check: (unpacked: string) => Promise<string | undefined>,
  keyring = keyrings.find((path) => existsSync(path)),
): Promise<string | undefined> {
  const wanted = typeof packages === "string" ? { names: [packages], suite: newest } : packages;
  if (
    process.platform !== "linux" ||
    !(await works("apt-get", ["--version"])) ||
    !(await works("dpkg-deb", ["--version"]))
  )
    return "this machine has no apt";
  const completed = "withDependencies" in wanted;
  if (!keyring && !completed) return "Debian's keyring is missing (apt-get install debian-archive-keyring)";
  const mirrors = completed ? ["this machine's sources"] : mirrorCandidates(readSources());
  const lock = await waitForLock(`${folder}.lock`, 10 * 60_000);
  try {
    if (existsSync(folder)) {
      if ((await check(folder)) === undefined) return undefined; // somebody else brought it while this one waited
      rmSync(folder, { recursive: true, force: true });
    }
    log(`bringing ${wanted.names.join(", ")} from ${completed ? mirrors[0] : `Debian ${wanted.suite}`}`);
    const work = join(dirname(folder), `.apt-${wanted.names[0]}-${process.pid}`);
    try {
      const problems: string[] = [];
      for (const mirror of mirrors) {
        const problem = completed
          ? await downloadCompleted(wanted.names, work)
          : await fetchFrom(mirror, keyring!, wanted, work);
        if (problem) {
          problems.push(`${mirror}: ${problem}`);
          continue;
        }
        const wrong = await check(join(work, "unpacked"));
        if (wrong) {
          problems.push(`${mirror}: ${wrong}`);
          continue;
        }
        renameSync(join(work, "unpacked"), folder);
        return undefined;
      }
      return problems.join("; ");
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  } finally {
    lock.release();
  }
}

async function fetchFrom(mirror: string, keyring: string, wanted: Wanted, work: string): Promise<string | undefined> {
  const { names, suite } = wanted;
  let keys = keyring;
  let problem = await download(mirror, suite, keys, names, work);
  if (problem && /NO_PUBKEY|no_pubkey|not signed|Missing key/i.test(problem)) {
    // The installed keyring is older than the newest suite's key. A newer keyring comes, signed, from a suite that the
    // installed one can still check; so the chain of trust holds.
    for (const older of ["trixie", "bookworm", "bullseye"]) {
      if (await download(mirror, older, keyring, ["debian-archive-keyring"], work)) continue;
      const newer = join(work, "keyring.gpg");
      const unpacked = keyrings.map((path) => join(work, "unpacked", path)).find((path) => existsSync(path));
      if (!unpacked) continue;
      writeFileSync(newer, readFileSync(unpacked), { mode: 0o644 });
      keys = newer;
      problem = await download(mirror, suite, keys, names, work);
      if (!problem) break;
    }
  }
  return problem;
}

/** One update and one download with state of their own; leaves the packages' files in `<work>/unpacked`. */
async function download(
  mirror: string,
  from: string,
  keyring: string,
  names: readonly string[],
  work: string,
): Promise<string | undefined> {
  const apt = freshState(work);
  const list = join(apt, "sources.list");
  writeFileSync(join(apt, "status"), "");
  writeFileSync(list, `deb [signed-by=${keyring}] ${mirror} ${from} main\n`);
  const options = aptOptions(apt, {
    "Dir::Etc::sourcelist": list,
    "Dir::Etc::sourceparts": "-",
    // Neither what is installed nor the machine's pins have a say in which version is fetched.
    "Dir::State::status": join(apt, "status"),
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "-",
  });
  const updated = await run("apt-get", [...options, "-q", "update"], apt);
  // apt-get update ends with 0 although an index could not be fetched: then the download below says so.
  if (updated.failed || /^(E|Err):?/m.test(updated.output)) return lastError(updated.output);
  const fetched = await run("apt-get", [...options, "-q", "download", ...names], join(apt, "package"));
  if (fetched.failed) return lastError(fetched.output);
  const files = readdirSync(join(apt, "package")).filter((entry) => entry.endsWith(".deb"));
  if (files.length < names.length) return `not all of ${names.join(", ")}`;
  return unpack(join(apt, "package"), work);
}

/** What apt would install for these on this machine; nothing is installed, and none of its locks is taken. */
async function downloadCompleted(names: readonly string[], work: string): Promise<string | undefined> {
  const apt = freshState(work);
  const options = aptOptions(apt, { "Dir::State::status": "/var/lib/dpkg/status", "Debug::NoLocking": "1" });
  const updated = await run("apt-get", [...options, "-q", "update"], apt);
  if (updated.failed) return lastError(updated.output);
  const asked = ["-q", "install", "--yes", "--no-install-recommends", "--download-only", "--reinstall", ...names];
  const fetched = await run("apt-get", [...options, ...asked], apt);
  if (fetched.failed) return lastError(fetched.output);
  return unpack(join(apt, "cache", "archives"), work);
}

/** apt's state and cache, in a folder of their own. */
function freshState(work: string): string {
  const apt = join(work, "apt");
  rmSync(apt, { recursive: true, force: true });
  rmSync(join(work, "unpacked"), { recursive: true, force: true });
  for (const part of ["state/lists/partial", "cache/archives/partial", "package"])
    mkdirSync(join(apt, part), { recursive: true });
  return apt;
}

function aptOptions(apt: string, more: Readonly<Record<string, string>>): string[] {
  const all = {
    "Dir::State": join(apt, "state"),
    "Dir::Cache": join(apt, "cache"),
    "Acquire::Languages": "none",
    "Acquire::Retries": "2",
    "Acquire::http::Timeout": "30",
    // As root apt would fetch as its own user, which may not enter a private folder. What is checked stays the same.
    "APT::Sandbox::User": "root",
    ...more,
  };
  return Object.entries(all).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
}

/** Unpacks all packages of a folder into `<work>/unpacked`. */
async function unpack(packages: string, work: string): Promise<string | undefined> {
  for (const file of readdirSync(packages).filter((entry) => entry.endsWith(".deb"))) {
    const unpacked = await run("dpkg-deb", ["-x", join(packages, file), join(work, "unpacked")], work);
    if (unpacked.failed) return lastError(unpacked.output);
  }
  return undefined;
}

/** This machine's own suite, whose libraries fit; on another distribution, one whose programs run on most. */
export function debianSuite(): string {
  try {
    const text = readFileSync("/etc/os-release", "utf8");
    const of = (name: string) => new RegExp(`^${name}="?([^"\\n]*)`, "m").exec(text)?.[1];
    const codename = of("VERSION_CODENAME");
    if (of("ID") === "debian" && codename) return codename;
  } catch {
    // no such file: no Debian
  }
  return "bookworm";
}

/** All of apt's lists of sources: the one-line files and the deb822 ones. */
function readSources(): string {
  const parts = "/etc/apt/sources.list.d";
  const files = ["/etc/apt/sources.list"];
  if (existsSync(parts))
    files.push(
      ...readdirSync(parts)
        .filter((name) => /\.(list|sources)$/.test(name))
        .map((name) => join(parts, name)),
    );
  return files
    .map((file) => {
      try {
        return readFileSync(file, "utf8");
      } catch {
        return "";
      }
    })
    .join("\n\n");
}

/**
 * Where Debian's main archive may be had, in the order to try: what the machine's sources name, then `/debian` on the
 * same hosts (a machine may stand on a dated snapshot, which has no newest suite, or on another distribution), then
 * Debian's own.
 * @param sources the text of apt's source lists, one-line and deb822 forms mixed.
 */
export function mirrorCandidates(sources: string): string[] {
  const named: string[] = [];
  const derived: string[] = [];
  for (const uri of sourceUris(sources)) {
    let url: URL;
    try {
      url = new URL(uri);
    } catch {
      continue;
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") continue;
    const path = url.pathname.replace(/\/+$/, "");
    if (/security|debug|ports/.test(path)) continue;
    if (/(^|\/)debian(\/|$)/.test(path)) named.push(`${url.origin}${path}`);
    derived.push(`${url.origin}/debian`);
  }
  return [...new Set([...named, ...derived, "http://deb.debian.org/debian"])];
}

function sourceUris(sources: string): string[] {
  const uris: string[] = [];
  for (const raw of sources.split("\n")) {
    const line = raw.trim();
    if (line.startsWith("#")) continue;
    const oneLine = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+\S+/.exec(line);
    if (oneLine) uris.push(oneLine[1]!);
    const deb822 = /^URIs:\s*(.+)$/i.exec(line);
    if (deb822) uris.push(...deb822[1]!.split(/\s+/));
  }
  return uris;
}

function lastError(output: string): string {
  const lines = output.split("\n").filter((line) => /^(E|W|Err)/.test(line));
  return (lines.length > 0 ? lines : output.trim().split("\n").slice(-3)).join(" ").trim() || "apt failed";
}

function run(command: string, args: readonly string[], cwd: string): Promise<{ failed: boolean; output: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" };
    execFile(command, [...args], { cwd, env, timeout: 5 * 60_000, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
      resolve({ failed: error !== null, output: `${stdout}\n${stderr}` });
    });
  });
}

async function works(command: string, args: readonly string[]): Promise<boolean> {
  return !(await run(command, args, "/")).failed;
}
