/** What every reactor of this process works with: the node's disk, engine, proxy and log. */
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { LiveIndex } from "@millrace/eventlog/live-index.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import type { Logs } from "@millrace/eventlog/logs.ts";
import type { Failed, Outcome } from "@millrace/eventlog/outcome.ts";
import type { NodeDisk } from "./adapters/disk.ts";
import type { DockerEngine } from "./adapters/docker.ts";
import { DockerFailed } from "./adapters/docker-failures.ts";
import type { Secrets } from "./secrets.ts";

export interface OrchestratorNode {
  readonly name: string;
  readonly disk: NodeDisk;
  /** Whether an engine answers is found out with each use. */
  readonly docker: DockerEngine;
  /** The engine has answered this process before. */
  readonly hadEngine: () => boolean;
  readonly log: EventLog;
  /** Every application as it was a moment ago. */
  readonly index: Pick<LiveIndex, "get" | "onChange">;
  readonly logs: Logs;
  readonly secrets: Secrets;
  /** Absolute. */
  readonly localSources: ReadonlyArray<string>;
  /** Where applications are reached from this machine: `http://127.0.0.1:7480`. */
  readonly publicUrl: string;
  /** Until what a container said is stored, as far as it is read here; at most a few seconds. */
  readonly drained: (container: string) => Promise<void>;
  readonly logger: Logger;
}

/** Failures of the engine are thrown; here they become values as all others. */
export async function asOutcome<T extends object>(act: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof DockerFailed) return failedBy(error);
    throw error;
  }
}

export const failedBy = ({ class: kind, code, reason, fix }: DockerFailed): Failed => ({
  failed: { class: kind, code, message: reason, fix },
});
