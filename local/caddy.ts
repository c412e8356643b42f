/**
 * Caddy before applications: configuration to start with, start, readiness, end. What it serves is given to it by the
 * orchestrator over its admin API; it keeps that, and comes back with it after any end.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { findCaddy } from "./binaries.ts";
import { freePort, isPortFree } from "./ports.ts";
import {
  type BoundProcess,
  type BoundSpec,
  commandLine,
  type Exit,
  endProcesses,
  processesWhere,
  startReady,
  waitFor,
} from "./process.ts";

export interface CaddyOptions {
  /** Holds the admin socket, the kept configuration, certificates and the log. Made when absent. */
  readonly dataDir: string;
  /** The program; found by `findCaddy` when absent. */
  readonly binary?: string;
  /** Whether a missing program is downloaded. Default true. */
  readonly bring?: boolean;
  /** Told what takes time. */
  readonly log?: (line: string) => void;
  /** Where applications are reached. Default 127.0.0.1. */
  readonly host?: string;
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** Default `<dataDir>/caddy.log`. */
  readonly logFile?: string;
  /** How long the start may take, in milliseconds. Default 30 000. */
  readonly readyTimeoutMs?: number;
}

/** What is needed to run Caddy and to reach it. */
export interface PreparedCaddy {
  readonly spec: BoundSpec;
  /** `unix//path/admin.sock`, or `127.0.0.1:port` where the path is too long for a socket. */
  readonly admin: string;
  /** `host:port`, as it stands in the configuration. */
  readonly address: string;
  readonly port: number;
  /** The folder for certificates. */
  readonly storage: string;
  readonly logFile: string;
  /** Before each start: ends what a dead supervisor left, and writes what this start begins with. */
  beforeStart(): Promise<void>;
  /** Resolves when the admin API and the public port answer; rejects after the deadline. */
  ready(exited?: () => Exit | undefined): Promise<void>;
}

export interface RunningCaddy extends Pick<PreparedCaddy, "admin" | "address" | "port" | "storage" | "logFile"> {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  /** Default SIGTERM; SIGKILL after 5 s. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  kill(): Promise<Exit>;
  /** Starts it again on the same port, with the configuration that it had; it must have ended. */
  restart(): Promise<RunningCaddy>;
}

/** Longer paths are no addresses of sockets. */
const socketPathBytes = 100;

/**
 * Says how to run Caddy, without starting it; undefined when there is no Caddy (it is optional: the doctor names it).
 */
export async function prepareCaddy(options: CaddyOptions): Promise<PreparedCaddy | undefined> {
  const { dataDir, log } = options;
  const binary = options.binary ?? (await findCaddy({ bring: options.bring ?? true, ...(log ? { log } : {}) })).path;
  if (binary === undefined) return undefined;
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const host = options.host ?? "127.0.0.1";
  const port = options.port || (await freePort(undefined, host));
  const socket = join(dataDir, "admin.sock");
  const fits = Buffer.byteLength(socket) <= socketPathBytes;
  const admin = fits ? `unix/${socket}` : `127.0.0.1:${await freePort()}`;
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const storage = join(dataDir, "certificates");
  const logFile = options.logFile ?? join(dataDir, "caddy.log");
  const startFile = join(dataDir, "start.json");
  const { CADDY_ADMIN: _, ...environment } = process.env;
  return {
    spec: {
      name: "caddy",
      command: binary,
      args: ["run", "--config", startFile],
      env: { ...environment, XDG_CONFIG_HOME: join(dataDir, "config"), XDG_DATA_HOME: join(dataDir, "state") },
      logFile,
      // Otherwise streams that are open would keep it for their own while.
      stopTimeoutMs: 5000,
    },
    admin,
    address,
    port,
    storage,
    logFile,
    async beforeStart() {
      await endOrphanedCaddy(startFile);
      // A second Caddy would share the port with the first, and each would get some of the requests.
      if (!(await waitFor(() => isPortFree(port, host), 3000))) throw new Error(`port ${port}: address already in use`);
      if (fits) rmSync(socket, { force: true });
      const kept = join(dataDir, "config", "caddy", "autosave.json");
      writeFileSync(startFile, JSON.stringify(startConfig(kept, { admin, address, storage })), { mode: 0o600 });
    },
    ready: (exited = () => undefined) => answers({ admin, port, host }, options.readyTimeoutMs ?? 30_000, exited),
  };
}

interface Places {
  readonly admin: string;
  readonly address: string;
  readonly storage: string;
}

interface Config {
  admin?: unknown;
  storage?: unknown;
  apps?: { http?: { servers?: Record<string, { listen?: string[]; routes?: unknown[] }> } };
}

/** What it had last, at today's addresses; before the first time, a page that says that nothing is there. */
function startConfig(kept: string, { admin, address, storage }: Places): Config {
  const page = { handler: "static_response", status_code: 404, body: "No application is reachable under this name.\n" };
  const fresh = { apps: { listen: [address], automatic_https: { disable: true }, routes: [{ handle: [page] }] } };
  let config: Config = { apps: { http: { servers: fresh } } };
  try {
    const last = JSON.parse(readFileSync(kept, "utf8")) as Config;
    if (last.apps?.http?.servers?.apps?.routes) config = last;
  } catch {
    // The first start, or a power cut in the middle of the writing: the orchestrator gives it all again.
  }
  config.admin = { listen: admin, config: { persist: true } };
  config.storage = { module: "file_system", root: storage };
  config.apps!.http!.servers!.apps!.listen = [address];
  return config;
}

/** Starts Caddy and waits until it answers. @throws Error with the end of its log, or when there is none. */
export async function startCaddy(options: CaddyOptions): Promise<RunningCaddy> {
  const prepared = await prepareCaddy(options);
  if (prepared === undefined) throw new Error("there is no Caddy on this machine");
  await prepared.beforeStart();
  return running(prepared, await startReady(prepared), options);
}

function running(prepared: PreparedCaddy, child: BoundProcess, options: CaddyOptions): RunningCaddy {
  const { admin, address, port, storage, logFile } = prepared;
  const { pid, exited, stop, kill } = child;
  const restart = () => startCaddy({ ...options, port });
  return { admin, address, port, storage, logFile, pid, exited, stop, kill, restart };
}

/** Two would share one port, and answer by turns. */
async function endOrphanedCaddy(startFile: string): Promise<void> {
  const orphans = processesWhere((pid) => commandLine(pid).endsWith(`run --config ${startFile}`));
  await endProcesses(orphans, "SIGTERM", 5000);
}

async function answers(
  place: { readonly admin: string; readonly host: string; readonly port: number },
  timeoutMs: number,
  exited: () => Exit | undefined,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  const socket = place.admin.startsWith("unix/") ? place.admin.slice("unix/".length) : undefined;
  const [adminHost, adminPort] = place.admin.split(":");
  const admin = socket === undefined ? { host: adminHost!, port: Number(adminPort) } : { socketPath: socket };
  const host = place.host === "0.0.0.0" || place.host === "::" ? "127.0.0.1" : place.host;
  let last = "no answer";
  while (Date.now() < deadline) {
    const exit = exited();
    if (exit) throw new Error(`Caddy ended (${exit.signal ?? `code ${exit.code}`})`);
    try {
      const config = await statusOf({ ...admin, path: "/config/" });
      if (config === 200 && (await statusOf({ host, port: place.port, path: "/" })) > 0) return;
      last = `its admin API answered ${config}`;
    } catch (error) {
      last = (error as Error).message;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`Caddy on port ${place.port} is not ready after ${timeoutMs / 1000} s: ${last}`);
}

/** With node:http: Caddy takes what fetch sends for a browser's, and refuses it at its admin API. */
function statusOf(
  where: { readonly path: string } & (
    | { readonly socketPath: string }
    | { readonly host: string; readonly port: number }
  ),
): Promise<number> {
  return new Promise((resolve, reject) => {
    const name = "host" in where ? `${where.host}:${where.port}` : "127.0.0.1";
    const signal = AbortSignal.timeout(2000);
    const sent = request({ ...where, agent: false, headers: { host: name }, signal }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    sent.once("error", reject);
    sent.end();
  });
}
