/** What the node and its containers take, sampled by one process of the node and stored as series. */
import { statfs } from "node:fs/promises";
import { cpus, freemem, loadavg, totalmem } from "node:os";
import { application } from "@millrace/domain/applications/application.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import {
  ensureTelemetry,
  INSTALLATION,
  type Sample,
  SeriesWriter,
  type TelemetryLimits,
} from "@millrace/eventlog/series.ts";
import type { Container, ContainerUse } from "./adapters/docker.ts";
import type { OrchestratorNode } from "./node.ts";
import { away } from "./reactors/healing.ts";

export interface SamplingOptions {
  readonly node: OrchestratorNode;
  readonly hasDocker: () => boolean;
  readonly everyMs: number;
  readonly limits: TelemetryLimits;
}

/** Containers asked at the same moment. */
const AT_ONCE = 8;

/** Until the signal. What is sampled is stored at once, so that a crash loses one round. */
export async function sample(
  { node, hasDocker, everyMs, limits }: SamplingOptions,
  signal: AbortSignal,
): Promise<void> {
  await ensureTelemetry(node.log.nats, limits);
  const writer = new SeriesWriter(node.log.nats);
  const before = new Map<string, ContainerUse>();
  let idle = idleOf();
  while (!signal.aborted) {
    const found = hasDocker() ? ((await node.docker.listContainers().catch(away)) ?? []) : [];
    const running = found.filter(({ state }) => state === "running");
    const now = idleOf();
    writer.add(
      { organisation: INSTALLATION, context: "system", kind: "node", id: node.name },
      await sampleNode(node.disk.root, idle, now, running.length),
    );
    idle = now;
    await sampleContainers(node, writer, running, before);
    await sampleRestarts(node, writer, found);
    const given = await writer.flush();
    if (given > 0) node.logger.warn({ chunks: given }, "samples could not be stored");
    await pause(everyMs, signal);
  }
}

interface Idle {
  readonly idle: number;
  readonly all: number;
}

/** Milliseconds of all processors since the machine was started. */
function idleOf(): Idle {
  let idle = 0;
  let all = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    all += times.idle + times.user + times.nice + times.sys + times.irq;
  }
  return { idle, all };
}

async function sampleNode(folder: string, before: Idle, now: Idle, containers: number): Promise<Sample[]> {
  const disk = await statfs(folder).catch(() => undefined);
  const passed = now.all - before.all;
  return [
    ...(passed > 0 ? [{ metric: "cpu_ratio", value: 1 - (now.idle - before.idle) / passed }] : []),
    { metric: "load_1m", value: loadavg()[0]! },
    { metric: "memory_used_bytes", value: totalmem() - freemem() },
    { metric: "memory_total_bytes", value: totalmem() },
    ...(disk === undefined
      ? []
      : [
          { metric: "disk_free_bytes", value: disk.bavail * disk.bsize },
          { metric: "disk_used_ratio", value: disk.blocks === 0 ? 0 : 1 - disk.bavail / disk.blocks },
        ]),
    { metric: "containers", value: containers },
  ];
}

/** Whose application a container is of; undefined: it is not there any more. */
async function organisationOf({ log }: OrchestratorNode, { application: id }: Container): Promise<string | undefined> {
  const { aggregates } = log;
  return (aggregates.cached(application, id) ?? (await aggregates.load(application, id))).organisation;
}

async function sampleContainers(
  node: OrchestratorNode,
  writer: SeriesWriter,
  running: ReadonlyArray<Container>,
  before: Map<string, ContainerUse>,
): Promise<void> {
  const here = new Set(running.map(({ id }) => id));
  for (const id of before.keys()) if (!here.has(id)) before.delete(id);
  for (let at = 0; at < running.length; at += AT_ONCE) {
    await Promise.all(
      running.slice(at, at + AT_ONCE).map(async (container) => {
        const use = await node.docker.use(container.id).catch(away);
        const organisation = await organisationOf(node, container);
        if (use === undefined || organisation === undefined) return;
        const owner = { organisation, context: "applications", kind: "application", id: container.application };
        writer.add(owner, samplesOf(use, before.get(container.id), `${container.slot}`));
        before.set(container.id, use);
      }),
    );
  }
}

/** Also of those that are between two starts, which is where one that crashes again and again is found most of the time. */
async function sampleRestarts(
  node: OrchestratorNode,
  writer: SeriesWriter,
  containers: ReadonlyArray<Container>,
): Promise<void> {
  const started = containers.filter(({ state }) => state === "running" || state === "restarting");
  for (let at = 0; at < started.length; at += AT_ONCE) {
    await Promise.all(
      started.slice(at, at + AT_ONCE).map(async (container) => {
        const seen = await node.docker.inspectContainer(container.id).catch(away);
        const organisation = await organisationOf(node, container);
        if (seen === undefined || organisation === undefined) return;
        const owner = { organisation, context: "applications", kind: "application", id: container.application };
        writer.add(owner, [{ metric: "restarts", value: seen.restarts, labels: { instance: `${container.slot}` } }]);
      }),
    );
  }
}

/** Rates need what was before. */
export function samplesOf(now: ContainerUse, before: ContainerUse | undefined, instance: string): Sample[] {
  const labels = { instance };
  const seconds = before === undefined ? 0 : (now.atMs - before.atMs) / 1_000;
  const rate = (metric: string, field: "cpuSeconds" | "receivedBytes" | "transmittedBytes"): Sample[] => {
    const value = before === undefined || seconds <= 0 ? -1 : (now[field] - before[field]) / seconds;
    // It was started anew: what it counts begins again.
    return value < 0 ? [] : [{ metric, value, labels }];
  };
  return [
    { metric: "memory_bytes", value: now.memoryBytes, labels },
    ...rate("cpu_cores", "cpuSeconds"),
    ...rate("network_receive_bytes_per_second", "receivedBytes"),
    ...rate("network_transmit_bytes_per_second", "transmittedBytes"),
  ];
}
