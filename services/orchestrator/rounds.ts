/**
 * Looking at everything, round after round: what is there on this node compared with what the log says. What differs is handed to
 * the application's own reactor, which heals it under the lease of its unit. Nothing is written when nothing is wrong.
 */
import { application } from "@millrace/domain/applications/application.ts";
import { repairableAt } from "@millrace/domain/applications/application-report.ts";
import type { ApplicationState } from "@millrace/domain/applications/application-state.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { nextOfApplication, nextOfDeployment } from "@millrace/domain/applications/next.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { collectMirrors, listApps, removeApp } from "./adapters/collect.ts";
import { appDisk } from "./adapters/disk.ts";
import type { Container } from "./adapters/docker.ts";
import { DockerFailed } from "./adapters/docker-failures.ts";
import type { OrchestratorNode } from "./node.ts";
import { away, look } from "./reactors/healing.ts";
import { desiredOf, plan } from "./reconcile.ts";

export interface RoundsOptions {
  readonly node: OrchestratorNode;
  readonly index: LiveIndex;
  /** Of which something is wrong: filled here, emptied by the reactor. */
  readonly drifted: Set<string>;
  /** Looks at an application now. */
  readonly wake: (id: string) => void;
  readonly everyMs: number;
  /** A container of nobody is removed when it has been seen for so long. */
  readonly orphanMs: number;
  /** Whether the engine is there; without it containers are neither looked for nor missed. */
  readonly hasDocker: () => boolean;
}

/** For status and benchmarks. */
export interface RoundReport {
  readonly applications: number;
  readonly drifted: number;
  readonly orphans: number;
  readonly tookMs: number;
}

/** An application whose world should be as the log says: nothing of it is under way, or about to be. */
export function isAtRest(index: Pick<LiveIndex, "all" | "get">, state: ApplicationState, nowMs: number): boolean {
  if (desiredOf(state) === undefined || state.queue.length > 0) return false;
  if (nextOfApplication(state, nowMs) !== undefined) return false;
  const last = index.get(deployment, state.live!.deployment);
  // Tidying up after a success is still to come: until then two releases are there.
  return last === undefined || nextOfDeployment(last.state, nowMs) === undefined;
}

export class Rounds {
  readonly #options: RoundsOptions;
  /** When a container of nobody was first seen. */
  readonly #orphans = new Map<string, number>();
  #told = new AbortController();
  /** Applications that the engine gave a hint of; undefined: everything is to be looked at. */
  #hinted: Set<string> | undefined = new Set();

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** The engine hints that something of an application has changed, or anything at all: looked at soon. */
  hint(id: string | undefined): void {
    if (id === undefined) this.#hinted = undefined;
    else this.#hinted?.add(id);
    this.#told.abort();
  }

  /** Runs while this process is the node's only one to do it. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs, node } = this.#options;
    let wholeAt = 0;
    while (!signal.aborted) {
      this.#told = new AbortController();
      const isDue = Date.now() >= wholeAt;
      const only = isDue ? undefined : this.#hinted;
      this.#hinted = new Set();
      if (only === undefined) wholeAt = Date.now() + everyMs * (0.75 + Math.random() / 2);
      const report = await this.round(signal, only);
      if (report.drifted > 0 || report.orphans > 0)
        node.logger.info(report, "a round found what is not as it should be");
      // Many hints come together; and what was just begun should have come somewhere.
      await pause(HINT_MS, signal);
      await pause(wholeAt - Date.now(), AbortSignal.any([signal, this.#told.signal]));
    }
  }

  /** @param only applications to look at; left out: all, and what belongs to none */
  async round(signal: AbortSignal, only?: ReadonlySet<string>): Promise<RoundReport> {
    const { node, index, drifted, wake } = this.#options;
    const began = performance.now();
    const byApplication = await this.#containers();
    let applications = 0;
    const found: string[] = [];
    const all =
      only === undefined ? [...index.all(application)] : [...only].flatMap((id) => index.get(application, id) ?? []);
    for (const { id, state } of all) {
      if (signal.aborted) break;
      if (state.node !== node.name || !isAtRest(index, state, Date.now())) continue;
      applications++;
      if (await this.#isDrifted(state, byApplication)) found.push(id);
    }
    for (const id of found) {
      drifted.add(id);
      wake(id);
    }
    const orphans = only === undefined ? await this.#removeOrphans(byApplication) : 0;
    if (only === undefined) await this.#removeFolders();
    return { applications, drifted: found.length, orphans, tookMs: Math.round(performance.now() - began) };
  }

  async #isDrifted(
    state: ApplicationState,
    byApplication: ReadonlyMap<string, ReadonlyArray<Container>> | undefined,
  ): Promise<boolean> {
    const containers = byApplication === undefined ? undefined : (byApplication.get(state.id) ?? []);
    const found = plan(desiredOf(state)!, await look(this.#options.node, state, async () => containers));
    const now = Date.now();
    if (found.some(({ resource }) => repairableAt(state, resource) <= now)) return true;
    // What was wrong and is well by itself is said so.
    return Object.entries(state.drift).some(
      ([resource, drift]) => drift.open && !found.some((action) => action.resource === resource),
    );
  }

  /** All of this node's scope, by application; undefined: not known. */
  async #containers(): Promise<ReadonlyMap<string, ReadonlyArray<Container>> | undefined> {
    if (!this.#options.hasDocker()) return undefined;
    const all = await this.#options.node.docker.listContainers().catch(away);
    if (all === undefined) return undefined;
    const by = new Map<string, Container[]>();
    for (const container of all) {
      const known = by.get(container.application);
      if (known === undefined) by.set(container.application, [container]);
      else known.push(container);
    }
    return by;
  }

  /** Containers of applications or deployments that are no more; those of what is under way are left alone. */
  async #removeOrphans(byApplication: ReadonlyMap<string, ReadonlyArray<Container>> | undefined): Promise<number> {
    if (byApplication === undefined) return 0;
    const { node, index, orphanMs } = this.#options;
    const now = Date.now();
    const seen = new Set<string>();
    let removed = 0;
    for (const [id, containers] of byApplication) {
      const owner = index.get(application, id)?.state;
      if (owner?.exists === true) continue; // A plan of its own sees to them.
      for (const container of containers) {
        seen.add(container.id);
        const since = this.#orphans.get(container.id) ?? now;
        this.#orphans.set(container.id, since);
        if (now - since < orphanMs) continue;
        try {
          if (await node.docker.removeContainer(container.id)) removed++;
          node.logger.info({ container: container.name }, "a container that belongs to nothing was removed");
        } catch (error) {
          if (!(error instanceof DockerFailed)) throw error;
        }
      }
      if (containers.every((container) => !this.#orphans.has(container.id)))
        await node.docker.removeNetwork(id).catch(away);
    }
    for (const id of this.#orphans.keys()) if (!seen.has(id)) this.#orphans.delete(id);
    return removed;
  }

  #foldersAt = 0;

  /** Folders of applications that are no more, and mirrors of repositories that nobody uses: now and then. */
  async #removeFolders(): Promise<void> {
    const { node, index, orphanMs } = this.#options;
    if (Date.now() - this.#foldersAt < orphanMs) return;
    this.#foldersAt = Date.now();
    const urls: string[] = [];
    for (const { state } of index.all(application)) {
      if (!state.exists || state.spec === null) continue;
      const { source } = state.spec;
      if (source.kind !== "upload") urls.push(source.kind === "git" ? source.url : source.path);
    }
    for (const id of await listApps(node.disk)) {
      const known = index.get(application, id)?.state;
      if (known === undefined || known.exists) continue; // Only what the log says is gone.
      await removeApp(appDisk(node.disk, id));
    }
    await collectMirrors(node.disk, urls, orphanMs);
  }
}

const HINT_MS = 500;
