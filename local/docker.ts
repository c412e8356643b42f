/**
 * Finding a Docker engine that runs, and finding or bringing the programs of one, for an engine of the tests' own. An
 * engine is never installed or started for the user: it is theirs, and other things run in it.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { delimiter, join } from "node:path";
import type { Readable } from "node:stream";
import { atLeast, cacheFolder, type Missing, parseVersion } from "./binaries.ts";
import { bringFromDebian, debianSuite } from "./debian.ts";

const minimum = "20.10";

export interface FoundEngine {
  /** `unix:///…` or `tcp://host:port` */
  readonly endpoint: string;
  /** Such as "20.10.24". */
  readonly version: string;
}

export interface EngineMissing extends Missing {
  readonly endpoint?: undefined;
  /** Debian's package that holds it, when none is installed. */
  readonly packages?: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The endpoint of the engine: MILLRACE_DOCKER_HOST, else DOCKER_HOST, else the socket of the system's engine. */
export function dockerEndpoint(env: Environment = process.env): string {
  return env.MILLRACE_DOCKER_HOST || env.DOCKER_HOST || "unix:///var/run/docker.sock";
}

/** An engine that answers this user, 20.10 or later; else what is missing, with the command that helps. Never throws. */
export async function findDocker(env: Environment = process.env): Promise<FoundEngine | EngineMissing> {
  const endpoint = dockerEndpoint(env);
  try {
    const { status, text } = await askDocker(endpoint, "GET", "/version");
    const version = status === 200 ? (JSON.parse(text) as { Version?: string }).Version : undefined;
    if (!version || !parseVersion(version))
      return { why: `no Docker engine answers at ${endpoint}.`, install: "docker info" };
    if (atLeast(parseVersion(version)!, minimum)) return { endpoint, version };
    return { why: `the Docker engine is ${version}, needed is ${minimum} or later.`, install: upgrade };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM")
      return { why: `this user may not use the Docker engine at ${endpoint}.`, install: "usermod -aG docker $USER" };
    if (env.DOCKER_HOST) return { why: `DOCKER_HOST=${endpoint} does not answer: ${message}.`, install: "docker info" };
    if (programIn(env, "dockerd")) return { why: "no Docker engine runs; it is installed.", install: start };
    if (process.platform === "darwin") return { why: "there is no Docker engine.", install: upgrade };
    return { why: "there is no Docker engine.", install: "apt-get install -y docker.io", packages: ["docker.io"] };
  }
}

const start = process.platform === "darwin" ? "open -a Docker" : "systemctl start docker";
const upgrade = process.platform === "darwin" ? "brew install --cask docker" : "apt-get install -y docker.io";

/** One request to an engine; the answer's text, at most a few seconds later. @throws Error with `code` as Node's. */
export async function askDocker(
  endpoint: string,
  method: "GET" | "POST" | "DELETE",
  path: string,
  body?: Readable,
  type = "application/x-tar",
): Promise<{ readonly status: number; readonly text: string }> {
  const url = new URL(endpoint);
  const to = url.protocol === "unix:" ? { socketPath: url.pathname } : { host: url.hostname, port: url.port || 2375 };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const asked = request({ ...to, method, path, agent: false, timeout: body ? 120_000 : 20_000 }, resolve);
    if (body) asked.setHeader("content-type", type);
    asked.once("error", reject);
    asked.once("timeout", () => asked.destroy(new Error("no answer in time")));
    if (body) body.once("error", (error) => asked.destroy(error)).pipe(asked);
    else asked.end();
  });
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part as Buffer);
  return { status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString("utf8") };
}

export interface DockerPrograms {
  /** Folders for the path of dockerd, which finds containerd, runc and the others there. */
  readonly folders: readonly string[];
  readonly version: string;
  readonly from: "path" | "cache" | "debian";
}

const wanted = ["docker.io", "containerd", "runc", "tini", "busybox-static"];

/**
 * The programs of an engine (dockerd, containerd, runc, docker-proxy, tini, and a static busybox to make images of):
 * those installed, else Debian's, unpacked into the cache. Nothing is installed, no service starts. Never throws.
 */
export async function dockerPrograms(options: {
  readonly bring: boolean;
  readonly env?: Environment;
  readonly log?: (line: string) => void;
}): Promise<DockerPrograms | Missing> {
  const env = options.env ?? process.env;
  const onPath = (env.PATH ?? "").split(delimiter).filter(Boolean);
  const installed = await versionIn(onPath, env);
  if (installed) return { folders: [], version: installed, from: "path" };
  const suite = debianSuite();
  const folder = join(cacheFolder(env), "debian", `docker-engine-${suite}`);
  const folders = foldersIn(folder);
  const cached = await versionIn(folders, env);
  if (cached) return { folders, version: cached, from: "cache" };
  let problem: string | undefined = "it was not asked for";
  if (options.bring) {
    problem = await bringFromDebian({ names: wanted, suite }, folder, options.log ?? (() => {}), async (unpacked) =>
      (await versionIn(foldersIn(unpacked), env)) ? undefined : `Debian's docker.io of ${suite} does not run here`,
    );
    const version = problem ? undefined : await versionIn(folders, env);
    if (version) return { folders, version, from: "debian" };
  }
  const why = `the programs of a Docker engine are not there, and could not be brought: ${problem ?? "nothing was unpacked"}.`;
  return { why, install: "apt-get install -y docker.io busybox-static" };
}

/** The path of one of the programs, or undefined. */
export function programOf(programs: DockerPrograms, name: string, env: Environment = process.env): string | undefined {
  return [...programs.folders, ...(env.PATH ?? "").split(delimiter).filter(Boolean)]
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

function programIn(env: Environment, name: string): boolean {
  const folders = [...(env.PATH ?? "").split(delimiter), "/usr/bin", "/usr/sbin", "/usr/local/bin"];
  return folders.some((folder) => folder !== "" && existsSync(join(folder, name)));
}

function foldersIn(root: string): string[] {
  return ["usr/sbin", "usr/bin", "sbin", "bin"].map((part) => join(root, part));
}

/** The version of the dockerd in these folders, when all it needs is there with it. */
async function versionIn(folders: readonly string[], env: Environment): Promise<string | undefined> {
  const needed = ["dockerd", "containerd", "runc", "docker-proxy", "busybox"];
  const paths = needed.map((name) => folders.map((folder) => join(folder, name)).find((path) => existsSync(path)));
  if (paths.includes(undefined)) return undefined;
  const path = [...folders, env.PATH ?? ""].join(delimiter);
  const version = await new Promise<string | undefined>((resolve) => {
    execFile(paths[0]!, ["--version"], { timeout: 10_000, env: { ...env, PATH: path } }, (error, stdout) =>
      resolve(error ? undefined : parseVersion(stdout)),
    );
  });
  return version && atLeast(version, minimum) ? version : undefined;
}
