/**
 * One NATS server with JetStream, or a cluster of three, on the loopback: configuration, start, readiness, end.
 * An acknowledged message must survive a power cut, so every server syncs always unless asked otherwise.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findNatsServer } from "./binaries.ts";
import { probeNats } from "./nats-probe.ts";
import { freePort } from "./ports.ts";
import {
  type BoundProcess,
  type BoundSpec,
  commandLine,
  type Exit,
  endProcesses,
  processesWhere,
  startReady,
} from "./process.ts";
import { ensureSecret } from "./secrets.ts";

export interface NatsUser {
  readonly user: string;
  readonly password: string;
}

export interface NatsAccount extends NatsUser {
  /** The account's name; its streams lie under it, so it must not change over the life of the data. */
  readonly name: string;
}

/** What gateways need to let subscribers in. */
export interface SubscribersDoor {
  /** Public key (A…) of the account key that gateways sign with. */
  readonly issuer: string;
  /** Of the two users that gateways do it by. */
  readonly password: string;
}

const SUBSCRIBERS = "SUBSCRIBERS";
/** Connections of all subscribers together: the rest of the server's is the platform's. */
const SUBSCRIBERS_MOST = 20_000;

/**
 * Accounts and authorization for subscribers. Nothing is exported to them but the feed, one way: what they publish stays in their account. Users of
 * the platform stand in the configuration, and accounts that are not named are never asked about, so they need no gateway.
 */
const doorOf = ({ issuer, password }: SubscribersDoor, platform: string) => ({
  exports: [{ stream: "feed.>", accounts: [SUBSCRIBERS] }],
  account: {
    users: [{ user: "millrace-door", password }],
    imports: [{ stream: { account: platform, subject: "feed.>" } }],
    limits: { max_connections: SUBSCRIBERS_MOST, max_subscriptions: 2_000 },
  },
  warden: {
    user: "millrace-warden",
    password,
    permissions: {
      publish: { allow: ["$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.SERVER.*.CONNZ"] },
      subscribe: {
        allow: ["_INBOX.>", `$SYS.ACCOUNT.${SUBSCRIBERS}.CONNECT`, `$SYS.ACCOUNT.${SUBSCRIBERS}.DISCONNECT`],
      },
    },
  },
  authorization: {
    auth_callout: { issuer, account: SUBSCRIBERS, auth_users: ["millrace-door"], allowed_accounts: [SUBSCRIBERS] },
  },
});

export interface NatsOptions {
  /** Holds the configuration, the streams and the log. Made when absent. */
  readonly dataDir: string;
  /** The program; found by `findNatsServer` when absent. */
  readonly binary?: string;
  /** Whether a missing program is downloaded. Default true. */
  readonly bring?: boolean;
  /** Told what takes time. */
  readonly log?: (line: string) => void;
  /** Default "millrace". Must differ between the servers of a cluster. */
  readonly name?: string;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** Absent: no monitoring port. 0: any free port. */
  readonly monitorPort?: number;
  /** Each with JetStream enabled. Absent: one account MILLRACE with a random password, kept in `credentialsFile`. */
  readonly accounts?: readonly NatsAccount[];
  /** Where user and password of the default account are kept (0600). Default: `<dataDir>/credentials.json`. */
  readonly credentialsFile?: string;
  /** "always" (default), a duration such as "100ms", or "default" for the server's own two minutes. */
  readonly sync?: string;
  /** Bytes. Default 1 MiB. */
  readonly maxPayload?: number;
  /** Go's soft memory limit, such as "512MiB". */
  readonly memoryLimit?: string;
  /** Lets subscribers in: an account of their own, which hears the feed of the first account and nothing else, and whom gateways decide about. */
  readonly subscribers?: SubscribersDoor;
  /** A port for leaf connections into the first account, on the same address: what a restore comes in by. */
  readonly leaf?: NatsUser & { readonly port: number };
  /** Files in PEM: TLS for whoever asks for it. Who speaks in clear is let in as well: what is on this machine does. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** Bytes that all streams together may set aside. Default: three quarters of the free disk, and never less than at an earlier start. */
  readonly storeBytes?: number;
  /** How many atomic batches may be open: per stream, and in all. The server's own defaults are 50 and 1000. */
  readonly batches?: { readonly perStream: number; readonly total: number };
  /** Default `<dataDir>/nats.log`. */
  readonly logFile?: string;
  readonly cluster?: { readonly name: string; readonly port: number; readonly routes: readonly string[] };
  /** How long the start may take, in milliseconds. Default 30 000. */
  readonly readyTimeoutMs?: number;
}

/** What is needed to run the server and to reach it. */
export interface PreparedNats {
  readonly spec: BoundSpec;
  readonly url: string;
  readonly port: number;
  readonly monitorPort: number | undefined;
  readonly user: string;
  readonly password: string;
  readonly logFile: string;
  /** Resolves when the server answers and JetStream is there; rejects after the deadline. */
  ready(exited?: () => Exit | undefined): Promise<void>;
}

export interface RunningNats extends NatsUser {
  /** `nats://host:port`, without user and password. */
  readonly url: string;
  readonly port: number;
  readonly monitorPort: number | undefined;
  readonly pid: number;
  readonly logFile: string;
  readonly exited: Promise<Exit>;
  /** Default SIGTERM; SIGKILL after 10 s. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
  kill(): Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
  /** Starts the server again on the same port and data; it must have ended. */
  restart(): Promise<RunningNats>;
}

/** Streams set their whole limit aside: many accounts on one server would run out of what is only set aside. */
const TESTS_STORE_BYTES = 1024 ** 5;

/**
 * The server's share of the free disk, as it would take it by itself; but what was set aside at an earlier start must fit in still, when
 * something else has filled the disk since: it refuses every new stream otherwise, and to make one smaller as well.
 */
function storeBytesOf(dataDir: string, configFile: string): number {
  const { bavail, bsize } = statfsSync(dataDir);
  let before: unknown;
  try {
    before = JSON.parse(readFileSync(configFile, "utf8")).jetstream?.max_file_store;
  } catch {
    // The first start.
  }
  return Math.max(Math.floor(bavail * bsize * 0.75), typeof before === "number" ? before : 0);
}

/**
 * Writes the configuration and says how to run the server, without starting it.
 * @throws Error when no server program is found, with the command that installs one.
 */
export async function prepareNats(options: NatsOptions): Promise<PreparedNats> {
  const host = options.host ?? "127.0.0.1";
  const binary = options.binary ?? (await requireBinary(options));
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  const port = options.port || (await freePort(undefined, host));
  const monitorPort = options.monitorPort === 0 ? await freePort(undefined, host) : options.monitorPort;
  const accounts = options.accounts ?? [
    { name: "MILLRACE", ...keptCredentials(options.credentialsFile ?? join(options.dataDir, "credentials.json")) },
  ];
  const first = accounts[0];
  if (!first) throw new Error("a NATS server needs at least one account");
  const logFile = options.logFile ?? join(options.dataDir, "nats.log");
  const configFile = join(options.dataDir, "nats.conf");
  const jetstream = {
    store_dir: join(options.dataDir, "store"),
    max_file_store:
      options.storeBytes ?? (options.accounts ? TESTS_STORE_BYTES : storeBytesOf(options.dataDir, configFile)),
    ...(options.sync === "default" ? {} : { sync_interval: options.sync ?? "always" }),
    ...(options.batches
      ? {
          limits: {
            batch: { max_inflight_per_stream: options.batches.perStream, max_inflight_total: options.batches.total },
          },
        }
      : {}),
  };
  const door = options.subscribers === undefined ? undefined : doorOf(options.subscribers, first.name);
  // The server's format takes JSON as it stands, with its quoting.
  const config = {
    server_name: options.name ?? "millrace",
    listen: `${host}:${port}`,
    ...(monitorPort === undefined ? {} : { http: `${host}:${monitorPort}` }),
    max_payload: options.maxPayload ?? 1024 * 1024,
    ...(options.tls === undefined
      ? {}
      : { tls: { cert_file: options.tls.certFile, key_file: options.tls.keyFile, timeout: 5 }, allow_non_tls: true }),
    jetstream,
    accounts: {
      ...Object.fromEntries(
        accounts.map(({ name, user, password }) => [
          name,
          {
            jetstream: "enabled",
            users: [{ user, password }],
            ...(door !== undefined && name === first.name ? { exports: door.exports } : {}),
          },
        ]),
      ),
      ...(door === undefined ? {} : { [SUBSCRIBERS]: door.account }),
      SYS: {
        users: [
          { user: "sys", password: randomBytes(24).toString("base64url") },
          ...(door === undefined ? [] : [door.warden]),
        ],
      },
    },
    system_account: "SYS",
    ...(door === undefined ? {} : { authorization: door.authorization }),
    ...(options.leaf
      ? {
          leafnodes: {
            listen: `${host}:${options.leaf.port}`,
            authorization: { user: options.leaf.user, password: options.leaf.password, account: first.name },
          },
        }
      : {}),
    ...(options.cluster
      ? {
          cluster: {
            name: options.cluster.name,
            listen: `${host}:${options.cluster.port}`,
            routes: options.cluster.routes,
          },
        }
      : {}),
  };
  writeFileSync(configFile, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
  chmodSync(configFile, 0o600); // the mode above counts only for a new file
  const deadline = options.readyTimeoutMs ?? 30_000;
  return {
    spec: {
      name: options.name ?? "nats",
      command: binary,
      args: ["-c", configFile],
      env: { ...process.env, ...(options.memoryLimit ? { GOMEMLIMIT: options.memoryLimit } : {}) },
      logFile,
      stopSignal: "SIGTERM",
      deathSignal: "SIGTERM",
      stopTimeoutMs: 10_000,
    },
    url: `nats://${host}:${port}`,
    port,
    monitorPort,
    user: first.user,
    password: first.password,
    logFile,
    ready: (exit) =>
      probeNats({ host, port, user: first.user, password: first.password, timeoutMs: deadline, stop: () => exit?.() }),
  };
}

/**
 * Starts a server and waits until it answers with JetStream.
 * @throws Error with the end of the server's log when it does not come up.
 */
export async function startNats(options: NatsOptions): Promise<RunningNats> {
  for (let tries = 1; ; tries++) {
    const prepared = await prepareNats(options);
    try {
      return await run(prepared, { ...options, port: prepared.port });
    } catch (error) {
      // Between looking for a free port and listening on it somebody else may have taken it.
      const taken = !options.port && /address already in use/.test((error as Error).message);
      if (!taken || tries === 3) throw error;
    }
  }
}

async function run(prepared: PreparedNats, options: NatsOptions): Promise<RunningNats> {
  await endOrphanedNats(options.dataDir);
  return runningNats(prepared, await startReady(prepared), options);
}

function runningNats(prepared: PreparedNats, child: BoundProcess, options: NatsOptions): RunningNats {
  return {
    url: prepared.url,
    port: prepared.port,
    monitorPort: prepared.monitorPort,
    user: prepared.user,
    password: prepared.password,
    pid: child.pid,
    logFile: prepared.logFile,
    exited: child.exited,
    stop: child.stop,
    kill: child.kill,
    signal: child.signal,
    restart: () => startNats({ ...options, port: prepared.port }),
  };
}

export interface NatsCluster extends NatsUser {
  /** All three, for a client that fails over. */
  readonly urls: readonly string[];
  /** In order of their names n1, n2, n3; an entry is replaced when its server is restarted by `restart`. */
  readonly servers: RunningNats[];
  /** Starts the server with this index again on its old port and data; it must have ended. */
  restart(index: number): Promise<RunningNats>;
  stop(): Promise<void>;
}

/** Starts three servers that form one cluster; answers when JetStream has a leader. Options as for one server. */
export async function startNatsCluster(
  options: Omit<NatsOptions, "port" | "monitorPort" | "cluster" | "name"> & { readonly size?: number },
): Promise<NatsCluster> {
  const size = options.size ?? 3;
  const binary = options.binary ?? (await requireBinary(options));
  const accounts = options.accounts ?? [
    { name: "MILLRACE", user: "millrace", password: randomBytes(24).toString("base64url") },
  ];
  const ports: number[] = [];
  while (ports.length < 2 * size) {
    const port = await freePort();
    if (!ports.includes(port)) ports.push(port);
  }
  const clusterPorts = ports.slice(size);
  const { leaf, ...rest } = options;
  const optionsOf = (index: number): NatsOptions => ({
    ...rest,
    // One door is enough, and a port is one server's.
    ...(leaf === undefined || index > 0 ? {} : { leaf }),
    binary,
    accounts,
    name: `n${index + 1}`,
    dataDir: join(options.dataDir, `n${index + 1}`),
    ...(options.logFile ? { logFile: `${options.logFile}.n${index + 1}` } : {}),
    port: ports[index]!,
    cluster: {
      name: "millrace",
      port: clusterPorts[index]!,
      routes: clusterPorts.filter((port) => port !== clusterPorts[index]).map((port) => `nats://127.0.0.1:${port}`),
    },
  });
  // Each is ready only when there is a leader, and for that a majority must run: so all at once.
  const started = await Promise.allSettled(Array.from({ length: size }, (_, index) => startNats(optionsOf(index))));
  const servers = started.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const failed = started.find((result) => result.status === "rejected");
  if (failed) {
    await Promise.all(servers.map((server) => server.stop()));
    throw failed.reason;
  }
  return {
    urls: servers.map((server) => server.url),
    servers,
    user: accounts[0]!.user,
    password: accounts[0]!.password,
    async restart(index) {
      servers[index] = await startNats(optionsOf(index));
      return servers[index];
    },
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

/** Ends a server that a dead supervisor left behind on this data folder: two on one store would ruin it. */
export async function endOrphanedNats(dataDir: string): Promise<void> {
  const configFile = join(dataDir, "nats.conf");
  const orphans = processesWhere((pid) => commandLine(pid).endsWith(`-c ${configFile}`));
  await endProcesses(orphans, "SIGTERM", 10_000);
}

/** User and password from a 0600 file, made on first use. */
export function keptCredentials(file: string): NatsUser {
  ensureSecret(file, () => JSON.stringify({ user: "millrace", password: randomBytes(24).toString("base64url") }));
  return JSON.parse(readFileSync(file, "utf8")) as NatsUser;
}

/** Removes everything the server keeps in its folder. It must have ended. */
export function removeNatsData(dataDir: string): void {
  rmSync(dataDir, { recursive: true, force: true });
}

async function requireBinary({ bring = true, log }: Pick<NatsOptions, "bring" | "log">): Promise<string> {
  const found = await findNatsServer({ bring, ...(log ? { log } : {}) });
  if (found.path === undefined) throw new Error(`NATS server: ${found.why} ${found.install}`);
  return found.path;
}
