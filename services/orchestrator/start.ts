/**
 * The orchestrator as a service: deploys applications on its node, keeps what is there as the log says, and tells Caddy what to
 * serve. Needs NATS; Docker and Caddy are used when they are there, and named when they are missing.
 */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { nextOfDeployment } from "@millrace/domain/applications/next.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { build, uploadOfBuild } from "@millrace/domain/publishing/build.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import { type LiveIndex, startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { openLogs } from "@millrace/eventlog/logs.ts";
import { announce } from "@millrace/eventlog/presence.ts";
import { ensureTelemetry, type TelemetryLimits } from "@millrace/eventlog/series.ts";
import { keepRollingUp } from "@millrace/eventlog/series-rollup.ts";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { defineService, type Running } from "@millrace/eventlog/service.ts";
import { logLimits, streamSettings } from "@millrace/eventlog/settings.ts";
import { runSingleton } from "@millrace/eventlog/singleton.ts";
import { startWorker, type Worker } from "@millrace/eventlog/worker.ts";
import type { CaddyNode } from "./adapters/caddy.ts";
import { nodeDisk } from "./adapters/disk.ts";
import { openDocker } from "./adapters/docker.ts";
import { watchAlerts } from "./alerts.ts";
import { answerAsks } from "./answers.ts";
import { keepSweeping } from "./attachments.ts";
import { type Automation, startAutomation } from "./automation.ts";
import { backUp, placeOf } from "./backups.ts";
import { ORCHESTRATOR_SETTINGS, type OrchestratorConfig, portsOf, scopeOf } from "./config.ts";
import { EngineWatch, nodeRecord } from "./engine-watch.ts";
import type { OrchestratorNode } from "./node.ts";
import { type ProxyTrouble, serveRoutes } from "./proxy.ts";
import { applicationReactor } from "./reactors/application.ts";
import { Collectors } from "./reactors/collectors.ts";
import { deploymentReactor } from "./reactors/deployment.ts";
import { Rounds } from "./rounds.ts";
import { sample } from "./samples.ts";
import { Secrets } from "./secrets.ts";
import { Uploads } from "./uploads.ts";
import { watchWaiting } from "./waiting.ts";

const SERVICE = "orchestrator";

/** What tests and benchmarks look at beside what the shell needs. */
export interface Orchestrator extends Running {
  readonly worker: Worker;
  readonly automation: Automation;
  readonly rounds: Rounds;
  readonly index: LiveIndex;
}

/** Starts it inside this process. What is away is waited for. */
export async function startOrchestrator(
  config: OrchestratorConfig,
  logger: Logger,
  version: string,
): Promise<Orchestrator> {
  const data = resolve(config.data);
  const log = await openLog(config);
  const leases = await Leases.open(log.nats, { node: config.node, ttlMs: config.leaseSeconds * 1_000 });
  const index = await openIndex(log, logger);
  const { node, scope, engine, collectors, close } = await openNode(config, log, index, logger);
  const { disk } = node;
  const drifted = new Set<string>();
  const worker = await startWorker({
    log,
    service: SERVICE,
    node: config.node,
    context: application.context,
    reactors: [applicationReactor(node, drifted), deploymentReactor(node)],
    concurrency: config.concurrency,
    logger,
    deadLetters: new DeadLetters(log.nats, config.replicas),
    leases,
  });
  const { replicas } = config;
  const automation = await startAutomation({ log, leases, logger, service: SERVICE, replicas });
  const stopping = new AbortController();
  const rounds = new Rounds({
    node,
    index,
    drifted,
    wake: (id) => worker.wake(application.kind, id),
    everyMs: config.reconcileSeconds * 1_000,
    orphanMs: config.orphanSeconds * 1_000,
    hasDocker: () => engine.present,
  });
  engine.onHint = (hint) => {
    rounds.hint(hint.hint === "container" ? hint.application : undefined);
    collectors.hint();
  };
  const endAnswers = answerAsks(node);
  const builds = await openBuilds(log, logger);
  const uploads = new Uploads(config, node, index, builds);
  const presence = await announce({
    nats: log.nats,
    describe: () =>
      nodeRecord(config, { scope, worker: worker.name, version, dataFolder: data, disk, engine, bytes: uploads.url }),
    ttlMs: config.leaseSeconds * 1_000,
    onError: (err) => logger.warn({ err }, "this node could not be announced"),
  });
  engine.onChange = () => void presence.refresh();
  uploads.onChange = () => void presence.refresh();
  const trouble: ProxyTrouble = { last: undefined };
  const singletons = startSingletons({
    config,
    node,
    index,
    leases,
    rounds,
    collectors,
    engine,
    trouble,
    uploads,
    version,
    signal: stopping.signal,
  });
  const watching = engine.run(stopping.signal);
  return {
    worker,
    automation,
    rounds,
    index,
    ready: () => checksOf([worker, automation], engine, config, trouble),
    stop: async () => {
      stopping.abort();
      endAnswers();
      await Promise.all([worker.stop(), automation.stop()]);
      await Promise.all([presence.stop(), watching, ...singletons]);
      await Promise.all([leases.close(), index.stop(), builds.stop()]);
      close();
      await log.close();
    },
  };
}

/** Disk, engine, secrets and lines, as every reactor has them. */
async function openNode(config: OrchestratorConfig, log: EventLog, index: LiveIndex, logger: Logger) {
  const disk = nodeDisk(resolve(config.data), config.node, config.knownHosts);
  mkdirSync(disk.apps, { recursive: true, mode: 0o700 });
  const secrets = await Secrets.open(log, config.masterKey, logger);
  const ports = portsOf(config);
  const scope = scopeOf(config, disk.root);
  const docker = openDocker({
    scope,
    ...(config.dockerHost === undefined ? {} : { endpoint: config.dockerHost }),
    ...(ports === undefined ? {} : { ports }),
  });
  const collectors = new Collectors();
  const engine = new EngineWatch(docker, logger);
  const node: OrchestratorNode = {
    name: config.node,
    disk,
    docker,
    hadEngine: () => engine.wasPresent,
    log,
    index,
    logs: await openLogs(log.nats, logLimits(config)),
    secrets,
    localSources: config.localSources ?? [],
    publicUrl: publicUrlOf(config.publicListen),
    drained: (id) => collectors.drained(id),
    logger,
  };
  const close = () => {
    secrets.close();
    docker.close();
  };
  return { node, scope, engine, collectors, close };
}

/** Applications, and the deployments of which something is still to be done: those that are over are only history here. */
const openIndex = (log: EventLog, logger: Logger): Promise<LiveIndex> =>
  startLiveIndex({
    log,
    context: application.context,
    kinds: [application, deployment],
    snapshot: "orchestrator",
    keep: (kind, state) =>
      kind === application.kind || nextOfDeployment(state, 0) !== undefined || state.state === "queued",
    onError: (err) => logger.warn({ err }, "the live index starts again"),
  });

/** Builds that may need what was uploaded for them again. */
const openBuilds = (log: EventLog, logger: Logger): Promise<LiveIndex> =>
  startLiveIndex({
    log,
    context: build.context,
    kinds: [build],
    snapshot: "orchestrator-builds",
    keep: (_, state) => uploadOfBuild(state) !== undefined,
    onError: (err) => logger.warn({ err }, "the live index of builds starts again"),
  });

const openLog = (config: OrchestratorConfig): Promise<EventLog> => {
  const { natsUrl: url, natsUser: user, natsPassword: password, replicas } = config;
  return EventLog.open(
    {
      url,
      name: SERVICE,
      replicas,
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password }),
      ...streamSettings(config),
    },
    Object.keys(CONTEXTS),
  );
};

interface Singletons {
  readonly config: OrchestratorConfig;
  readonly node: OrchestratorNode;
  readonly index: LiveIndex;
  readonly leases: Leases;
  readonly rounds: Rounds;
  readonly collectors: Collectors;
  readonly engine: EngineWatch;
  readonly trouble: ProxyTrouble;
  readonly uploads: Uploads;
  readonly version: string;
  readonly signal: AbortSignal;
}

/** What only one process does: of the node, or of the whole installation. Who that is, the leases show. */
function startSingletons(all: Singletons): Promise<void>[] {
  const { config, node, index, leases, rounds, collectors, engine, trouble, uploads, signal } = all;
  const only = (name: string, work: (signal: AbortSignal) => Promise<void>) =>
    runSingleton({
      leases,
      name,
      signal,
      work: async (mine) => {
        await index.caughtUp();
        if (!mine.aborted) await work(mine);
      },
      onError: (err) => node.logger.error({ err, singleton: name }, "what only one does broke off"),
    });
  const { caddyAdmin } = config;
  const place = placeOf(config);
  const everyMs = config.sampleSeconds * 1_000;
  return [
    ...(place === undefined
      ? []
      : [
          only("backup", (mine) =>
            backUp({ config, log: node.log, logger: node.logger, version: all.version }, place, mine),
          ),
        ]),
    only(`reconcile.${SERVICE}.${node.name}`, (mine) => rounds.run(mine)),
    only(`lines.${SERVICE}.${node.name}`, (mine) => collectors.run(node, () => engine.present, mine)),
    only(`bytes.${SERVICE}.${node.name}`, (mine) => uploads.run(mine)),
    only(`samples.${SERVICE}.${node.name}`, (mine) =>
      sample({ node, hasDocker: () => engine.present, everyMs, limits: telemetryLimits(config) }, mine),
    ),
    only("telemetry.rollup", async (mine) => {
      await ensureTelemetry(node.log.nats);
      await keepRollingUp(node.log.nats, mine, (err) => node.logger.warn({ err }, "samples could not be rolled up"));
    }),
    only("alerts", (mine) => watchAlerts({ log: node.log, logger: node.logger, service: SERVICE, everyMs }, mine)),
    only("attachments", (mine) =>
      keepSweeping(
        {
          log: node.log,
          logger: node.logger,
          graceMs: config.attachmentDays * 86_400_000,
          nowMs: Date.now,
        },
        mine,
      ),
    ),
    only(`waiting.${SERVICE}`, (mine) => watchWaiting(node.log, index, mine)),
    ...(caddyAdmin === undefined
      ? []
      : [
          only(`proxy.${SERVICE}.${node.name}`, (mine) =>
            serveRoutes(
              {
                node: node.name,
                caddy: caddyNode(config, node, caddyAdmin),
                index,
                everyMs: config.reconcileSeconds * 1_000,
                logger: node.logger,
              },
              trouble,
              mine,
            ),
          ),
        ]),
  ];
}

const telemetryLimits = ({ telemetryDays, telemetryMib }: OrchestratorConfig): TelemetryLimits => ({
  maxAgeMs: telemetryDays * 86_400_000,
  ...(telemetryMib === undefined ? {} : { maxBytes: telemetryMib * 1024 ** 2 }),
});

const caddyNode = (config: OrchestratorConfig, { disk }: OrchestratorNode, admin: string): CaddyNode => ({
  disk,
  listen: config.publicListen,
  admin,
  storage: config.caddyStorage ?? join(resolve(config.data), "caddy"),
  tls: config.tls,
  ...(config.publicListenTls === undefined ? {} : { listenTls: config.publicListenTls }),
  repositories: { places: servedPlaces(config.data, config.node), gateway: config.gatewayAddress },
});

/** Where this machine reaches what listens there. */
function publicUrlOf(listen: string): string {
  const port = listen.slice(listen.lastIndexOf(":") + 1);
  const host = listen.slice(0, listen.lastIndexOf(":"));
  return `http://${host === "" || host === "0.0.0.0" || host === "[::]" ? "127.0.0.1" : host}:${port}`;
}

/** Only what nothing goes on without makes it unready; what else is missing is named. */
function checksOf(
  workers: ReadonlyArray<Pick<Worker, "checks">>,
  engine: EngineWatch,
  config: OrchestratorConfig,
  trouble: ProxyTrouble,
): Check[] {
  const checks: Check[] = workers.flatMap((worker) => [...worker.checks()]);
  checks.push(
    engine.missing === undefined
      ? { name: "docker", ok: true }
      : { name: "docker", ok: true, detail: `missing: ${engine.missing}` },
  );
  const proxy =
    config.caddyAdmin === undefined ? "missing: set MILLRACE_CADDY_ADMIN, or start by mill up" : trouble.last?.message;
  checks.push({ name: "caddy", ok: true, ...(proxy === undefined ? {} : { detail: proxy }) });
  return checks;
}

export const orchestratorService = defineService({
  name: SERVICE,
  settings: ORCHESTRATOR_SETTINGS,
  start: (config, shell) => startOrchestrator(config, shell.log, shell.version),
});
