/**
 * The device agent as a service: talks to the devices of its site, those of the lanes that it holds. Needs NATS. What it finds goes into
 * the log, what devices measure into series; it is told what is wanted by the log alone.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { device } from "@millrace/domain/devices/device.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { profile } from "@millrace/domain/devices/profile.ts";
import { task } from "@millrace/domain/devices/task.ts";
import { isOver } from "@millrace/domain/devices/task-state.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import { type LiveIndex, startLiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { announce, listNodes } from "@millrace/eventlog/presence.ts";
import { defineService, type Running } from "@millrace/eventlog/service.ts";
import { Fleet } from "./adapters/shelly/fleet.ts";
import { Answers } from "./answers.ts";
import { AGENT_SETTINGS, type AgentConfig, listenOf } from "./config.ts";
import { Images } from "./images.ts";
import { Lanes } from "./lanes.ts";
import { Logins } from "./logins.ts";
import { Recorder } from "./recorder.ts";
import { Samples } from "./samples.ts";
import { searchMissing } from "./search.ts";
import { startTasks, type Tasks } from "./tasks.ts";
import { Watch } from "./watch.ts";

const SERVICE = "device-agent";
/** How often it is looked who else is there. */
const AGENTS_MS = 2_000;

/** What tests and benchmarks look at beside what the shell needs. */
export interface DeviceAgent extends Running {
  readonly watch: Watch;
  readonly fleet: Fleet;
  readonly lanes: Lanes;
  readonly index: LiveIndex;
  readonly tasks: Tasks;
}

const siteCapability = (site: string): string => `site:${site}`;

/** Starts it inside this process. What is away is waited for. */
export async function startDeviceAgent(config: AgentConfig, logger: Logger, version: string): Promise<DeviceAgent> {
  const { site, node } = config;
  const log = await openLog(config);
  const leases = await Leases.open(log.nats, { node, ttlMs: config.leaseSeconds * 1_000 });
  const logins = await Logins.open(log, config.masterKey, logger);
  const index = await startLiveIndex({
    log,
    context: device.context,
    kinds: [device, task, group, profile],
    snapshot: `${SERVICE}-fleet`,
    keep: (kind, state) => state.exists && (kind !== task.kind || !isOver(state)),
    onError: (err) => logger.warn({ err }, "the live index starts again"),
  });
  const stopping = new AbortController();
  const images = await openImages(config);
  const samples = new Samples(log.nats, logger, config.sampleSeconds * 1_000);
  let lanes: Lanes | undefined;
  const recorder = new Recorder({ log, index, logger, mine: (id) => watch.mine(id) });
  const watch: Watch = new Watch({
    site,
    index,
    recorder,
    logger,
    holds: (lane) => lanes?.has(lane) === true,
    samples: samples.add,
    pollMs: config.pollSeconds * 1_000,
    lostMs: config.lostSeconds * 1_000,
    readAfterMs: config.readHours * 3_600_000,
    images,
  });
  const fleet = await openFleet(config, watch, logins, logger);
  watch.begin(fleet);
  const tasks = await startTasks({ service: SERVICE, config, log, index, watch, logins, leases, logger, images });
  const answers = new Answers({ log, site, watch });
  answers.begin();
  const presence = await announce({
    nats: log.nats,
    describe: () => recordOf(config, leases, version, fleet),
    ttlMs: config.leaseSeconds * 1_000,
    onError: (err) => logger.warn({ err }, "this agent could not be announced"),
  });
  const held = new Lanes({
    leases,
    site,
    agents: agentsOf(log, site),
    onOwn: (lane) => {
      watch.own(lane);
      answers.own(lane);
    },
    onLose: (lane) => {
      watch.lose(lane);
      answers.lose(lane);
    },
    logger,
  });
  lanes = held;
  const search = {
    missing: () => watch.missing(),
    look: ({ host, port }: { readonly host: string; readonly port: number }) => watch.look(host, port),
    logger,
  };
  const work = [
    samples.run(stopping.signal),
    ...(config.mdns ? [searchMissing(search, stopping.signal)] : []),
    index.caughtUp().then(() => (stopping.signal.aborted ? undefined : held.run(stopping.signal))),
  ];
  return {
    watch,
    fleet,
    lanes: held,
    index,
    tasks,
    ready: (): Check[] => [
      ...tasks.checks(),
      {
        name: "devices",
        ok: index.status().caughtUp,
        detail: `${watch.size} in ${held.held().length} lanes of ${site}`,
      },
      ...(config.masterKey === undefined
        ? [{ name: "logins", ok: true, detail: "missing: set MILLRACE_MASTER_KEY_FILE, or no login can be opened" }]
        : []),
    ],
    stop: async () => {
      await tasks.stop();
      await recorder.close();
      stopping.abort();
      answers.close();
      await Promise.all(work);
      watch.close();
      await Promise.all([fleet.close(), presence.stop(), index.stop(), images?.close()]);
      await leases.close();
      logins.close();
      await log.close();
    },
  };
}

const openLog = (config: AgentConfig): Promise<EventLog> => {
  const { natsUrl: url, natsUser: user, natsPassword: password, replicas } = config;
  return EventLog.open(
    {
      url,
      name: SERVICE,
      replicas,
      ...(user === undefined ? {} : { user }),
      ...(password === undefined ? {} : { password }),
    },
    [device.context, secret.context],
  );
};

/** @throws what listening throws, and reading the certificates */
const openImages = (config: AgentConfig): Promise<Images> | undefined =>
  config.firmwareListen === undefined
    ? undefined
    : Images.open({
        folder: join(resolve(config.data), "device-agent", config.node, "firmware"),
        listen: config.firmwareListen,
        host: config.firmwareHost,
        rpcIndex: config.firmwareIndex,
        gen1Index: config.firmwareIndexGen1,
        ca: config.firmwareCa === undefined ? undefined : readFileSync(config.firmwareCa, "utf8"),
      });

function openFleet(config: AgentConfig, watch: Watch, logins: Logins, logger: Logger): Promise<Fleet> {
  const { dialInListen, coiotListen } = config;
  return Fleet.open({
    listener: watch.listener,
    credentials: async (mac) => {
      const id = watch.idOf(mac);
      return id === undefined ? undefined : logins.of(id);
    },
    ...(dialInListen === undefined ? {} : { dialIn: listenOf(dialInListen) }),
    ...(coiotListen === undefined ? {} : { coiot: listenOf(coiotListen) }),
    onError: (err) => logger.error({ err }, "keeping devices went wrong"),
  });
}

/** Asked twice a second; looked up less often. */
function agentsOf({ nats }: EventLog, site: string): () => Promise<number> {
  let known = 1;
  let at = Number.NEGATIVE_INFINITY;
  return async () => {
    if (performance.now() - at < AGENTS_MS) return known;
    const nodes = await listNodes(nats);
    known = nodes.filter((one) => one.service === SERVICE && one.capabilities.includes(siteCapability(site))).length;
    at = performance.now();
    return known;
  };
}

function recordOf(config: AgentConfig, leases: Leases, version: string, fleet: Fleet) {
  const { name, pid, host } = leases.owner;
  return {
    node: config.node,
    service: SERVICE,
    instance: name,
    pid,
    host,
    version,
    dataFolder: resolve(config.data),
    docker: { endpoint: "", missing: "This service uses no container engine." },
    freeBytes: 0,
    capabilities: [
      siteCapability(config.site),
      ...(fleet.dialInPort === undefined ? [] : [`dial-in:${fleet.dialInPort}`]),
      ...(fleet.coiotPort === undefined ? [] : [`coiot:${fleet.coiotPort}`]),
    ],
    startedAt: STARTED_AT,
  };
}

const STARTED_AT = new Date().toISOString();

export const deviceAgentService = defineService({
  name: SERVICE,
  settings: AGENT_SETTINGS,
  start: (config, shell) => startDeviceAgent(config, shell.log, shell.version),
});
