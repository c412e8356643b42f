/**
 * Where builds run: a sandbox around flatpak-builder, which makes one of its own around each command. Inside there are the tools, read only,
 * the installation with runtimes, read only, and the build's folder; no network, no processes of others, nothing of the publisher's. When the
 * publisher dies, however, the kernel ends all of it: processes, mounts, what they held.
 */
import { existsSync, lstatSync, readlinkSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { cancelled, diskFailure, type Failed, fail } from "@millrace/eventlog/outcome.ts";
import { runCommand } from "@millrace/eventlog/run-command.ts";
import { type BuildLimits, type Usage, watchBuild } from "./watch.ts";

/** What the environment of the tools holds: PATH, and where parts of them are. */
export type ToolsEnvironment = Readonly<Record<string, string>>;

export interface SandboxPlaces {
  /** Read and written; inside at `/build`. */
  readonly work: string;
  /** A user's data folder with `flatpak/` in it; inside at `/data`, read only. */
  readonly data: string;
  /** An installation for the whole machine, read only; undefined: none. */
  readonly system: string | undefined;
  /** Folders by where they are seen. */
  readonly readOnly?: Readonly<Record<string, string>>;
}

export interface Run {
  readonly args: readonly string[];
  readonly limits: BuildLimits;
  readonly signal: AbortSignal;
  /** Lines of both its outputs. */
  readonly onLine: (line: string) => void;
}

export interface Ran {
  readonly code: number;
  /** The last lines that it wrote. */
  readonly last: ReadonlyArray<string>;
  readonly usage: Usage;
}

const LAST_LINES = 20;
/** What programs of the machine need of `/etc`: no secret is in it. */
const ETC = [
  "ld.so.cache",
  "ld.so.conf",
  "ld.so.conf.d",
  "alternatives",
  "passwd",
  "group",
  "nsswitch.conf",
  "localtime",
];
/** Folders that are empty inside, and in the sandbox that flatpak makes to look at icons: tools that lie there are seen elsewhere. */
const HIDDEN = /^\/(tmp|run|var|own)\//;
const WITHIN = /^\/(usr|bin|sbin|lib|lib32|lib64|libx32)(\/|$)/;

/** Runs a program of the tools inside. Never rejects. @returns its end whatever its code; a failure where it was ended, or never began */
export async function runInside(tools: ToolsEnvironment, places: SandboxPlaces, run: Run): Promise<Ran | Failed> {
  const { limits, signal } = run;
  if (signal.aborted) return cancelled("The build");
  const last: string[] = [];
  const watch = watchBuild(places.work, limits);
  const onLine = (line: string) => {
    if (!watch.line(line)) return;
    last.push(line);
    if (last.length > LAST_LINES) last.shift();
    run.onLine(line);
  };
  try {
    const ended = await runCommand({
      // One at a time for an application: its builds share what was built before.
      program: "flock",
      args: [
        "--no-fork",
        join(places.work, ".lock"),
        ...boundedBy(limits),
        "bwrap",
        ...inside(tools, places),
        ...run.args,
      ],
      env: { ...tools, LC_ALL: "C.UTF-8" },
      timeoutMs: limits.timeoutMs,
      signal: AbortSignal.any([signal, watch.signal]),
      outputBytes: 1024 * 1024,
      bound: true,
      onLine,
      onStart: watch.start,
    });
    const usage = await watch.stop();
    if (watch.failed !== undefined && !signal.aborted) return watch.failed;
    if (ended.why === "cancelled") return cancelled("The build");
    if (ended.why === "timeout") {
      const minutes = Math.ceil(limits.timeoutMs / 60_000);
      const fix = "Look at the log for what took long, or raise MILLRACE_BUILD_MINUTES.";
      return fail("timeout", "BUILD_TIMEOUT", `The build took longer than ${minutes} minutes.`, fix);
    }
    if (ended.notStarted !== undefined || ended.code === 127) {
      const fix = "Run `mill setup` on the publisher's machine, start it again, then try again.";
      return fail("permanent", "TOOLS_MISSING", "flock, bwrap or flatpak-builder is not installed.", fix);
    }
    const failed = noSandbox(last);
    if (ended.code !== 0 && failed !== undefined) return failed;
    return { code: ended.code ?? 1, last, usage };
  } catch (error) {
    return diskFailure(error, "running the build");
  } finally {
    await watch.stop();
  }
}

function noSandbox(last: readonly string[]): Failed | undefined {
  const said = last.find((line) =>
    /^bwrap: (Creating new namespace|No permissions|setting up uid map|Can't mount)/.test(line),
  );
  if (said === undefined) return undefined;
  const fix =
    "Allow user namespaces on the publisher's machine (kernel.unprivileged_userns_clone=1), or run it as root.";
  return fail("permanent", "NO_SANDBOX", `The machine allows no sandbox: ${said.slice(0, 200)}.`, fix);
}

/** Limits that the kernel holds for each process of it. */
function boundedBy({ memoryBytes, diskBytes }: BuildLimits): string[] {
  return ["prlimit", `--data=${memoryBytes}`, `--fsize=${diskBytes}`, "--core=0", "--nofile=16384", "--"];
}

/** Arguments of bwrap, up to the program. */
function inside(tools: ToolsEnvironment, { work, data, system, readOnly = {} }: SandboxPlaces): string[] {
  const isRoot = process.getuid?.() === 0;
  const path = ["flatpak-builder", "flatpak", "bwrap"].flatMap((name) => folderOf(name, tools.PATH ?? "") ?? []);
  const own = {
    ...tools,
    PATH: [...new Set([...path, "/usr/bin", "/bin", "/usr/sbin", "/sbin"])].join(delimiter),
    HOME: "/own",
    XDG_DATA_HOME: "/data",
    XDG_CACHE_HOME: "/own/cache",
    XDG_CONFIG_HOME: "/own/config",
    XDG_RUNTIME_DIR: "/run/user",
    FLATPAK_SYSTEM_DIR: system === undefined ? "/none" : "/system",
    FLATPAK_CONFIG_DIR: "/none",
    DBUS_SESSION_BUS_ADDRESS: "disabled:",
    GSETTINGS_BACKEND: "memory",
    GIO_USE_VFS: "local",
    LC_ALL: "C.UTF-8",
    TZ: "UTC",
    TMPDIR: "/tmp",
  };
  const parts = partsOf(own).map((folder, index) => ({ folder, at: HIDDEN.test(folder) ? `/tools/${index}` : folder }));
  const env = Object.fromEntries(
    Object.entries(own).map(([name, value]) => [
      name,
      parts.reduce((text, { folder, at }) => text.replaceAll(`${folder}/`, `${at}/`), value),
    ]),
  );
  return [
    ..."--unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try --die-with-parent --new-session".split(
      " ",
    ),
    // Root makes the inner sandbox with them; who is not root makes it in a name space of users.
    ...(isRoot ? ["--cap-add", "ALL"] : ["--unshare-user"]),
    ...["--hostname", "build", "--clearenv"],
    ...["--ro-bind", "/usr", "/usr"],
    ...["bin", "sbin", "lib", "lib32", "lib64", "libx32"].flatMap(likeOutside),
    ...ETC.flatMap((name) => ["--ro-bind-try", `/etc/${name}`, `/etc/${name}`]),
    ...parts.flatMap(({ folder, at }) => ["--ro-bind-try", folder, at]),
    // flatpak looks at devices and network cards there.
    ...["--ro-bind", "/sys", "/sys", "--proc", "/proc", "--dev", "/dev"],
    ...["/tmp", "/run", "/var", "/own"].flatMap((folder) => ["--tmpfs", folder]),
    ...["--dir", "/var/tmp", "--perms", "0700", "--dir", "/run/user"],
    ...["--ro-bind", data, "/data", ...(system === undefined ? [] : ["--ro-bind", system, "/system"])],
    ...["--bind", work, "/build", "--chdir", "/build"],
    ...Object.entries(readOnly).flatMap(([at, folder]) => ["--ro-bind", folder, at]),
    ...Object.entries(env).flatMap(([name, value]) => ["--setenv", name, value]),
    // What it says goes one way, so that lines stay in order.
    ...["sh", "-c", 'exec "$@" 1>&2', "sh"],
  ];
}

/** `/bin` and the like as they are on this machine: a link into `/usr`, or a folder. */
function likeOutside(name: string): string[] {
  const path = `/${name}`;
  if (!existsSync(path)) return [];
  return lstatSync(path).isSymbolicLink() ? ["--symlink", readlinkSync(path), path] : ["--ro-bind", path, path];
}

const folderOf = (program: string, path: string): string | undefined =>
  path.split(delimiter).find((folder) => folder !== "" && existsSync(join(folder, program)));

/** Folders outside `/usr` in which parts of the tools lie. */
function partsOf(env: ToolsEnvironment): string[] {
  const parts = [
    "PATH",
    "LD_LIBRARY_PATH",
    "FLATPAK_BWRAP",
    "FLATPAK_DBUSPROXY",
    "FLATPAK_TRIGGERSDIR",
    "FLATPAK_VALIDATE_ICON",
  ]
    .flatMap((name) => (env[name] ?? "").split(delimiter))
    .filter((path) => path.startsWith("/") && !WITHIN.test(path))
    .map(
      (path) =>
        /^(.*)\/usr\//.exec(`${path}/`)?.[1] ??
        (existsSync(path) && lstatSync(path).isDirectory() ? path : dirname(path)),
    )
    .filter((path) => path !== "" && path !== "/");
  // Where a system keeps each of its programs in a folder of its own.
  return [...new Set([...parts, ...["/nix/store", "/gnu/store"].filter(existsSync)])];
}
