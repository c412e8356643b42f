/**
 * The whole product on one machine: NATS server, PostgreSQL, Caddy (where it is there) and the services as supervised
 * processes, all state in one folder. What `mill up` starts.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { createSecureContext } from "node:tls";
import { findCaddy } from "./binaries.ts";
import { prepareCaddy } from "./caddy.ts";
import { deviceDeclarations } from "./device-settings.ts";
import { publishingPrograms } from "./flatpak.ts";
import { endOrphanedNats, prepareNats } from "./nats.ts";
import { freePort, isPortFree } from "./ports.ts";
import { clearAfterCrash, preparePostgres } from "./postgres.ts";
import { publishingDeclarations } from "./publishing-settings.ts";
import { lastRunState, type RunningService } from "./run-state.ts";
import { ensureBackupKey, ensureMasterKey, ensureNatsDoor, ensureOwnerToken } from "./secrets.ts";
import { checkoutServices, reachable, type ServiceEntry, serviceSpecs } from "./services.ts";
import { environmentOf } from "./setting-values.ts";
import type { Settings } from "./settings.ts";
import { type ServiceSpec, Supervisor } from "./supervise.ts";

export { checkoutServices, type ServiceEntry };

export interface PlatformOptions {
  readonly settings: Settings;
  /** Default: all services of the checkout that there are. */
  readonly services?: readonly ServiceEntry[];
  /** One line for people about what happens. */
  readonly log?: (line: string) => void;
  /** Added to the environment of every service. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long a service may take to become ready at its first start, in milliseconds. Default 60 000. */
  readonly readyTimeoutMs?: number;
  /** How soon what has ended by itself is started again; default: the supervisor's own. */
  readonly backoff?: NonNullable<ServiceSpec["backoff"]>;
  /** Aborted while it starts: what was started is stopped, and the start fails. */
  readonly signal?: AbortSignal;
}

export interface Platform {
  /** The gateway: `http://127.0.0.1:7400`. */
  readonly url: string;
  /** Where applications are reached (`http://127.0.0.1:7480`, by their host names); undefined without Caddy. */
  readonly publicUrl: string | undefined;
  readonly dataDir: string;
  readonly ownerTokenFile: string;
  /** What runs now, in the order of the start. */
  services(): RunningService[];
  /** Stops all in reverse order; resolves when all have ended and the ports are free. */
  stop(): Promise<void>;
}

/**
 * Starts everything, and resolves when the gateway can serve its next request. Everything started ends with this
 * process, however it ends.
 * @throws Error in words for people: the folder is in use, the port is taken, a program is missing, a process does not
 *   come up (with the end of its log). Then nothing is left running.
 */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { settings } = options;
  const log = options.log ?? (() => {});
  const dataDir = resolve(settings.data);
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  refuseHalfRestored(dataDir);
  const supervisor = await Supervisor.open({ dataDir, log });
  const { backoff } = options;
  const start = (...specs: readonly ServiceSpec[]) =>
    supervisor.start(...(backoff === undefined ? specs : specs.map((spec) => ({ ...spec, backoff }))));
  const interrupt = () => void supervisor.stop();
  options.signal?.addEventListener("abort", interrupt);
  try {
    if (settings.port !== 0 && !(await isPortFree(settings.port, settings.host))) {
      throw new Error(
        `port ${settings.port} is taken by another program: end that one, or choose another (--port, MILLRACE_PORT)`,
      );
    }
    const port = settings.port || (await freePort());
    const secrets = makeSecrets(dataDir, settings);
    // The ports of before, where they are free: what still knows the old address finds it again.
    const before = new Map(lastRunState(dataDir)?.services.map((service) => [service.name, service.ports]));
    const nats = await natsService(dataDir, settings, before.get("nats")?.nats, log);
    const postgres = await postgresService(dataDir, settings, before.get("postgres")?.postgres);
    log("starting NATS and PostgreSQL");
    await start(...[nats.spec, postgres.spec].filter((spec) => spec !== undefined));
    const all = options.services ?? checkoutServices();
    const proxy = all.some(({ name }) => name === "orchestrator")
      ? await startProxy({ dataDir, settings, gatewayPort: port, before: before.get("caddy")?.public, start, log })
      : undefined;
    const environment: Record<string, string | undefined> = {
      ...process.env,
      ...options.env,
      MILLRACE_DATA: dataDir,
      MILLRACE_HOST: settings.host,
      MILLRACE_LOG_LEVEL: settings.logLevel,
      MILLRACE_NATS_URL: nats.url,
      MILLRACE_NATS_USER: nats.user,
      MILLRACE_NATS_PASSWORD: nats.password,
      ...nats.door,
      MILLRACE_NATS_PUBLIC_URL: settings.natsPublicUrl,
      MILLRACE_POSTGRES_URL: postgres.url,
      MILLRACE_FEED_DAYS: settings.feedDays?.toString(),
      MILLRACE_FEED_GIB: settings.feedGib?.toString(),
      MILLRACE_LOG_DAYS: settings.logDays?.toString(),
      MILLRACE_LOG_GIB: settings.logGib?.toString(),
      MILLRACE_WEBHOOK_ALLOW: settings.webhookAllow,
      MILLRACE_OUTGOING_CA: settings.outgoingCa,
      MILLRACE_MASTER_KEY_FILE: secrets.masterKeyFile,
      MILLRACE_OWNER_TOKEN_FILE: secrets.ownerTokenFile,
      ...backupEnvironment(settings, secrets.backupKeyFile),
      ...environmentOf(deviceDeclarations, settings),
      ...environmentOf(publishingDeclarations, settings),
      MILLRACE_APPS_DOMAIN: settings.appsDomain,
      MILLRACE_LOCAL_SOURCES: localSources(dataDir, settings).join(delimiter),
      MILLRACE_APPS_TLS: settings.tls,
      // Empty without Caddy.
      MILLRACE_PUBLIC_LISTEN: proxy?.address ?? "",
      MILLRACE_PUBLIC_LISTEN_TLS: proxy?.tlsAddress ?? "",
      MILLRACE_CADDY_ADMIN: proxy?.admin ?? "",
      MILLRACE_CADDY_STORAGE: proxy?.storage ?? "",
      MILLRACE_GATEWAY_ADDRESS: `${reachable(settings.host)}:${port}`,
      MILLRACE_REPOSITORIES_URL: settings.repositoriesUrl ?? publicUrlOf(proxy),
      ...(await publishingEnvironment()),
    };
    const timeoutMs = options.readyTimeoutMs ?? 60_000;
    const specs = await serviceSpecs(all, { environment, gatewayPort: port, settings, timeoutMs });
    // At once: none needs another to be ready, and loading its modules is what each of them does longest.
    if (specs.length > 0) log(`starting ${specs.map((spec) => spec.name).join(", ")}`);
    await start(...specs);
    options.signal?.throwIfAborted();
    const url = `http://${reachable(settings.host)}:${port}`;
    const publicUrl = publicUrlOf(proxy);
    supervisor.tell({ url, ownerTokenFile: secrets.ownerTokenFile, ...(publicUrl ? { publicUrl } : {}) });
    return {
      url,
      publicUrl,
      dataDir,
      ownerTokenFile: secrets.ownerTokenFile,
      services: () => supervisor.services(),
      stop: () => supervisor.stop(),
    };
  } catch (error) {
    await supervisor.stop();
    throw options.signal?.aborted ? new Error("interrupted while starting", { cause: error }) : error;
  } finally {
    options.signal?.removeEventListener("abort", interrupt);
  }
}

/** Where the tools of publishing are, when they were brought; without them repositories say so. */
async function publishingEnvironment(): Promise<Record<string, string>> {
  const programs = await publishingPrograms({ bring: false });
  return "env" in programs ? { MILLRACE_PUBLISHING_TOOLS: JSON.stringify(programs.env) } : {};
}

/** The mark of a restore that has not come to its end. */
export const RESTORING = "restoring.json";

/** What is half there must not be worked on. */
function refuseHalfRestored(dataDir: string): void {
  if (!existsSync(join(dataDir, RESTORING))) return;
  throw new Error(`a restore into ${dataDir} was cut off: run the same mill backup restore again, it begins anew`);
}

/** What every program that makes or reads backups is given. */
export const backupEnvironment = (settings: Settings, keyFile: string): Record<string, string | undefined> => ({
  MILLRACE_BACKUP_TARGET: settings.backupTarget,
  MILLRACE_BACKUP_KEY_FILE: keyFile,
  MILLRACE_BACKUP_HOURS: settings.backupHours?.toString(),
  MILLRACE_BACKUP_DAILY: settings.backupDaily?.toString(),
  MILLRACE_BACKUP_WEEKLY: settings.backupWeekly?.toString(),
  MILLRACE_BACKUP_MONTHLY: settings.backupMonthly?.toString(),
  MILLRACE_BACKUP_KEYS_DAYS: settings.backupKeysDays?.toString(),
  MILLRACE_BACKUP_LINES: settings.backupLines ? "1" : "0",
  MILLRACE_BACKUP_S3_ACCESS_KEY: settings.backupS3AccessKey,
  MILLRACE_BACKUP_S3_SECRET_KEY: settings.backupS3SecretKey,
});

export const backupKeyFileOf = (dataDir: string, settings: Settings): string =>
  settings.backupKeyFile ?? join(dataDir, "secrets", "backup.key");

function makeSecrets(
  dataDir: string,
  settings: Settings,
): { masterKeyFile: string; ownerTokenFile: string; backupKeyFile: string } {
  const folder = join(dataDir, "secrets");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const masterKeyFile = settings.masterKeyFile ?? join(folder, "master.key");
  const ownerTokenFile = settings.ownerTokenFile ?? join(folder, "owner.token");
  const backupKeyFile = backupKeyFileOf(dataDir, settings);
  ensureMasterKey(masterKeyFile);
  ensureOwnerToken(ownerTokenFile);
  ensureBackupKey(backupKeyFile);
  return { masterKeyFile, ownerTokenFile, backupKeyFile };
}

interface Server {
  /** Undefined when the server is the user's own. */
  readonly spec: ServiceSpec | undefined;
  readonly url: string;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  /** Environment of who lets subscribers in; of a server that is the user's own it is the user's, too. */
  readonly door?: Readonly<Record<string, string | undefined>>;
}

const EVERY_ADDRESS = new Set(["0.0.0.0", "::", "[::]"]);

/** What NATS offers TLS with. @throws Error that says what does not fit */
export function natsTls(
  settings: Partial<Pick<Settings, "natsTlsCert" | "natsTlsKey" | "natsHost">>,
): { certFile: string; keyFile: string } | undefined {
  const { natsTlsCert: cert, natsTlsKey: key, natsHost = "127.0.0.1" } = settings;
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new Error("TLS of NATS needs both: set MILLRACE_NATS_TLS_CERT and MILLRACE_NATS_TLS_KEY");
  }
  if (!EVERY_ADDRESS.has(natsHost) && !/^(127\.|::1$|\[::1\]$|localhost$)/.test(natsHost)) {
    throw new Error(
      `with a certificate NATS listens on every address: set MILLRACE_NATS_HOST=0.0.0.0, not ${natsHost}; what runs beside it reaches it by 127.0.0.1`,
    );
  }
  const [certFile, keyFile] = [resolve(cert), resolve(key)];
  try {
    createSecureContext({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
  } catch (error) {
    throw new Error(
      `MILLRACE_NATS_TLS_CERT and MILLRACE_NATS_TLS_KEY cannot be used (${(error as Error).message}): give a certificate and its own key, both in PEM`,
    );
  }
  return { certFile, keyFile };
}

async function natsService(
  dataDir: string,
  settings: Settings,
  before: number | undefined,
  log: (line: string) => void,
): Promise<Server> {
  if (settings.natsUrl) {
    return { spec: undefined, url: settings.natsUrl, user: settings.natsUser, password: settings.natsPassword };
  }
  const folder = join(dataDir, "nats");
  const tls = natsTls(settings);
  const doorFiles = [
    join(dataDir, "secrets", "nats-door.password"),
    join(dataDir, "secrets", "nats-issuer.seed"),
  ] as const;
  const prepared = await prepareNats({
    dataDir: folder,
    credentialsFile: join(dataDir, "secrets", "nats.json"),
    subscribers: ensureNatsDoor(...doorFiles),
    ...(settings.natsHost ? { host: settings.natsHost } : {}),
    ...(tls === undefined ? {} : { tls }),
    logFile: join(dataDir, "logs", "nats.log"),
    port: settings.natsPort || (await freePort(before)),
    sync: settings.natsSync,
    ...(settings.natsServer ? { binary: settings.natsServer } : {}),
    ...(settings.natsMonitorPort === undefined ? {} : { monitorPort: settings.natsMonitorPort }),
    ...(settings.natsMemory ? { memoryLimit: settings.natsMemory } : {}),
    bring: settings.bring,
    log,
  });
  const monitor = prepared.monitorPort === undefined ? {} : { monitor: prepared.monitorPort };
  const spec: ServiceSpec = {
    ...prepared.spec,
    name: "nats",
    ready: prepared.ready,
    beforeStart: () => endOrphanedNats(folder),
    ports: { nats: prepared.port, ...monitor },
  };
  const door = {
    MILLRACE_NATS_DOOR_PASSWORD_FILE: doorFiles[0],
    MILLRACE_NATS_ISSUER_SEED_FILE: doorFiles[1],
    ...(tls === undefined ? {} : { MILLRACE_NATS_SUBSCRIBERS_TLS: "1" }),
  };
  const url = `nats://${reachable(settings.natsHost ?? "127.0.0.1")}:${prepared.port}`;
  return { spec, url, user: prepared.user, password: prepared.password, door };
}

async function postgresService(dataDir: string, settings: Settings, before: number | undefined): Promise<Server> {
  if (settings.postgresUrl) return { spec: undefined, url: settings.postgresUrl };
  const prepared = await preparePostgres({
    dataDir: join(dataDir, "postgres"),
    passwordFile: join(dataDir, "secrets", "postgres.password"),
    logFile: join(dataDir, "logs", "postgres.log"),
    port: settings.postgresPort || (await freePort(before)),
  });
  const spec: ServiceSpec = {
    ...prepared.spec,
    name: "postgres",
    ready: prepared.ready,
    beforeStart: () => clearAfterCrash(prepared.dataDir),
    ports: { postgres: prepared.port },
  };
  return { spec, url: prepared.url };
}

/** The folders below which repositories may be deployed by path: those of the settings, and one of the data folder. */
function localSources(dataDir: string, settings: Settings): string[] {
  const own = join(dataDir, "local-sources");
  mkdirSync(own, { recursive: true, mode: 0o700 });
  return [...settings.localSources, own];
}

interface Proxy {
  readonly host: string;
  readonly port: number;
  readonly address: string;
  readonly tlsAddress: string | undefined;
  readonly admin: string;
  readonly storage: string;
}

const publicUrlOf = (proxy: Proxy | undefined): string | undefined =>
  proxy && `http://${reachable(proxy.host)}:${proxy.port}`;

interface ProxyStart {
  readonly dataDir: string;
  readonly settings: Settings;
  readonly gatewayPort: number;
  /** The port of the last run. */
  readonly before: number | undefined;
  readonly start: (spec: ServiceSpec) => Promise<void>;
  readonly log: (line: string) => void;
}

/** Starts Caddy. Without it all works but reaching applications, so that it is missing is told and no more. */
async function startProxy({
  dataDir,
  settings,
  gatewayPort,
  before,
  start,
  log,
}: ProxyStart): Promise<Proxy | undefined> {
  const host = settings.publicHost ?? settings.host;
  if (settings.publicPort && !(await isPortFree(settings.publicPort, host))) {
    throw new Error(
      `port ${settings.publicPort} for applications is taken by another program: end that one, or choose another (MILLRACE_PUBLIC_PORT)`,
    );
  }
  const near = before ?? (settings.port === 0 ? undefined : gatewayPort + 80);
  const port = settings.publicPort || (await freePort(near, host));
  const env = settings.caddy ? { ...process.env, MILLRACE_CADDY: settings.caddy } : process.env;
  const found = await findCaddy({ bring: settings.bring, env, log });
  if (found.path === undefined) {
    log(`${found.why} Applications cannot be reached, all else works (mill doctor).`);
    return undefined;
  }
  const prepared = await prepareCaddy({
    dataDir: join(dataDir, "caddy"),
    logFile: join(dataDir, "logs", "caddy.log"),
    host,
    port,
    binary: found.path,
  });
  if (prepared === undefined) return undefined;
  log("starting Caddy");
  const { admin, address, storage } = prepared;
  try {
    await start({
      ...prepared.spec,
      ready: prepared.ready,
      beforeStart: prepared.beforeStart,
      ports: { public: port },
    });
  } catch (error) {
    log(`${(error as Error).message}\napplications cannot be reached, all else works`);
    return undefined;
  }
  const tlsAddress = settings.publicTlsPort ? address.replace(/\d+$/, `${settings.publicTlsPort}`) : undefined;
  return { host, port, address, tlsAddress, admin, storage };
}
