/**
 * What happens by itself, as one worker over the context `automation`. It belongs to no node: every orchestrator of the installation is one more
 * hand, and leases say who does what.
 */
import { automation } from "@millrace/domain/automation/context.ts";
import type { ProcessTypes } from "@millrace/domain/automation/process-type.ts";
import { PROCESSES } from "@millrace/domain/automation/process-types.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import type { Leases } from "@millrace/eventlog/leases.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { startWorker, type Worker } from "@millrace/eventlog/worker.ts";
import { listenForProcesses } from "./processes.ts";
import { processReactor } from "./reactors/process.ts";
import { ruleReactor } from "./reactors/rule.ts";
import { scheduleReactor } from "./reactors/schedule.ts";
import { listenForRules } from "./rules.ts";

export interface AutomationOptions {
  readonly log: EventLog;
  readonly leases: Leases;
  readonly logger: Logger;
  readonly service: string;
  readonly replicas: 1 | 3;
  /** Types of processes; left out: all that there are. */
  readonly types?: ProcessTypes;
}

export interface Automation {
  readonly worker: Worker;
  /** For `/readyz`. */
  checks(): ReadonlyArray<Check>;
  /** After this nothing is begun any more; leases and connection are the caller's. */
  stop(): Promise<void>;
}

/** In names of consumers and leases, where others have their node. */
const EVERYWHERE = "everywhere";
/** Commands are short: what holds them up is the log. */
const AT_ONCE = 8;

export async function startAutomation(options: AutomationOptions): Promise<Automation> {
  const { log, leases, logger, service, replicas, types = PROCESSES } = options;
  const deadLetters = new DeadLetters(log.nats, replicas);
  const worker = await startWorker({
    log,
    service,
    node: EVERYWHERE,
    context: automation.name,
    reactors: [scheduleReactor(log), ruleReactor(log), processReactor(log, types)],
    concurrency: AT_ONCE,
    logger,
    deadLetters,
    leases,
  });
  const stopping = new AbortController();
  const { signal } = stopping;
  const rules = await listenForRules({ log, leases, deadLetters, logger, signal });
  const listeners = [
    ...listenForProcesses({ log, leases, deadLetters, logger, service, types, signal }),
    ...rules.listeners,
  ];
  return {
    worker,
    checks: () => [...worker.checks(), ...listeners.flatMap((listener) => [...listener.checks()])],
    stop: async () => {
      stopping.abort();
      await Promise.all([worker.stop(), ...listeners.map(({ done }) => done)]);
      await rules.stop();
    },
  };
}
