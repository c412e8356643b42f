/**
 * The process shell that every service stands in: settings checked at start, logger, traces, health, an end within
 * ten seconds, and a loud death when something is broken.
 *
 * A service is a value, so that it runs as a process of its own, several in one, or inside a test:
 *
 *     export const projector = defineService({
 *       name: "projector",
 *       settings: defineSettings({ ...NATS_SETTINGS, ...POSTGRES_SETTINGS }),
 *       start: async (config, shell) => {
 *         …
 *         return { ready: () => [{ name: "nats", ok: !nats.nc.isClosed() }], stop: () => nats.close() };
 *       },
 *     });
 *     // main.ts
 *     await runServices([projector]);
 */

import * as Schema from "effect/Schema";
import { type Checks, Health, openHealthServer } from "./health.ts";
import { LEVELS, type Logger, makeLogger } from "./logging.ts";
import manifest from "./package.json" with { type: "json" };
import {
  type ConfigOf,
  defineSettings,
  type Environment,
  Flag,
  Port,
  readSettings,
  type Settings,
  SettingsInvalid,
  Text,
} from "./settings.ts";
import { startProcessMetrics } from "./telemetry.ts";
import { startTracing } from "./tracing.ts";

/** The release, as `millrace_build_info` and traces show it. */
export const VERSION: string = manifest.version;

/** What the shell gives to a service. */
export interface Shell {
  readonly name: string;
  readonly version: string;
  readonly log: Logger;
  /** For services with an HTTP server of their own: `await shell.health.answer(path, query)` before anything else. */
  readonly health: Health;
  /** Aborted when the service should end; `stop` is called right after. */
  readonly stopping: AbortSignal;
  /** For what must not happen: logs it and ends the process with code 1. The log makes that safe. */
  crash(error: unknown): void;
}

export interface Running {
  /** What the next request needs, each by name. Called for every `/readyz`; two seconds in all. */
  readonly ready: Checks;
  /** Finishes or hands over what is under way, within ten seconds. */
  stop(): Promise<void>;
}

export interface Service<S extends Settings = Settings> {
  /** One word, lower-case. */
  readonly name: string;
  readonly settings: S;
  /** It answers `/livez` … on its own server: no health port is opened for it. */
  readonly ownHttp?: boolean;
  readonly start: (config: ConfigOf<S>, shell: Shell) => Promise<Running>;
}

/** Infers the type of the settings. */
export const defineService = <const S extends Settings>(service: Service<S>): Service<S> => service;

/** What the shell itself reads, for every service. */
export const SHELL_SETTINGS = defineSettings({
  logLevel: {
    variable: "MILLRACE_LOG_LEVEL",
    schema: Schema.Literals(LEVELS),
    describe: `The least that is logged: ${LEVELS.join(", ")}.`,
    example: "info",
    fallback: "info",
  },
  healthPort: {
    variable: "MILLRACE_HEALTH_PORT",
    schema: Port,
    describe:
      "Port for /livez, /readyz, /startupz and /metrics of services without HTTP of their own; 0 is any free one, unset none.",
    example: "9101",
    optional: true,
  },
  healthHost: {
    variable: "MILLRACE_HEALTH_HOST",
    schema: Text,
    describe: "Address that this port listens on.",
    example: "127.0.0.1",
    fallback: "127.0.0.1",
  },
  parentPipe: {
    variable: "MILLRACE_PARENT_PIPE",
    schema: Flag,
    describe: "1: end when standard input, or the channel to the parent process, is closed.",
    example: "1",
    fallback: false,
  },
});

/** How long an orderly end may take, in milliseconds. */
export const STOP_MS = 10_000;

export interface Started {
  readonly name: string;
  readonly health: Health;
  /** Of the health server; undefined when none was asked for. */
  readonly healthPort: number | undefined;
  readonly log: Logger;
  /** @throws when it took longer than `STOP_MS`, or `stop` of the service did */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Default: the process's. */
  readonly env?: Environment;
  readonly log?: Logger;
  /** Shared by services in one process. */
  readonly health?: Health;
  /** Default: log and `process.exit(1)`. */
  readonly onCrash?: (error: unknown) => void;
}

/**
 * Starts a service inside this process without touching its signals: for tests, and for `runServices`.
 * @throws SettingsInvalid, and what `start` throws
 */
export async function startService<S extends Settings>(
  service: Service<S>,
  options: StartOptions = {},
): Promise<Started> {
  const env = options.env ?? process.env;
  const shellConfig = readSettings(SHELL_SETTINGS, env);
  const config = readSettings(service.settings, env);
  const log = options.log ?? makeLogger({ service: service.name, level: shellConfig.logLevel });
  const health = options.health ?? new Health();
  const began = performance.now();
  startProcessMetrics(service.name, VERSION);
  health.starting(service.name);
  const stopping = new AbortController();
  const ownPort = service.ownHttp !== true && options.health === undefined;
  const server = ownPort ? await openHealth(health, shellConfig, log) : undefined;
  const endTracing = await startTracing({ service: service.name, version: VERSION, env });
  const close = async () => {
    await server?.close();
    await endTracing();
  };
  const crashed = options.onCrash ?? ((error: unknown) => crash(log, error));
  const shell: Shell = { name: service.name, version: VERSION, log, health, stopping: stopping.signal, crash: crashed };
  let running: Running;
  try {
    running = await service.start(config, shell);
  } catch (error) {
    stopping.abort();
    health.stopping(service.name);
    await close();
    throw error;
  }
  health.started(service.name, running.ready);
  log.info({ version: VERSION, tookMs: Math.round(performance.now() - began) }, "started");
  const stop = async () => {
    health.stopping(service.name);
    stopping.abort();
    try {
      await within(STOP_MS, running.stop(), `${service.name} did not end within ${STOP_MS} ms`);
      log.info("stopped");
    } finally {
      await close();
    }
  };
  let ending: Promise<void> | undefined;
  return {
    name: service.name,
    health,
    healthPort: server?.port,
    log,
    stop: () => {
      ending ??= stop();
      return ending;
    },
  };
}

/** Before the service starts, so that a supervisor can see it coming up. */
async function openHealth(
  health: Health,
  { healthHost: host, healthPort: port }: ConfigOf<typeof SHELL_SETTINGS>,
  log: Logger,
) {
  if (port === undefined) return undefined;
  const server = await openHealthServer(health, { host, port });
  log.info({ healthPort: server.port }, "health on its port");
  return server;
}

async function within<T>(ms: number, work: Promise<T>, late: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(late)), ms);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Last words, then the end. The next process goes on from the log. */
function crash(log: Logger, error: unknown): never {
  try {
    log.fatal({ err: error instanceof Error ? error : new Error(String(error)) }, "crashed");
  } catch {
    process.stderr.write(`crashed: ${String(error)}\n`);
  }
  process.exit(1);
}

/**
 * Runs services as this process: to be the last call of a `main.ts`. Handles SIGTERM and SIGINT (not ready, an orderly end
 * within ten seconds, exit code 0; a second signal ends at once), the parent's end, and everything uncaught.
 * Exit codes: 0 ended as asked · 1 crashed, or the end took too long · 78 the configuration is not valid · 130, 143 second signal.
 */
export async function runServices(services: ReadonlyArray<Service<any>>): Promise<void> {
  const name = services.map((service) => service.name).join("+");
  let shellConfig: ConfigOf<typeof SHELL_SETTINGS>;
  try {
    shellConfig = readSettings(SHELL_SETTINGS, process.env);
    const faults = services.flatMap((service) => faultsOf(service.settings));
    if (faults.length > 0) throw new SettingsInvalid([...new Set(faults)]);
  } catch (error) {
    process.stderr.write(`${name}: ${(error as Error).message}\n`);
    process.exit(78);
  }
  const log = makeLogger({ service: name, level: shellConfig.logLevel });
  process.on("uncaughtException", (error) => crash(log, error));
  process.on("unhandledRejection", (error) => crash(log, error));

  const health = new Health();
  const started: Started[] = [];
  let allStarted = false;
  let ending = false;
  const end = async (why: string) => {
    if (ending) return;
    ending = true;
    log.info({ why }, "stopping");
    // Nothing has been promised to anybody by a service that is only coming up.
    if (!allStarted) process.exit(0);
    for (const service of services) health.stopping(service.name);
    const ends = await Promise.allSettled(started.map((one) => one.stop()));
    const failed = ends.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
    for (const error of failed) log.error({ err: error }, "the end was not orderly");
    process.exit(failed.length === 0 ? 0 : 1);
  };
  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    process.on(signal, () => {
      if (ending) process.exit(code);
      void end(signal);
    });
  }
  if (shellConfig.parentPipe) endWithParent(() => void end("the parent is gone"));

  try {
    if (services.some(({ ownHttp }) => ownHttp !== true)) await openHealth(health, shellConfig, log);
    for (const service of services) {
      started.push(
        await startService(service, {
          log: makeLogger({ service: service.name, level: shellConfig.logLevel }),
          health,
        }),
      );
    }
    allStarted = true;
  } catch (error) {
    crash(log, error);
  }
}

/** One service as this process. */
export const runService = <S extends Settings>(service: Service<S>): Promise<void> => runServices([service]);

function faultsOf(settings: Settings): ReadonlyArray<string> {
  try {
    readSettings(settings, process.env);
    return [];
  } catch (error) {
    if (error instanceof SettingsInvalid) return error.faults;
    throw error;
  }
}

/** A pipe from the parent is closed by the system however the parent dies. */
function endWithParent(end: () => void): void {
  if (process.channel !== undefined && process.channel !== null) {
    process.once("disconnect", end);
    return;
  }
  process.stdin.once("end", end);
  process.stdin.once("close", end);
  process.stdin.once("error", end);
  process.stdin.resume();
}
