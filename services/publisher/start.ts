/** The publisher as a service: makes repositories on its node's disk. Needs NATS; its tools are used when they are there. */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { repository } from "@millrace/domain/publishing/repository.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { servedPlaces } from "@millrace/eventlog/served.ts";
import { defineService, type Running } from "@millrace/eventlog/service.ts";
import { streamSettings } from "@millrace/eventlog/settings.ts";
import { startWorker } from "@millrace/eventlog/worker.ts";
import { sweepGpgHomes } from "./adapters/ostree/keys.ts";
import { Tools } from "./adapters/ostree/tools.ts";
import { PUBLISHER_SETTINGS, type PublisherConfig } from "./config.ts";
import { OpenRepositories, type PublisherNode } from "./places.ts";
import { repositoryReactor } from "./reactors/repository.ts";

const SERVICE = "publisher";

export async function startPublisher(config: PublisherConfig, logger: Logger): Promise<Running> {
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
    [repository.context],
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
  const place: PublisherNode = {
    name: node,
    folder: join(folder, "repositories"),
    tools,
    sealing,
    served: servedPlaces(config.data, node),
    publicUrl: config.publicUrl,
    repositories: new OpenRepositories(),
    youngMs: config.pruneYoungSeconds * 1_000,
  };
  const worker = await startWorker({
    log,
    service: SERVICE,
    node,
    context: repository.context,
    reactors: [repositoryReactor(place)],
    concurrency: config.concurrency,
    logger,
    deadLetters: new DeadLetters(log.nats, replicas),
    leases,
  });
  return {
    ready: (): Check[] => [...worker.checks(), ...missing(sealing)],
    stop: async () => {
      await worker.stop();
      await leases.close();
      sealing?.close();
      await log.close();
    },
  };
}

const missing = (sealing: Sealing | undefined): Check[] =>
  sealing === undefined ? [{ name: "master-key", ok: true, detail: "missing: no repository can be made" }] : [];

export const publisherService = defineService({
  name: SERVICE,
  settings: PUBLISHER_SETTINGS,
  start: (config, shell) => startPublisher(config, shell.log),
});
