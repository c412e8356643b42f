/** What containers say, read by one process of the node and stored with where it went on: after a crash no line is missing or there twice. */
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import type { LogWriter } from "@millrace/eventlog/logs.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import type { Container } from "../adapters/docker.ts";
import { DockerFailed } from "../adapters/docker-failures.ts";
import type { OrchestratorNode } from "../node.ts";
import { away } from "./healing.ts";
import { environment } from "./making.ts";

interface Collector {
  readonly ended: Promise<void>;
  readonly stop: () => void;
}

const LOOK_MS = 2_000;
const AGAIN_MS = 1_000;
/** When somebody else reads this container, or nobody does yet, it is given this long to come to the end. */
const ELSEWHERE_MS = 1_000;
const DRAIN_MS = 8_000;

export class Collectors {
  readonly #collectors = new Map<string, Collector>();
  #told = new AbortController();

  /** A container has come or gone. */
  hint(): void {
    this.#told.abort();
  }

  /** Until its reader has stored what it said last. */
  async drained(id: string): Promise<void> {
    const collector = this.#collectors.get(id);
    if (collector === undefined) return pause(this.#collectors.size > 0 ? 0 : ELSEWHERE_MS);
    await Promise.race([collector.ended, pause(DRAIN_MS)]);
  }

  /** Runs while this process is the node's only one to do it. */
  async run(node: OrchestratorNode, hasDocker: () => boolean, signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        this.#told = new AbortController();
        const found = hasDocker() ? ((await node.docker.listContainers().catch(away)) ?? []) : [];
        for (const container of found) {
          if (container.state === "created" || this.#collectors.has(container.id)) continue;
          if (container.state === "running" || container.state === "restarting") this.#begin(node, container, signal);
        }
        await pause(LOOK_MS, AbortSignal.any([signal, this.#told.signal]));
      }
    } finally {
      const all = [...this.#collectors.values()];
      for (const { stop } of all) stop();
      await Promise.all(all.map(({ ended }) => ended));
    }
  }

  #begin(node: OrchestratorNode, container: Container, signal: AbortSignal): void {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const ended = collect(node, container, both)
      .catch((error: unknown) => {
        if (!both.aborted)
          node.logger.warn({ err: error, container: container.name }, "lines of a container are not read");
        return pause(AGAIN_MS, both);
      })
      .finally(() => this.#collectors.delete(container.id));
    this.#collectors.set(container.id, { ended, stop: () => stop.abort() });
  }
}

async function collect(node: OrchestratorNode, container: Container, signal: AbortSignal): Promise<void> {
  const writer = await writerOf(node, container, signal);
  if (writer === undefined) return;
  try {
    await node.docker.followLogs(container.id, {
      after: writer.cursor,
      signal,
      onLine: ({ at, stream, text, cursor }) =>
        writer.line({ text, time: Date.parse(at), stderr: stream === "stderr", cursor }),
    });
  } catch (error) {
    if (!(error instanceof DockerFailed)) throw error;
  } finally {
    await writer.close();
  }
}

/** Its secrets are never stored: what it prints of them is blotted out. */
async function writerOf(
  node: OrchestratorNode,
  container: Container,
  signal: AbortSignal,
): Promise<LogWriter | undefined> {
  const { state: owner } = await node.log.aggregates.load(application, container.application);
  const { state } = await node.log.aggregates.load(deployment, container.deployment);
  if (owner.organisation === "" || state.requested === null) return undefined;
  const redact: string[] = [];
  const opened = await environment({
    node,
    organisation: owner.organisation,
    application: owner.id,
    requested: state.requested,
    signal,
    say: () => {},
    redact: (values) => redact.push(...values),
    during: () => {},
  });
  // A secret that was erased cannot be blotted out any more; what it said waits with the engine.
  if ("failed" in opened) throw new Error(opened.failed.message);
  return node.logs.writer(
    {
      organisation: owner.organisation,
      context: "applications",
      kind: "application",
      id: owner.id,
      source: "run",
      group: container.deployment,
      instance: `${container.slot}`,
    },
    { redact, full: "wait" },
  );
}
