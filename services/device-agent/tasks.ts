/**
 * Tasks of the devices that this process holds: the worker, and who wakes it. Events reach any process of the node; a task is the one's
 * that holds its device's lane, so what stands in the index wakes it here, when something has come of it or its device, and by a look at
 * all of them now and then.
 */
import { device } from "@millrace/domain/devices/device.ts";
import { nextOfDevice } from "@millrace/domain/devices/device-decide.ts";
import { task } from "@millrace/domain/devices/task.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Leases } from "@millrace/eventlog/leases.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { startWorker, type Worker } from "@millrace/eventlog/worker.ts";
import type { AgentConfig } from "./config.ts";
import type { Images } from "./images.ts";
import type { Logins } from "./logins.ts";
import { bulkReactor, rolloutReactor } from "./reactors/operations.ts";
import { profileReactor } from "./reactors/profiles.ts";
import { scanReactor } from "./reactors/scans.ts";
import type { Keeping } from "./reactors/task-work.ts";
import { nextHere, taskReactor, turnReactor } from "./reactors/tasks.ts";
import { syncReactor } from "./syncs.ts";
import type { Watch } from "./watch.ts";

export interface TasksOptions {
  readonly service: string;
  readonly config: AgentConfig;
  readonly log: EventLog;
  /** Of devices, and of tasks that are not over. */
  readonly index: LiveIndex;
  readonly watch: Pick<Watch, "device" | "found">;
  /** Where firmware is served to devices from; left out: they fetch it from the maker. */
  readonly images?: Images | undefined;
  readonly logins: Logins;
  readonly leases: Leases;
  readonly logger: Logger;
}

export interface Tasks extends Pick<Worker, "checks" | "status"> {
  readonly keeping: Keeping;
  stop(): Promise<void>;
}

const ROUND_MS = 1_000;

export async function startTasks(options: TasksOptions): Promise<Tasks> {
  const { service, config, log, index, watch, logins, leases, logger, images } = options;
  const keeping: Keeping = {
    site: config.site,
    log,
    index,
    device: (id) => watch.device(id),
    logins,
    secret: (id, organisation) => logins.secret(id, organisation),
    images,
    lookMs: config.lookMs,
  };
  const { mdnsInterface } = config;
  const scans = scanReactor({
    log,
    site: config.site,
    onFound: (found) => watch.found(found),
    // Bound to one address it would not hear what is sent to all.
    ...(mdnsInterface === undefined
      ? {}
      : { socket: { interface: mdnsInterface, bind: "0.0.0.0", reuseAddr: true, multicast: true } }),
  });
  const worker = await startWorker({
    log,
    service,
    node: config.node,
    context: task.context,
    reactors: [
      turnReactor(keeping),
      taskReactor(keeping),
      bulkReactor(log, index),
      rolloutReactor(log, index),
      profileReactor(log, index),
      syncReactor(options),
      scans,
    ],
    concurrency: config.tasksAtOnce,
    logger,
    deadLetters: new DeadLetters(log.nats, config.replicas),
    leases,
  });
  const here = (id: string) => keeping.device(id) !== undefined;
  const stopping = new AbortController();
  const stopChanges = index.onChange((kind, id, entry) => {
    if (kind === task.kind && entry !== undefined && here(entry.state.device)) worker.wake(kind, id);
    if (kind !== device.kind || entry === undefined || !here(id)) return;
    const { active, queue } = entry.state;
    if (active !== null) worker.wake(task.kind, active);
    else if (queue.length > 0) worker.wake(kind, id);
  });
  const round = () => {
    const now = Date.now();
    const busy = new Set(worker.status().underWay.map(({ id }) => id));
    for (const { id, state } of index.all(task)) {
      if (busy.has(id) || !here(state.device)) continue;
      const next = nextHere(keeping, state, now);
      if (next !== undefined && "do" in next) worker.wake(task.kind, id);
    }
    for (const { id, state } of index.all(device)) {
      if (!busy.has(id) && here(id) && nextOfDevice(state) !== undefined) worker.wake(device.kind, id);
    }
  };
  const rounds = async () => {
    await index.caughtUp();
    while (!stopping.signal.aborted) {
      round();
      await pause(ROUND_MS, stopping.signal);
    }
  };
  const running = rounds();
  return {
    keeping,
    checks: () => worker.checks(),
    status: () => worker.status(),
    stop: async () => {
      stopping.abort();
      stopChanges();
      await worker.stop();
      await running;
    },
  };
}
