/** Deployments whose node has no worker are told so in their status: one process of the whole installation looks after them. */

import { application } from "@millrace/domain/applications/application.ts";
import { homeOf } from "@millrace/domain/applications/application-state.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { execute, ownContext } from "@millrace/eventlog/execute.ts";
import { LogUnavailable } from "@millrace/eventlog/failures.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import { pause } from "@millrace/eventlog/pause.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";

const LOOK_MS = 5_000;

/** Which deployment waits for which node. */
export function waitingFor(index: Pick<LiveIndex, "all">, present: ReadonlySet<string>): Map<string, string> {
  const waiting = new Map<string, string>();
  for (const { state } of index.all(application)) {
    const home = homeOf(state);
    if (!state.exists || home === null || present.has(home)) continue;
    for (const id of [state.active, state.queue[0]]) if (id !== null && id !== undefined) waiting.set(id, home);
  }
  return waiting;
}

export async function watchWaiting(log: EventLog, index: LiveIndex, signal: AbortSignal): Promise<void> {
  // What has only just gone may be restarting: it is said after it was missed twice.
  let missed = new Map<string, string>();
  while (!signal.aborted) {
    try {
      const nodes = await listNodes(log.nats);
      const present = new Set(nodes.filter(({ service }) => service === "orchestrator").map(({ node }) => node));
      const now = waitingFor(index, present);
      for (const [id, node] of now) if (missed.get(id) === node) await say(log, index, id, node);
      missed = now;
    } catch (error) {
      if (!(error instanceof LogUnavailable)) throw error;
    }
    await pause(LOOK_MS, signal);
  }
}

async function say(log: EventLog, index: LiveIndex, id: string, node: string): Promise<void> {
  const known = index.get(deployment, id);
  const reason = `No worker of the node "${node}" is there: start an orchestrator with MILLRACE_NODE=${node} and its data folder.`;
  if (known === undefined || known.state.waiting?.reason === reason) return;
  const change = { kind: deployment, id, command: { do: "wait" as const, reason } };
  await execute(log, change, ownContext("orchestrator", known.organisation));
}
