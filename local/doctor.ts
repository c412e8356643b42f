/**
 * What this machine has and what it lacks, context by context: a context whose programs are missing does not work, the
 * others do. Each missing thing comes with the one command that installs it; `setUp` runs it where that is possible.
 */
import { execFile } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { atLeast, type Found, findCaddy, findNatsServer, type Missing, parseVersion } from "./binaries.ts";
import { findDocker } from "./docker.ts";
import { publishingPrograms } from "./flatpak.ts";
import { isPortFree } from "./ports.ts";
import { postgresPrograms } from "./postgres-place.ts";
import { findSetpriv } from "./process.ts";
import { lastRunState, readRunState } from "./run-state.ts";
import type { Settings } from "./settings.ts";

export interface Finding {
  /** "machine" for what every context needs. */
  readonly context: "machine" | "identity" | "work" | "devices" | "applications" | "publishing";
  readonly need: string;
  /** A version, or a measure such as "0.2 ms"; null: it is not there. */
  readonly found: string | null;
  /** Set when it is not there, or not good enough. */
  readonly missing?: {
    readonly why: string;
    /** One command. */
    readonly install: string;
    /** Debian's packages that hold it, where it comes from there. */
    readonly packages?: readonly string[];
  };
}

interface Program {
  readonly context: Finding["context"];
  readonly need: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly minimum: string;
  readonly packages: readonly string[];
  readonly why: string;
}

const programs: readonly Program[] = [
  {
    context: "applications",
    need: "git",
    command: "git",
    args: ["--version"],
    minimum: "2.30",
    packages: ["git"],
    why: "sources are fetched with it",
  },
  {
    context: "applications",
    need: "flock",
    command: "flock",
    args: ["--version"],
    minimum: "2.30",
    packages: ["util-linux"],
    why: "sources are fetched and routes are switched under its locks",
  },
  {
    context: "applications",
    need: "ssh",
    command: "ssh",
    args: ["-V"],
    minimum: "7.6",
    packages: ["openssh-client"],
    why: "repositories at ssh addresses are fetched through it, all others without",
  },
  {
    context: "publishing",
    need: "ostree",
    command: "ostree",
    args: ["--version"],
    minimum: "2020.8",
    packages: ["ostree"],
    why: "repositories are made and committed to with it",
  },
  {
    context: "publishing",
    need: "flatpak",
    command: "flatpak",
    args: ["--version"],
    minimum: "1.10",
    packages: ["flatpak"],
    why: "it writes summaries, deltas and repository metadata",
  },
  {
    context: "publishing",
    need: "flatpak-builder",
    command: "flatpak-builder",
    args: ["--version"],
    minimum: "1.0",
    packages: ["flatpak-builder"],
    why: "manifests are built with it",
  },
  {
    context: "publishing",
    need: "gpg",
    command: "gpg",
    args: ["--version"],
    minimum: "2.2",
    packages: ["gnupg"],
    why: "commits and summaries are signed with it",
  },
  {
    context: "publishing",
    need: "bubblewrap",
    command: "bwrap",
    args: ["--version"],
    minimum: "0.4",
    packages: ["bubblewrap"],
    why: "builds are shut in with it",
  },
  {
    context: "publishing",
    need: "appstream",
    command: "appstreamcli",
    args: ["--version"],
    minimum: "0.12",
    packages: ["appstream"],
    why: "metadata of applications is checked and composed with it",
  },
];

/** Looks at everything; changes nothing but a file of its own in the data folder for a second. */
export async function examine(settings: Settings): Promise<Finding[]> {
  // Those of publishing may have been brought.
  const publishing = await publishingPrograms({ bring: false });
  const there = "env" in publishing ? publishing.env : undefined;
  const [nats, caddy, postgres, docker, ...others] = await Promise.all([
    settings.natsUrl ? undefined : findNatsServer({ bring: false }),
    findCaddy({ bring: false }),
    settings.postgresUrl ? undefined : postgresVersion(),
    dockerEngine(),
    ...programs.map((one) => program(one, one.context === "publishing" ? there : undefined)),
  ]);
  const natsFound = nats
    ? brought("NATS server", "the log is kept by it", nats)
    : { need: "NATS server", found: "a server of yours" };
  const postgresFound = postgres ?? { need: "PostgreSQL", found: "a server of yours" };
  return [
    ...(await machine(settings)),
    ...(["identity", "work", "devices"] as const).flatMap((context) => [
      { context, ...natsFound },
      { context, ...postgresFound },
    ]),
    ...openFiles(),
    docker,
    { context: "applications", ...brought("Caddy", "it stands before applications and repositories", caddy) },
    ...others,
  ];
}

/**
 * Installs what is missing, where that can be done from here: as root with apt; NATS server, Caddy and the programs of publishing by anybody.
 * @param log told each command before it runs, or that it is to be run by hand.
 * @returns what is missing afterwards.
 */
export async function setUp(settings: Settings, log: (line: string) => void): Promise<Finding[]> {
  const before = (await examine(settings)).filter((finding) => finding.missing);
  const packages = [...new Set(before.flatMap((finding) => finding.missing?.packages ?? []))];
  if (packages.length > 0) {
    const commands = [
      ["apt-get", "update"],
      ["apt-get", "install", "-y", "--no-install-recommends", ...packages],
    ];
    const may = process.getuid?.() === 0 && (await answerOf("apt-get", ["--version"])) !== undefined;
    for (const command of commands) {
      log(may ? command.join(" ") : `run: sudo ${command.join(" ")}`);
      if (may && !(await runs(command))) break;
    }
  }
  if (settings.bring) {
    if (!settings.natsUrl) await findNatsServer({ bring: true, log });
    await findCaddy({ bring: true, log });
    await publishingPrograms({ bring: true, log });
  }
  return (await examine(settings)).filter((finding) => finding.missing);
}

type Part = Omit<Finding, "context">;

function brought(need: string, why: string, result: Found | Missing): Part {
  if (result.path !== undefined) return { need, found: result.version };
  const install = result.why.includes("MILLRACE_") ? result.install : "npm run mill -- setup";
  return { need, found: null, missing: { why: `${why}. ${result.why}`, install } };
}

async function program(one: Program, env: Readonly<Record<string, string>> | undefined): Promise<Finding> {
  const { context, need, packages } = one;
  const answer = await answerOf(one.command, one.args, env);
  const found = answer === undefined ? null : (parseVersion(answer) ?? "unknown version");
  if (found !== null && (found === "unknown version" || atLeast(found, one.minimum))) return { context, need, found };
  const why = found === null ? one.why : `${one.minimum} or later is needed: ${one.why}`;
  return { context, need, found, missing: { why, install: `apt-get install -y ${packages.join(" ")}`, packages } };
}

const FILES_LEAST = 4_096;

/** Each device that is talked to is an open file. */
function openFiles(): Finding[] {
  const limits = existsSync("/proc/self/limits") ? readFileSync("/proc/self/limits", "utf8") : "";
  const found = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  if (found === undefined) return [];
  const finding: Finding = { context: "devices", need: "open files", found };
  const why = `an agent holds one for each device; ${FILES_LEAST} or more leave room for a fleet`;
  return [Number(found) >= FILES_LEAST ? finding : { ...finding, missing: { why, install: "ulimit -Hn 65536" } }];
}

async function dockerEngine(): Promise<Finding> {
  const what = { context: "applications", need: "Docker engine" } as const;
  const engine = await findDocker();
  if (engine.endpoint !== undefined) return { ...what, found: engine.version };
  const { why, install, packages } = engine;
  const missing = { why: `applications built from a Dockerfile run in it, static sites do without; ${why}`, install };
  return { ...what, found: null, missing: packages ? { ...missing, packages } : missing };
}

async function postgresVersion(): Promise<Part> {
  const need = "PostgreSQL";
  try {
    const { postgres } = await postgresPrograms(undefined);
    const answer = await answerOf(postgres, ["--version"]);
    if (answer) return { need, found: parseVersion(answer) ?? "unknown version" };
    const why = `what can be asked is kept in it; ${postgres} does not run here`;
    return { need, found: null, missing: { why, install: "set MILLRACE_POSTGRES_URL to a server of yours" } };
  } catch (error) {
    const install = "set MILLRACE_POSTGRES_URL to a server of yours";
    return { need, found: null, missing: { why: (error as Error).message, install } };
  }
}

async function machine(settings: Settings): Promise<Finding[]> {
  const context = "machine" as const;
  const findings: Finding[] = [];
  const folder = settings.data;
  let base = folder;
  while (!existsSync(base)) base = join(base, "..");

  const { bavail, bsize } = statfsSync(base);
  const gigabytes = (bavail * bsize) / 1024 ** 3;
  const space: Finding = { context, need: "free disk space", found: `${gigabytes.toFixed(1)} GiB` };
  const little = { why: `less than 2 GiB is left for ${folder}`, install: `df -h ${base}` };
  findings.push(gigabytes >= 2 ? space : { ...space, missing: little });

  const sync = fsyncMilliseconds(base);
  if (sync === undefined) {
    const why = `${base} cannot be written to by this user`;
    findings.push({ context, need: "fsync", found: null, missing: { why, install: `ls -ld ${base}` } });
  } else {
    const found = `p50 ${sync.p50.toFixed(2)} ms, p99 ${sync.p99.toFixed(2)} ms`;
    const why = `every single change waits for one; above 20 ms the log is slow. Put MILLRACE_DATA on a faster disk`;
    const fine: Finding = { context, need: "fsync", found };
    findings.push(sync.p50 <= 20 ? fine : { ...fine, missing: { why, install: `lsblk -o NAME,ROTA,MOUNTPOINTS` } });
  }

  const now = Date.now();
  const last = Math.max(Date.parse(lastRunState(folder)?.startedAt ?? "") || 0, statSync(import.meta.filename).mtimeMs);
  const clock: Finding = { context, need: "clock", found: new Date(now).toISOString() };
  const behind = {
    why: `the clock stands before ${new Date(last).toISOString()}, which has been`,
    install: "timedatectl",
  };
  findings.push(now >= last - 60_000 ? clock : { ...clock, missing: behind });

  findings.push(await portFinding(context, settings, settings.port, settings.host));
  const { publicPort, publicHost = settings.host } = settings;
  if (publicPort) findings.push(await portFinding("applications", settings, publicPort, publicHost));

  if (process.platform === "linux") {
    const setpriv = findSetpriv();
    const answer = setpriv ? await answerOf(setpriv, ["--version"]) : undefined;
    const need: Finding = { context, need: "setpriv", found: answer ? (parseVersion(answer) ?? "there") : null };
    const why =
      "the kernel ends the servers through it when their supervisor dies; without it watchers do, a little later";
    const missing = { why, install: "apt-get install -y util-linux", packages: ["util-linux"] };
    findings.push(need.found ? need : { ...need, missing });
  }
  return findings;
}

async function portFinding(
  context: Finding["context"],
  { data }: Settings,
  port: number,
  host: string,
): Promise<Finding> {
  const own = readRunState(data)?.services.some(({ ports }) => ports.http === port || ports.public === port);
  const free = port === 0 || own || (await isPortFree(port, host));
  const finding: Finding = { context, need: `port ${port}`, found: own ? "held by Millrace" : free ? "free" : null };
  const taken = { why: "another program listens on it", install: `ss -ltnp 'sport = :${port}'` };
  return free ? finding : { ...finding, missing: taken };
}

/** How long writing 4 KiB and syncing takes; undefined where nothing can be written. */
function fsyncMilliseconds(folder: string): { p50: number; p99: number } | undefined {
  const file = join(folder, `.fsync-${process.pid}`);
  try {
    const descriptor = openSync(file, "w", 0o600);
    const block = Buffer.alloc(4096);
    const times: number[] = [];
    const until = performance.now() + 1500; // a very slow disk is known after a few
    for (let round = 0; round < 100 && performance.now() < until; round++) {
      const began = performance.now();
      writeSync(descriptor, block);
      fsyncSync(descriptor);
      times.push(performance.now() - began);
    }
    closeSync(descriptor);
    times.sort((a, b) => a - b);
    const at = (part: number) => times[Math.min(times.length - 1, Math.floor(times.length * part))]!;
    return { p50: at(0.5), p99: at(0.99) };
  } catch {
    return undefined;
  } finally {
    rmSync(file, { force: true });
  }
}

/** What a command wrote, or undefined when it is not there or fails. */
function answerOf(
  command: string,
  args: readonly string[],
  more?: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const env = { ...process.env, LC_ALL: "C", ...more };
  return new Promise((resolve) => {
    execFile(command, [...args], { timeout: 10_000, env }, (error, stdout, stderr) => {
      // Some say their version where others complain.
      resolve(error ? undefined : stdout || stderr);
    });
  });
}

function runs([command, ...args]: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const child = execFile(command!, args, { env, maxBuffer: 1 << 26 }, (error) => resolve(!error));
    child.stderr?.pipe(process.stderr);
  });
}
