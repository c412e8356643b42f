/**
 * The one on a node who tells Caddy what to serve: the whole configuration, rendered from the live index, loaded only when hosts,
 * applications or the way of serving change. What a deployment changes are files that Caddy reads by itself.
 */
import { application } from "@millrace/domain/applications/application.ts";
import { hostsOf } from "@millrace/domain/applications/application-state.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import type { Failure } from "@millrace/eventlog/outcome.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { type AppRoute, type CaddyNode, loadCaddy, renderCaddy } from "./adapters/caddy.ts";

export interface ProxyOptions {
  readonly node: string;
  readonly caddy: CaddyNode;
  readonly index: LiveIndex;
  /** How often Caddy is compared with the log when nothing happens: it may have been restarted. */
  readonly everyMs: number;
  readonly logger: Logger;
}

/** What went wrong last; undefined: Caddy has what the log says, or another process of the node sees to it. */
export interface ProxyTrouble {
  last: Failure | undefined;
}

/** Every application that lives on the node, with a route of its own from the moment it has its node. */
export function routesOf(index: Pick<LiveIndex, "all">, node: string): AppRoute[] {
  const routes: AppRoute[] = [];
  for (const { id, state } of index.all(application)) {
    if (!state.exists || state.spec === null || state.node !== node) continue;
    routes.push({ id, hosts: hostsOf(state) });
  }
  return routes;
}

/** Changes that come together are loaded together. */
const TOGETHER_MS = 20;
const AGAIN_MS = 1_000;

/** Runs while this process is the node's only one to do it. */
export async function serveRoutes(options: ProxyOptions, trouble: ProxyTrouble, signal: AbortSignal): Promise<void> {
  const { caddy, index, node, everyMs, logger } = options;
  let told = new AbortController();
  const stop = index.onChange((kind, _id, entry) => {
    if (kind !== application.kind) return;
    if (entry === undefined || (entry.state as { node: string | null }).node === node) told.abort();
  });
  try {
    while (!signal.aborted) {
      told = new AbortController();
      const outcome = await loadCaddy(caddy.admin, renderCaddy(routesOf(index, node), caddy), { signal });
      if (signal.aborted) return;
      if ("failed" in outcome) {
        if (trouble.last?.code !== outcome.failed.code)
          logger.warn({ failure: outcome.failed }, "Caddy has not what it should");
        trouble.last = outcome.failed;
        await pause(AGAIN_MS, signal);
        continue;
      }
      if (trouble.last !== undefined) logger.info("Caddy has what it should again");
      trouble.last = undefined;
      if (outcome.changed) logger.info("Caddy was given new routes");
      await pause(everyMs, AbortSignal.any([signal, told.signal]));
      await pause(TOGETHER_MS, signal);
    }
  } finally {
    stop();
  }
}
