/**
 * Finds the programs that Millrace needs but npm does not carry (NATS server, Caddy), and brings them where they are
 * missing: an explicit setting wins, then the path, then what was brought before, then Debian's newest suite.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { delimiter, join } from "node:path";
import { bringFromDebian } from "./debian.ts";

export interface Found {
  readonly path: string;
  /** Such as "2.15.1". */
  readonly version: string;
  readonly from: "setting" | "path" | "cache" | "debian";
}

export interface Missing {
  readonly path?: undefined;
  /** One sentence: what is missing or too old. */
  readonly why: string;
  /** How to get it: one command, or one sentence with one. */
  readonly install: string;
}

export interface FindOptions {
  /** Whether it may be downloaded when it is missing. */
  readonly bring: boolean;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Told what takes time. */
  readonly log?: (line: string) => void;
}

interface Program {
  readonly name: string;
  readonly title: string;
  readonly setting: string;
  readonly minimum: string;
  readonly versionArgs: readonly string[];
  readonly debianPackage: string;
  readonly install: string;
}

const natsServer: Program = {
  name: "nats-server",
  title: "NATS server",
  setting: "MILLRACE_NATS_SERVER",
  minimum: "2.12.0",
  versionArgs: ["--version"],
  debianPackage: "nats-server",
  install:
    process.platform === "darwin"
      ? "brew install nats-server"
      : "go install github.com/nats-io/nats-server/v2@v2.12.0 (or set MILLRACE_NATS_SERVER to a nats-server of 2.12 or later)",
};

const caddyServer: Program = {
  name: "caddy",
  title: "Caddy",
  setting: "MILLRACE_CADDY",
  minimum: "2.8.0",
  versionArgs: ["version"],
  debianPackage: "caddy",
  install:
    process.platform === "darwin"
      ? "brew install caddy"
      : "go install github.com/caddyserver/caddy/v2/cmd/caddy@v2.8.4 (or set MILLRACE_CADDY to a caddy of 2.8 or later)",
};

/** The NATS server, 2.12 or later (atomic batches, schedules). Never throws. */
export function findNatsServer(options: FindOptions): Promise<Found | Missing> {
  return find(natsServer, options);
}

/** Caddy, 2.8 or later. Never throws. */
export function findCaddy(options: FindOptions): Promise<Found | Missing> {
  return find(caddyServer, options);
}

/**
 * The folder for what was downloaded, one per user: MILLRACE_CACHE, else millrace under the user's cache folder, else
 * (no home, or one that is only a name in the password file) under the folder for temporary files.
 */
export function cacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  if (env.MILLRACE_CACHE) return env.MILLRACE_CACHE;
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "millrace");
  const home = env.HOME || homedir();
  if (home && existsSync(home)) return join(home, ".cache", "millrace");
  return join(tmpdir(), `millrace-cache-${userInfo().uid}`);
}

async function find(program: Program, options: FindOptions): Promise<Found | Missing> {
  const env = options.env ?? process.env;
  const given = env[program.setting];
  if (given) {
    // A program that was named is taken or refused, never replaced by another.
    const version = await versionOf(given, program);
    if (version && atLeast(version, program.minimum)) return { path: given, version, from: "setting" };
    const what = version ? `is ${version}, needed is ${program.minimum} or later` : "does not run";
    return { why: `${program.setting}=${given} ${what}.`, install: `Set ${program.setting} right, or unset it.` };
  }
  let tooOld = "";
  for (const folder of (env.PATH ?? "").split(delimiter).filter(Boolean)) {
    const path = join(folder, program.name);
    if (!existsSync(path)) continue;
    const version = await versionOf(path, program);
    if (version && atLeast(version, program.minimum)) return { path, version, from: "path" };
    if (version) tooOld = ` (${path} is ${version})`;
  }
  const folder = join(cacheFolder(env), "debian", program.debianPackage);
  const cached = await findIn(folder, program);
  if (cached) return { ...cached, from: "cache" };
  let reason = "";
  if (options.bring) {
    const problem = await bringFromDebian(
      program.debianPackage,
      folder,
      options.log ?? (() => {}),
      async (unpacked) => {
        const found = await findIn(unpacked, program);
        return found ? undefined : `Debian's ${program.debianPackage} is older than ${program.minimum} or does not run`;
      },
    );
    const brought = problem ? undefined : await findIn(folder, program);
    if (brought) return { ...brought, from: "debian" };
    reason = ` It could not be brought: ${problem ?? "nothing was unpacked"}.`;
  }
  return {
    why: `${program.title} ${program.minimum} or later is not there${tooOld}.${reason}`,
    install: program.install,
  };
}

async function findIn(folder: string, program: Program): Promise<{ path: string; version: string } | undefined> {
  for (const place of ["usr/sbin", "usr/bin"]) {
    const path = join(folder, place, program.name);
    if (!existsSync(path)) continue;
    const version = await versionOf(path, program);
    if (version && atLeast(version, program.minimum)) return { path, version };
  }
  return undefined;
}

/** What the program says of itself, or undefined when it does not run. */
function versionOf(path: string, program: Program): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(path, [...program.versionArgs], { timeout: 10_000 }, (error, stdout) => {
      resolve(error ? undefined : parseVersion(stdout));
    });
  });
}

/** The first version in a text ("nats-server: v2.15.1", "2.11.4", "v2.8.4 h1:…"), or undefined. */
export function parseVersion(text: string): string | undefined {
  return /(\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1];
}

/** Whether a version such as "2.15" is the wanted one or a later one, compared number by number. */
export function atLeast(version: string, wanted: string): boolean {
  const have = version.split(".").map(Number);
  const want = wanted.split(".").map(Number);
  for (let index = 0; index < Math.max(have.length, want.length); index++) {
    const difference = (have[index] ?? 0) - (want[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
