/**
 * The publisher as a service: makes repositories on its node's disk, takes builds and publishes them. Needs NATS; its tools are used when
 * they are there. One process of a node acts: what open builds hold is kept in its memory; another waits to take over.
 */
import { mkdirSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { secret } from "@millrace/domain/identity/secret.ts";
import { build, numberClaim } from "@millrace/domain/publishing/build.ts";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { Addresses } from "@millrace/eventlog/addresses.ts";
import { authoritiesOf } from "@millrace/eventlog/authorities.ts";
import { ticketKeyOf } from "@millrace/eventlog/bytes-ticket.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { FreeNumbers } from "@millrace/eventlog/free-numbers.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { announce, type NodeRecord } from "@millrace/eventlog/presence.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { defineService, type Running } from "@millrace/eventlog/service.ts";
import { rangesOf, streamSettings } from "@millrace/eventlog/settings.ts";
import { runSingleton } from "@millrace/eventlog/singleton.ts";
import { startWorker, type Worker } from "@millrace/eventlog/worker.ts";
import { sweepGpgHomes } from "./adapters/ostree/keys.ts";
import { Tools } from "./adapters/ostree/tools.ts";
import { answerAsks, bookOf, pulledFrom } from "./answers.ts";
import { publisherHooks } from "./backups.ts";
import { PUBLISHER_SETTINGS, type PublisherConfig } from "./config.ts";
import { Coalesced, Lanes } from "./lanes.ts";
import { type Keeping, sweepLeftovers } from "./leftovers.ts";
import { openBuilder } from "./manifests.ts";
import { OpenRepositories, type PublisherNode } from "./places.ts";
import { buildReactor } from "./reactors/build.ts";
import { repositoryReactor } from "./reactors/repository.ts";
import type { Mirrors } from "./repositories/mirror.ts";
import { scrubAll } from "./repositories/scrub.ts";
import { count } from "./repositories/statistics.ts";
import { serveUploads } from "./server.ts";
import { Store } from "./store.ts";

const SERVICE = "publisher";
const DAY_MS = 86_400_000;

/** What every part of it has. */
interface Parts {
  readonly config: PublisherConfig;
  readonly folder: string;
  readonly log: EventLog;
  readonly leases: Leases;
  readonly sealing: Sealing | undefined;
  readonly tools: Tools;
  readonly logger: Logger;
}

export async function startPublisher(config: PublisherConfig, logger: Logger, version = ""): Promise<Running> {
  const { natsUrl: url, natsUser: user, natsPassword: password, replicas, node, masterKey } = config;
  const folder = join(resolve(config.data), SERVICE, node);
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  // Keys of those who were ended in the middle of signing.
  sweepGpgHomes();
  const log = await EventLog.open(
    {
      url,
      name: SERVICE,
      replicas,
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password }),
      ...streamSettings(config),
    },
    [repository.context, secret.context],
  );
  const leases = await Leases.open(log.nats, { node, ttlMs: config.leaseSeconds * 1_000 });
  const sealing =
    masterKey === undefined
      ? undefined
      : await Sealing.open({ nats: log.nats, masterKeys: parseMasterKeys(masterKey), replicas });
  const tools = await Tools.open({
    env: config.tools ?? { PATH: process.env.PATH ?? "" },
    home: join(folder, "home"),
  });
  const parts = { config, folder, log, leases, sealing, tools, logger };
  const stopping = new AbortController();
  let worker: Worker | undefined;
  const acting = runSingleton({
    leases,
    name: `${SERVICE}.${node}`,
    signal: stopping.signal,
    work: (mine) => act(parts, version, mine, (now) => (worker = now)),
    onError: (err) => logger.error({ err }, "the publisher broke off"),
  });
  return {
    ready: (): Check[] => [...(worker?.checks() ?? STANDBY), ...missing(sealing), ...unserved(config)],
    stop: async () => {
      stopping.abort();
      await acting;
      await leases.close();
      sealing?.close();
      await log.close();
    },
  };
}

const STANDBY: ReadonlyArray<Check> = [
  { name: "worker publishing", ok: true, detail: "another process of the node acts; this one takes over" },
];

/** While this process is the one that acts on the node. */
async function act(
  parts: Parts,
  version: string,
  mine: AbortSignal,
  tell: (worker: Worker | undefined) => void,
): Promise<void> {
  const { config, folder, log, leases, sealing, tools, logger } = parts;
  const { node: name, replicas, concurrency, buildsAtOnce, deltasAtOnce, deltaDepth, buildDays } = config;
  const ending = new AbortController();
  const place: PublisherNode = {
    name,
    folder: join(folder, "repositories"),
    tools,
    sealing,
    served: servedPlaces(config.data, name),
    publicUrl: config.publicUrl,
    repositories: new OpenRepositories(),
    youngMs: config.pruneYoungSeconds * 1_000,
    stateOf: async (id) => (await log.aggregates.load(repository, id)).state,
    counted: async () => {
      const counting = { log: place.served.accessLog, book: bookOf(place), of: pulledFrom(place) };
      await place.repositories.inTurn("statistics", () => count({ ...counting, signal: ending.signal }));
    },
  };
  const store = new Store(place);
  const lanes = new Lanes(buildsAtOnce);
  const deltaLanes = new Lanes(deltasAtOnce);
  const summaries = new Coalesced();
  const builder = await openBuilder({ config, folder, log, sealing, logger });
  const mirrors: Mirrors = {
    log,
    tools,
    numbers: new FreeNumbers(log, build.context, numberClaim),
    addresses: new Addresses(rangesOf(config.webhookAllow)),
    authorities: authoritiesOf(config.outgoingCa),
  };
  const worker = await startWorker({
    log,
    service: SERVICE,
    node: name,
    context: repository.context,
    reactors: [
      repositoryReactor(place, mirrors),
      buildReactor({
        place,
        log,
        store,
        lanes,
        deltaLanes,
        summaries,
        deltaDepth,
        builder,
        mirrors,
        fetchLanes: new Lanes(config.mirrorsAtOnce),
        mirrorBytes: config.mirrorGib * 1024 ** 3,
        keepMs: buildDays * DAY_MS,
      }),
    ],
    concurrency: concurrency + buildsAtOnce + deltasAtOnce + config.manifestsAtOnce + config.mirrorsAtOnce,
    logger,
    deadLetters: new DeadLetters(log.nats, replicas),
    leases,
  });
  tell(worker);
  const uploads = await openUploads(parts, store);
  const presence = await announce({
    nats: log.nats,
    describe: () => recordOf(config, folder, worker.name, version, uploads?.url),
    ttlMs: config.leaseSeconds * 1_000,
    onError: (err) => logger.warn({ err }, "this node could not be announced"),
  });
  const keeping: Keeping = { place, store, builder, log, keepMs: buildDays * DAY_MS };
  const endAnswers = answerAsks(place, log, logger, keeping);
  const beside = [
    countOn(place, logger, ending.signal),
    scrubOn(parts, place, ending.signal),
    sweepOn(keeping, logger, ending.signal),
  ];
  try {
    await pause(2 ** 30, mine);
  } finally {
    endAnswers();
    ending.abort();
    await Promise.all(beside);
    await presence.stop();
    await uploads?.stop();
    await worker.stop();
    await place.repositories.signers.close();
    tell(undefined);
  }
}

/** How often pulls are counted; who asks has them counted before. */
const COUNT_MS = 15_000;
/** A round of reading begins a week after the last; it is looked for every ten minutes. */
const SCRUB_MS = { everyMs: 7 * 86_400_000, lookMs: 600_000 } as const;
const AGAIN_MS = 30_000;

async function countOn(place: PublisherNode, logger: Logger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await place.counted().catch((err: unknown) => {
      if (!signal.aborted) logger.warn({ err }, "pulls could not be counted; tried again");
    });
    await pause(COUNT_MS, signal);
  }
}

/** What builds have left is looked for every hour. */
const SWEEP_MS = 3_600_000;

async function sweepOn(keeping: Keeping, logger: Logger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepLeftovers(keeping, Date.now(), signal).then(
      (gone) => gone > 0 && logger.info({ gone }, "what builds had left was removed"),
      (err: unknown) => {
        if (!signal.aborted)
          logger.warn({ err }, "what builds have left could not be looked through; it goes on later");
      },
    );
    await pause(SWEEP_MS, signal);
  }
}

async function scrubOn({ config, log, logger }: Parts, node: PublisherNode, signal: AbortSignal): Promise<void> {
  const bytesPerSecond = config.scrubMib * 1024 ** 2;
  while (bytesPerSecond > 0 && !signal.aborted) {
    await scrubAll({ node, log, bytesPerSecond, ...SCRUB_MS }, signal).catch((err: unknown) => {
      if (!signal.aborted) logger.warn({ err }, "reading through repositories broke off; it goes on in a while");
    });
    await pause(AGAIN_MS, signal);
  }
}

/** Without Caddy repositories are made and published into; only nobody can reach them. */
const unserved = ({ publicUrl }: PublisherConfig): Check[] =>
  publicUrl === undefined
    ? [{ name: "caddy", ok: true, detail: "missing: repositories are not served (mill doctor)" }]
    : [];

/** Takes what is uploaded. Undefined: without the master key no ticket can be read. */
async function openUploads({ config, log, logger }: Parts, store: Store) {
  const { bytesListen, masterKey, node } = config;
  if (masterKey === undefined) return undefined;
  const at = bytesListen.lastIndexOf(":");
  const host = bytesListen.slice(0, at).replace(/^\[(.*)\]$/, "$1");
  const server = await serveUploads({
    store,
    log,
    keys: parseMasterKeys(masterKey).map(({ bytes }) => ticketKeyOf(bytes)),
    node,
    dataFolder: resolve(config.data),
    backups: publisherHooks(store.node, config.data),
    host: host === "" ? "0.0.0.0" : host,
    port: Number(bytesListen.slice(at + 1)),
    logger,
  });
  const name = host === "" || host === "0.0.0.0" || host === "::" ? hostname() : host;
  return { url: `http://${name.includes(":") ? `[${name}]` : name}:${server.port}`, stop: () => server.stop() };
}

const startedAt = new Date().toISOString();

async function recordOf(
  config: PublisherConfig,
  dataFolder: string,
  instance: string,
  version: string,
  bytes: string | undefined,
): Promise<NodeRecord> {
  const { bavail, bsize } = await statfs(dataFolder).catch(() => ({ bavail: 0, bsize: 0 }));
  return {
    node: config.node,
    service: SERVICE,
    instance,
    pid: process.pid,
    host: hostname(),
    version,
    dataFolder,
    docker: { endpoint: "", missing: "A publisher needs none." },
    freeBytes: bavail * bsize,
    capabilities: ["ostree"],
    ...(bytes === undefined ? {} : { bytes }),
    startedAt,
  };
}

const missing = (sealing: Sealing | undefined): Check[] =>
  sealing === undefined ? [{ name: "master-key", ok: true, detail: "missing: no repository can be made" }] : [];

export const publisherService = defineService({
  name: SERVICE,
  settings: PUBLISHER_SETTINGS,
  start: (config, shell) => startPublisher(config, shell.log, shell.version),
});
